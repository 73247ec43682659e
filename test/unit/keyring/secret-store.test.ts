import { describe, expect, it } from 'vitest';
import { Secret } from '../../../src/crypto/secret.ts';
import { SignetError } from '../../../src/errors.ts';
import { SecretStore, type SecretStoreOptions } from '../../../src/keyring/secret-store.ts';

const NAME = 'pin:4711';
const SESSION = { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/none' };

type Entry = Partial<Record<'getSecret' | 'setSecret' | 'deleteCredential', () => Promise<unknown>>>;

/** The library, with entries that do as a test says. */
function store(entry: Entry, options: Partial<SecretStoreOptions> = {}) {
  const made: unknown[][] = [];
  const problems: SignetError[] = [];
  class AsyncEntry {
    constructor(...parameters: unknown[]) {
      made.push(parameters);
      Object.assign(this, entry);
    }
  }
  const load = async () => ({ AsyncEntry }) as unknown as typeof import('@napi-rs/keyring');
  const secrets = new SecretStore({ env: SESSION, onProblem: (error) => problems.push(error), load, ...options });
  return { secrets, made, problems };
}

describe('the store', () => {
  it.runIf(process.platform === 'linux')('is the Secret Service and never the kernel', async () => {
    const { secrets, made } = store({ getSecret: async () => null });
    expect(await secrets.get(NAME)).toBeUndefined();
    expect(made).toEqual([['signet', NAME, { linux: { store: 'secret-service' } }]]);
  });

  it('gives bytes, and zeroes what the library handed out', async () => {
    const bytes = [...Buffer.from('1234')];
    const { secrets } = store({ getSecret: async () => bytes });
    using secret = await secrets.get(NAME);
    expect(Buffer.from(secret?.bytes() ?? []).toString()).toBe('1234');
    expect(bytes).toEqual([0, 0, 0, 0]);
  });

  it.runIf(process.platform === 'linux')('is not touched without a D-Bus session', async () => {
    const load = () => Promise.reject(new Error('loaded'));
    const { secrets, problems } = store({}, { env: { XDG_RUNTIME_DIR: '/nonexistent' }, load });
    expect(await secrets.get(NAME)).toBeUndefined();
    expect(await secrets.drop(NAME)).toBe(false);
    expect(problems).toEqual([]);
    using pin = Secret.fromText('1234');
    const refusal = { code: 'UNAVAILABLE', message: expect.stringContaining('outside of a D-Bus session') };
    await expect(secrets.set(NAME, pin)).rejects.toMatchObject(refusal);
    await expect(secrets.check()).rejects.toMatchObject(refusal);
    await expect(secrets.delete(NAME)).rejects.toMatchObject(refusal);
  });
});

describe('a store that fails', () => {
  it('is reported once, and left alone for a while by look-ups', async () => {
    let asked = 0;
    const { secrets, problems } = store({
      getSecret: () => {
        asked++;
        return Promise.reject(new Error('locked, with the item "1234"'));
      },
    });
    for (let i = 0; i < 5; i++) expect(await secrets.get(NAME)).toBeUndefined();
    expect(asked).toBe(1);
    expect(problems).toMatchObject([{ code: 'UNAVAILABLE' }]);
    expect(problems[0]?.message).not.toContain('1234');
  });

  it('is an error for who wants something kept, each time', async () => {
    const { secrets } = store({ setSecret: () => Promise.reject(new Error('locked')) });
    using pin = Secret.fromText('1234');
    for (let i = 0; i < 2; i++) {
      await expect(secrets.set(NAME, pin)).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: "the system's keyring cannot be used: no unlocked Secret Service answers",
      });
    }
  });

  it('because the library is not installed says so the same way', async () => {
    const load = () => Promise.reject(Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' }));
    const { secrets } = store({}, { load });
    await expect(secrets.check()).rejects.toBeInstanceOf(SignetError);
    await expect(secrets.check()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('is asked by one at a time', async () => {
    let busy = 0;
    let most = 0;
    const { secrets } = store({
      getSecret: async () => {
        most = Math.max(most, ++busy);
        await Promise.resolve();
        busy--;
        return null;
      },
    });
    await Promise.all(Array.from({ length: 20 }, () => secrets.get(NAME)));
    expect(most).toBe(1);
  });
});
