/** The port's `Interaction` for one call: asks in the caller's session, for as long as the call lives. */
import type { Interaction, KeyInfo, PinQuestion } from '../backends/backend.ts';
import type { TokenIdentity } from '../backends/token-facts.ts';
import type { KeyId } from '../crypto/key-id.ts';
import type { Secret } from '../crypto/secret.ts';
import { SignetError } from '../errors.ts';
import type { QuestionMessage } from '../rpc/messages.ts';
import type { InteractionSession } from './interactions.ts';

type KeyOwner = Pick<KeyInfo, 'role' | 'gun'> & { readonly keyId?: KeyId | undefined };

export class CallInteraction implements Interaction {
  readonly #session: InteractionSession;
  readonly #call: { readonly signal: AbortSignal };

  constructor(session: InteractionSession, call: { readonly signal: AbortSignal }) {
    this.#session = session;
    this.#call = call;
  }

  passphrase(key: KeyOwner, attempt: number, signal?: AbortSignal): Promise<Secret | undefined> {
    return this.#ask({ kind: 'passphrase', ...keyFields(key), attempt }, signal);
  }

  /** As the client gives it: what a person typed, the client checks; one from a variable may have any length, as for notary. */
  newPassphrase(key: KeyOwner, signal?: AbortSignal): Promise<Secret | undefined> {
    return this.#ask({ kind: 'new passphrase', ...keyFields(key) }, signal);
  }

  /** @throws {SignetError} CANCELLED if the session has ended: that answers for nobody else who waits for the token */
  async pin(question: PinQuestion, signal?: AbortSignal): Promise<Secret | undefined> {
    const { token, secret, isNew, triesLeft, key, reason } = question;
    const kind = isNew ? `new ${secret}` : secret;
    const owner = key === undefined ? {} : keyFields(key);
    const facts = { token: tokenMessage(token), tries_left: triesLeft ?? -1, reason: reasonText(reason) };
    const pin = await this.#ask({ kind, ...owner, ...facts }, signal);
    if (pin === undefined && this.#session.hasEnded) throw new SignetError('CANCELLED', 'the interaction has ended');
    // Nothing was typed: not worth a try.
    if (pin?.bytes().byteLength !== 0) return pin;
    pin.dispose();
    return undefined;
  }

  touch(token: TokenIdentity, key: KeyOwner): Disposable {
    return this.#session.touch({ token: tokenMessage(token), ...keyFields(key) });
  }

  /**
   * Asks for the passphrase of a backup.
   *
   * @param isNew True: it is chosen now.
   */
  archivePassphrase(isNew: boolean): Promise<Secret | undefined> {
    return this.#ask({ kind: isNew ? 'new archive passphrase' : 'archive passphrase' }, undefined);
  }

  /** @param total 0 when it is not known. */
  progress(done: number, total: number): void {
    this.#session.progress(done, total);
  }

  #ask(question: Partial<QuestionMessage> & { readonly kind: string }, signal: AbortSignal | undefined) {
    const signals = new Set([this.#call.signal, ...(signal === undefined ? [] : [signal])]);
    const defaults = { key_id: '', role: '', gun: '', token: null, attempt: 0, tries_left: -1, reason: '' };
    return this.#session.ask({ ...defaults, ...question }, [...signals]);
  }
}

function keyFields({ keyId = '' as KeyId, role, gun }: KeyOwner) {
  return { key_id: keyId, role, gun };
}

function reasonText(reason: SignetError | undefined): string {
  if (reason === undefined) return '';
  return reason.hint === undefined ? reason.message : `${reason.message}: ${reason.hint}`;
}

function tokenMessage({ backend, label, serial }: TokenIdentity) {
  return { backend, label, serial };
}
