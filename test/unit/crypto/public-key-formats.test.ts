import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { keyIdOf } from '../../../src/crypto/key-id.ts';
import { parsePem } from '../../../src/crypto/pem.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { toKeyObject } from '../../../src/crypto/public-key.ts';
import { formatPublicKey } from '../../../src/crypto/public-key-formats.ts';

const read = (path: string) => readFileSync(new URL(`../../vectors/${path}`, import.meta.url));

function publicKey(name: string) {
  const bytes = parsePem(read(`key-formats/${name}.pem`))?.bytes ?? Buffer.of();
  return (name.startsWith('pkcs1') ? PrivateKey.fromPkcs1(bytes) : PrivateKey.fromPkcs8(bytes)).publicKey;
}

describe('formatPublicKey', () => {
  it.each(['p8-plain', 'p8-p384', 'p8-p521', 'pkcs1-plain', 'ed25519-rfc8410'])(
    'writes the line that OpenSSH writes of %s',
    (name) => {
      const expected = read(`openssh/${name}.pub`).toString();
      expect(formatPublicKey(publicKey(name), 'openssh').toString()).toBe(expected);
      expect(formatPublicKey(publicKey(name), 'openssh', { comment: 'alice@example' }).toString()).toBe(
        expected.replace('\n', ' alice@example\n'),
      );
    },
  );

  it.each(['p8-plain', 'pkcs1-plain', 'ed25519-rfc8410'])(
    'writes PEM, DER and JWK that node:crypto reads: %s',
    (name) => {
      const key = publicKey(name);
      const object = toKeyObject(key);
      expect(createPublicKey(formatPublicKey(key, 'pem')).equals(object)).toBe(true);
      expect(createPublicKey({ key: formatPublicKey(key, 'der'), format: 'der', type: 'spki' }).equals(object)).toBe(
        true,
      );
      const jwk = JSON.parse(formatPublicKey(key, 'jwk').toString());
      expect(createPublicKey({ key: jwk, format: 'jwk' }).equals(object)).toBe(true);
    },
  );

  it('writes the role as docker trust does', () => {
    expect(formatPublicKey(publicKey('p8-plain'), 'pem', { role: 'alice' }).toString()).toMatch(
      /^-----BEGIN PUBLIC KEY-----\nrole: alice\n\nMFkw/,
    );
  });

  it('writes the key object of TUF metadata', () => {
    const key = publicKey('p8-plain');
    const text = formatPublicKey(key, 'notary').toString();
    expect(text).toBe(
      `{"keytype":"ecdsa","keyval":{"private":null,"public":"${Buffer.from(key.bytes).toString('base64')}"}}\n`,
    );
    expect(keyIdOf(key)).toBe('5b2a2ad7dcd3f82ca3024dd25bc371801a830cf9480f94f7efc588b596ba2122');
  });

  it.each([
    ['openssh', 'P-224 keys have no OpenSSH form'],
    ['jwk', 'P-224 keys have no JWK form'],
  ] as const)('refuses P-224 in %s', (format, message) => {
    expect(() => formatPublicKey(publicKey('p8-p224'), format)).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED', message }),
    );
  });

  it('refuses a comment of two lines', () => {
    expect(() => formatPublicKey(publicKey('p8-plain'), 'openssh', { comment: 'a\nb' })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'the comment has a control character' }),
    );
  });
});
