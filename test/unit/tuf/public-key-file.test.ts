import { describe, expect, it } from 'vitest';
import { parsePublicKeyFile, parseRootCertificates } from '../../../src/tuf/public-key-file.ts';
import { canonicalKeyId, tufKeyId } from '../../../src/tuf/tuf-key.ts';
import { temporaryDirectory } from '../../support/temp.ts';
import { TestKeys } from '../../support/tuf-collection.ts';
import { NOW, vector } from '../../support/tuf-vectors.ts';

function read(name: string, now = NOW) {
  return parsePublicKeyFile(vector(`public-keys/${name}`), now);
}

function refusal(message: string) {
  return expect.objectContaining({ code: 'INVALID_ARGUMENT', message });
}

const EC_KEY = 'e10c56e261964686cef5e5d858dd77775b519512bbf80c6d62b13fed6eb88158';

describe('parsePublicKeyFile', () => {
  // IDs are the answers of Notary's own parser.
  it.each([
    [
      'pub-cert-chain.crt',
      'ecdsa-x509',
      'ed725823f25f00b666db327d4f237edb2f6e40593e0079479254af956459d73a',
      '21dac17c9034079f34ca97ce23970388c688d338c9a0839034a7a42c4edb473e',
    ],
    ['pub-cert-ecdsa.crt', 'ecdsa-x509', 'c7fd87e4ce9a8649c06a8893070df69ed9c3380d6c779c41a0d5e998446fbd0c', EC_KEY],
    ['pub-spki-ecdsa.pem', 'ecdsa', EC_KEY, EC_KEY],
    [
      'pub-spki-p384.pem',
      'ecdsa',
      '71a05cf9075deccf9a9503e819b62751eb93a9bee731c7361a8992bd53a21c3b',
      '71a05cf9075deccf9a9503e819b62751eb93a9bee731c7361a8992bd53a21c3b',
    ],
    [
      'pub-spki-rsa.pem',
      'rsa',
      '34bf4a434a3587efef36e94c21e8e1ef74a70a54f4a134e98a850fe32be25ba7',
      '34bf4a434a3587efef36e94c21e8e1ef74a70a54f4a134e98a850fe32be25ba7',
    ],
    [
      'pub-spki-with-role-header.pem',
      'ecdsa',
      '2b6db59eede9e2c00face75c83fb6eb3f14fcb3f1407ed44489cd9ebd6ef8ad5',
      '2b6db59eede9e2c00face75c83fb6eb3f14fcb3f1407ed44489cd9ebd6ef8ad5',
    ],
  ])("%s has Notary's IDs", (name, algorithm, keyId, canonical) => {
    const key = read(name);
    expect([key.algorithm, tufKeyId(key), canonicalKeyId(key)]).toEqual([algorithm, keyId, canonical]);
  });

  it('takes Ed25519 keys, which Notary verifies with but does not read', () => {
    expect(read('pub-spki-ed25519.pem')).toMatchObject({ algorithm: 'ed25519', bytes: { length: 32 } });
  });

  it.each([
    ['pub-cert-rsa1024.crt', /^invalid certificate with CN "[^"]*": RSA bit length is too short$/],
    ['pub-cert-sha1.crt', /^invalid certificate with CN "sha1": it is signed over a weak hash$/],
    ['pub-pkcs1-rsa.pem', /^unsupported PEM block type, expected CERTIFICATE or PUBLIC KEY$/],
  ])('refuses %s', (name, message) => {
    expect(() => read(name)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });

  it('refuses a certificate that has expired, and text that holds no key', () => {
    expect(() => read('pub-cert-ecdsa.crt', new Date('2100-01-01'))).toThrow(/is expired or not valid yet$/);
    expect(() => parsePublicKeyFile(Buffer.from('nothing'), NOW)).toThrow(refusal('no valid public key found'));
    const pem = (type: string) => Buffer.from(`-----BEGIN ${type}-----\nAAAA\n-----END ${type}-----\n`);
    expect(() => parsePublicKeyFile(pem('PUBLIC KEY'), NOW)).toThrow(refusal('unknown public key format'));
    expect(() => parsePublicKeyFile(pem('CERTIFICATE'), NOW)).toThrow(refusal('could not parse certificate'));
  });
});

describe('parseRootCertificates', () => {
  it('keeps the chain, written as Go writes it', () => {
    const chain = vector('public-keys/pub-cert-chain.crt');
    const key = parseRootCertificates(Buffer.concat([Buffer.from('a comment\n'), chain]), NOW);
    expect(key.algorithm).toBe('ecdsa-x509');
    expect(
      Buffer.from(key.bytes)
        .toString('utf8')
        .match(/BEGIN CERTIFICATE/g),
    ).toHaveLength(chain.toString('utf8').match(/BEGIN CERTIFICATE/g)?.length ?? 0);
    expect(canonicalKeyId(key)).toBe(canonicalKeyId(read('pub-cert-chain.crt')));
    expect(Buffer.from(key.bytes).toString('utf8')).not.toContain('comment');
  });

  it('refuses what no root key can be', async () => {
    await using directory = await temporaryDirectory();
    const ed25519 = await new TestKeys().certificate(directory.path, 'gun', { newKey: ['ed25519'] });
    expect(() => parseRootCertificates(ed25519.bytes, new Date())).toThrow(
      refusal('a certificate must have an ECDSA or RSA key'),
    );
    expect(() => parseRootCertificates(vector('public-keys/pub-spki-rsa.pem'), NOW)).toThrow(
      refusal('could not parse certificate'),
    );
  });
});
