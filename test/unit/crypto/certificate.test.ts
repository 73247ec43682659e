import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Certificate,
  certificateFingerprint,
  certificatePublicKey,
  isIssuedBy,
  parseCertificate,
  parseCertificatesPem,
} from '../../../src/crypto/certificate.ts';
import { buildCertificate } from '../../../src/crypto/certificate-builder.ts';
import { keyUsage, keyUsageOf } from '../../../src/crypto/certificate-extensions.ts';
import { DER_TAG, type DerNode, derEncoded, derSequence, derUnsigned, encodeDer } from '../../../src/crypto/der.ts';
import { nameFromCommonName } from '../../../src/crypto/distinguished-name.ts';
import { keyIdOf } from '../../../src/crypto/key-id.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { SignetError } from '../../../src/errors.ts';
import { authorityExtensions, issue, VALIDITY } from '../../support/x509.ts';

const read = (name: string) => readFileSync(new URL(`../../vectors/certificates/${name}`, import.meta.url));
const malformed = (problem: string) =>
  expect.objectContaining({ code: 'INVALID_ARGUMENT', message: `malformed certificate: ${problem}` });

function first(name: string): Certificate {
  const [certificate] = parseCertificatesPem(read(name));
  if (certificate === undefined) throw new Error('no certificate in the vector');
  return certificate;
}

/** A certificate with any elements in the places of the real ones; its signature is worth nothing. */
function crafted(parts: Partial<Record<'version' | 'serial' | 'inner' | 'outer' | 'time' | 'name' | 'rest', DerNode>>) {
  const algorithm = derEncoded(Buffer.from('300a06082a8648ce3d040302', 'hex'));
  const time = parts.time ?? { tag: DER_TAG.UTC_TIME, content: Buffer.from('300101000000Z') };
  const name = parts.name ?? derEncoded(nameFromCommonName('x').der);
  const tbs = derSequence(
    ...(parts.version === undefined ? [] : [{ tag: 0xa0, content: [parts.version] }]),
    parts.serial ?? derUnsigned(1),
    parts.inner ?? algorithm,
    name,
    derSequence(time, time),
    name,
    derSequence(),
    ...(parts.rest === undefined ? [] : [{ tag: 0xa3, content: [parts.rest] }]),
  );
  const signature = { tag: DER_TAG.BIT_STRING, content: Buffer.of(0, 1) };
  return encodeDer(derSequence(tbs, parts.outer ?? algorithm, signature));
}

const time = (tag: number, text: string): DerNode => ({ tag, content: Buffer.from(text) });
const set = (...content: DerNode[]): DerNode => ({ tag: DER_TAG.SET, content });
const oid = (hex: string): DerNode => ({ tag: DER_TAG.OBJECT_IDENTIFIER, content: Buffer.from(hex, 'hex') });
const attribute = (type: string, tag: number, value: Uint8Array | string) =>
  set(derSequence(oid(type), { tag, content: Buffer.from(value) }));

describe('parseCertificate', () => {
  it.each(['notary-root-p256.crt', 'notary-root-rsa3072.crt', 'pub-cert-sha1.crt', 'pub-cert-rsa1024.crt'])(
    'reads in %s what OpenSSL reads',
    (name) => {
      const openssl = new X509Certificate(read(name));
      const certificate = first(name);
      expect(certificate.subject.text).toBe(openssl.subject.split('\n').toReversed().join(','));
      expect(certificate.issuer.text).toBe(openssl.issuer.split('\n').toReversed().join(','));
      expect(BigInt(`0x${certificate.serialNumber}`)).toBe(BigInt(`0x${openssl.serialNumber}`));
      expect(certificate.notBefore).toStrictEqual(new Date(openssl.validFrom));
      expect(certificate.notAfter).toStrictEqual(new Date(openssl.validTo));
      expect(certificateFingerprint(certificate)).toBe(openssl.fingerprint256.replaceAll(':', '').toLowerCase());
      expect(Buffer.from(certificate.subjectPublicKeyInfo)).toStrictEqual(
        openssl.publicKey.export({ format: 'der', type: 'spki' }),
      );
    },
  );

  it('gives the key whose ID Notary computed', () => {
    expect(keyIdOf(certificatePublicKey(first('pub-cert-ecdsa.crt')))).toBe(
      'e10c56e261964686cef5e5d858dd77775b519512bbf80c6d62b13fed6eb88158',
    );
  });

  it('names a signature algorithm that is not accepted by its identifier only', () => {
    expect(first('pub-cert-sha1.crt')).toMatchObject({
      signatureAlgorithm: undefined,
      signatureAlgorithmOid: '1.2.840.10045.4.1',
    });
  });

  it('reads all certificates of a PEM file in order', () => {
    expect(parseCertificatesPem(read('pub-cert-chain.crt')).map(({ subject }) => subject.commonName)).toHaveLength(2);
  });

  it('refuses a PEM file without certificates', () => {
    expect(() => parseCertificatesPem(read('pub-spki-rsa.pem'))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'no PEM block of type CERTIFICATE' }),
    );
  });

  it.each<[string, Parameters<typeof crafted>[0], string]>([
    ['another version', { version: derUnsigned(3) }, 'unknown version'],
    ['no serial number', { serial: { tag: 2, content: Buffer.of() } }, 'serialNumber is empty or too long'],
    ['a long serial number', { serial: { tag: 2, content: Buffer.alloc(65, 1) } }, 'serialNumber is empty or too long'],
    ['two signature algorithms', { outer: derSequence(oid('2b6570')) }, 'two different signature algorithms are named'],
    ['a local time', { time: time(0x17, '300101000000+0100') }, 'notBefore is not a time in UTC with seconds'],
    ['fractions of seconds', { time: time(0x18, '20300101000000.5Z') }, 'notBefore is not a time in UTC with seconds'],
    ['a 31st of February', { time: time(0x17, '300231000000Z') }, 'notBefore is not a date of the calendar'],
    ['an hour 24', { time: time(0x17, '300201240000Z') }, 'notBefore is not a date of the calendar'],
    ['a time of another type', { time: time(0x0c, '300101000000Z') }, 'notBefore is not a time'],
    ['a name of another type', { name: set() }, 'issuer is not a name'],
    ['an empty part of a name', { name: derSequence(set()) }, 'AttributeTypeAndValue is missing'],
    [
      'a name that is not UTF-8',
      { name: derSequence(attribute('550403', 0x0c, Buffer.of(0xff))) },
      'a name is not UTF-8',
    ],
    [
      'half a character in a name',
      { name: derSequence(attribute('550403', 0x1e, 'abc')) },
      'a name is cut off inside a character',
    ],
    [
      'an endless name',
      { name: derSequence(...Array.from({ length: 65 }, () => attribute('550403', 0x0c, 'x'))) },
      'issuer has too many attributes',
    ],
    [
      'an extension twice',
      {
        version: derUnsigned(2),
        rest: derSequence(...[1, 2].map(() => derSequence(oid('551d13'), { tag: 4, content: Buffer.of() }))),
      },
      'extension 2.5.29.19 is there twice',
    ],
  ])('refuses %s', (_, parts, problem) => {
    expect(() => parseCertificate(crafted(parts))).toThrow(malformed(problem));
  });

  it('refuses more than 64 KiB', () => {
    expect(() => parseCertificate(new Uint8Array(65 * 1024))).toThrow(malformed('larger than 64 KiB'));
  });

  it('reads years before 1950 and after 2049, and negative serial numbers, which exist', () => {
    const der = crafted({ serial: { tag: 2, content: Buffer.of(0x80) }, time: time(0x18, '99991231235959Z') });
    expect(parseCertificate(der)).toMatchObject({ serialNumber: '80', notAfter: new Date('9999-12-31T23:59:59Z') });
    expect(parseCertificate(crafted({ time: time(0x17, '500101000000Z') })).notBefore).toStrictEqual(
      new Date('1950-01-01T00:00:00Z'),
    );
  });

  it('shows names without anything a terminal would obey, the last common name counts', () => {
    const name = derSequence(
      attribute('550406', 0x13, 'SE'),
      attribute('55040a', 0x1e, utf16('Åbo')),
      attribute('550403', 0x0c, 'first'),
      attribute('550403', 0x0c, '\u001b[31m#a,b\u202e'),
      attribute('2a03', 0x04, Buffer.of(1, 2)),
    );
    const { subject } = parseCertificate(crafted({ name }));
    expect(subject.commonName).toBe('\u001b[31m#a,b\u202e');
    expect(subject.text).toBe('1.2.3=#04020102,CN=\\1b[31m#a\\,b\\e2\\80\\ae,CN=first,O=Åbo,C=SE');
  });

  it('cuts long names off where they are shown', () => {
    const name = derSequence(attribute('550403', 0x0c, 'x'.repeat(1000)));
    const { subject } = parseCertificate(crafted({ name }));
    expect(subject.commonName).toHaveLength(1000);
    expect(subject.text).toBe(`CN=${'x'.repeat(297)}…`);
  });

  it('any change of a byte gives a certificate or a SignetError, and never a valid signature', async () => {
    const { der } = first('notary-root-p256.crt');
    const issuer = first('notary-root-p256.crt');
    expect(isIssuedBy(issuer, issuer)).toBe(true);
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (index, change) => {
        const damaged = Buffer.from(der);
        damaged.writeUInt8(damaged.readUInt8(index) ^ change, index);
        try {
          const certificate = parseCertificate(damaged);
          expect(isIssuedBy(certificate, issuer)).toBe(false);
          keyUsageOf(certificate.extensions);
          certificatePublicKey(certificate);
        } catch (error) {
          expect(error).toBeInstanceOf(SignetError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

function utf16(text: string): Buffer {
  return Buffer.from(text, 'utf16le').swap16();
}

describe('buildCertificate', () => {
  it.each(['ecdsa', 'ed25519', 'rsa'] as const)(
    'issues with a key of type %s what its issuer verifies',
    async (type) => {
      const authority = await issue('authority', {
        key: await PrivateKey.generate(type),
        extensions: authorityExtensions(0),
      });
      const { certificate } = await issue('leaf', { by: authority });
      expect(isIssuedBy(certificate, authority.certificate)).toBe(true);
      expect(isIssuedBy(authority.certificate, certificate)).toBe(false);
      const [leaf, root] = [certificate, authority.certificate].map(({ der }) => new X509Certificate(Buffer.from(der)));
      expect(root !== undefined && leaf?.checkIssued(root)).toBe(true);
      expect(root !== undefined && leaf?.verify(root.publicKey)).toBe(true);
    },
  );

  it('refuses a signature by another key', async () => {
    const [key, other] = [await PrivateKey.generate('ecdsa'), await PrivateKey.generate('ecdsa')];
    const { certificate } = await issue('other', { key: other });
    const template = { ...VALIDITY, subject: certificate.subject, publicKey: key.publicKey, extensions: [] };
    const issuer = { name: certificate.subject, publicKey: other.publicKey };
    const built = buildCertificate({ ...template, issuer, serialNumber: Buffer.of(1) }, (input) => key.sign(input));
    await expect(built).rejects.toThrow(
      expect.objectContaining({
        code: 'INTERNAL',
        message: 'the signature made for the certificate CN=other does not verify',
      }),
    );
  });

  it.each([
    ['zero', Buffer.alloc(4)],
    ['nothing', Buffer.of()],
    ['21 octets', Buffer.alloc(21, 1)],
    ['20 octets that need one more for the sign', Buffer.alloc(20, 0x80)],
  ])('refuses the serial number of %s', async (_, serialNumber) => {
    await expect(issue('leaf', { serialNumber })).rejects.toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'the serial number of a certificate is not 1 to 20 octets, not all zero',
      }),
    );
  });

  it.each([
    ['to expire before it becomes valid', VALIDITY.notAfter, VALIDITY.notBefore],
    ['an invalid date', new Date(Number.NaN), VALIDITY.notAfter],
  ])('refuses %s', async (_, notBefore, notAfter) => {
    await expect(issue('leaf', { notBefore, notAfter })).rejects.toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'a certificate cannot expire before it becomes valid',
      }),
    );
  });

  it('refuses the year 10000', async () => {
    await expect(issue('leaf', { notAfter: new Date(Date.UTC(10_000, 0)) })).rejects.toThrow(
      expect.objectContaining({ message: 'a date in a certificate is not one of the years 0 to 9999' }),
    );
  });

  it('refuses an algorithm of another type of key', async () => {
    await expect(issue('leaf', { signatureAlgorithm: 'Ed25519' })).rejects.toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'ecdsa keys do not sign with Ed25519' }),
    );
  });

  it('reads back every subject, period and number that it wrote', async () => {
    const key = await PrivateKey.generate('ed25519');
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 80 }).filter((name) => !/\p{Cc}/u.test(name));
    const seconds = fc.integer({ min: -2_000_000_000, max: 253_402_300_799 });
    await fc.assert(
      fc.asyncProperty(text, seconds, seconds, fc.bigInt(1n, 2n ** 159n - 1n), async (name, a, b, number) => {
        const [notBefore, notAfter] = [a, b].toSorted((x, y) => x - y).map((value) => new Date(value * 1000));
        const hex = number.toString(16);
        const serialNumber = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex');
        const { certificate } = await issue(name, {
          key,
          serialNumber,
          ...(notBefore === undefined || notAfter === undefined ? {} : { notBefore, notAfter }),
        });
        expect(certificate).toMatchObject({ subject: { commonName: name }, notBefore, notAfter });
        expect(BigInt(`0x${certificate.serialNumber}`)).toBe(number);
      }),
    );
  });
});

describe('keyUsage', () => {
  it('is read back as it was written', () => {
    const usages = ['digitalSignature', 'nonRepudiation', 'keyCertSign', 'cRLSign', 'decipherOnly'] as const;
    fc.assert(
      fc.property(fc.subarray([...usages], { minLength: 1 }), (chosen) => {
        const extension = keyUsage(...chosen);
        expect(keyUsageOf(new Map([[extension.oid, extension]]))).toStrictEqual(new Set(chosen));
      }),
    );
  });

  it.each(['030180', '0300', '03020880'])('refuses the bit string %s', (hex) => {
    const extension = { ...keyUsage('cRLSign'), value: Buffer.from(hex, 'hex') };
    expect(() => keyUsageOf(new Map([[extension.oid, extension]]))).toThrow(malformed('KeyUsage'));
  });
});
