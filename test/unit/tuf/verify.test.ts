import { constants, generateKeyPairSync, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import type { Signature } from '../../../src/tuf/metadata.ts';
import type { RoleAuthority } from '../../../src/tuf/role-keys.ts';
import { canonicalKeyId, type TufKey, tufKeyId } from '../../../src/tuf/tuf-key.ts';
import { signersOf, verifyMetadataSignature, verifySignatures } from '../../../src/tuf/verify.ts';
import { openssl } from '../../support/certificates.ts';
import { temporaryDirectory } from '../../support/temp.ts';
import { TestKeys } from '../../support/tuf-collection.ts';

const MESSAGE = Buffer.from('{"_type":"Root"}');
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };

function newRsa(modulusLength: number) {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength });
  const key: TufKey = { algorithm: 'rsa', bytes: publicKey.export({ format: 'der', type: 'spki' }) };
  const pem: TufKey = { algorithm: 'rsa', bytes: Buffer.from(publicKey.export({ format: 'pem', type: 'spki' })) };
  return { privateKey, key, pem };
}

function newEc(namedCurve: string) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
  return { privateKey, key: { algorithm: 'ecdsa', bytes: publicKey.export({ format: 'der', type: 'spki' }) } };
}

function signature(key: TufKey, method: string, bytes: Uint8Array): Signature {
  return { keyId: tufKeyId(key), method, bytes };
}

const RSA = newRsa(2048);

describe('verifyMetadataSignature', () => {
  it.each(['prime256v1', 'secp384r1', 'secp521r1', 'secp224r1'])('ecdsa: takes r‖s over SHA-256 on %s', (curve) => {
    const { privateKey, key } = newEc(curve);
    const bytes = sign('sha256', MESSAGE, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    expect(verifyMetadataSignature(key, MESSAGE, signature(key, 'ecdsa', bytes))).toBe(true);
    const der = sign('sha256', MESSAGE, privateKey);
    expect(verifyMetadataSignature(key, MESSAGE, signature(key, 'ecdsa', der))).toBe(false);
    const longer = Buffer.concat([
      Buffer.of(0),
      bytes.subarray(0, bytes.length / 2),
      Buffer.of(0),
      bytes.subarray(bytes.length / 2),
    ]);
    expect(verifyMetadataSignature(key, MESSAGE, signature(key, 'ecdsa', longer))).toBe(false);
  });

  it('ecdsa: refuses the curve of Bitcoin, which Go does not know', () => {
    const { privateKey, key } = newEc('secp256k1');
    const bytes = sign('sha256', MESSAGE, { key: privateKey, dsaEncoding: 'ieee-p1363' });
    expect(verifyMetadataSignature(key, MESSAGE, signature(key, 'ecdsa', bytes))).toBe(false);
  });

  it('eddsa: takes Ed25519 over the message', async () => {
    const key = await PrivateKey.generate('ed25519');
    const bytes = await key.sign({ message: MESSAGE });
    expect(verifyMetadataSignature(key.publicKey, MESSAGE, signature(key.publicKey, 'eddsa', bytes))).toBe(true);
  });

  it('rsapss, rsapkcs1v15 and the PyCrypto method: each takes its own padding only', () => {
    const withPss = sign('sha256', MESSAGE, { key: RSA.privateKey, ...pss });
    const withPkcs1 = sign('sha256', MESSAGE, RSA.privateKey);
    const verdicts = (key: TufKey, bytes: Uint8Array) =>
      ['rsapss', 'rsapkcs1v15', 'pycrypto-pkcs#1 pss'].map((method) =>
        verifyMetadataSignature(key, MESSAGE, signature(key, method, bytes)),
      );
    expect(verdicts(RSA.key, withPss)).toEqual([true, false, false]);
    expect(verdicts(RSA.key, withPkcs1)).toEqual([false, true, false]);
    expect(verdicts(RSA.pem, withPss)).toEqual([false, false, true]);
    expect(verdicts(RSA.pem, withPkcs1)).toEqual([false, false, false]);
  });

  it('rsapss: refuses another salt length, another hash and a short key', () => {
    const otherSalt = sign('sha256', MESSAGE, { key: RSA.privateKey, ...pss, saltLength: 20 });
    const otherHash = sign('sha512', MESSAGE, { key: RSA.privateKey, ...pss });
    const short = newRsa(1024);
    const shortSignature = sign('sha256', MESSAGE, { key: short.privateKey, ...pss });
    expect(verifyMetadataSignature(RSA.key, MESSAGE, signature(RSA.key, 'rsapss', otherSalt))).toBe(false);
    expect(verifyMetadataSignature(RSA.key, MESSAGE, signature(RSA.key, 'rsapss', otherHash))).toBe(false);
    expect(verifyMetadataSignature(short.key, MESSAGE, signature(short.key, 'rsapss', shortSignature))).toBe(false);
  });

  it('refuses a method that is not of the kind of the key, and one that nobody knows', async () => {
    const key = await PrivateKey.generate('ecdsa');
    const bytes = await key.sign({ message: MESSAGE });
    for (const method of ['eddsa', 'rsapss', 'rsapkcs1v15', 'ECDSA', 'toString', '__proto__', '']) {
      expect(verifyMetadataSignature(key.publicKey, MESSAGE, signature(key.publicKey, method, bytes))).toBe(false);
    }
  });

  it.each(['ecdsa', 'ed25519', 'rsa', 'ecdsa-x509', 'rsa-x509', 'dilithium'])(
    'a malformed %s key signs nothing',
    (algorithm) => {
      const key = { algorithm, bytes: Buffer.from('no key') };
      for (const method of ['ecdsa', 'eddsa', 'rsapss', 'pycrypto-pkcs#1 pss']) {
        expect(verifyMetadataSignature(key, MESSAGE, signature(key, method, Buffer.alloc(64)))).toBe(false);
      }
    },
  );

  it('takes no signature after any bit of it or of the message has changed', async () => {
    const key = await PrivateKey.generate('ecdsa');
    const bytes = await key.sign({ message: MESSAGE });
    const flipped = (original: Uint8Array, bit: number) => {
      const copy = Buffer.from(original);
      copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      return copy;
    };
    fc.assert(
      fc.property(fc.nat(8 * bytes.length - 1), fc.nat(8 * MESSAGE.length - 1), (signatureBit, messageBit) => {
        const damaged = signature(key.publicKey, 'ecdsa', flipped(bytes, signatureBit));
        expect(verifyMetadataSignature(key.publicKey, MESSAGE, damaged)).toBe(false);
        const good = signature(key.publicKey, 'ecdsa', bytes);
        expect(verifyMetadataSignature(key.publicKey, flipped(MESSAGE, messageBit), good)).toBe(false);
      }),
    );
  });
});

describe('verifySignatures', () => {
  const refusal = expect.objectContaining({
    code: 'METADATA_REJECTED',
    message: 'valid signatures did not meet threshold for targets',
  });

  it('counts the keys of the role that signed, however often they did and whoever else did', async () => {
    const privateKeys = await Promise.all([1, 2, 3, 4].map(() => PrivateKey.generate('ecdsa')));
    const all = await Promise.all(
      privateKeys.map(async (key) => signature(key.publicKey, 'ecdsa', await key.sign({ message: MESSAGE }))),
    );
    const own = privateKeys.slice(0, 3).map(({ publicKey }) => publicKey);
    fc.assert(
      fc.property(fc.array(fc.nat(3)), fc.integer({ min: 1, max: 4 }), (chosen, threshold) => {
        const signatures = chosen.flatMap((index) => all[index] ?? []);
        const role: RoleAuthority = { name: 'targets', keys: [...own, ...own], threshold };
        const verify = () => verifySignatures({ message: MESSAGE, signatures }, role);
        if (new Set(chosen.filter((index) => index < 3)).size >= threshold) verify();
        else expect(verify).toThrow(refusal);
      }),
    );
  });

  it('counts one key behind two certificates once', async () => {
    await using directory = await temporaryDirectory();
    const keys = new TestKeys();
    const first = await keys.certificate(directory.path, 'one');
    const keyFile = `${directory.path}/root-0.key`;
    await openssl([
      'req',
      '-x509',
      '-key',
      keyFile,
      '-subj',
      '/CN=two',
      '-days',
      '30',
      '-out',
      `${directory.path}/2.crt`,
    ]);
    const second: TufKey = { algorithm: 'ecdsa-x509', bytes: await readFile(`${directory.path}/2.crt`) };
    expect(tufKeyId(first)).not.toBe(tufKeyId(second));
    const bytes = await keys.sign(canonicalKeyId(first), MESSAGE);
    const signatures = [signature(first, 'ecdsa', bytes), signature(second, 'ecdsa', bytes)];
    expect([...signersOf(MESSAGE, signatures, [first, second])]).toEqual([canonicalKeyId(first)]);
    const role = { name: 'targets', keys: [first, second], threshold: 2 };
    expect(() => verifySignatures({ message: MESSAGE, signatures }, role)).toThrow(refusal);
  });

  it('a threshold below 1 is met by nothing', () => {
    const role = { name: 'targets', keys: [], threshold: 0 };
    expect(() => verifySignatures({ message: MESSAGE, signatures: [] }, role)).toThrow(refusal);
  });
});
