/** Buffers that hold a private key, or the key that seals one, are overwritten when they have been used. */
import { readFileSync } from 'node:fs';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { CbcCipher } from '../../../src/crypto/cbc.ts';
import { openKeyPem, readKeyPem, sealKeyPem } from '../../../src/crypto/key-pem.ts';
import { openPkcs8, parseSealedPkcs8, sealPkcs8 } from '../../../src/crypto/pkcs8.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { Secret } from '../../../src/crypto/secret.ts';

/** The very buffers that went through the cipher, with copies of what they held then. */
const seen = vi.hoisted(() => ({ buffers: [] as { buffer: Uint8Array; copy: Uint8Array }[] }));

vi.mock('../../../src/crypto/cbc.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../../../src/crypto/cbc.ts')>();
  const watch = (...buffers: readonly (Uint8Array | undefined)[]) => {
    for (const buffer of buffers)
      if (buffer !== undefined) seen.buffers.push({ buffer, copy: Uint8Array.from(buffer) });
  };
  return {
    ...original,
    encryptCbc: (cipher: CbcCipher, key: Uint8Array, iv: Uint8Array, plaintext: Uint8Array) => {
      watch(key, plaintext);
      return original.encryptCbc(cipher, key, iv, plaintext);
    },
    decryptCbc: (cipher: CbcCipher, key: Uint8Array, iv: Uint8Array, data: Uint8Array) => {
      const plaintext = original.decryptCbc(cipher, key, iv, data);
      watch(key, plaintext);
      return plaintext;
    },
  };
});

const VECTOR_PASSPHRASE = 'passw0rd1';

function vector(name: string): Buffer {
  return readFileSync(new URL(`../../vectors/key-formats/${name}.pem`, import.meta.url));
}

/** Asserts that so many buffers went through the cipher, that they held something then and hold nothing now. */
function expectZeroed(count: number): void {
  expect(seen.buffers).toHaveLength(count);
  for (const { buffer, copy } of seen.buffers) {
    expect(copy.some((octet) => octet !== 0)).toBe(true);
    expect(buffer.every((octet) => octet === 0)).toBe(true);
  }
}

beforeEach(() => {
  seen.buffers.length = 0;
});

describe('the sealing key and the private key are overwritten', () => {
  it.each([
    ['PBKDF2', 'p8-aes256-sha1'],
    ['scrypt', 'p8-scrypt'],
    ['legacy PEM', 'sec1-aes256'],
  ])('when a file under %s has been opened', async (_, name) => {
    using passphrase = Secret.fromText(VECTOR_PASSPHRASE);
    using key = await openKeyPem(readKeyPem(vector(name)), passphrase);
    expect(key.publicKey.algorithm).toBe('ecdsa');
    expectZeroed(2);
  });

  it('when a file has been sealed', async () => {
    using key = await PrivateKey.generate('ed25519');
    using passphrase = Secret.fromText('passphrase');
    await sealKeyPem(key, { role: '', gun: '' }, passphrase, 1);
    expect(Buffer.from(seen.buffers[1]?.copy ?? [])).toEqual(key.toPkcs8());
    expectZeroed(2);
  });

  it('when what came out is no private key', async () => {
    using passphrase = Secret.fromText('passphrase');
    const sealed = await sealPkcs8(Buffer.from('no ASN.1'), passphrase.bytes(), 1);
    seen.buffers.length = 0;
    await expect(openPkcs8(parseSealedPkcs8(sealed), passphrase.bytes())).rejects.toMatchObject({
      code: 'PASSPHRASE_INCORRECT',
    });
    expectZeroed(2);
  });

  it('when the passphrase was wrong', async () => {
    using passphrase = Secret.fromText('another one');
    await expect(openKeyPem(readKeyPem(vector('p8-aes256-sha1')), passphrase)).rejects.toMatchObject({
      code: 'PASSPHRASE_INCORRECT',
    });
    expectZeroed(1);
  });
});
