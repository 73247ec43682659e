/** A token with several hosts, for modules that can work in parallel processes. */
import { readFile, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeyInfo, SignContext } from '../../src/backends/backend.ts';
import type { Pkcs11Backend, Pkcs11Options } from '../../src/backends/pkcs11/pkcs11-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { SignetError } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { type FaultyModule, faultyToken } from '../support/faulty-module.ts';
import { Resources } from '../support/resources.ts';
import { type SoftHsm, TEST_PIN, tokenUri } from '../support/softhsm.ts';

const CONTEXT: SignContext = { caller: 'test' };
const OWNER = { role: 'timestamp', gun: 'example.com/a' };
const MESSAGE = Buffer.from('to be signed');
const HOSTS = 3;

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
  const defaults = { pinFile: await hsm.pinFile(), env: module.env, operationTimeoutMs: 60_000, hosts: HOSTS };
  return resources.use(await hsm.open(uri, { ...defaults, ...options }));
}

const makeKey = (backend: Pkcs11Backend) => backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);

async function sign(backend: Pkcs11Backend, key: KeyInfo): Promise<boolean | string> {
  try {
    const signature = await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
    return key.publicKey !== undefined && verifySignature(key.publicKey, MESSAGE, signature);
  } catch (error) {
    if (error instanceof SignetError) return error.code;
    throw error;
  }
}

/** The processes that this one has started, which are token hosts. */
async function hostPids(): Promise<number[]> {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8');
  return children.split(' ').filter(Boolean).map(Number);
}

/** Waits until every host signs, with a module that then behaves. */
async function allSign(backend: Pkcs11Backend, key: KeyInfo): Promise<void> {
  await module.misbehave('C_Sign sleep 5');
  await waitFor('all hosts to sign', async () => {
    await Promise.all(Array.from({ length: 2 * HOSTS }, () => sign(backend, key)));
    return (await module.signers()).size >= HOSTS;
  });
  await module.misbehave();
}

describe('several hosts of one token', () => {
  it('work at the same time', async () => {
    const backend = await open();
    const key = await makeKey(backend);
    await allSign(backend, key);
    expect(await hostPids()).toHaveLength(HOSTS);
    await module.misbehave('C_Sign sleep 2000');
    const first = Promise.race(Array.from({ length: HOSTS }, () => sign(backend, key)));
    const all = waitFor('all to be at it', async () => (await module.signers()).size === HOSTS && 'all at it');
    expect(await Promise.race([first, all])).toBe('all at it');
    expect(await first).toBe(true);
  });

  it('see keys that one of them made or removed', async () => {
    const backend = await open();
    await allSign(backend, await makeKey(backend));
    await module.misbehave('C_Sign sleep 20');
    for (let round = 0; round < 3; round++) {
      const key = await makeKey(backend);
      const outcomes = await Promise.all(Array.from({ length: 4 * HOSTS }, () => sign(backend, key)));
      expect(new Set(outcomes)).toEqual(new Set([true]));
      expect(await backend.remover?.remove(key.keyId, CONTEXT)).toBe(true);
      const gone = await Promise.all(Array.from({ length: 4 * HOSTS }, () => sign(backend, key)));
      expect(new Set(gone)).toEqual(new Set(['KEY_NOT_FOUND']));
    }
  });

  it.each(['SIGKILL', 'SIGSTOP'] as const)('go on when one of them gets %s, and it is replaced', async (signal) => {
    const backend = await open(signal === 'SIGSTOP' ? { operationTimeoutMs: 5000 } : {});
    const key = await makeKey(backend);
    await allSign(backend, key);
    for (const pid of await hostPids()) {
      process.kill(pid, signal);
      const outcomes = await Promise.all(Array.from({ length: 30 }, () => sign(backend, key)));
      // What that one had is lost, at most; all else is signed.
      expect(outcomes.filter((outcome) => outcome === true).length).toBeGreaterThanOrEqual(10);
      expect(outcomes.filter((outcome) => outcome !== true && outcome !== 'UNAVAILABLE')).toEqual([]);
      await waitFor('its replacement', async () => {
        await sign(backend, key);
        const pids = await hostPids();
        return pids.length === HOSTS && !pids.includes(pid);
      });
      await allSign(backend, key);
    }
  });

  it('try a wrong PIN once, all together', async () => {
    const backend = await open({ pinFile: await hsm.pinFile('000000') });
    for (let i = 0; i < 5; i++) {
      await expect(makeKey(backend)).rejects.toMatchObject({ code: 'PIN_INCORRECT' });
      await backend.health();
    }
    expect(await module.logins()).toBe(1);
  });

  it('are opened by the PIN of a person, and closed together', async () => {
    const first = await open({ hosts: 1 });
    const key = await makeKey(first);
    const before = await module.logins();
    const backend = await open({ pinFile: undefined });
    await backend.unlocker.unlock(key.keyId, Secret.fromText(TEST_PIN), undefined);
    expect((await module.logins()) - before).toBe(HOSTS);
    await module.misbehave('C_Sign sleep 20');
    const outcomes = await Promise.all(Array.from({ length: 4 * HOSTS }, () => sign(backend, key)));
    expect(new Set(outcomes)).toEqual(new Set([true]));
    expect(await backend.unlocker.lock()).toBeGreaterThan(0);
    for (let i = 0; i < 2 * HOSTS; i++) expect(await sign(backend, key)).toBe('PIN_REQUIRED');
    expect((await module.logins()) - before).toBe(HOSTS);
  });

  it('that are replaced never try a PIN that the token has not taken', async () => {
    const pinFile = await hsm.pinFile();
    const events: string[] = [];
    const backend = await open({ pinFile, hosts: 2, onEvent: (what) => events.push(what) });
    const key = await makeKey(backend);
    await waitFor('both to be open', async () => (await module.logins()) === 2);
    await writeFile(pinFile, '000000');
    const further = (await hostPids()).find((pid) => pid !== backend.hostPid) ?? 0;
    process.kill(further, 'SIGKILL');
    await waitFor('the other to be of no help', async () => {
      await sign(backend, key);
      return events.includes('a further token host cannot help');
    });
    expect(await module.logins()).toBe(2);
    expect(await sign(backend, key)).toBe(true);
  });

  it('leave no process behind', async () => {
    const backend = await open();
    await allSign(backend, await makeKey(backend));
    await backend[Symbol.asyncDispose]();
    expect(await hostPids()).toEqual([]);
  });
});
