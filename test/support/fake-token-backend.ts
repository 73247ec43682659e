/** A token with a PIN, as a backend: counts the tries, asks as a real one does, and tells when it waits for a touch. */
import type { KeyBackend, SignContext } from '../../src/backends/backend.ts';
import type { TokenDescription, TokenStatus } from '../../src/backends/token-facts.ts';
import { type KeyId, parseKeyId } from '../../src/crypto/key-id.ts';
import { SignetError } from '../../src/errors.ts';
import { FAKE_PUBLIC_KEY, fakeBackend, fakeKeyInfo } from './fake-backend.ts';

export interface FakeTokenOptions {
  readonly serial?: string;
  readonly label?: string;
  readonly name?: string;
  readonly location?: string;
  readonly modulePath?: string;
  readonly hasKey?: boolean;
  /** Resolves when the token has been touched. */
  readonly touched?: Promise<void>;
}

export interface FakeToken extends KeyBackend {
  readonly state: {
    pin: string;
    tries: number;
    loggedIn: boolean;
    released: number;
    label: string;
    isPresent: boolean;
    /** How often its status was. */
    timesAsked: number;
  };
}

export const TOKEN_KEY: KeyId = parseKeyId('7'.repeat(64));

export function fakeTokenBackend(options: FakeTokenOptions = {}): FakeToken {
  const { serial = '4711', label = 'Test', name = 'yubikey', hasKey = true, touched } = options;
  const { location = `token ${serial}`, modulePath = '/none.so' } = options;
  const state = { pin: '123456', tries: 3, loggedIn: false, released: 0, label, isPresent: true, timesAsked: 0 };
  const identity = () => ({ backend: name, label: state.label, serial });
  const device = { serial, label, slot: '9c', touchPolicy: 'always', attested: true } as const;
  const info = fakeKeyInfo(TOKEN_KEY, {
    role: 'root',
    location,
    needs: { pin: true, touch: touched !== undefined, passphrase: false },
    device,
  });
  const describe = async (): Promise<TokenDescription> => {
    if (!state.isPresent) throw new SignetError('TOKEN_NOT_PRESENT', `token ${serial} is not plugged in`);
    return { identity: identity(), manufacturer: 'Test', model: 'Fake', modulePath };
  };
  const status = async (): Promise<TokenStatus> => {
    state.timesAsked++;
    return {
      ...(await describe()),
      firmware: '5.4.3',
      present: true,
      loggedIn: state.loggedIn,
      pinTriesLeft: state.tries,
      pukTriesLeft: undefined,
      pinLocked: state.tries === 0,
      warnings: ['old firmware'],
    };
  };
  const tryPin = (pin: string) => {
    if (state.tries === 0) throw new SignetError('PIN_LOCKED', 'the PIN is locked');
    if (pin !== state.pin) {
      state.tries--;
      throw new SignetError('PIN_INCORRECT', 'the token refused the PIN', { retriesLeft: state.tries });
    }
    state.tries = 3;
    state.loggedIn = true;
  };
  const ask = async (context: SignContext, isNew: boolean) => {
    const question = { token: identity(), secret: 'pin', isNew, triesLeft: state.tries, key: undefined } as const;
    using pin = await context.interaction?.pin(question, context.signal);
    if (pin === undefined) throw new SignetError('PIN_REQUIRED', 'the token needs a PIN');
    return Buffer.from(pin.bytes()).toString();
  };
  return {
    ...fakeBackend({
      name,
      location,
      find: async (keyId) => (hasKey && keyId === TOKEN_KEY ? info : undefined),
      async *list() {
        if (hasKey) yield info;
      },
      publicKey: async () => FAKE_PUBLIC_KEY,
      sign: async (_keyId, _input, context) => {
        if (!state.loggedIn) tryPin(await ask(context, false));
        if (touched !== undefined) {
          using _notice = context.interaction?.touch(identity(), info);
          await touched;
        }
        return new Uint8Array(64);
      },
      generator: {
        algorithms: ['ecdsa'],
        generate: async ({ role, gun }) => ({ ...info, role, gun, publicKey: FAKE_PUBLIC_KEY }),
      },
      importer: { import: async (_pkcs8, { role, gun }) => ({ ...info, role, gun, publicKey: FAKE_PUBLIC_KEY }) },
      unlocker: {
        unlock: async (_keyId, pin) => {
          state.loggedIn = false;
          tryPin(Buffer.from(pin.bytes()).toString());
        },
        lock: async () => {
          const wasOpen = state.loggedIn;
          state.loggedIn = false;
          return Number(wasOpen);
        },
        unlockedCount: async () => Number(state.loggedIn),
      },
      attester: {
        attest: async () => ({ chain: [Uint8Array.of(0x30, 0)], root: 'CN=Test Root', device }),
      },
      token: {
        describe,
        status,
        changePin: async (secret, context) => {
          if (secret !== 'pin') throw new SignetError('UNSUPPORTED', `this token has no ${secret}`);
          tryPin(await ask(context, false));
          state.pin = await ask(context, true);
        },
        unblockPin: async (context) => {
          state.pin = await ask(context, true);
          state.tries = 3;
        },
        initialise: async (label) => {
          state.label = label;
        },
        release: async () => {
          state.released++;
          state.loggedIn = false;
        },
      },
    }),
    state,
  };
}
