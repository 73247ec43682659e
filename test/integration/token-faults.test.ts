/** Modules that crash, hang, lie and fail, and tokens that hold odd things: each costs its own callers an error, no more. */
import { copyFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeyInfo, SignContext } from '../../src/backends/backend.ts';
import type { Pkcs11Backend, Pkcs11Options } from '../../src/backends/pkcs11/pkcs11-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { SignetError } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { type FaultyModule, faultyToken } from '../support/faulty-module.ts';
import { pinPerson } from '../support/pin-person.ts';
import { Resources } from '../support/resources.ts';
import { type SoftHsm, TEST_PIN, tokenUri } from '../support/softhsm.ts';
import { addObjects } from '../support/token-objects.ts';

const CONTEXT: SignContext = { caller: 'test' };
const OWNER = { role: 'timestamp', gun: 'example.com/a' };
const MESSAGE = Buffer.from('to be signed');
/** For a module that hangs. Any other operation may take as long as it does. */
const SHORT_MS = 5000;
/** Hosts are started anew meanwhile, on a machine that may be busy. */
const PATIENT = { timeoutMs: 60_000 };
const HUNG = `the token host of pkcs11:token=ci (faulty.so) did not answer within ${SHORT_MS} ms and is replaced`;

let resources: Resources;
let hsm: SoftHsm;
let module: FaultyModule;

beforeEach(async () => {
  resources = new Resources();
  ({ hsm, module } = await faultyToken(resources));
});
afterEach(() => resources[Symbol.asyncDispose]());

async function open(options: Partial<Pkcs11Options> = {}): Promise<Pkcs11Backend> {
  const uri = { ...tokenUri('ci'), modulePath: module.modulePath };
  const defaults = { pinFile: await hsm.pinFile(), env: module.env, operationTimeoutMs: 60_000 };
  return resources.use(await hsm.open(uri, { ...defaults, ...options }));
}

const hangs = (fault: string) => fault.endsWith('hang');

/** @param fault What the module is about to do: one that hangs is not waited for too long. */
async function openForFault(fault: string) {
  if (!hangs(fault)) return await openWithKey();
  const { key } = await openWithKey();
  const backend = await open({ operationTimeoutMs: SHORT_MS });
  await waitFor('the token', async () => (await backend.health()).ready, PATIENT);
  return { backend, key, sign: () => signWith(backend, key) };
}

async function openWithKey(options: Partial<Pkcs11Options> = {}) {
  const backend = await open(options);
  const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
  return { backend, key, sign: () => signWith(backend, key) };
}

/** @returns Whether the signature is good; a failure as its error. */
async function signWith(backend: Pkcs11Backend, key: KeyInfo): Promise<boolean | SignetError> {
  try {
    const signature = await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
    return key.publicKey !== undefined && verifySignature(key.publicKey, MESSAGE, signature);
  } catch (error) {
    if (error instanceof SignetError) return error;
    throw error;
  }
}

const recovers = (sign: () => Promise<boolean | SignetError>) =>
  waitFor('a signature', async () => (await sign()) === true, PATIENT);

/** Copies the token's object files: a file is an object. */
async function copyObjects(count: number): Promise<void> {
  const [directory = ''] = await hsm.tokenDirectories();
  const files = (await readdir(directory)).filter((name) => name.endsWith('.object') && name !== 'token.object');
  const [object = ''] = files;
  for (let number = 0; number < count; number++) {
    const name = `00000000-0000-0000-0000-${String(number).padStart(12, '0')}.object`;
    await copyFile(join(directory, object), join(directory, name));
  }
}

describe('a module that fails in a signature', () => {
  it.each([
    ['crash', 'UNAVAILABLE', 'the token host of pkcs11:token=ci (faulty.so) ended (SIGABRT)'],
    ['hang', 'UNAVAILABLE', HUNG],
    ['return 0x30', 'UNAVAILABLE', 'faulty.so: signing on token "ci" failed (CKR_DEVICE_ERROR)'],
    ['return 0x32', 'TOKEN_NOT_PRESENT', 'faulty.so: signing on token "ci" failed (CKR_DEVICE_REMOVED)'],
    ['return 0xe0', 'TOKEN_NOT_PRESENT', 'faulty.so: signing on token "ci" failed (CKR_TOKEN_NOT_PRESENT)'],
    ['return 0x80000042', 'INTERNAL', 'faulty.so: signing on token "ci" failed (CKR_VENDOR_DEFINED+0x42)'],
    ['return 0x7777', 'INTERNAL', 'faulty.so: signing on token "ci" failed (CKR_0x7777)'],
    ['after 0x5', 'UNAVAILABLE', 'faulty.so: signing on token "ci" failed (CKR_GENERAL_ERROR)'],
    ['return 0x150', 'INTERNAL', 'faulty.so: signing on token "ci" failed (CKR_BUFFER_TOO_SMALL)'],
    ['corrupt', 'INTEGRITY', /^pkcs11:token=ci answered a signature that is not by key [0-9a-f]{64}$/],
    ['length 63', 'INTEGRITY', /^pkcs11:token=ci answered a signature that is not by key [0-9a-f]{64}$/],
    ['length 0', 'INTEGRITY', /^pkcs11:token=ci answered a signature that is not by key [0-9a-f]{64}$/],
    ['length 2048', 'INTEGRITY', /^pkcs11:token=ci answered a signature that is not by key [0-9a-f]{64}$/],
    ['length 100000', 'INTEGRITY', /^pkcs11:token=ci answered a signature that is not by key [0-9a-f]{64}$/],
    ['length -1', 'INTEGRITY', /^pkcs11:token=ci answered a signature that is not by key [0-9a-f]{64}$/],
  ])('%s', async (what, code, message) => {
    const { sign } = await openForFault(what);
    await module.misbehave(`C_Sign ${what}`);
    expect(await sign()).toMatchObject({
      code,
      message: typeof message === 'string' ? message : expect.stringMatching(message),
    });
    await module.misbehave();
    await recovers(sign);
  });

  it('with one caller in the middle of many fails those that it had, and serves the rest', async () => {
    const { sign } = await openWithKey();
    await module.misbehave('C_Sign sleep 20');
    const before = Array.from({ length: 30 }, sign);
    await Promise.race(before);
    await module.misbehave('C_Sign crash');
    const outcomes = await Promise.all(before);
    expect(outcomes.filter((outcome) => outcome !== true && outcome !== false).length).toBeGreaterThan(0);
    for (const outcome of outcomes) if (outcome !== true) expect(outcome).toMatchObject({ code: 'UNAVAILABLE' });
    await module.misbehave();
    await recovers(sign);
  });
});

describe('a module that fails on its way to the token', () => {
  it.each([
    ['load crash', 'the token host of pkcs11:token=ci (faulty.so) ended (SIGABRT)'],
    ['C_Initialize crash', 'the token host of pkcs11:token=ci (faulty.so) ended (SIGABRT)'],
    ['C_Initialize hang', HUNG],
    ['C_Initialize return 0x5', 'pkcs11:token=ci: faulty.so: the module does not start (CKR_GENERAL_ERROR)'],
    [
      'C_Initialize return 0x80000001',
      'pkcs11:token=ci: faulty.so: the module does not start (CKR_VENDOR_DEFINED+0x1)',
    ],
    ['C_GetSlotList crash', 'the token host of pkcs11:token=ci (faulty.so) ended (SIGABRT)'],
    ['C_GetSlotList return 0x30', 'pkcs11:token=ci: faulty.so: listing the tokens failed (CKR_DEVICE_ERROR)'],
    ['C_GetSlotList length 0', 'no token matches pkcs11:token=ci'],
    ['C_GetTokenInfo return 0x30', 'pkcs11:token=ci: faulty.so: listing the tokens failed (CKR_DEVICE_ERROR)'],
    ['C_OpenSession return 0xb1', 'faulty.so: attaching token "ci" failed (CKR_SESSION_COUNT)'],
    ['C_OpenSession hang', HUNG],
    ['C_FindObjects return 0x30', 'faulty.so: listing keys on token "ci" failed (CKR_DEVICE_ERROR)'],
  ])('%s', async (fault, reason) => {
    const events: string[] = [];
    await module.misbehave(fault);
    const backend = await open({
      onEvent: (_, error) => events.push(error instanceof Error ? error.message : ''),
      ...(hangs(fault) && { operationTimeoutMs: SHORT_MS }),
    });
    expect(events).toContain(reason);
    expect((await backend.health()).ready).toBe(false);
    await module.misbehave();
    await waitFor('the token', async () => (await backend.health()).ready, PATIENT);
    const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    expect(await signWith(backend, key)).toBe(true);
  });

  it.each(['C_Initialize', 'C_OpenSession'])(
    '%s hang: keeps nobody from starting for long, and is found when it answers',
    async (call) => {
      const events: string[] = [];
      await module.misbehave(`${call} hang`);
      const backend = await open({
        operationTimeoutMs: 2000,
        openTimeoutMs: 300,
        onEvent: (_, error) => events.push(error instanceof Error ? error.message : ''),
      });
      expect(events).toContain('pkcs11:token=ci does not answer');
      expect((await backend.health()).ready).toBe(false);
      await module.misbehave();
      await waitFor('the token', async () => (await backend.health()).ready, { timeoutMs: 10_000 });
    },
  );

  it('spends one PIN try, not one for each new host, when it dies of the login', async () => {
    await module.misbehave('C_Login crash');
    const backend = await open();
    for (let i = 0; i < 10; i++) {
      await expect(backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT)).rejects.toMatchObject({
        code: expect.stringMatching(/^(PIN_REQUIRED|UNAVAILABLE)$/),
      });
    }
    expect(await module.logins()).toBe(1);
  });

  it('is not ready after a login that failed, whatever the reason, until one succeeds', async () => {
    await module.misbehave('C_Login return 0x30');
    const backend = await open();
    const reason = 'faulty.so: login on token "ci" failed (CKR_DEVICE_ERROR)';
    for (let time = 0; time < 3; time++) expect(await backend.health()).toEqual({ ready: false, reason });
    expect(await module.logins()).toBe(1); // looking is no try
    await module.misbehave();
    const asked = pinPerson(() => TEST_PIN);
    await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, asked.context);
    expect(await backend.health()).toEqual({ ready: true });
  });

  it('is told by name if it cannot be loaded', async () => {
    const modulePath = '/nowhere/module.so';
    await expect(hsm.open({ token: 'ci', modulePath })).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: 'the PKCS#11 module /nowhere/module.so cannot be loaded: it cannot be read (ENOENT)',
    });
  });
});

describe('while one token fails', () => {
  it.each(['C_Sign hang', 'C_Sign crash', 'C_Initialize hang'])('%s: another module goes on', async (fault) => {
    await hsm.createToken('other');
    const other = resources.use(await hsm.open(tokenUri('other'), { pinFile: await hsm.pinFile() }));
    const otherKey = await other.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const { sign } = await openForFault(fault);
    await module.misbehave(fault);
    const failing = Array.from({ length: 5 }, sign);
    for (let i = 0; i < 50; i++) expect(await signWith(other, otherKey)).toBe(true);
    await Promise.all(failing);
    expect(await other.health()).toEqual({ ready: true });
  });
});

describe('a token with odd contents', () => {
  it('of thousands of objects is listed by its keys', async () => {
    await addObjects(hsm, 'ci', 'anchors', 1);
    await copyObjects(5000);
    const { backend, key, sign } = await openWithKey();
    expect(await backend.count()).toBe(1);
    expect(await backend.find(key.keyId)).toEqual(key);
    expect(await sign()).toBe(true);
  });

  it('of two keys with one CKA_ID refuses to guess which one is meant', async () => {
    await addObjects(hsm, 'ci', 'twins', 2);
    const backend = await open();
    const keys: KeyInfo[] = [];
    for await (const key of backend.list()) keys.push(key);
    expect(keys).toHaveLength(2);
    for (const key of keys) {
      expect(await signWith(backend, key)).toMatchObject({
        code: 'CONFIGURATION',
        message: '2 private keys on token "ci" have the CKA_ID 22',
      });
    }
  });

  it('with keys of a type that signs nothing leaves them out and serves the others', async () => {
    await addObjects(hsm, 'ci', 'dsa', 3);
    const unreadable: string[] = [];
    const { backend, sign } = await openWithKey({
      onUnreadable: (what, { code }) => unreadable.push(`${what} ${code}`),
    });
    expect(await sign()).toBe(true);
    expect(await backend.count()).toBe(1);
    expect(unreadable).toEqual([]); // without a private half they are nobody's business
  });
});

describe('two daemons on one token', () => {
  it('see each other’s keys, and neither deletion nor a crash disturbs the other', async () => {
    const [mine, theirs] = [await open(), await open()];
    const key = await mine.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    await waitFor('the other to see the key', async () => (await theirs.find(key.keyId)) !== undefined, PATIENT);
    const signing = Array.from({ length: 100 }, (_, number) => signWith(number % 2 === 0 ? mine : theirs, key));
    expect(new Set(await Promise.all(signing))).toEqual(new Set([true]));
    process.kill(mine.hostPid ?? 0, 'SIGKILL');
    expect(await signWith(theirs, key)).toBe(true);
    await waitFor('the first to work again', async () => (await signWith(mine, key)) === true, PATIENT);
    expect(await theirs.remover?.remove(key.keyId, CONTEXT)).toBe(true);
    expect(await signWith(mine, key)).toMatchObject({ code: 'KEY_NOT_FOUND' });
  });
});
