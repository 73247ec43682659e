/**
 * The contract of `src/backends/backend.ts`, run over every backend. A capability that a backend lacks is asserted to
 * be absent: nothing is skipped.
 */
import { createHash, createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeyBackend, KeyInfo, SignContext } from '../../src/backends/backend.ts';
import type { KeyAlgorithm } from '../../src/crypto/algorithms.ts';
import { isKeyId, type KeyId, keyIdOf, parseKeyId } from '../../src/crypto/key-id.ts';
import { type PublicKey, verifySignature } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { type ErrorCode, SignetError } from '../../src/errors.ts';
import { verifyDigestIndependently, verifyIndependently } from '../support/verify.ts';

export interface BackendUnderTest {
  readonly name: string;
  /** What it declares to have; everything else must be absent. */
  readonly generates: readonly KeyAlgorithm[];
  /** Algorithms it takes; none if it has no importer. */
  readonly imports: readonly KeyAlgorithm[];
  /** Curves that it does not take, though it takes ecdsa. */
  readonly lacksCurves?: readonly string[];
  readonly has: {
    readonly exporter: boolean;
    readonly remover: boolean;
    readonly attester: boolean;
    /** `pin`: one secret opens all keys of the home. */
    readonly unlocker: boolean | 'pin';
  };
  /** Whether keys outlive the process that made them. */
  readonly persistent: boolean;
  /** A new, empty home. */
  open(): Promise<OpenBackend>;
}

export interface OpenBackend extends AsyncDisposable {
  readonly backend: KeyBackend;
  /** The passphrase that keys of this home are sealed under, where they are. */
  readonly passphrase: string | undefined;
  /** Closes the backend and opens the same home again. */
  reopen(): Promise<KeyBackend>;
}

const CONTEXT: SignContext = { caller: 'conformance suite' };
const UNKNOWN = parseKeyId('0'.repeat(64));
const OWNER = { role: 'timestamp', gun: 'registry.example.com/team/app' };

export function describeBackend(subject: BackendUnderTest): void {
  describe(`backend ${subject.name}`, () => {
    let home: OpenBackend;
    let backend: KeyBackend;

    beforeEach(async () => {
      home = await subject.open();
      backend = home.backend;
    });
    afterEach(async () => {
      await home[Symbol.asyncDispose]();
    });

    const generate = (algorithm: KeyAlgorithm = 'ecdsa', owner = OWNER) => {
      if (backend.generator === undefined) throw new Error('the suite needs keys: no generator');
      return backend.generator.generate({ algorithm, ...owner }, CONTEXT);
    };
    const all = async () => {
      const keys: KeyInfo[] = [];
      for await (const key of backend.list()) keys.push(key);
      return keys;
    };

    it('has exactly the capabilities it declares', () => {
      const present = (value: object | undefined) => value !== undefined;
      expect({
        generates: backend.generator?.algorithms ?? [],
        exporter: present(backend.exporter),
        remover: present(backend.remover),
        attester: present(backend.attester),
        unlocker: present(backend.unlocker),
      }).toEqual({ generates: subject.generates, ...subject.has, unlocker: subject.has.unlocker !== false });
      expect(present(backend.importer)).toBe(subject.imports.length > 0);
    });

    it('is ready and tells where it is', async () => {
      expect(await backend.health()).toEqual({ ready: true });
      expect(backend.location).not.toBe('');
    });

    it('begins without keys', async () => {
      expect(await all()).toEqual([]);
      expect(await backend.count()).toBe(0);
    });

    it('answers KEY_NOT_FOUND for a key it does not have', async () => {
      await generate();
      expect(await backend.find(UNKNOWN)).toBeUndefined();
      await expectCode('KEY_NOT_FOUND', backend.sign(UNKNOWN, { message: Buffer.from('x') }, CONTEXT));
      await expectCode('KEY_NOT_FOUND', backend.publicKey(UNKNOWN, CONTEXT));
      if (backend.exporter) await expectCode('KEY_NOT_FOUND', backend.exporter.export(UNKNOWN, CONTEXT));
      if (backend.remover) expect(await backend.remover.remove(UNKNOWN, CONTEXT)).toBe(false);
      if (backend.unlocker) {
        await expectCode('KEY_NOT_FOUND', backend.unlocker.unlock(UNKNOWN, Secret.fromText('whatever'), undefined));
      }
      expect(await backend.count()).toBe(1);
    });

    describe.each(subject.generates)('a generated %s key', (algorithm) => {
      it('has an ID that follows from its public half, and keeps role and GUN', async () => {
        const key = await generate(algorithm);
        expect(isKeyId(key.keyId)).toBe(true);
        expect(keyIdOf(key.publicKey)).toBe(key.keyId);
        expect(key.publicKey.algorithm).toBe(algorithm);
        expect(key).toMatchObject(OWNER);
        expect(await backend.find(key.keyId)).toEqual(key);
        expect(await all()).toEqual([key]);
        expect(await backend.publicKey(key.keyId, CONTEXT)).toEqual(key.publicKey);
      });

      it('signs messages of any length', async () => {
        const { keyId, publicKey } = await generate(algorithm);
        for (const length of [0, 1, 64, 100_000]) {
          const message = randomBytes(length);
          const signature = await backend.sign(keyId, { message }, CONTEXT);
          expect(verifySignature(publicKey, message, signature)).toBe(true);
          expect(verifyIndependently(publicKey, message, signature)).toBe(true);
          expect(verifySignature(publicKey, Buffer.concat([message, Buffer.from('!')]), signature)).toBe(false);
        }
      });

      it('answers signatures of the fixed length of its algorithm', async () => {
        const { keyId } = await generate(algorithm);
        const lengths = { ecdsa: 64, ed25519: 64, rsa: 384 };
        for (let i = 0; i < 20; i++) {
          const signature = await backend.sign(keyId, { message: Buffer.from([i]) }, CONTEXT);
          expect(signature.length).toBe(lengths[algorithm]);
        }
      });

      it('signs ready digests, unless the algorithm has none', async () => {
        const { keyId, publicKey } = await generate(algorithm);
        for (const hash of ['sha256', 'sha384', 'sha512'] as const) {
          const digest = createHash(hash).update('hello').digest();
          const signing = backend.sign(keyId, { digest, hash }, CONTEXT);
          if (algorithm === 'ed25519') {
            const error = await expectCode('INVALID_ARGUMENT', signing);
            expect(error.message).toBe('ed25519 signs messages, not digests');
          } else {
            expect(verifyDigestIndependently(publicKey, digest, hash, await signing)).toBe(true);
          }
        }
      });

      it('refuses a digest of the wrong length', async () => {
        const { keyId } = await generate(algorithm);
        await expectCode('INVALID_ARGUMENT', backend.sign(keyId, { digest: randomBytes(31), hash: 'sha256' }, CONTEXT));
        await expectCode('INVALID_ARGUMENT', backend.sign(keyId, { digest: randomBytes(32), hash: 'sha512' }, CONTEXT));
      });

      it('is the same key after the home is opened again, or gone if the home keeps nothing', async () => {
        const { keyId, publicKey } = await generate(algorithm);
        backend = await home.reopen();
        const found = await backend.find(keyId);
        if (!subject.persistent) {
          expect(found).toBeUndefined();
          return;
        }
        expect(found).toMatchObject({ keyId, ...OWNER });
        const message = Buffer.from('after');
        expect(verifySignature(publicKey, message, await backend.sign(keyId, { message }, CONTEXT))).toBe(true);
        expect(await backend.publicKey(keyId, CONTEXT)).toEqual(publicKey);
      });
    });

    it('takes empty and unusual roles and GUNs', async () => {
      for (const owner of [
        { role: '', gun: '' },
        { role: 'targets/releases', gun: 'docker.io/library/alpine' },
        { role: 'Zoë', gun: 'example.com/übung:5000/a b' },
      ]) {
        const { keyId } = await generate('ecdsa', owner);
        expect(await backend.find(keyId)).toMatchObject(owner);
      }
    });

    it('signs for many callers at once', async () => {
      const other = subject.generates.includes('ed25519') ? 'ed25519' : 'ecdsa';
      const keys = await Promise.all([generate('ecdsa'), generate(other), generate('ecdsa')]);
      expect(new Set(keys.map(({ keyId }) => keyId)).size).toBe(3);
      const jobs = Array.from({ length: 60 }, async (_, index) => {
        const key = keys[index % keys.length] as (typeof keys)[number];
        const message = Buffer.from(`message ${index}`);
        const signature = await backend.sign(key.keyId, { message }, CONTEXT);
        return verifySignature(key.publicKey, message, signature);
      });
      expect(await Promise.all(jobs)).toEqual(Array.from({ length: 60 }, () => true));
    });

    it('says when the operation begins, once, before it answers', async () => {
      const { keyId } = await generate();
      let starts = 0;
      await backend.sign(keyId, { message: Buffer.from('x') }, { ...CONTEXT, onStart: () => void starts++ });
      expect(starts).toBe(1);
    });

    it('answers CANCELLED to a caller who has gone', async () => {
      const { keyId } = await generate();
      const signal = AbortSignal.abort();
      await expectCode('CANCELLED', backend.sign(keyId, { message: Buffer.from('x') }, { ...CONTEXT, signal }));
    });

    it('does not change the message it is given', async () => {
      const { keyId } = await generate();
      const message = randomBytes(100);
      const before = Buffer.from(message);
      await backend.sign(keyId, { message }, CONTEXT);
      expect(message.equals(before)).toBe(true);
    });

    it('removes a key for good', async () => {
      const { keyId } = await generate();
      const other = await generate();
      if (backend.remover === undefined) throw new Error('no backend without a remover is under test yet');
      expect(await backend.remover.remove(keyId, CONTEXT)).toBe(true);
      expect(await backend.find(keyId)).toBeUndefined();
      await expectCode('KEY_NOT_FOUND', backend.sign(keyId, { message: Buffer.from('x') }, CONTEXT));
      expect(await backend.remover.remove(keyId, CONTEXT)).toBe(false);
      expect((await all()).map((key) => key.keyId)).toEqual([other.keyId]);
    });

    if (subject.imports.length > 0) describeImport(() => backend, subject.imports, subject.lacksCurves ?? []);
    if (subject.has.unlocker !== false) {
      const describeOpening = subject.has.unlocker === 'pin' ? describePin : describeUnlock;
      describeOpening(
        () => home,
        () => backend,
        generate,
      );
    }

    it('shows nothing secret when it is printed, and keeps passphrases out of its errors', async () => {
      const key = await generate();
      const errors = await Promise.all([
        backend.sign(UNKNOWN, { message: Buffer.from('x') }, CONTEXT).catch((error: unknown) => error),
        backend.unlocker?.unlock(key.keyId, Secret.fromText('a wrong passphrase'), undefined).catch((e: unknown) => e),
      ]);
      const shown = inspect([backend, key, ...errors], { depth: 12, showHidden: true });
      expect(shown).not.toContain('a wrong passphrase');
      expect(shown).not.toContain('PRIVATE KEY-----\n');
      if (home.passphrase !== undefined) expect(shown).not.toContain(home.passphrase);
    });

    it('can be disposed of twice', async () => {
      await generate();
      await backend[Symbol.asyncDispose]();
      await backend[Symbol.asyncDispose]();
    });
  });
}

function describeImport(
  backend: () => KeyBackend,
  imports: readonly KeyAlgorithm[],
  lacksCurves: readonly string[],
): void {
  const importer = () => {
    const found = backend().importer;
    if (found === undefined) throw new Error('declared, but absent');
    return found;
  };

  const CURVE_SIGNATURE_BYTES = { 'P-224': 56, 'P-256': 64, 'P-384': 96, 'P-521': 132 };

  it.each(Object.entries(CURVE_SIGNATURE_BYTES))(
    'imports a %s key and signs SHA-256 in %i bytes, or says that it cannot',
    async (namedCurve, bytes) => {
      const privateKey = makePkcs8('ec', namedCurve);
      if (lacksCurves.includes(namedCurve)) {
        await expectCode('UNSUPPORTED', importer().import(privateKey, OWNER, CONTEXT));
        expect(await backend().count()).toBe(0);
        return;
      }
      const { keyId, publicKey } = await importer().import(privateKey, OWNER, CONTEXT);
      const message = randomBytes(50);
      const signature = await backend().sign(keyId, { message }, CONTEXT);
      expect(signature.length).toBe(bytes);
      expect(verifySignature(publicKey, message, signature)).toBe(true);
    },
  );

  it.each([
    { name: 'rsa', algorithm: 'rsa', make: () => makePkcs8('rsa') },
    { name: 'rsa with a short CRT exponent', algorithm: 'rsa', make: shortExponent },
    { name: 'ed25519', algorithm: 'ed25519', make: () => makePkcs8('ed25519') },
  ] as const)('imports $name keys, or says that it cannot', async ({ algorithm, make }) => {
    const importing = importer().import(make(), OWNER, CONTEXT);
    if (!imports.includes(algorithm)) {
      await expectCode('UNSUPPORTED', importing);
      expect(await backend().count()).toBe(0);
      return;
    }
    const key = await importing;
    expect(key.publicKey.algorithm).toBe(algorithm);
    const message = randomBytes(10);
    expect(verifySignature(key.publicKey, message, await backend().sign(key.keyId, { message }, CONTEXT))).toBe(true);
  });

  it('leaves the bytes it is given as they are', async () => {
    const privateKey = makePkcs8('ec', 'P-256');
    const before = Buffer.from(privateKey);
    await importer().import(privateKey, OWNER, CONTEXT);
    expect(privateKey.equals(before)).toBe(true);
  });

  it('refuses a key that it has, and keeps the first owner', async () => {
    const privateKey = makePkcs8('ec', 'P-256');
    const { keyId } = await importer().import(privateKey, OWNER, CONTEXT);
    const error = await expectCode('KEY_EXISTS', importer().import(privateKey, { role: 'root', gun: '' }, CONTEXT));
    expect(inspect(error, { depth: 9 })).not.toContain(privateKey.subarray(40, 60).toString('hex'));
    expect(await backend().find(keyId)).toMatchObject(OWNER);
  });

  it('refuses what is no private key', async () => {
    for (const bytes of [Buffer.alloc(0), randomBytes(100), Buffer.from('3003020100', 'hex')]) {
      await expectCode('INVALID_ARGUMENT', importer().import(bytes, OWNER, CONTEXT));
    }
    const privateKey = makePkcs8('ec', 'secp256k1');
    await expectCode('UNSUPPORTED', importer().import(privateKey, OWNER, CONTEXT));
    expect(await backend().count()).toBe(0);
  });
}

/** A new key as DER PrivateKeyInfo, made by OpenSSL. */
function makePkcs8(type: 'ec' | 'rsa' | 'ed25519', namedCurve = 'P-256'): Buffer {
  const publicKeyEncoding = { format: 'der' as const, type: 'spki' as const };
  const privateKeyEncoding = { format: 'der' as const, type: 'pkcs8' as const };
  switch (type) {
    case 'ec':
      return generateKeyPairSync(type, { namedCurve, publicKeyEncoding, privateKeyEncoding }).privateKey;
    case 'rsa':
      return generateKeyPairSync(type, { modulusLength: 2048, publicKeyEncoding, privateKeyEncoding }).privateKey;
    case 'ed25519':
      return generateKeyPairSync(type, { publicKeyEncoding, privateKeyEncoding }).privateKey;
  }
}

/** d mod q-1 has 127 bytes and the primes 128, as in one key of eighty or so. */
function shortExponent(): Uint8Array {
  const key = readFileSync(new URL('../vectors/tokens/rsa2048-short-exponent.pem', import.meta.url));
  return createPrivateKey(key).export({ format: 'der', type: 'pkcs8' });
}

function describeUnlock(
  home: () => OpenBackend,
  backend: () => KeyBackend,
  generate: () => Promise<{ readonly keyId: KeyId; readonly publicKey: PublicKey }>,
): void {
  const unlocker = () => {
    const found = backend().unlocker;
    if (found === undefined) throw new Error('declared, but absent');
    return found;
  };

  it('counts open keys, locks one, locks all', async () => {
    const first = await generate();
    await generate();
    await generate();
    expect(await unlocker().unlockedCount()).toBe(3);
    expect(await unlocker().lock(first.keyId)).toBe(1);
    expect(await unlocker().lock(first.keyId)).toBe(0);
    expect(await unlocker().lock()).toBe(2);
    expect(await unlocker().unlockedCount()).toBe(0);
  });

  it('refuses a wrong passphrase and takes the right one', async () => {
    const { keyId, publicKey } = await generate();
    await unlocker().lock();
    const error = await expectCode(
      'PASSPHRASE_INCORRECT',
      unlocker().unlock(keyId, Secret.fromText('wrong'), undefined),
    );
    expect(error.message).not.toContain('wrong passphrase"');
    expect(await unlocker().unlockedCount()).toBe(0);
    const passphrase = home().passphrase;
    if (passphrase === undefined) throw new Error('a home with an unlocker must tell its passphrase to the suite');
    await unlocker().unlock(keyId, Secret.fromText(passphrase), 60_000);
    expect(await unlocker().unlockedCount()).toBe(1);
    const message = Buffer.from('open');
    expect(verifySignature(publicKey, message, await backend().sign(keyId, { message }, CONTEXT))).toBe(true);
  });
}

function describePin(
  home: () => OpenBackend,
  backend: () => KeyBackend,
  generate: () => Promise<{ readonly keyId: KeyId; readonly publicKey: PublicKey }>,
): void {
  const unlocker = () => {
    const found = backend().unlocker;
    if (found === undefined) throw new Error('declared, but absent');
    return found;
  };

  it('opens and closes all keys together', async () => {
    const { keyId } = await generate();
    await generate();
    expect(await unlocker().unlockedCount()).toBe(2);
    expect(await unlocker().lock(UNKNOWN)).toBe(0);
    expect(await unlocker().lock(keyId)).toBe(2);
    expect(await unlocker().lock(keyId)).toBe(0);
    expect(await unlocker().unlockedCount()).toBe(0);
  });

  it('refuses a wrong PIN and takes the right one', async () => {
    const { keyId, publicKey } = await generate();
    await unlocker().lock();
    const error = await expectCode('PIN_INCORRECT', unlocker().unlock(keyId, Secret.fromText('98765'), undefined));
    expect(inspect(error, { depth: 9 })).not.toContain('98765');
    expect(await unlocker().unlockedCount()).toBe(0);
    const { passphrase } = home();
    if (passphrase === undefined) throw new Error('a home with an unlocker must tell its PIN to the suite');
    await unlocker().unlock(keyId, Secret.fromText(passphrase), 60_000);
    expect(await unlocker().unlockedCount()).toBe(1);
    const message = Buffer.from('open');
    expect(verifySignature(publicKey, message, await backend().sign(keyId, { message }, CONTEXT))).toBe(true);
  });
}

async function expectCode(code: ErrorCode, promise: Promise<unknown>): Promise<SignetError> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if (!('error' in outcome)) throw new Error(`expected ${code}, but the call succeeded`);
  expect(outcome.error).toBeInstanceOf(SignetError);
  const error = outcome.error as SignetError;
  expect({ code: error.code, message: error.message }).toMatchObject({ code });
  return error;
}
