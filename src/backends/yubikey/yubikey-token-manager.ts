/** The YubiKey as a device: PIN, PUK and management key, and what is known about it without spending a try. */

import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { PinQuestion, SignContext, TokenManager } from '../backend.ts';
import { joinParts } from '../pkcs11/blob-parts.ts';
import type { TokenAccess } from '../pkcs11/hooks.ts';
import { ANSWERS } from '../pkcs11/host-protocol.ts';
import type { AttachedToken } from '../pkcs11/token-connection.ts';
import type { TokenDescription, TokenSecret, TokenStatus } from '../token-facts.ts';
import { libraryWarnings } from './library.ts';
import { formatVersion, parseYubicoVersion } from './versions.ts';
import { withInteraction } from './with-interaction.ts';

/** PIV's PIN and PUK (NIST SP 800-73-4 part 2, 2.4.3). */
const MIN_PIN_BYTES = 6;
const MAX_PIN_BYTES = 8;
const WHAT = { pin: 'PIN', puk: 'PUK', 'so-pin': 'management key', 'management-key': 'management key' } as const;

export class YubikeyTokenManager implements TokenManager {
  readonly #base: TokenManager;
  readonly #access: TokenAccess;

  /** @param base What all PKCS#11 tokens can do. */
  constructor(base: TokenManager, access: TokenAccess) {
    this.#base = base;
    this.#access = access;
  }

  describe(): Promise<TokenDescription> {
    return this.#base.describe();
  }

  async status(): Promise<TokenStatus> {
    const status = await this.#base.status();
    const { last } = this.#access.connection;
    const firmware = last && parseYubicoVersion(last.facts.firmware);
    return {
      ...status,
      firmware: firmware && formatVersion(firmware),
      warnings: [...status.warnings, ...(last ? libraryWarnings(parseYubicoVersion(last.module.version)) : [])],
    };
  }

  async changePin(secret: Exclude<TokenSecret, 'management-key'>, context: SignContext): Promise<void> {
    switch (secret) {
      case 'pin':
        return await this.#base.changePin('pin', withNewPin(context));
      case 'puk':
        return await this.#usePuk(context, 'puk');
      case 'so-pin':
        throw new SignetError(
          'UNSUPPORTED',
          `the management key of ${this.#access.connection.name} is not changed here`,
          {
            hint: 'use: ykman piv access change-management-key',
          },
        );
    }
  }

  unblockPin(context: SignContext): Promise<void> {
    return this.#usePuk(context, 'pin');
  }

  release(): Promise<void> {
    return this.#base.release();
  }

  /** One try of the PUK, for a new PUK or a new PIN. */
  async #usePuk(context: SignContext, what: 'pin' | 'puk'): Promise<void> {
    const { connection, login } = this.#access;
    const attached = await connection.attach(context.token);
    const token = login.identityOf(attached);
    const { pukTriesLeft: triesLeft } = await login.tries.counters(attached);
    if (triesLeft === 0) throw this.#pukLocked();
    const common = { token, key: undefined };
    using puk = await this.#ask(context, { ...common, secret: 'puk', isNew: false, triesLeft });
    using fresh = await this.#ask(withNewPin(context), { ...common, secret: what, isNew: true, triesLeft: undefined });
    const parts = [prefixed('puk', puk), prefixed(what, fresh)];
    const blob = joinParts(parts);
    try {
      // It may have been let go of while a person was asked.
      const { host } = await connection.attach(attached.facts);
      await host.request({ op: 'changePin', user: 'puk' }, { parse: ANSWERS.state, blob });
    } catch (error) {
      throw await this.#pukError(error, attached);
    } finally {
      for (const secret of [...parts, blob]) secret.fill(0);
    }
    if (what === 'puk') return;
    await login.notePinChanged(attached, fresh);
    // The module goes on saying that the PIN is locked until it is started again.
    await connection.release();
    await connection.attach();
  }

  async #ask({ interaction, signal }: SignContext, question: PinQuestion): Promise<Secret> {
    const answer = await interaction?.pin(question, signal);
    if (answer !== undefined) return answer;
    const what = `${question.isNew ? 'new ' : ''}${WHAT[question.secret]}`;
    throw new SignetError('PIN_REQUIRED', `the ${what} of ${this.#access.connection.name} is needed`);
  }

  async #pukError(error: unknown, attached: AttachedToken): Promise<unknown> {
    if (!(error instanceof SignetError)) return error;
    if (error.code === 'PIN_INCORRECT') {
      const { pukTriesLeft: retriesLeft } = await this.#access.login.tries.counters(attached);
      return new SignetError('PIN_INCORRECT', `${this.#access.connection.name} refused the PUK`, {
        hint: 'without tries it is locked for good; there are three, unless set otherwise',
        ...(retriesLeft === undefined ? {} : { retriesLeft }),
        cause: error,
      });
    }
    if (error.code !== 'PIN_LOCKED') return error;
    return this.#pukLocked(error);
  }

  #pukLocked(cause?: unknown): SignetError {
    return new SignetError('PIN_LOCKED', `the PUK of ${this.#access.connection.name} is locked`, {
      hint: 'its PIV application can only be reset, which destroys its keys: ykman piv reset',
      retriesLeft: 0,
      cause,
    });
  }
}

/** Refuses a new PIN or PUK that no YubiKey takes, before the old one is used. */
function withNewPin(context: SignContext): SignContext {
  const { interaction } = context;
  if (interaction === undefined) return context;
  return withInteraction(context, {
    pin: async (question, signal) => {
      const answer = await interaction.pin(question, signal);
      if (answer === undefined || !question.isNew || isPivPin(answer)) return answer;
      answer.dispose();
      throw new SignetError('INVALID_ARGUMENT', `a ${WHAT[question.secret]} has 6 to 8 characters without accents`);
    },
  });
}

function isPivPin(pin: Secret): boolean {
  const bytes = pin.bytes();
  const isLongEnough = bytes.byteLength >= MIN_PIN_BYTES && bytes.byteLength <= MAX_PIN_BYTES;
  return isLongEnough && bytes.every((byte) => byte >= 0x20 && byte < 0x7f);
}

/** As C_SetPIN of libykcs11 tells PIN and PUK apart. */
function prefixed(what: 'pin' | 'puk', secret: Secret): Uint8Array {
  return Buffer.concat([Buffer.from(`${what}:`), secret.bytes()]);
}
