/** PINs of a token, its state, and making it anew. Every secret comes from the person who asks for it. */
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { SignContext, TokenManager } from '../backend.ts';
import { requireSameToken } from '../same-token.ts';
import type { TokenDescription, TokenSecret, TokenStatus, WhichToken } from '../token-facts.ts';
import { joinParts } from './blob-parts.ts';
import { CKF_TOKEN } from './constants.ts';
import { ANSWERS } from './host-protocol.ts';
import { stateOf } from './pin-tries.ts';
import { GENERIC } from './profile.ts';
import type { AttachedToken, TokenConnection } from './token-connection.ts';
import type { TokenLogin } from './token-login.ts';

export class Pkcs11TokenManager implements TokenManager {
  readonly #connection: TokenConnection;
  readonly #login: TokenLogin;
  readonly #backendName: string;

  constructor(connection: TokenConnection, login: TokenLogin, backendName: string) {
    this.#connection = connection;
    this.#login = login;
    this.#backendName = backendName;
  }

  async describe(): Promise<TokenDescription> {
    return this.#description((await this.#look()).token);
  }

  async status(): Promise<TokenStatus> {
    const { token, isThere } = await this.#look();
    if (!isThere) return { ...this.#status(token), present: false, loggedIn: false };
    const { warnings, ...triesLeft } = await this.#login.tries.counters(token);
    const status = this.#status(token);
    return {
      ...status,
      ...triesLeft,
      pinLocked: triesLeft.pinTriesLeft === 0,
      warnings: [...status.warnings, ...warnings],
    };
  }

  async changePin(secret: Exclude<TokenSecret, 'management-key'>, context: SignContext): Promise<void> {
    if (secret === 'puk') {
      throw new SignetError('UNSUPPORTED', `${this.#connection.name} has no PUK`, {
        hint: 'PKCS#11 tokens have an SO PIN',
      });
    }
    const attached = await this.#connection.attach(context.token);
    const triesLeft =
      secret === 'pin' ? (await this.#login.tries.counters(attached)).pinTriesLeft : soTriesLeft(attached);
    await this.#withTwo(
      context,
      attached.facts,
      (ask) => ask(secret, false, triesLeft),
      (ask) => ask(secret, true, undefined),
      async (oldPin, newPin) => {
        await this.#request(attached, { op: 'changePin', user: secret === 'pin' ? 'user' : 'so' }, oldPin, newPin);
        if (secret === 'pin') await this.#login.notePinChanged(attached, newPin);
      },
    );
  }

  async unblockPin(context: SignContext): Promise<void> {
    const attached = await this.#connection.attach(context.token);
    await this.#withTwo(
      context,
      attached.facts,
      (ask) => ask('so-pin', false, soTriesLeft(attached)),
      (ask) => ask('pin', true, undefined),
      async (soPin, newPin) => {
        await this.#request(attached, { op: 'setUserPin' }, soPin, newPin);
        await this.#login.notePinChanged(attached, newPin);
      },
    );
  }

  async initialise(label: string, context: SignContext): Promise<void> {
    const attached = await this.#connection.attach().catch((error: unknown) => {
      // A blank token is no token yet.
      if (error instanceof SignetError && error.code === 'TOKEN_NOT_PRESENT') return undefined;
      throw error;
    });
    const facts = attached?.facts ?? (await this.#connection.findAlsoBlank());
    requireSameToken(context.token, facts);
    await this.#withTwo(
      context,
      facts,
      (ask) => ask('so-pin', attached === undefined, attached && soTriesLeft(attached)),
      (ask) => ask('pin', true, undefined),
      async (soPin, pin) => {
        const blob = joinParts([soPin.bytes(), pin.bytes()]);
        try {
          await this.#connection.initialise(facts, label, blob);
        } finally {
          blob.fill(0);
        }
        this.#login.forget();
      },
    );
  }

  async release(): Promise<void> {
    this.#login.forget();
    await this.#connection.release();
  }

  /** The token with its state of now, or as it was last. @throws {SignetError} as `describe` */
  async #look(): Promise<{ readonly token: AttachedToken; readonly isThere: boolean }> {
    const { last } = this.#connection;
    try {
      const token = await this.#connection.attach();
      token.state = await stateOf(token);
      return { token, isThere: true };
    } catch (error) {
      if (last === undefined || !(error instanceof SignetError)) throw error;
      return { token: last, isThere: false };
    }
  }

  async #request(
    began: AttachedToken,
    request: { readonly op: 'changePin'; readonly user: 'user' | 'so' } | { readonly op: 'setUserPin' },
    first: Secret,
    second: Secret,
  ): Promise<void> {
    const blob = joinParts([first.bytes(), second.bytes()]);
    try {
      // It may have been let go of while a person was asked.
      const attached = await this.#connection.attach(began.facts);
      attached.state = (await attached.host.request(request, { parse: ANSWERS.state, blob })).value;
    } catch (error) {
      this.#login.noteLoggedOut(); // the security officer's login ends the user's
      throw error;
    } finally {
      blob.fill(0);
    }
  }

  async #withTwo(
    context: SignContext,
    { label, serial }: WhichToken,
    first: (ask: Ask) => Promise<Secret>,
    second: (ask: Ask) => Promise<Secret>,
    use: (first: Secret, second: Secret) => Promise<void>,
  ): Promise<void> {
    const ask: Ask = async (secret, isNew, triesLeft) => {
      const token = { backend: this.#backendName, label, serial };
      const question = { token, secret, isNew, triesLeft, key: undefined };
      const answer = await context.interaction?.pin(question, context.signal);
      if (answer !== undefined) return answer;
      const what = { pin: 'PIN', 'so-pin': 'SO PIN', puk: 'PUK', 'management-key': 'management key' }[secret];
      throw new SignetError('PIN_REQUIRED', `the ${isNew ? 'new ' : ''}${what} of ${this.#connection.name} is needed`);
    };
    using one = await first(ask);
    using two = await second(ask);
    await use(one, two);
  }

  #description({ facts: { label, serial, manufacturer, model } }: AttachedToken): TokenDescription {
    const identity = { backend: this.#backendName, label, serial };
    return { identity, manufacturer, model, modulePath: this.#connection.modulePath };
  }

  #status(token: AttachedToken): TokenStatus {
    const { profile, state } = token;
    const { flags, loggedIn } = state;
    return {
      ...this.#description(token),
      firmware: undefined,
      present: true,
      loggedIn,
      pinTriesLeft: undefined,
      pukTriesLeft: undefined,
      pinLocked: (flags & CKF_TOKEN.USER_PIN_LOCKED) !== 0,
      warnings: [
        ...(profile.name === GENERIC.name ? ['this module is not one that Signet was tried with'] : []),
        ...(profile.tellsTries ? [] : ['this module does not tell when PIN tries run out']),
        ...((flags & CKF_TOKEN.USER_PIN_COUNT_LOW) === 0 ? [] : ['a wrong PIN was given since the last right one']),
      ],
    };
  }
}

type Ask = (secret: TokenSecret, isNew: boolean, triesLeft: number | undefined) => Promise<Secret>;

function soTriesLeft({ state: { flags } }: AttachedToken): number | undefined {
  if ((flags & CKF_TOKEN.SO_PIN_LOCKED) !== 0) return 0;
  return (flags & CKF_TOKEN.SO_PIN_FINAL_TRY) === 0 ? undefined : 1;
}
