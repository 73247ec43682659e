/** The contract about keys made elsewhere. */
import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { CONTEXT, declared, expectCode, type HomeInTest, OWNER } from './subject.ts';

const CURVE_SIGNATURE_BYTES = { 'P-224': 56, 'P-256': 64, 'P-384': 96, 'P-521': 132 };

export function describeImport(home: HomeInTest): void {
  const { imports, lacksCurves = [] } = home.subject;
  const importer = () => declared(home.backend.importer);

  it.each(Object.entries(CURVE_SIGNATURE_BYTES))(
    'imports a %s key and signs SHA-256 in %i bytes, or says that it cannot',
    async (namedCurve, bytes) => {
      const privateKey = makePkcs8('ec', namedCurve);
      if (lacksCurves.includes(namedCurve)) {
        await expectCode('UNSUPPORTED', importer().import(privateKey, OWNER, CONTEXT));
        expect(await home.backend.count()).toBe(0);
        return;
      }
      const { keyId, publicKey } = await importer().import(privateKey, OWNER, CONTEXT);
      const message = randomBytes(50);
      const signature = await home.backend.sign(keyId, { message }, CONTEXT);
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
      expect(await home.backend.count()).toBe(0);
      return;
    }
    const key = await importing;
    expect(key.publicKey.algorithm).toBe(algorithm);
    const message = randomBytes(10);
    const signature = await home.backend.sign(key.keyId, { message }, CONTEXT);
    expect(verifySignature(key.publicKey, message, signature)).toBe(true);
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
    expect(await home.backend.find(keyId)).toMatchObject(OWNER);
  });

  it('refuses what is no private key', async () => {
    for (const bytes of [Buffer.alloc(0), randomBytes(100), Buffer.from('3003020100', 'hex')]) {
      await expectCode('INVALID_ARGUMENT', importer().import(bytes, OWNER, CONTEXT));
    }
    const privateKey = makePkcs8('ec', 'secp256k1');
    await expectCode('UNSUPPORTED', importer().import(privateKey, OWNER, CONTEXT));
    expect(await home.backend.count()).toBe(0);
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
