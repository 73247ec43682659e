import { createCipheriv } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { decryptLegacy, isLegacyEncrypted, parseLegacyEncryption } from '../../../src/crypto/legacy-pem.ts';
import type { PemBlock } from '../../../src/crypto/pem.ts';
import { pemVector } from '../../support/private-keys.ts';

const passphrase = Buffer.from('passw0rd1');

const withInfo = (info: string, length = 16): PemBlock => ({
  type: 'EC PRIVATE KEY',
  headers: new Map([['DEK-Info', info]]),
  bytes: Buffer.alloc(length),
});

describe('decryptLegacy', () => {
  it.each(['aes128', 'aes192', 'aes256', 'des3', 'des'])('opens what OpenSSL sealed with -%s', async (name) => {
    const block = pemVector(`sec1-${name}`);
    expect(isLegacyEncrypted(block)).toBe(true);
    expect(await decryptLegacy(parseLegacyEncryption(block), block.bytes, passphrase)).toEqual(
      pemVector('sec1-plain').bytes,
    );
  });

  it.each(['aes256', 'des3', 'des'])('finds wrong padding under a wrong passphrase with -%s', async (name) => {
    const block = pemVector(`sec1-${name}`);
    const attempts = [...Array(8).keys()].map((n) =>
      decryptLegacy(parseLegacyEncryption(block), block.bytes, Buffer.of(n)),
    );
    expect((await Promise.all(attempts)).filter((plaintext) => plaintext === undefined).length).toBeGreaterThan(5);
  });

  it('checks every octet of the padding', async () => {
    const { cipher, iv } = parseLegacyEncryption(withInfo('AES-128-CBC,000102030405060708090a0b0c0d0e0f'));
    const key = Buffer.alloc(16, 7);
    const encrypt = (plaintext: Buffer) =>
      createCipheriv('aes-128-cbc', key, iv).setAutoPadding(false).update(plaintext);
    const good = Buffer.concat([Buffer.alloc(13, 1), Buffer.of(3, 3, 3)]);
    const bad = [Buffer.of(3, 2, 3), Buffer.of(3, 3, 0), Buffer.of(17, 17, 17)].map((end) =>
      Buffer.concat([Buffer.alloc(13, 1), end]),
    );
    expect(await cipher.decrypt(key, iv, encrypt(good))).toEqual(Buffer.alloc(13, 1));
    for (const plaintext of bad) expect(await cipher.decrypt(key, iv, encrypt(plaintext))).toBeUndefined();
  });

  it('is not disturbed when the passphrase is zeroed meanwhile', async () => {
    const block = pemVector('sec1-aes256');
    const copy = Buffer.from(passphrase);
    const opened = decryptLegacy(parseLegacyEncryption(block), block.bytes, copy);
    copy.fill(0);
    expect(await opened).toEqual(pemVector('sec1-plain').bytes);
  });
});

describe('parseLegacyEncryption', () => {
  it('takes hex in either case', () => {
    expect(parseLegacyEncryption(withInfo('DES-EDE3-CBC,0a0B0c0D0e0F0a0B')).iv.toString('hex')).toBe(
      '0a0b0c0d0e0f0a0b',
    );
  });

  it.each([
    ['AES-256-CBC', 16, 'DEK-Info has no IV'],
    ['', 16, 'DEK-Info has no IV'],
    ['AES-256-CBC,', 16, 'the IV in DEK-Info has not 16 bytes of hex'],
    ['AES-256-CBC,0011223344556677', 16, 'the IV in DEK-Info has not 16 bytes of hex'],
    ['DES-CBC,001122334455667g', 16, 'the IV in DEK-Info has not 8 bytes of hex'],
    ['DES-CBC,0011223344556677 ', 16, 'the IV in DEK-Info has not 8 bytes of hex'],
    ['DES-CBC,0011223344556677', 9, 'the data is not a number of whole blocks'],
    ['DES-CBC,0011223344556677', 0, 'the data is not a number of whole blocks'],
  ])('takes %j with %i bytes for damaged', (info, length, problem) => {
    expect(() => parseLegacyEncryption(withInfo(info, length))).toThrow(
      expect.objectContaining({ code: 'INTEGRITY', message: `malformed encrypted private key: ${problem}` }),
    );
  });

  it.each(['RC2-CBC,0011223344556677', 'aes-256-cbc,00', '__proto__,00'])('does not support %j', (info) => {
    expect(() => parseLegacyEncryption(withInfo(info))).toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: 'encrypted private key: the cipher in DEK-Info is not supported',
      }),
    );
  });
});
