import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  buildOwnerCertificate,
  buildVacancyCertificate,
  conventionalOwner,
  isCertificateOf,
  marksVacancy,
  ownerUri,
  recordedOwner,
} from '../../../../src/backends/yubikey/slot-certificate.ts';
import { parseCertificate } from '../../../../src/crypto/certificate.ts';
import { PrivateKey } from '../../../../src/crypto/private-key.ts';
import { buildSlotCertificate } from '../../../../src/crypto/root-certificate.ts';
import type { SignInput } from '../../../../src/crypto/sign-input.ts';

const AT = new Date('2030-01-01T00:00:00Z');
let key: PrivateKey;
const sign = (input: SignInput) => key.sign(input);

beforeAll(async () => {
  key = await PrivateKey.generate('ecdsa');
});
afterAll(() => key[Symbol.dispose]());

const named = (commonName: string) =>
  buildSlotCertificate({ publicKey: key.publicKey, commonName, notBefore: AT }, sign);

describe('a certificate for an owner', () => {
  it('keeps any role and GUN that fit', async () => {
    const text = fc
      .string({ unit: 'grapheme', maxLength: 40 })
      .filter((value) => value.isWellFormed() && !/\p{Cc}/u.test(value));
    await fc.assert(
      fc.asyncProperty(text, text, async (role, gun) => {
        const certificate = await buildOwnerCertificate({ role, gun }, key.publicKey, AT, sign);
        expect(recordedOwner(certificate)).toEqual({ role, gun });
        expect(isCertificateOf(certificate, key.publicKey)).toBe(true);
        expect(marksVacancy(certificate)).toBe(false);
      }),
      { numRuns: 50 },
    );
  });

  it('has the role where Notary looks for it', async () => {
    const { subject } = await buildOwnerCertificate({ role: 'root', gun: 'a' }, key.publicKey, AT, sign);
    expect(subject.commonName).toBe('root');
  });

  it('is refused for what does not fit', () => {
    expect(() => ownerUri({ role: 'root', gun: 'ü'.repeat(255) })).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'role and GUN do not fit into a certificate on the YubiKey',
      }),
    );
  });
});

describe('a certificate of others', () => {
  it.each([
    ['root', 'root'],
    ['targets', 'targets'],
    ['targets/releases', 'targets/releases'],
    ['timestamp', 'timestamp'],
    ['Root', 'root'],
    ['targets/', 'root'],
    ['registry.example.com/app', 'root'],
  ])('named %s is of a key for the role %s', async (commonName, role) => {
    const certificate = await named(commonName);
    expect(recordedOwner(certificate)).toBeUndefined();
    expect(conventionalOwner(certificate)).toEqual({ role, gun: '' });
  });

  it('that is not there is of a root key', () => {
    expect(recordedOwner(undefined)).toBeUndefined();
    expect(conventionalOwner(undefined)).toEqual({ role: 'root', gun: '' });
  });

  it('says nothing in our words unless the key signed it: anybody may store one', async () => {
    const forged = (der: Uint8Array) => {
      const bytes = Buffer.from(der);
      bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
      return parseCertificate(bytes);
    };
    const owned = await buildOwnerCertificate({ role: 'timestamp', gun: 'a' }, key.publicKey, AT, sign);
    expect(recordedOwner(forged(owned.der))).toBeUndefined();
    const vacant = await buildVacancyCertificate(key.publicKey, AT, sign);
    expect(marksVacancy(forged(vacant.der))).toBe(false);
  });

  it('of another key is told apart', async () => {
    using other = await PrivateKey.generate('ecdsa');
    expect(isCertificateOf(await named('root'), other.publicKey)).toBe(false);
  });
});

it('an empty slot is marked as such', async () => {
  expect(marksVacancy(await buildVacancyCertificate(key.publicKey, AT, sign))).toBe(true);
  expect(marksVacancy(await named('root'))).toBe(false);
  expect(marksVacancy(undefined)).toBe(false);
});
