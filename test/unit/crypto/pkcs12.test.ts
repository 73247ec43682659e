import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  contextTag,
  type DerNode,
  derEncoded,
  derExplicit,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  encodeDer,
} from '../../../src/crypto/der.ts';
import { looksLikePkcs12, openPkcs12 } from '../../../src/crypto/pkcs12.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { SignetError } from '../../../src/errors.ts';

const P256 = '5b2a2ad7dcd3f82ca3024dd25bc371801a830cf9480f94f7efc588b596ba2122';
const RSA = '3f043f4b23d8458386d456e3adaaf362312522e01554653466e5143b4dd2a38f';

const vector = (name: string) => readFileSync(new URL(`../../vectors/pkcs12/${name}.p12`, import.meta.url));
const passphrase = Buffer.from('passw0rd1');

/** Key IDs, labels and subjects of what is in a file. */
async function summary(file: Uint8Array, secret: Uint8Array | undefined) {
  const { keys, certificates } = await openPkcs12(file, secret);
  return {
    keys: keys.map(({ pkcs8, label }) => [PrivateKey.fromPkcs8(pkcs8).keyId, label]),
    certificates: certificates.map(({ subject }) => subject.text),
  };
}

const DATA = '1.2.840.113549.1.7.1';
const contentInfo = (...contents: DerNode[]) => derSequence(derOid(DATA), derExplicit(0, ...contents));
/** A file without MAC whose safe has these parts. */
const file = (...parts: DerNode[]) =>
  encodeDer(derSequence(derUnsigned(3), contentInfo(derOctetString(encodeDer(derSequence(...parts))))));
const bags = (...content: DerNode[]) => contentInfo(derOctetString(encodeDer(derSequence(...content))));
const bag = (type: number, value: DerNode) =>
  derSequence(derOid(`1.2.840.113549.1.12.10.1.${type}`), derExplicit(0, value));
const encrypted = (algorithm: DerNode, data: Uint8Array) => bag(2, derSequence(algorithm, derOctetString(data)));
const oldAlgorithm = (arc: number, iterations: number) =>
  derSequence(
    derOid(`1.2.840.113549.1.12.1.${arc}`),
    derSequence(derOctetString(Buffer.alloc(8)), derUnsigned(iterations)),
  );

describe('openPkcs12', () => {
  it.each([
    ['openssl3-p256', [[P256, 'signing key']], ['CN=p12 p256']],
    ['openssl3-rsa', [[RSA, '']], ['CN=p12 rsa', 'CN=extra CA']],
    ['sha512-p256', [[P256, '']], ['CN=p12 p256']],
    ['legacy-rc2-40-p256', [[P256, '']], ['CN=p12 p256']],
    ['legacy-2des-rc2-128-p256', [[P256, '']], ['CN=p12 p256']],
    ['nomac-p256', [[P256, '']], ['CN=p12 p256']],
    ['nss-p256', [[P256, 'signing key']], ['CN=p12 p256']],
    ['only-certificate', [], ['CN=p12 p256']],
  ])('reads %s', async (name, keys, certificates) => {
    expect(await summary(vector(name), passphrase)).toStrictEqual({ keys, certificates });
  });

  it.each(['java-p384', 'java-legacy-rsa'])('reads %s', async (name) => {
    const { keys, certificates } = await summary(vector(name), passphrase);
    expect(keys).toStrictEqual([[expect.any(String), 'signer']]);
    expect(certificates).toStrictEqual(['CN=java']);
  });

  it('takes a passphrase for UTF-8', async () => {
    const { keys } = await summary(vector('utf8-passphrase-p256'), Buffer.from('pässwörd €'));
    expect(keys).toStrictEqual([[P256, '']]);
    await expect(openPkcs12(vector('utf8-passphrase-p256'), Buffer.of(0xff))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'the passphrase is not UTF-8',
    });
  });

  it('opens a file with an empty passphrase and with none', async () => {
    const name = 'empty-passphrase-p256';
    expect((await summary(vector(name), Buffer.of())).keys).toStrictEqual([[P256, '']]);
    expect((await summary(vector(name), undefined)).keys).toStrictEqual([[P256, '']]);
  });

  it('opens a file without encryption only with the passphrase of its MAC', async () => {
    expect((await summary(vector('plain-p256'), passphrase)).keys).toStrictEqual([[P256, '']]);
    await expect(openPkcs12(vector('plain-p256'), undefined)).rejects.toMatchObject({ code: 'PASSPHRASE_REQUIRED' });
  });

  it.each(['openssl3-p256', 'legacy-rc2-40-p256', 'nomac-p256'])(
    'says which passphrase is missing or wrong: %s',
    async (name) => {
      await expect(openPkcs12(vector(name), undefined)).rejects.toMatchObject({
        code: 'PASSPHRASE_REQUIRED',
        message: 'the PKCS#12 file is sealed under a passphrase',
      });
      await expect(openPkcs12(vector(name), Buffer.from('wrong'))).rejects.toMatchObject({
        code: 'PASSPHRASE_INCORRECT',
        message: 'the passphrase does not open the PKCS#12 file',
      });
    },
  );

  it('reads keys in bags inside bags, and leaves out what is neither key nor certificate', async () => {
    const pkcs8 = (await PrivateKey.generate('ecdsa')).toPkcs8();
    const key = bag(1, derEncoded(pkcs8));
    const crl = bag(4, derSequence());
    const secret = bag(5, derSequence());
    const contents = await openPkcs12(
      file(bags(bag(6, derSequence(crl, bag(6, derSequence(key)))), secret)),
      undefined,
    );
    expect(contents.keys.map((found) => found.pkcs8)).toStrictEqual([pkcs8]);
  });

  it.each<[string, Buffer, string, string]>([
    [
      'another version',
      encodeDer(derSequence(derUnsigned(2))),
      'INVALID_ARGUMENT',
      'malformed PKCS#12 file: unknown version',
    ],
    [
      'integrity by a certificate',
      encodeDer(derSequence(derUnsigned(3), derSequence(derOid('1.2.840.113549.1.7.2')))),
      'UNSUPPORTED',
      'PKCS#12 file: integrity by 1.2.840.113549.1.7.2 is not supported',
    ],
    [
      'content for certificates',
      file(derSequence(derOid('1.2.840.113549.1.7.3'))),
      'UNSUPPORTED',
      'PKCS#12 file: content of type 1.2.840.113549.1.7.3 is not supported',
    ],
    [
      'RC4',
      file(bags(encrypted(oldAlgorithm(1, 1), Buffer.alloc(8)))),
      'UNSUPPORTED',
      'PKCS#12 file: encryption scheme 1.2.840.113549.1.12.1.1 is not supported',
    ],
    [
      'no iterations',
      file(bags(encrypted(oldAlgorithm(3, 0), Buffer.alloc(8)))),
      'INVALID_ARGUMENT',
      'malformed PKCS#12 file: iterations is zero',
    ],
    [
      'too many iterations',
      file(bags(encrypted(oldAlgorithm(3, 4_000_000), Buffer.alloc(8)))),
      'INVALID_ARGUMENT',
      'the PKCS#12 file asks for too many iterations',
    ],
    [
      'too many bags',
      file(bags(...Array.from({ length: 257 }, () => bag(4, derSequence())))),
      'INVALID_ARGUMENT',
      'malformed PKCS#12 file: more than 256 bags',
    ],
    [
      'too many nested bags',
      file(bags([1, 2, 3, 4, 5].reduce((inner) => bag(6, derSequence(inner)), bag(4, derSequence())))),
      'INVALID_ARGUMENT',
      'malformed PKCS#12 file: too many nested bags',
    ],
  ])('refuses %s', async (_, der, code, message) => {
    await expect(openPkcs12(der, passphrase)).rejects.toMatchObject({
      code,
      message,
      hint: code === 'UNSUPPORTED' ? 'convert it with "openssl pkcs12 -in FILE -out keys.pem"' : undefined,
    });
  });

  it('takes data that is no number of blocks for the wrong passphrase', async () => {
    const odd = file(bags(encrypted(oldAlgorithm(3, 1), Buffer.alloc(7))));
    await expect(openPkcs12(odd, passphrase)).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
  });

  it('reads encrypted content in pieces', async () => {
    const pieces = {
      tag: contextTag(0, 'constructed'),
      content: [derOctetString(Buffer.alloc(4)), derOctetString(Buffer.alloc(4))],
    };
    const info = derSequence(derOid(DATA), oldAlgorithm(3, 1), pieces);
    const part = derSequence(derOid('1.2.840.113549.1.7.6'), derExplicit(0, derSequence(derUnsigned(0), info)));
    await expect(openPkcs12(file(part), passphrase)).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
  });

  it.each(['openssl3-p256', 'legacy-2des-rc2-128-p256', 'plain-p256', 'nomac-p256'])(
    'gives for %s with any changed byte its keys or a SignetError',
    async (name) => {
      const original = vector(name);
      await fc.assert(
        fc.asyncProperty(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }), async (index, change) => {
          const damaged = Buffer.from(original);
          damaged.writeUInt8(damaged.readUInt8(index) ^ change, index);
          await openPkcs12(damaged, passphrase).catch((error: unknown) => expect(error).toBeInstanceOf(SignetError));
        }),
        { numRuns: 150 },
      );
    },
  );

  it('refuses a file that is cut anywhere', async () => {
    const original = vector('openssl3-p256');
    for (let length = 0; length < original.length; length += 7) {
      await expect(openPkcs12(original.subarray(0, length), passphrase)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    }
  });
});

describe('looksLikePkcs12', () => {
  it('knows files by their beginning', () => {
    expect(['openssl3-p256', 'nss-p256', 'java-p384'].map((name) => looksLikePkcs12(vector(name)))).toStrictEqual([
      true,
      true,
      true,
    ]);
    expect(looksLikePkcs12(Buffer.from('3003020103', 'hex'))).toBe(true);
    expect(['', '30', '3003020101', '308002'].map((hex) => looksLikePkcs12(Buffer.from(hex, 'hex')))).not.toContain(
      true,
    );
  });
});
