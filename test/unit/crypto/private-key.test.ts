import { constants, createHash, verify } from 'node:crypto';
import { inspect } from 'node:util';
import { ed25519 } from '@noble/curves/ed25519.js';
import { p256, p384, p521 } from '@noble/curves/nist.js';
import { describe, expect, it } from 'vitest';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { toKeyObject, verifySignature } from '../../../src/crypto/public-key.ts';
import { keyVector, oneKeyOfEach } from '../../support/private-keys.ts';

const message = Buffer.from('what is to be signed');

const key = oneKeyOfEach();

describe('generate', () => {
  it('makes P-256, Ed25519 and RSA 3072', () => {
    expect(toKeyObject(key('ecdsa').publicKey).asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    expect(toKeyObject(key('rsa').publicKey).asymmetricKeyDetails?.modulusLength).toBe(3072);
    expect(key('ed25519').publicKey.bytes).toHaveLength(32);
  });

  it('makes another key each time', async () => {
    expect((await PrivateKey.generate('ed25519')).keyId).not.toBe(key('ed25519').keyId);
  });
});

describe.each(['ecdsa', 'ed25519', 'rsa'] as const)('an %s key', (algorithm) => {
  it('signs messages that verify', async () => {
    for (const bytes of [Buffer.of(), message, Buffer.alloc(100_000, 7)]) {
      expect(verifySignature(key(algorithm).publicKey, bytes, await key(algorithm).sign({ message: bytes }))).toBe(
        true,
      );
    }
  });

  it("survives Notary's PKCS#8", () => {
    const der = key(algorithm).toPkcs8();
    expect(PrivateKey.fromPkcs8(der).keyId).toBe(key(algorithm).keyId);
    expect(PrivateKey.fromPkcs8(der).toPkcs8()).toEqual(der);
  });

  it('gives a fresh buffer each time', () => {
    key(algorithm).toPkcs8().fill(0);
    expect(PrivateKey.fromPkcs8(key(algorithm).toPkcs8()).keyId).toBe(key(algorithm).keyId);
  });

  it('leaves the bytes it is read from as they were', () => {
    const der = key(algorithm).toPkcs8();
    const copy = Buffer.from(der);
    PrivateKey.fromPkcs8(der);
    expect(der).toEqual(copy);
  });

  it('does nothing after disposal', async () => {
    const doomed = PrivateKey.fromPkcs8(key(algorithm).toPkcs8());
    const underWay = doomed.sign({ message });
    doomed.dispose();
    doomed[Symbol.dispose]();
    expect(verifySignature(doomed.publicKey, message, await underWay)).toBe(true);
    const error = { code: 'INTERNAL', message: 'private key used after it was disposed of' };
    await expect(doomed.sign({ message })).rejects.toMatchObject(error);
    await expect(doomed.sign({ digest: Buffer.alloc(32), hash: 'sha256' })).rejects.toMatchObject(error);
    expect(() => doomed.toPkcs8()).toThrow(expect.objectContaining(error));
  });

  it('does not print its private half', () => {
    const shown = inspect(key(algorithm), { depth: 10, showHidden: true }) + JSON.stringify(key(algorithm));
    expect(shown).not.toContain(key(algorithm).toPkcs8().subarray(-64).toString('base64').slice(4, 24));
    expect(shown).not.toMatch(/PRIVATE|"d"|seed/);
  });
});

describe('signatures of messages', () => {
  it.each([
    ['p8-plain', 64, p256],
    ['p8-p384', 96, p384],
    ['p8-p521', 132, p521],
  ] as const)('by %s are r‖s over SHA-256 for another implementation too', async (name, length, noble) => {
    const signer = PrivateKey.fromPkcs8(keyVector(name));
    const signature = await signer.sign({ message });
    expect(signature).toHaveLength(length);
    const digest = createHash('sha256').update(message).digest();
    const point = signer.publicKey.bytes.subarray(-(length + 1));
    expect(noble.verify(signature, digest, point, { prehash: false, lowS: false })).toBe(true);
  });

  it('on P-224 are 56 bytes', async () => {
    const signer = PrivateKey.fromPkcs8(keyVector('p8-p224'));
    const signature = await signer.sign({ message });
    expect(signature).toHaveLength(56);
    expect(verifySignature(signer.publicKey, message, signature)).toBe(true);
  });

  it('by RSA are PSS with a salt of 32 bytes, and differ each time', async () => {
    const [a, b] = await Promise.all([key('rsa').sign({ message }), key('rsa').sign({ message })]);
    const publicKey = { key: toKeyObject(key('rsa').publicKey), padding: constants.RSA_PKCS1_PSS_PADDING };
    expect(verify('sha256', message, { ...publicKey, saltLength: 32 }, a)).toBe(true);
    expect(verify('sha256', message, { ...publicKey, saltLength: 20 }, a)).toBe(false);
    expect(a).not.toEqual(b);
  });

  // RFC 8032 §7.1, tests 1 to 3.
  it.each([
    [
      '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
      '',
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    ],
    [
      '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
      '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
      '72',
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    ],
    [
      'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
      'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
      'af82',
      '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    ],
  ])('by the Ed25519 key of RFC 8032 with seed %s are those of the RFC', async (seed, publicHex, text, signature) => {
    const signer = PrivateKey.fromNotaryEd25519(Buffer.from(publicHex + seed + publicHex, 'hex'));
    expect(Buffer.from(signer.publicKey.bytes).toString('hex')).toBe(publicHex);
    const made = await signer.sign({ message: Buffer.from(text, 'hex') });
    expect(Buffer.from(made).toString('hex')).toBe(signature);
    expect(ed25519.verify(made, Buffer.from(text, 'hex'), signer.publicKey.bytes)).toBe(true);
  });
});
