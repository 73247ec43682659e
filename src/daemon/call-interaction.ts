/** The port's `Interaction` for one call: asks in the caller's session, for as long as the call lives. */
import type { Interaction, KeyInfo, PinQuestion, TokenIdentity } from '../backends/backend.ts';
import type { KeyId } from '../crypto/key-id.ts';
import type { Secret } from '../crypto/secret.ts';
import { SignetError } from '../errors.ts';
import type { QuestionMessage } from '../rpc/messages.ts';
import type { InteractionSession } from './interactions.ts';

/** Notary's minimum for a passphrase that a person chooses, in bytes without outer white space. */
const MIN_NEW_PASSPHRASE_BYTES = 8;

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

  /** @throws {SignetError} INVALID_ARGUMENT if it is too short */
  async newPassphrase(key: KeyOwner, signal?: AbortSignal): Promise<Secret | undefined> {
    return longEnough(await this.#ask({ kind: 'new passphrase', ...keyFields(key) }, signal));
  }

  async pin({ token, secret, isNew, triesLeft, key }: PinQuestion, signal?: AbortSignal): Promise<Secret | undefined> {
    const kind = isNew ? `new ${secret}` : secret;
    const owner = key === undefined ? {} : keyFields(key);
    const pin = await this.#ask({ kind, ...owner, token: tokenMessage(token), tries_left: triesLeft ?? -1 }, signal);
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
   * @throws {SignetError} INVALID_ARGUMENT if a new one is too short
   */
  async archivePassphrase(isNew: boolean): Promise<Secret | undefined> {
    const answer = await this.#ask({ kind: isNew ? 'new archive passphrase' : 'archive passphrase' }, undefined);
    return isNew ? longEnough(answer) : answer;
  }

  /** @param total 0 when it is not known. */
  progress(done: number, total: number): void {
    this.#session.progress(done, total);
  }

  #ask(question: Partial<QuestionMessage> & { readonly kind: string }, signal: AbortSignal | undefined) {
    const signals = new Set([this.#call.signal, ...(signal === undefined ? [] : [signal])]);
    const defaults = { key_id: '', role: '', gun: '', token: null, attempt: 0, tries_left: -1 };
    return this.#session.ask({ ...defaults, ...question }, [...signals]);
  }
}

function keyFields({ keyId = '' as KeyId, role, gun }: KeyOwner) {
  return { key_id: keyId, role, gun };
}

function tokenMessage({ backend, label, serial }: TokenIdentity) {
  return { backend, label, serial };
}

function longEnough(passphrase: Secret | undefined): Secret | undefined {
  if (passphrase === undefined || trimmedLength(passphrase.bytes()) >= MIN_NEW_PASSPHRASE_BYTES) return passphrase;
  passphrase.dispose();
  throw new SignetError('INVALID_ARGUMENT', 'the new passphrase is too short', {
    hint: `choose one of at least ${MIN_NEW_PASSPHRASE_BYTES} bytes`,
  });
}

/** Without making a string of it, which could not be zeroed. */
function trimmedLength(bytes: Uint8Array): number {
  const isBlank = (byte: number | undefined) => byte !== undefined && (byte === 0x20 || (byte >= 0x09 && byte <= 0x0d));
  let start = 0;
  let end = bytes.byteLength;
  while (start < end && isBlank(bytes[start])) start++;
  while (end > start && isBlank(bytes[end - 1])) end--;
  return end - start;
}
