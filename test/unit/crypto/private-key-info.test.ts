import { createPrivateKey, createPublicKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  contextTag,
  type DerNode,
  derOctetString,
  derOid,
  derSequence,
  derUnsigned,
  encodeDer,
} from '../../../src/crypto/der.ts';
import { curveByOid } from '../../../src/crypto/named-curves.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { toKeyObject } from '../../../src/crypto/public-key.ts';
import { keyVector, oneKeyOfEach } from '../../support/private-keys.ts';

const invalid = (text: string) =>
  expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(text) });
const unsupported = (text: string) => expect.objectContaining({ code: 'UNSUPPORTED', message: text });

const P256 = '1.2.840.10045.3.1.7';
const EC = '1.2.840.10045.2.1';
const octets = (hex: string) => derOctetString(Buffer.from(hex, 'hex'));
const curve = (oid: string): DerNode => ({ tag: contextTag(0, 'constructed'), content: [derOid(oid)] });
const sec1 = (scalar: string, ...rest: DerNode[]) => encodeDer(derSequence(derUnsigned(1), octets(scalar), ...rest));
const pkcs8 = (version: number, algorithm: readonly DerNode[], key: Uint8Array, ...rest: DerNode[]) =>
  encodeDer(derSequence(derUnsigned(version), derSequence(...algorithm), derOctetString(key), ...rest));
const nothing: DerNode = { tag: 5, content: Buffer.of() };
const publicKeyField = (hex: string): DerNode => ({
  tag: contextTag(1, 'primitive'),
  content: Buffer.from(`00${hex}`, 'hex'),
});

const key = oneKeyOfEach();

describe("Notary's dialect", () => {
  it('writes EC as version 1 with curve and public key inside', () => {
    const der = PrivateKey.fromPkcs8(keyVector('p8-plain')).toPkcs8();
    expect(der).toEqual(pkcs8(1, [derOid(EC), derOid(P256)], keyVector('sec1-plain')));
  });

  it('writes RSA without NULL', () => {
    const der = PrivateKey.fromPkcs1(keyVector('pkcs1-plain')).toPkcs8();
    expect(der).toEqual(pkcs8(0, [derOid('1.2.840.113549.1.1.1')], keyVector('pkcs1-plain')));
  });

  it("writes Ed25519 as Notary's library did", () => {
    expect(PrivateKey.fromPkcs8(keyVector('ed25519-notary-plain')).toPkcs8()).toEqual(
      keyVector('ed25519-notary-plain'),
    );
  });

  it('is read by OpenSSL for EC and RSA', () => {
    for (const algorithm of ['ecdsa', 'rsa'] as const) {
      const object = createPrivateKey({ key: key(algorithm).toPkcs8(), format: 'der', type: 'pkcs8' });
      expect(createPublicKey(object).equals(toKeyObject(key(algorithm).publicKey))).toBe(true);
    }
  });
});

describe('EC encodings', () => {
  const id = PrivateKey.fromPkcs8(keyVector('p8-plain')).keyId;
  const scalar = keyVector('sec1-plain').subarray(7, 39).toString('hex');
  const point = keyVector('p8-plain').subarray(-65).toString('hex');
  const bits = (hex: string): DerNode => ({
    tag: contextTag(1, 'constructed'),
    content: [{ tag: 3, content: Buffer.from(`00${hex}`, 'hex') }],
  });

  it.each([
    ['no public key', () => PrivateKey.fromSec1(sec1(scalar, curve(P256)))],
    ['a compressed public key', () => PrivateKey.fromPkcs8(keyVector('p8-compressed-point'))],
    ['leading zeros', () => PrivateKey.fromSec1(sec1(`0000${scalar}`, curve(P256)))],
    ['no curve inside PKCS#8', () => PrivateKey.fromPkcs8(pkcs8(0, [derOid(EC), derOid(P256)], sec1(scalar)))],
    [
      'the public key outside',
      () => PrivateKey.fromPkcs8(pkcs8(1, [derOid(EC), derOid(P256)], sec1(scalar), publicKeyField(point))),
    ],
    [
      'attributes',
      () =>
        PrivateKey.fromPkcs8(
          pkcs8(0, [derOid(EC), derOid(P256)], sec1(scalar), { tag: contextTag(0, 'constructed'), content: [nothing] }),
        ),
    ],
  ])('with %s are read', (_, read) => {
    expect(read().keyId).toBe(id);
  });

  it('without their leading zeros are read', () => {
    const short = PrivateKey.fromSec1(sec1('07', curve(P256)));
    expect(short.keyId).toBe(PrivateKey.fromSec1(sec1('07'.padStart(64, '0'), curve(P256))).keyId);
  });

  it.each(['1.3.132.0.33', P256, '1.3.132.0.34', '1.3.132.0.35'])('on %s have scalars of 1 to n − 1', (oid) => {
    const order = curveByOid(oid)?.order ?? '';
    const last = (BigInt(`0x${order}`) - 1n).toString(16).padStart(order.length, '0');
    const x = (scalarHex: string) => {
      const { bytes } = PrivateKey.fromSec1(sec1(scalarHex, curve(oid))).publicKey;
      return Buffer.from(bytes.subarray(-order.length, -order.length / 2)).toString('hex');
    };
    // (n − 1)·G = −G
    expect(x(last)).toBe(x('01'));
    for (const bad of ['', '00', order, `01${order}`, 'ff'.repeat(order.length / 2)]) {
      expect(() => PrivateKey.fromSec1(sec1(bad, curve(oid)))).toThrow(invalid('the scalar is out of range for P-'));
    }
  });

  it.each([
    ['no curve', () => PrivateKey.fromSec1(sec1(scalar)), 'no curve is named'],
    [
      'two curves',
      () => PrivateKey.fromPkcs8(pkcs8(0, [derOid(EC), derOid('1.3.132.0.34')], sec1(scalar, curve(P256)))),
      'two different curves are named',
    ],
    [
      'another public half',
      () => PrivateKey.fromSec1(sec1('01', curve(P256), bits(point))),
      'the public half belongs to another key',
    ],
    [
      'another public half outside',
      () => PrivateKey.fromPkcs8(pkcs8(1, [derOid(EC), derOid(P256)], sec1('01'), publicKeyField(point))),
      'the public half belongs to another key',
    ],
    [
      'a public half outside in version 0',
      () => PrivateKey.fromPkcs8(pkcs8(0, [derOid(EC), derOid(P256)], sec1(scalar), publicKeyField(point))),
      'trailing bytes',
    ],
    [
      'an unknown version',
      () => PrivateKey.fromPkcs8(pkcs8(2, [derOid(EC), derOid(P256)], sec1(scalar))),
      'unknown version',
    ],
    ['an unknown inner version', () => PrivateKey.fromSec1(encodeDer(derSequence(derUnsigned(2)))), 'unknown version'],
    [
      'trailing bytes',
      () => PrivateKey.fromSec1(Buffer.concat([keyVector('sec1-plain'), Buffer.of(0)])),
      'trailing bytes',
    ],
    [
      'trailing bytes outside',
      () => PrivateKey.fromPkcs8(Buffer.concat([keyVector('p8-plain'), Buffer.of(0)])),
      'trailing bytes',
    ],
    [
      'parameters behind the curve',
      () => PrivateKey.fromPkcs8(pkcs8(0, [derOid(EC), derOid(P256), nothing], sec1(scalar))),
      'trailing bytes',
    ],
  ])('with %s are refused', (_, read, problem) => {
    expect(read).toThrow(invalid(problem));
  });

  it('on other curves are not supported', () => {
    expect(() => PrivateKey.fromPkcs8(keyVector('p8-secp256k1'))).toThrow(
      unsupported('EC keys on the curve 1.3.132.0.10 are not supported'),
    );
    expect(() => PrivateKey.fromPkcs8(keyVector('p8-explicit-curve'))).toThrow(
      unsupported('EC keys with explicit curve parameters are not supported'),
    );
  });
});

describe('Ed25519 encodings', () => {
  const notary = keyVector('ed25519-notary-plain').subarray(-96);
  const seed = notary.subarray(32, 64);
  const rfc8410 = (inner: Uint8Array, ...rest: DerNode[]) =>
    pkcs8(rest.length > 0 ? 1 : 0, [derOid('1.3.101.112')], encodeDer(derOctetString(inner)), ...rest);
  const id = PrivateKey.fromNotaryEd25519(notary).keyId;

  it('of RFC 8410 are read, with and without public key', () => {
    expect(PrivateKey.fromPkcs8(rfc8410(seed)).keyId).toBe(id);
    expect(PrivateKey.fromPkcs8(rfc8410(seed, publicKeyField(notary.subarray(0, 32).toString('hex')))).keyId).toBe(id);
    expect(PrivateKey.fromPkcs8(keyVector('ed25519-rfc8410')).algorithm).toBe('ed25519');
  });

  it('with another public half are refused', () => {
    const other = key('ed25519').publicKey.bytes;
    const tampered = [0, 64].map((offset) => {
      const bytes = Buffer.from(notary);
      bytes.set(other, offset);
      return bytes;
    });
    for (const bytes of tampered) {
      expect(() => PrivateKey.fromNotaryEd25519(bytes)).toThrow(invalid('the public half belongs to another key'));
    }
    expect(() => PrivateKey.fromPkcs8(rfc8410(seed, publicKeyField(Buffer.from(other).toString('hex'))))).toThrow(
      invalid('the public half belongs to another key'),
    );
  });

  it.each([0, 32, 64, 95, 97])('of %i raw bytes are refused', (length) => {
    expect(() => PrivateKey.fromNotaryEd25519(Buffer.alloc(length))).toThrow(
      invalid(`malformed Ed25519 private key: ${length} bytes instead of 96`),
    );
  });

  it('with a seed of another length are refused', () => {
    expect(() => PrivateKey.fromPkcs8(rfc8410(seed.subarray(1)))).toThrow(invalid('a seed of 31 bytes instead of 32'));
  });

  it('with parameters are refused', () => {
    const der = pkcs8(0, [derOid('1.3.101.112'), nothing], encodeDer(derOctetString(seed)));
    expect(() => PrivateKey.fromPkcs8(der)).toThrow(invalid('trailing bytes'));
  });
});

describe('RSA encodings', () => {
  const rsa = createPrivateKey({ key: keyVector('pkcs1-rsa1024'), format: 'der', type: 'pkcs1' }).export({
    format: 'jwk',
  });
  type Field = 'n' | 'e' | 'd' | 'p' | 'q' | 'dp' | 'dq' | 'qi';
  const pkcs1 = (change: Partial<Record<Field, bigint>> = {}) => {
    const integer = (name: Field): DerNode => {
      const value = change[name] ?? BigInt(`0x${Buffer.from(rsa[name] ?? '', 'base64url').toString('hex')}`);
      const hex = value.toString(16);
      return {
        tag: 2,
        content: Buffer.from(hex.padStart(2 * Math.floor(hex.length / 2 + 1), '0').replace(/^00(?=[0-7])/, ''), 'hex'),
      };
    };
    const names: readonly Field[] = ['n', 'e', 'd', 'p', 'q', 'dp', 'dq', 'qi'];
    return encodeDer(derSequence(derUnsigned(0), ...names.map(integer)));
  };

  it('are read with 1024 bits, as Notary does, with NULL and without', () => {
    const { keyId } = PrivateKey.fromPkcs1(pkcs1());
    const rsaEncryption = derOid('1.2.840.113549.1.1.1');
    expect(keyId).toBe(PrivateKey.fromPkcs1(keyVector('pkcs1-rsa1024')).keyId);
    expect(PrivateKey.fromPkcs8(pkcs8(0, [rsaEncryption, nothing], pkcs1())).keyId).toBe(keyId);
    expect(PrivateKey.fromPkcs8(pkcs8(0, [rsaEncryption], pkcs1())).keyId).toBe(keyId);
  });

  it.each([
    ['another modulus', { n: 2n ** 1023n + 1n }, 'malformed RSA private key'],
    ['an even modulus', { n: 2n ** 1023n }, 'malformed RSA private key'],
    ['a long public exponent', { e: 2n ** 32n + 1n }, 'publicExponent is too large'],
    ['a long private exponent', { d: 2n ** 5000n }, 'privateExponent is larger than the modulus'],
    ['a long prime', { p: 2n ** 5000n + 1n }, 'prime1 is larger than the modulus'],
    ['a short prime', { q: 3n }, 'the primes do not fit the modulus'],
    ['a long coefficient', { qi: 2n ** 5000n }, 'coefficient is larger than the modulus'],
    ['another exponent', { e: 3n }, 'malformed RSA private key'],
  ] as const)('with %s are refused', (_, change, problem) => {
    expect(() => PrivateKey.fromPkcs1(pkcs1(change))).toThrow(invalid(problem));
  });

  it('of other sizes and kinds are not supported', () => {
    expect(() => PrivateKey.fromPkcs1(keyVector('pkcs1-rsa512'))).toThrow(
      unsupported('RSA keys of 512 bits are not supported'),
    );
    expect(() => PrivateKey.fromPkcs1(pkcs1({ n: 2n ** 16384n + 1n }))).toThrow(
      unsupported('RSA keys of 16385 bits are not supported'),
    );
    expect(() => PrivateKey.fromPkcs1(keyVector('pkcs1-three-primes'))).toThrow(
      unsupported('RSA keys with more than two primes are not supported'),
    );
    expect(() => PrivateKey.fromPkcs8(keyVector('p8-rsa-pss'))).toThrow(
      unsupported('private keys with the algorithm identifier 1.2.840.113549.1.1.10 are not supported'),
    );
    expect(() => PrivateKey.fromPkcs8(keyVector('p8-ed448'))).toThrow(
      unsupported('private keys with the algorithm identifier 1.3.101.113 are not supported'),
    );
  });
});
