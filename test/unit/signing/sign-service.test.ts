import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { KeyBackend, SignContext } from '../../../src/backends/backend.ts';
import { MemoryBackend } from '../../../src/backends/memory/memory-backend.ts';
import { parseKeyId } from '../../../src/crypto/key-id.ts';
import { verifySignature } from '../../../src/crypto/public-key.ts';
import { SignetError } from '../../../src/errors.ts';
import { Keyring } from '../../../src/keyring/keyring.ts';
import { DEFAULT_PLACEMENT } from '../../../src/keyring/placement.ts';
import { type SignRecord, SignService } from '../../../src/signing/sign-service.ts';
import { failedBackend, fakeBackend, fakeKeyInfo } from '../../support/fake-backend.ts';

const CONTEXT: SignContext = { caller: 'CN=notary-server' };
const KEY_ID = parseKeyId('a'.repeat(64));
const MESSAGE = Buffer.from('signed content');

function serviceOver(backend: KeyBackend): { readonly service: SignService; readonly records: SignRecord[] } {
  const records: SignRecord[] = [];
  const keyring = new Keyring({ backends: [backend], storage: backend, placement: DEFAULT_PLACEMENT });
  return { records, service: new SignService(keyring, (record) => records.push(record)) };
}

const holding = (members: Partial<KeyBackend> = {}) =>
  fakeBackend({ find: async (keyId) => fakeKeyInfo(keyId, { role: 'root', gun: 'g' }), ...members });

describe('a signature', () => {
  it('verifies, and is recorded with its key, its caller and what was signed', async () => {
    await using backend = new MemoryBackend();
    const owner = { role: 'timestamp', gun: 'g' };
    const { keyId, publicKey } = await backend.generator.generate({ algorithm: 'ecdsa', ...owner }, CONTEXT);
    const { service, records } = serviceOver(backend);
    const { signature, algorithm } = await service.sign(keyId, { message: MESSAGE }, CONTEXT);
    expect(algorithm).toBe('ecdsa');
    expect(verifySignature(publicKey, MESSAGE, signature)).toBe(true);
    expect(records).toHaveLength(1);
    expect(records[0]).toMatchObject({
      caller: CONTEXT.caller,
      keyId,
      algorithm: 'ecdsa',
      outcome: 'ok',
      contentBytes: MESSAGE.length,
    });
    expect(records[0]?.error).toBeUndefined();
    expect(records[0]?.located).toMatchObject({ backend: { name: 'memory' }, info: owner });
  });

  it('over a digest is recorded with that digest', async () => {
    const { service, records } = serviceOver(holding());
    const digest = createHash('sha384').update(MESSAGE).digest();
    await service.sign(KEY_ID, { digest, hash: 'sha384' }, CONTEXT);
    expect(records[0]?.contentDigest()).toBe(`sha384:${digest.toString('hex')}`);
    expect(records[0]?.contentBytes).toBe(48);
  });

  it('has its content hashed only when somebody reads the digest, and never keeps the content in the record', async () => {
    const { service, records } = serviceOver(holding());
    const message = Buffer.from(MESSAGE);
    await service.sign(KEY_ID, { message }, CONTEXT);
    expect(JSON.stringify(records[0])).not.toContain('signed content');
    message[0] = 0; // seen by a digest that is made now
    expect(records[0]?.contentDigest()).toBe(createHash('sha256').update(message).digest('hex'));
  });

  it('splits the time into waiting and signing where the backend tells its start', async () => {
    const sign: KeyBackend['sign'] = async (_keyId, _input, context) => {
      await delay(60);
      context.onStart?.();
      await delay(30);
      return new Uint8Array(64);
    };
    const { service, records } = serviceOver(holding({ sign }));
    await service.sign(KEY_ID, { message: MESSAGE }, CONTEXT);
    const { queueMs = 0, durationMs = 0 } = records[0] ?? {};
    expect(queueMs).toBeGreaterThanOrEqual(55);
    expect(durationMs - queueMs).toBeGreaterThanOrEqual(25);
  });

  it("passes the caller's own context to the backend", async () => {
    const { signal } = new AbortController();
    let seen: SignContext | undefined;
    const sign: KeyBackend['sign'] = async (_keyId, _input, context) => {
      seen = context;
      return new Uint8Array(64);
    };
    const given: SignContext = { ...CONTEXT, signal, cancelled: true, deadline: 42 };
    await serviceOver(holding({ sign })).service.sign(KEY_ID, { message: MESSAGE }, given);
    expect([seen?.caller, seen?.signal, seen?.cancelled, seen?.deadline]).toEqual([CONTEXT.caller, signal, true, 42]);
  });
});

describe('a refusal', () => {
  it('of an unknown key is recorded without a key', async () => {
    const { service, records } = serviceOver(fakeBackend());
    const expected = { code: 'KEY_NOT_FOUND', message: `no key ${KEY_ID}` };
    await expect(service.sign(KEY_ID, { message: MESSAGE }, CONTEXT)).rejects.toMatchObject(expected);
    expect(records).toMatchObject([{ outcome: 'KEY_NOT_FOUND', keyId: KEY_ID, error: expected, queueMs: 0 }]);
    expect(records[0]?.located).toBeUndefined();
    expect(records[0]?.algorithm).toBeUndefined();
  });

  it('by a failed backend is recorded as such', async () => {
    const { service, records } = serviceOver(failedBackend('file'));
    await expect(service.sign(KEY_ID, { message: MESSAGE }, CONTEXT)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(records).toMatchObject([{ outcome: 'UNAVAILABLE' }]);
  });

  it('after the key was found is recorded with the key', async () => {
    const sign = () => Promise.reject(new SignetError('PASSPHRASE_INCORRECT', 'no passphrase opens it'));
    const { service, records } = serviceOver(holding({ sign }));
    await expect(service.sign(KEY_ID, { message: MESSAGE }, CONTEXT)).rejects.toMatchObject({
      code: 'PASSPHRASE_INCORRECT',
    });
    expect(records).toMatchObject([{ outcome: 'PASSPHRASE_INCORRECT', algorithm: 'ed25519' }]);
    expect(records[0]?.located?.info.role).toBe('root');
  });

  it('by anything that is no error of ours is INTERNAL, with the cause kept for the log', async () => {
    const bug = new TypeError('secret detail');
    const { service, records } = serviceOver(holding({ sign: () => Promise.reject(bug) }));
    await expect(service.sign(KEY_ID, { message: MESSAGE }, CONTEXT)).rejects.toMatchObject({
      code: 'INTERNAL',
      message: 'signing failed',
      cause: bug,
    });
    expect(records).toMatchObject([{ outcome: 'INTERNAL' }]);
  });
});
