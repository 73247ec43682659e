import { describe, expect, it, vi } from 'vitest';
import type { KeyBackend, KeyGenerator, KeyInfo, SignContext, TokenManager } from '../../../src/backends/backend.ts';
import { MemoryBackend } from '../../../src/backends/memory/memory-backend.ts';
import { parseKeyId } from '../../../src/crypto/key-id.ts';
import { Secret } from '../../../src/crypto/secret.ts';
import { SignetError } from '../../../src/errors.ts';
import { Keyring } from '../../../src/keyring/keyring.ts';
import { FAKE_PUBLIC_KEY, failedBackend, fakeBackend, fakeKeyInfo } from '../../support/fake-backend.ts';
import { fakeTokenBackend } from '../../support/fake-token-backend.ts';

const CONTEXT: SignContext = { caller: 'test' };
const KEY_ID = parseKeyId('a'.repeat(64));
const DOWN = { code: 'UNAVAILABLE', message: 'yubikey is down' };

const holding = (members: Partial<KeyBackend> = {}) =>
  fakeBackend({ find: async (keyId) => fakeKeyInfo(keyId), ...members });

function keyringOf(
  backends: readonly KeyBackend[],
  placement: Record<string, string[]> = { '*': ['storage'] },
): Keyring {
  const storage = backends.at(-1);
  if (storage === undefined) throw new Error('no backend');
  return new Keyring({ backends, storage, placement: new Map(Object.entries(placement)) });
}

function generating(name: string, algorithms: KeyGenerator['algorithms'], made: string[] = []): KeyBackend {
  const generate: KeyGenerator['generate'] = async () => {
    made.push(name);
    return { ...fakeKeyInfo(KEY_ID), publicKey: FAKE_PUBLIC_KEY };
  };
  return fakeBackend({ name, generator: { algorithms, generate } });
}

/** Runs a call while time passes without being waited for. */
async function inFakeTime<Result>(call: () => Promise<Result>): Promise<Result> {
  vi.useFakeTimers();
  try {
    const [[outcome]] = await Promise.all([Promise.allSettled([call()]), vi.advanceTimersByTimeAsync(60_000)]);
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  } finally {
    vi.useRealTimers();
  }
}

describe('finding a key', () => {
  it('takes the first backend that has it', async () => {
    const [empty, first, second] = [fakeBackend(), holding({ name: 'file' }), holding()];
    expect((await keyringOf([empty, first, second]).find(KEY_ID))?.backend).toBe(first);
  });

  it('is possible while another backend is down', async () => {
    const present = holding();
    for (const backends of [
      [failedBackend('yubikey'), present],
      [present, failedBackend('yubikey')],
    ]) {
      expect((await keyringOf(backends).locate(KEY_ID)).backend).toBe(present);
    }
  });

  it('fails with the failure of a backend that could not be asked: that is not "not found"', async () => {
    const keyring = keyringOf([fakeBackend(), failedBackend('yubikey'), failedBackend('file')]);
    await expect(keyring.find(KEY_ID)).rejects.toMatchObject(DOWN);
    await expect(keyring.locate(KEY_ID)).rejects.toMatchObject(DOWN);
  });

  it('finds nothing only if every backend says so', async () => {
    const keyring = keyringOf([fakeBackend(), fakeBackend()]);
    expect(await keyring.find(KEY_ID)).toBeUndefined();
    await expect(keyring.locate(KEY_ID)).rejects.toMatchObject({ code: 'KEY_NOT_FOUND', message: `no key ${KEY_ID}` });
  });

  it('does not wait for a slow backend while another one has the key', async () => {
    const hanging = fakeBackend({ name: 'yubikey', find: () => new Promise(() => undefined) });
    const present = holding();
    const found = await inFakeTime(() => keyringOf([hanging, present]).locate(KEY_ID));
    expect(found.backend).toBe(present);
  });

  it('waits for a slow backend if no other one has the key: what comes late is no failure', async () => {
    const slow = (answer: () => Promise<KeyInfo | undefined>) =>
      fakeBackend({ name: 'pkcs11', find: () => new Promise((resolve) => setTimeout(resolve, 5000)).then(answer) });
    const find = (...backends: KeyBackend[]) => inFakeTime(() => keyringOf(backends).find(KEY_ID));
    const late = slow(async () => fakeKeyInfo(KEY_ID));
    expect((await find(late, fakeBackend()))?.backend).toBe(late);
    const nothing = slow(async () => undefined);
    expect((await find(nothing, late, failedBackend('yubikey')))?.backend).toBe(late);
    expect(await find(nothing, fakeBackend())).toBeUndefined();
    const failing = slow(() => Promise.reject(new SignetError('TOKEN_NOT_PRESENT', 'taken out')));
    await expect(find(failing, fakeBackend())).rejects.toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
      message: 'taken out',
    });
  });

  it('asks for the public half only where it is not told', async () => {
    const told = { algorithm: 'rsa', bytes: new Uint8Array(1) } as const;
    const keyring = keyringOf([fakeBackend()]);
    const located = { backend: holding(), info: fakeKeyInfo(KEY_ID) };
    expect(await keyring.publicKey(located, CONTEXT)).toBe(FAKE_PUBLIC_KEY);
    expect(await keyring.publicKey({ ...located, info: { ...located.info, publicKey: told } }, CONTEXT)).toBe(told);
  });
});

describe('listing', () => {
  it('fails when a backend cannot be listed, rather than leave its keys out', async () => {
    const all = async () => {
      for await (const _ of keyringOf([fakeBackend(), failedBackend('yubikey')]).list());
    };
    await expect(all()).rejects.toMatchObject(DOWN);
  });

  it('leaves out a token that is not plugged in, and nothing else', async () => {
    const memory = new MemoryBackend();
    const { keyId } = await memory.generator.generate({ algorithm: 'ecdsa', role: 'root', gun: '' }, CONTEXT);
    const absent = async function* (): AsyncIterable<never> {
      yield* [];
      throw new SignetError('TOKEN_NOT_PRESENT', 'not plugged in');
    };
    const token = fakeBackend({ name: 'pkcs11', list: absent, token: tokenOf(fakeTokenBackend({ serial: '1' })) });
    const listed: string[] = [];
    for await (const { info } of keyringOf([token, memory]).list()) listed.push(info.keyId);
    expect(listed).toEqual([keyId]);
    const noToken = keyringOf([fakeBackend({ list: absent })]);
    await expect(noToken.list()[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
  });
});

describe('making a key', () => {
  const request = { algorithm: 'ecdsa', role: 'root', gun: '' } as const;

  it("goes to the first backend of the role's rule that makes such keys", async () => {
    const made: string[] = [];
    const backends = [generating('yubikey', ['ecdsa'], made), generating('file', ['ecdsa', 'ed25519'], made)];
    const keyring = keyringOf(backends, { root: ['yubikey', 'storage'], '*': ['storage'] });
    expect((await keyring.generate(request, CONTEXT)).backend.name).toBe('yubikey');
    expect((await keyring.generate({ ...request, role: 'targets' }, CONTEXT)).backend.name).toBe('file');
    expect((await keyring.generate({ ...request, algorithm: 'ed25519' }, CONTEXT)).backend.name).toBe('file');
    expect(made).toEqual(['yubikey', 'file', 'file']);
  });

  it('never falls back when the backend of the rule fails', async () => {
    const made: string[] = [];
    const backends = [failedBackend('yubikey'), generating('file', ['ecdsa'], made)];
    const keyring = keyringOf(backends, { root: ['yubikey', 'storage'] });
    await expect(keyring.generate(request, CONTEXT)).rejects.toMatchObject(DOWN);
    expect(made).toEqual([]);
  });

  it('is UNSUPPORTED where no backend of the rule makes such keys', async () => {
    const made: string[] = [];
    const backends = [generating('yubikey', ['rsa'], made), fakeBackend({ name: 'file' })];
    const keyring = keyringOf(backends, { root: ['yubikey', 'storage'] });
    await expect(keyring.generate(request, CONTEXT)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'no configured backend makes ecdsa keys for role "root"',
    });
    expect(made).toEqual([]);
  });

  it('goes to a backend that makes keys of that size, and is told which sizes there are', async () => {
    const { generator } = generating('yubikey', ['ecdsa']);
    if (generator === undefined) throw new Error('it makes keys');
    const makes: KeyGenerator['makes'] = ({ algorithm, modulusBits }) => algorithm === 'ecdsa' || modulusBits === 2048;
    const token = fakeBackend({ name: 'yubikey', generator: { ...generator, makes } });
    const keyring = keyringOf([token, token], { '*': ['yubikey'] });
    const request = { algorithm: 'rsa', role: 'root', gun: '' } as const;
    expect((await keyring.generate({ ...request, modulusBits: 2048 }, CONTEXT)).backend).toBe(token);
    await expect(keyring.generate({ ...request, modulusBits: 4096 }, CONTEXT)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'no configured backend makes rsa keys of 4096 bits for role "root"',
      hint: "the role's backends are: yubikey; of rsa they make 2048 bits",
    });
  });

  it('that a token cannot make now may go to another one that is named', async () => {
    const generate = () => Promise.reject(new SignetError('TOKEN_NOT_PRESENT', 'not plugged in'));
    const absent = fakeBackend({ name: 'yubikey', generator: { algorithms: ['ecdsa'], generate } });
    const present = fakeTokenBackend({ location: 'yubikey:serial=2' });
    const keyring = keyringOf([absent, present], { '*': ['yubikey'] });
    await expect(keyring.generate(request, CONTEXT)).rejects.toMatchObject({
      hint: 'to make the key elsewhere, name the token: "yubikey:serial=2"',
    });
  });

  it('has rules only about backends that are there', () => {
    expect(() => keyringOf([fakeBackend({ name: 'file' })], { root: ['yubikey'] })).toThrow(
      expect.objectContaining({
        code: 'CONFIGURATION',
        message: 'placement of "root" names "yubikey", which is not configured',
        hint: 'use one of: storage, file',
      }),
    );
  });
});

/** A backend that removes keys, or has none. @param removed Gets its name. */
function remover(name: string, had: boolean, removed: string[] = []) {
  const remove = async () => {
    removed.push(name);
    return had;
  };
  return fakeBackend({ name, remover: { remove } });
}

describe('removing a key', () => {
  it('removes it from every backend that holds it', async () => {
    const removed: string[] = [];
    const keyring = keyringOf([remover('a', true, removed), remover('b', true, removed), remover('c', false, removed)]);
    expect(await keyring.remove(KEY_ID, CONTEXT)).toEqual({ removed: true, unasked: [] });
    expect(removed).toEqual(['a', 'b', 'c']);
    expect(await keyringOf([remover('a', false)]).remove(KEY_ID, CONTEXT)).toEqual({ removed: false, unasked: [] });
  });

  it('fails when a backend is down: the key may still be there', async () => {
    await expect(keyringOf([failedBackend('yubikey')]).remove(KEY_ID, CONTEXT)).rejects.toMatchObject(DOWN);
    const keyring = keyringOf([failedBackend('yubikey'), remover('file', false)]);
    await expect(keyring.remove(KEY_ID, CONTEXT)).rejects.toMatchObject(DOWN);
  });

  it('is not stopped by a backend that is down where another one had the key, and names the one not asked', async () => {
    const removed: string[] = [];
    const away = failedBackend('yubikey');
    const keyring = keyringOf([away, remover('file', true, removed)]);
    expect(await keyring.remove(KEY_ID, CONTEXT)).toEqual({
      removed: true,
      unasked: [{ backend: away, error: expect.objectContaining(DOWN) }],
    });
    expect(removed).toEqual(['file']);
  });

  it('fails where a backend that was asked refuses, whatever the others did', async () => {
    const refusal = new SignetError('PIN_REQUIRED', 'the token needs its PIN');
    const locked = fakeBackend({ name: 'pkcs11', remover: { remove: () => Promise.reject(refusal) } });
    for (const backends of [
      [locked, remover('file', true)],
      [remover('file', true), locked],
    ]) {
      await expect(keyringOf(backends).remove(KEY_ID, CONTEXT)).rejects.toBe(refusal);
    }
  });

  it('is UNSUPPORTED where the backend that holds it cannot', async () => {
    const keyring = keyringOf([holding({ name: 'yubikey' })]);
    await expect(keyring.remove(KEY_ID, CONTEXT)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'keys in fake yubikey cannot be removed',
    });
    expect(await keyringOf([fakeBackend()]).remove(KEY_ID, CONTEXT)).toEqual({ removed: false, unasked: [] });
  });
});

describe('unlocking', () => {
  it('is UNSUPPORTED for keys that no passphrase seals', async () => {
    using secret = Secret.fromText('x');
    await expect(keyringOf([holding({ name: 'memory' })]).unlock(KEY_ID, secret, undefined)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'keys in fake memory are not sealed by a passphrase',
    });
  });

  it('and locking count the keys of all backends', async () => {
    const unlocker = { unlock: async () => undefined, lock: async () => 2, unlockedCount: async () => 3 };
    const keyring = keyringOf([fakeBackend({ unlocker }), fakeBackend(), fakeBackend({ unlocker })]);
    expect([await keyring.lock(), await keyring.unlockedCount()]).toEqual([4, 6]);
  });

  it('locks the other backends where one fails, and tells', async () => {
    const locked: string[] = [];
    const lockable = (name: string, lock: () => Promise<number>) =>
      fakeBackend({ name, unlocker: { unlock: async () => undefined, unlockedCount: async () => 1, lock } });
    const away = new SignetError('TOKEN_NOT_PRESENT', 'it is away');
    const works = (name: string) => lockable(name, async () => locked.push(name));
    const keyring = keyringOf([works('file'), lockable('pkcs11', () => Promise.reject(away)), works('memory')]);
    await expect(keyring.lock()).rejects.toBe(away);
    expect(locked).toEqual(['file', 'memory']);
  });
});

describe('health', () => {
  it('is told for every backend', async () => {
    const states = await keyringOf([failedBackend('yubikey'), new MemoryBackend()]).health();
    expect(states.map(({ backend, health }) => [backend.name, health])).toEqual([
      ['yubikey', { ready: false, reason: 'yubikey is down' }],
      ['memory', { ready: true }],
    ]);
  });
});

describe('disposing', () => {
  it('reaches every backend', async () => {
    const disposed: string[] = [];
    const backend = (name: string) =>
      fakeBackend({ name, [Symbol.asyncDispose]: async () => void disposed.push(name) });
    await keyringOf([backend('a'), backend('b')])[Symbol.asyncDispose]();
    expect(disposed).toEqual(['a', 'b']);
  });
});

describe('letting go of tokens', () => {
  it('reaches every token, also after one that fails, and no other home', async () => {
    const [one, two] = [fakeTokenBackend({ serial: '1' }), fakeTokenBackend({ serial: '2' })];
    const failure = new SignetError('UNAVAILABLE', 'no answer');
    const failing = fakeBackend({ name: 'pkcs11', token: { ...tokenOf(one), release: () => Promise.reject(failure) } });
    const file = fakeBackend({ name: 'file' });
    const keyring = keyringOf([failing, one, two, file]);
    expect(await keyring.release()).toEqual([{ backend: failing, error: failure }, { backend: one }, { backend: two }]);
    expect([one.state.released, two.state.released]).toEqual([1, 1]);
  });
});

function tokenOf({ token }: KeyBackend): TokenManager {
  if (token === undefined) throw new Error('no token');
  return token;
}
