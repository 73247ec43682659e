import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openAge, sealAge } from '../../../src/crypto/age.ts';

const PASSPHRASE = Buffer.from('correct horse');
const CHUNK = 64 * 1024;
/** The least work that scrypt does: these tests are not about it. */
const LOG_N = 1;

async function* pieces(bytes: Buffer, size = 1000): AsyncIterable<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function all(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

const seal = (plaintext: Buffer) => all(sealAge(PASSPHRASE, pieces(plaintext, 70_000), LOG_N));
const open = (sealed: Buffer, passphrase = PASSPHRASE, size?: number) => all(openAge(passphrase, pieces(sealed, size)));

describe('sealing and opening', () => {
  it.each([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])(
    'gives back %i bytes, in pieces of any size',
    async (length) => {
      const plaintext = randomBytes(length);
      const sealed = await seal(plaintext);
      for (const size of [7919, CHUNK, sealed.length])
        expect((await open(sealed, PASSPHRASE, size)).equals(plaintext)).toBe(true);
    },
  );

  it('opens what the age program sealed', async () => {
    const sealed = await readFile(new URL('../../vectors/age/passphrase.age', import.meta.url));
    const expected = Buffer.from(Array.from({ length: 300 }, (_, index) => (index * 7) % 256));
    expect(await open(sealed)).toEqual(expected);
  });

  it('takes another salt and file key each time', async () => {
    const plaintext = Buffer.from('the same');
    expect((await seal(plaintext)).equals(await seal(plaintext))).toBe(false);
  });
});

describe('what is refused', () => {
  it('a wrong passphrase', async () => {
    const sealed = await seal(randomBytes(10));
    await expect(open(sealed, Buffer.from('wrong'))).rejects.toMatchObject({
      code: 'PASSPHRASE_INCORRECT',
      message: 'the passphrase does not open the archive',
    });
  });

  it('every change of a byte, and every cut', async () => {
    const plaintext = randomBytes(CHUNK + 100);
    const sealed = await seal(plaintext);
    const changes = fc.oneof(
      fc.nat(sealed.length - 1).map((at) => ({ at, cut: false })),
      fc.nat(220).map((at) => ({ at, cut: false })),
      fc.nat(sealed.length - 1).map((at) => ({ at, cut: true })),
    );
    await fc.assert(
      fc.asyncProperty(changes, async ({ at, cut }) => {
        const damaged = Buffer.from(cut ? sealed.subarray(0, at) : sealed);
        if (!cut) damaged[at] = (damaged[at] ?? 0) ^ 1;
        const error = await open(damaged).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        expect(error).toMatchObject({
          code: expect.stringMatching(/^(INVALID_ARGUMENT|PASSPHRASE_INCORRECT|INTEGRITY|UNSUPPORTED)$/),
        });
      }),
      { numRuns: 60 },
    );
  });

  it('chunks in another order, a chunk twice, and anything after the last', async () => {
    const sealed = await seal(randomBytes(3 * CHUNK));
    const start = sealed.length - 3 * (CHUNK + 16);
    const chunk = (index: number) => sealed.subarray(start + index * (CHUNK + 16), start + (index + 1) * (CHUNK + 16));
    const head = sealed.subarray(0, start);
    const damaged = { code: 'INTEGRITY', message: 'the archive is damaged or cut short' };
    await expect(open(Buffer.concat([head, chunk(1), chunk(0), chunk(2)]))).rejects.toMatchObject(damaged);
    await expect(open(Buffer.concat([head, chunk(0), chunk(0), chunk(2)]))).rejects.toMatchObject(damaged);
    await expect(open(Buffer.concat([head, chunk(0), chunk(1)]))).rejects.toMatchObject(damaged);
    await expect(open(Buffer.concat([sealed, Buffer.from('x')]))).rejects.toMatchObject(damaged);
  });

  it('a work factor that would take a gigabyte', async () => {
    const sealed = await seal(Buffer.alloc(0));
    const greedy = Buffer.from(sealed.toString('latin1').replace(' 1\n', ' 20\n'), 'latin1');
    await expect(open(greedy)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });

  it.each([
    ['nothing', ''],
    ['another kind of recipient', 'age-encryption.org/v1\n-> X25519 abc\ndef\n--- ghi\n'],
    ['a work factor with a leading zero', 'age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 01\n'],
    ['a megabyte of noise', 'x'.repeat(1024 * 1024)],
  ])('%s', async (_what, text) => {
    await expect(open(Buffer.from(text))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'this is no archive that is sealed under a passphrase',
    });
  });

  it('base64 that is not canonical', async () => {
    const sealed = (await seal(Buffer.alloc(0))).toString('latin1');
    // The last character of a 16-byte salt has two bits that matter: others decode alike.
    const loose = sealed.replace(/(-> scrypt .{21})(.)/, (_all, head: string) => `${head}B`);
    await expect(open(Buffer.from(loose, 'latin1'))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});
