import { readdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Interaction, PassphraseSource, SignContext } from '../../../../src/backends/backend.ts';
import { FileBackend } from '../../../../src/backends/file/file-backend.ts';
import { parseKeyId } from '../../../../src/crypto/key-id.ts';
import { PrivateKey } from '../../../../src/crypto/private-key.ts';
import { verifySignature } from '../../../../src/crypto/public-key.ts';
import { Secret } from '../../../../src/crypto/secret.ts';
import { type ErrorCode, SignetError } from '../../../../src/errors.ts';
import { NOBODY } from '../../../support/interaction.ts';
import { keyFileText, listedPassphrases, writeKeyFile } from '../../../support/key-files.ts';
import { Resources } from '../../../support/resources.ts';
import { temporaryDirectory } from '../../../support/temp.ts';

const CONTEXT: SignContext = { caller: 'test' };
const MESSAGE = { message: Buffer.from('message') };
const RIGHT = 'the right passphrase';
/** The bound of the file backend, and some room for a busy machine. */
const UNTIL_SEEN_MS = 250;

let resources: Resources;
let path: string;

beforeEach(async () => {
  resources = new Resources();
  path = join(resources.use(await temporaryDirectory()).path, 'private');
});
afterEach(() => resources[Symbol.asyncDispose]());

async function open(
  passphrases: PassphraseSource = listedPassphrases([RIGHT]),
  unlocked: { max?: number; ttlMs?: number } = {},
): Promise<FileBackend> {
  return resources.use(
    await FileBackend.open({ path, passphrases, unlocked: { max: 100, ttlMs: 60_000, ...unlocked } }),
  );
}

/** A person who answers with these passphrases, then declines. */
function person(answers: readonly string[]): Interaction & { readonly attempts: number[]; readonly given: Secret[] } {
  const attempts: number[] = [];
  const given: Secret[] = [];
  return {
    ...NOBODY,
    attempts,
    given,
    passphrase: async (_key, attempt) => {
      attempts.push(attempt);
      const answer = answers[attempts.length - 1];
      if (answer === undefined) return undefined;
      const secret = Secret.fromText(answer);
      given.push(secret);
      return secret;
    },
  };
}

async function refusal(work: Promise<unknown>, code: ErrorCode, message: string): Promise<SignetError> {
  const error = await work.then(
    () => new Error('not refused'),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SignetError);
  expect(error).toMatchObject({ code, message });
  expect(`${(error as SignetError).message} ${(error as SignetError).hint}`).not.toMatch(
    /passphrase$|wrong|right pass/,
  );
  return error as SignetError;
}

const isZeroed = (secret: Secret) => {
  try {
    return secret.bytes().length === 0;
  } catch {
    return true;
  }
};

describe('opening a sealed key', () => {
  it('tries the candidates in their order and zeroes all of them', async () => {
    const passphrases = listedPassphrases(['wrong one', 'wrong two', RIGHT, 'never tried']);
    const backend = await open(passphrases);
    const { key } = await writeKeyFile(path, { passphrase: RIGHT });
    const signature = await backend.sign(key.keyId, MESSAGE, CONTEXT);
    expect(verifySignature(key.publicKey, MESSAGE.message, signature)).toBe(true);
    expect(passphrases.handedOut).toHaveLength(4);
    expect(passphrases.handedOut.every(isZeroed)).toBe(true);
  });

  it('under an unknown passphrase is PASSPHRASE_INCORRECT', async () => {
    const passphrases = listedPassphrases(['wrong one', 'wrong two']);
    const backend = await open(passphrases);
    const { key, path: file } = await writeKeyFile(path, { passphrase: RIGHT });
    const message = `no passphrase at hand opens ${file}`;
    const { hint } = await refusal(backend.sign(key.keyId, MESSAGE, CONTEXT), 'PASSPHRASE_INCORRECT', message);
    expect(hint).toBe('unlock the key, or configure the passphrase it was sealed with');
    await refusal(backend.publicKey(key.keyId, CONTEXT), 'PASSPHRASE_INCORRECT', message);
    expect(passphrases.handedOut.every(isZeroed)).toBe(true);
    expect(await backend.unlocker.unlockedCount()).toBe(0);
  });

  it('under an unknown passphrase is not tried again for a while, unless the file changes', async () => {
    const passphrases = listedPassphrases(['wrong one', RIGHT]);
    const backend = await open(passphrases);
    const { key, path: file } = await writeKeyFile(path, { passphrase: 'another one' });
    const message = `no passphrase at hand opens ${file}`;
    for (let i = 0; i < 5; i++) {
      await refusal(backend.sign(key.keyId, MESSAGE, CONTEXT), 'PASSPHRASE_INCORRECT', message);
    }
    expect(passphrases.handedOut).toHaveLength(2);
    await writeFile(file, await keyFileText(key, { passphrase: RIGHT }));
    expect(verifySignature(key.publicKey, MESSAGE.message, await backend.sign(key.keyId, MESSAGE, CONTEXT))).toBe(true);
  });

  it('without any passphrase is PASSPHRASE_REQUIRED', async () => {
    const backend = await open(listedPassphrases([]));
    const { key, path: file } = await writeKeyFile(path, { passphrase: RIGHT });
    const work = backend.sign(key.keyId, MESSAGE, CONTEXT);
    expect((await refusal(work, 'PASSPHRASE_REQUIRED', `${file} needs a passphrase`)).hint).toBe(
      'unlock the key first',
    );
  });

  it('fails with the source of passphrases, whose error is told', async () => {
    const failure = new SignetError('CONFIGURATION', 'storage.passphrase_file /x cannot be read');
    const backend = await open(listedPassphrases([RIGHT], () => Promise.reject(failure)));
    const { key } = await writeKeyFile(path, { passphrase: RIGHT });
    await refusal(backend.sign(key.keyId, MESSAGE, CONTEXT), 'CONFIGURATION', failure.message);
  });

  it('derives once for all callers at once', async () => {
    const passphrases = listedPassphrases([RIGHT]);
    const backend = await open(passphrases);
    const { key } = await writeKeyFile(path, { passphrase: RIGHT });
    const signatures = await Promise.all(Array.from({ length: 50 }, () => backend.sign(key.keyId, MESSAGE, CONTEXT)));
    expect(signatures).toHaveLength(50);
    expect(passphrases.asked).toBe(1);
  });

  it('that failed is tried again by the next caller', async () => {
    let isDown = true;
    const passphrases = listedPassphrases([RIGHT], async () => {
      if (isDown) throw new SignetError('CONFIGURATION', 'down');
    });
    const backend = await open(passphrases);
    const { key } = await writeKeyFile(path, { passphrase: RIGHT });
    await refusal(backend.sign(key.keyId, MESSAGE, CONTEXT), 'CONFIGURATION', 'down');
    isDown = false;
    await expect(backend.sign(key.keyId, MESSAGE, CONTEXT)).resolves.toHaveLength(64);
  });

  it('is for the caller alone when a person is asked', async () => {
    const backend = await open(listedPassphrases([]));
    const { key, path: file } = await writeKeyFile(path, { passphrase: RIGHT });
    const asked = person([RIGHT]);
    const [mine, theirs] = await Promise.allSettled([
      backend.sign(key.keyId, MESSAGE, { ...CONTEXT, interaction: asked }),
      backend.sign(key.keyId, MESSAGE, CONTEXT),
    ]);
    expect(mine.status).toBe('fulfilled');
    expect(theirs).toMatchObject({ reason: { code: 'PASSPHRASE_REQUIRED', message: `${file} needs a passphrase` } });
  });
});

describe('asking a person', () => {
  it('comes after the candidates, tells the attempt, and ends with the right answer', async () => {
    const backend = await open(listedPassphrases(['wrong one']));
    const { key } = await writeKeyFile(path, { passphrase: RIGHT });
    const asked = person(['wrong two', 'wrong three', RIGHT]);
    await expect(backend.sign(key.keyId, MESSAGE, { ...CONTEXT, interaction: asked })).resolves.toHaveLength(64);
    expect(asked.attempts).toEqual([0, 1, 2]);
    expect(asked.given.every(isZeroed)).toBe(true);
  });

  it('is done four times at most, then the passphrase is incorrect', async () => {
    const backend = await open(listedPassphrases([]));
    const { key, path: file } = await writeKeyFile(path, { passphrase: RIGHT });
    const asked = person(Array.from({ length: 9 }, () => 'wrong'));
    const work = backend.sign(key.keyId, MESSAGE, { ...CONTEXT, interaction: asked });
    await refusal(work, 'PASSPHRASE_INCORRECT', `no passphrase at hand opens ${file}`);
    expect(asked.attempts).toEqual([0, 1, 2, 3]);
    expect(asked.given.every(isZeroed)).toBe(true);
  });

  it('who declines at once leaves the passphrase required', async () => {
    const backend = await open(listedPassphrases([]));
    const { key, path: file } = await writeKeyFile(path, { passphrase: RIGHT });
    const asked = person([]);
    const work = backend.sign(key.keyId, MESSAGE, { ...CONTEXT, interaction: asked });
    await refusal(work, 'PASSPHRASE_REQUIRED', `${file} needs a passphrase`);
    expect(asked.attempts).toEqual([0]);
  });

  it('is not done for a key that is open or not sealed', async () => {
    const backend = await open();
    const plain = await writeKeyFile(path);
    const asked = person([]);
    await backend.sign(plain.key.keyId, MESSAGE, { ...CONTEXT, interaction: asked });
    expect(asked.attempts).toEqual([]);
  });
});

describe('what is in a file', () => {
  it('that is not sealed needs no passphrase and says so', async () => {
    const passphrases = listedPassphrases([RIGHT]);
    const backend = await open(passphrases);
    const { key } = await writeKeyFile(path);
    expect((await backend.find(key.keyId))?.needs).toEqual({ pin: false, touch: false, passphrase: false });
    await expect(backend.sign(key.keyId, MESSAGE, CONTEXT)).resolves.toHaveLength(64);
    expect(passphrases.asked).toBe(0);
  });

  it.each([undefined, RIGHT])('must be the key that its name says (passphrase %s)', async (passphrase) => {
    const backend = await open();
    const named = await PrivateKey.generate('ed25519');
    const file = join(path, `${named.keyId}.key`);
    await writeKeyFile(path, { ...(passphrase !== undefined && { passphrase }), name: `${named.keyId}.key` });
    const message = `${file} holds another key than its name says`;
    await refusal(backend.sign(named.keyId, MESSAGE, CONTEXT), 'INTEGRITY', message);
    using secret = Secret.fromText(RIGHT);
    await refusal(backend.unlocker.unlock(named.keyId, secret, undefined), 'INTEGRITY', message);
    expect(await backend.unlocker.unlockedCount()).toBe(0);
  });

  it('of an unknown key is nothing', async () => {
    const backend = await open();
    const unknown = parseKeyId('0'.repeat(64));
    expect(await backend.find(unknown)).toBeUndefined();
    await refusal(backend.sign(unknown, MESSAGE, CONTEXT), 'KEY_NOT_FOUND', `no key ${unknown} in ${path}`);
  });
});

describe('what happens on disk while a key is open', () => {
  async function opened(passphrases = listedPassphrases([RIGHT])) {
    const backend = await open(passphrases);
    const { key, path: file } = await writeKeyFile(path, { passphrase: RIGHT, role: 'before' });
    await backend.sign(key.keyId, MESSAGE, CONTEXT);
    return { backend, key, file, sign: () => backend.sign(key.keyId, MESSAGE, CONTEXT) };
  }

  it('is seen in time: the file is deleted', async () => {
    const { key, file, sign, backend } = await opened();
    await unlink(file);
    await delay(UNTIL_SEEN_MS);
    await refusal(sign(), 'KEY_NOT_FOUND', `no key ${key.keyId} in ${path}`);
    expect(await backend.unlocker.unlockedCount()).toBe(0);
  });

  it('is seen in time: the key is sealed under another passphrase', async () => {
    const { key, file, sign } = await opened();
    await writeFile(file, await keyFileText(key, { passphrase: 'changed elsewhere' }));
    await delay(UNTIL_SEEN_MS);
    await refusal(sign(), 'PASSPHRASE_INCORRECT', `no passphrase at hand opens ${file}`);
  });

  it('is seen in time: the file is replaced, and its headers are new', async () => {
    const { key, file, sign, backend } = await opened();
    await writeFile(`${file}.new`, await keyFileText(key, { passphrase: RIGHT, role: 'after' }));
    await rename(`${file}.new`, file);
    await delay(UNTIL_SEEN_MS);
    await expect(sign()).resolves.toHaveLength(64);
    expect(await backend.find(key.keyId)).toMatchObject({ role: 'after' });
  });

  it('is seen in time: the directory is gone, which is UNAVAILABLE until it is back', async () => {
    const { sign, backend } = await opened();
    await rename(path, `${path}-unmounted`);
    await delay(UNTIL_SEEN_MS);
    const message = `cannot read the key directory ${path} (ENOENT)`;
    await refusal(sign(), 'UNAVAILABLE', message);
    expect(await backend.health()).toEqual({ ready: false, reason: message });
    await rename(`${path}-unmounted`, path);
    await expect(sign()).resolves.toHaveLength(64);
    expect(await backend.health()).toEqual({ ready: true });
  });

  it('is told to every caller while the file cannot be looked at', async () => {
    const { sign, file } = await opened();
    await rm(path, { recursive: true });
    await writeFile(path, '');
    await delay(UNTIL_SEEN_MS);
    for (let call = 0; call < 3; call++) await refusal(sign(), 'UNAVAILABLE', `cannot read ${file} (ENOTDIR)`);
  });

  it('may be a lock during the look at the file: the signature is made all the same', async () => {
    const { backend, key, sign } = await opened();
    for (let round = 0; round < 5; round++) {
      await delay(UNTIL_SEEN_MS);
      const [signature] = await Promise.all([sign(), backend.unlocker.lock(key.keyId)]);
      expect(signature).toHaveLength(64);
    }
  });

  it('may be its eviction during the look at the file', async () => {
    const backend = await open(listedPassphrases([RIGHT]), { max: 1 });
    const [first, second] = [await writeKeyFile(path), await writeKeyFile(path)];
    for (let round = 0; round < 20; round++) {
      const keys = [first, second, first, second, first, second];
      await Promise.all(keys.map(({ key }) => backend.sign(key.keyId, MESSAGE, CONTEXT)));
      await delay(round % 5 === 0 ? UNTIL_SEEN_MS : 0);
    }
    expect(await backend.unlocker.unlockedCount()).toBe(1);
  });

  it('is seen also when it happens during a slow derivation', async () => {
    let release = (): void => undefined;
    const slow = new Promise<void>((resolve) => {
      release = resolve;
    });
    const backend = await open(listedPassphrases([RIGHT], () => slow));
    const { key } = await writeKeyFile(path, { passphrase: RIGHT });
    const early = backend.sign(key.keyId, MESSAGE, CONTEXT);
    await delay(UNTIL_SEEN_MS);
    expect(await backend.remover.remove(key.keyId, CONTEXT)).toBe(true);
    release();
    await early;
    await refusal(backend.sign(key.keyId, MESSAGE, CONTEXT), 'KEY_NOT_FOUND', `no key ${key.keyId} in ${path}`);
  });
});

describe('unlocking', () => {
  it('keeps the key open for the given time, used or not', async () => {
    const backend = await open(listedPassphrases([]));
    const { key, path: file } = await writeKeyFile(path, { passphrase: RIGHT });
    using secret = Secret.fromText(RIGHT);
    await backend.unlocker.unlock(key.keyId, secret, 300);
    for (let use = 0; use < 3; use++) {
      await expect(backend.sign(key.keyId, MESSAGE, CONTEXT)).resolves.toHaveLength(64);
      await delay(50);
    }
    await delay(300);
    await refusal(backend.sign(key.keyId, MESSAGE, CONTEXT), 'PASSPHRASE_REQUIRED', `${file} needs a passphrase`);
  });

  it('ends with lock, of one key or of all', async () => {
    const backend = await open(listedPassphrases([]));
    using secret = Secret.fromText(RIGHT);
    const made = [await writeKeyFile(path, { passphrase: RIGHT }), await writeKeyFile(path, { passphrase: RIGHT })];
    for (const { key } of made) await backend.unlocker.unlock(key.keyId, secret, undefined);
    const [first] = made;
    expect(await backend.unlocker.lock(first?.key.keyId)).toBe(1);
    expect(await backend.unlocker.unlockedCount()).toBe(1);
    expect([await backend.unlocker.lock(), await backend.unlocker.lock()]).toEqual([1, 0]);
  });

  it('with a wrong passphrase opens nothing', async () => {
    const backend = await open(listedPassphrases([]));
    const { key } = await writeKeyFile(path, { passphrase: RIGHT });
    using secret = Secret.fromText('wrong');
    const message = 'the passphrase does not open the private key';
    await refusal(backend.unlocker.unlock(key.keyId, secret, undefined), 'PASSPHRASE_INCORRECT', message);
    expect(await backend.unlocker.unlockedCount()).toBe(0);
  });

  it('is not prolonged by listing or finding', async () => {
    const backend = await open(listedPassphrases([RIGHT]), { ttlMs: 250 });
    const { key } = await writeKeyFile(path, { passphrase: RIGHT });
    await backend.sign(key.keyId, MESSAGE, CONTEXT);
    for (let look = 0; look < 5; look++) {
      for await (const info of backend.list()) expect(info.keyId).toBe(key.keyId);
      await delay(60);
    }
    expect((await backend.find(key.keyId))?.publicKey).toBeUndefined();
  });
});

describe('storing', () => {
  it('never overwrites, whatever is there under the name', async () => {
    const backend = await open();
    const key = await PrivateKey.generate('ed25519');
    await backend.importer.import(key.toPkcs8(), { role: 'root', gun: '' }, CONTEXT);
    const file = join(path, `${key.keyId}.key`);
    const text = await readFile(file, 'utf8');
    const again = backend.importer.import(key.toPkcs8(), { role: 'other', gun: '' }, CONTEXT);
    await refusal(again, 'KEY_EXISTS', `key ${key.keyId} exists in ${path}`);
    expect(await readFile(file, 'utf8')).toBe(text);
    expect(await readdir(path)).toEqual([`${key.keyId}.key`]);
  });

  it('for a caller who has gone stores nothing', async () => {
    const backend = await open();
    const work = backend.generator.generate(
      { algorithm: 'ed25519', role: '', gun: '' },
      { ...CONTEXT, signal: AbortSignal.abort() },
    );
    await refusal(work, 'CANCELLED', 'the call was cancelled');
    expect(await readdir(path)).toEqual([]);
  });

  it('without a passphrase for new keys stores nothing and tells the remedy', async () => {
    const failure = new SignetError('PASSPHRASE_REQUIRED', 'no passphrase is configured for new keys', { hint: 'x' });
    const backend = await open({ candidates: async () => [], forNewKey: () => Promise.reject(failure) });
    const work = backend.generator.generate({ algorithm: 'ed25519', role: '', gun: '' }, CONTEXT);
    await refusal(work, 'PASSPHRASE_REQUIRED', failure.message);
    expect(await readdir(path)).toEqual([]);
  });
});
