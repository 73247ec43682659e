import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openKeyPem, readKeyPem } from '../../../src/crypto/key-pem.ts';
import { parsePem } from '../../../src/crypto/pem.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { verifySignature } from '../../../src/crypto/public-key.ts';
import { Secret } from '../../../src/crypto/secret.ts';
import { SignetError } from '../../../src/errors.ts';

const message = Buffer.from('what is to be signed');

const text = (name: string) => readFileSync(new URL(`../../vectors/key-formats/${name}.pem`, import.meta.url));

function flip(bytes: Buffer, index: number, bit: number): Buffer {
  const damaged = Buffer.from(bytes);
  damaged.writeUInt8(damaged.readUInt8(index) ^ (1 << bit), index);
  return damaged;
}

/** Whether any four octets of the key, or eight characters of its base64, are in the text. */
function shows(shown: string, key: Buffer): boolean {
  const base64 = key.toString('base64');
  return (
    [...key.keys()].slice(0, -3).some((start) => shown.includes(key.toString('hex', start, start + 4))) ||
    [...base64].slice(0, -7).some((_, start) => shown.includes(base64.slice(start, start + 8)))
  );
}

/** A SignetError with no trace of the key in its texts, those of its causes included. */
function expectDiscreet(error: unknown, key: Buffer): void {
  expect(error).toBeInstanceOf(SignetError);
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    expect(shows(`${cause} ${(cause as SignetError).hint}`, key)).toBe(false);
  }
}

async function expectWorking(key: PrivateKey): Promise<void> {
  expect(verifySignature(key.publicKey, message, await key.sign({ message }))).toBe(true);
}

describe.each([
  ['p8-plain', PrivateKey.fromPkcs8],
  ['sec1-plain', PrivateKey.fromSec1],
  ['p8-p521', PrivateKey.fromPkcs8],
  ['pkcs1-rsa1024', PrivateKey.fromPkcs1],
  ['ed25519-notary-plain', PrivateKey.fromPkcs8],
  ['ed25519-rfc8410', PrivateKey.fromPkcs8],
  ['legacy-ed25519-plain', PrivateKey.fromNotaryEd25519],
] as const)('the encoding %s', (name, read) => {
  const der = parsePem(text(name))?.bytes ?? Buffer.of();

  it('cut anywhere is refused', () => {
    for (let length = 0; length < der.length; length++) {
      expect(() => read(der.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringMatching(/^malformed /) }),
      );
    }
  });

  it('with any bit flipped is refused, or a key that signs', async () => {
    const law = fc.asyncProperty(fc.nat(der.length - 1), fc.nat(7), async (index, bit) => {
      try {
        await expectWorking(read(flip(der, index, bit)));
      } catch (error) {
        expectDiscreet(error, der);
      }
    });
    await fc.assert(law, { numRuns: 300 });
  });
});

describe.each(['p8-plain', 'sec1-plain', 'sec1-aes256', 'sec1-des', 'p8-aes256-sha1', 'p8-des3', 'ed25519-notary-enc'])(
  'the file %s',
  (name) => {
    const pem = text(name);
    const key = parsePem(pem)?.bytes ?? Buffer.of();
    const open = async (bytes: Uint8Array) => openKeyPem(readKeyPem(bytes), Secret.fromText('passw0rd1'));

    it('cut anywhere gives a SignetError', async () => {
      for (let length = 0; length < pem.length - 1; length += 3) {
        const error = await open(pem.subarray(0, length)).catch((caught: unknown) => caught);
        expectDiscreet(error, key);
        expect(error).toMatchObject({ code: 'INTEGRITY', message: 'no PEM block' });
      }
    });

    it('with any bit flipped gives a SignetError, or a key that signs', async () => {
      const law = fc.asyncProperty(fc.nat(pem.length - 1), fc.nat(7), async (index, bit) => {
        try {
          await expectWorking(await open(flip(pem, index, bit)));
        } catch (error) {
          expectDiscreet(error, key);
          expect((error as SignetError).code).toMatch(/^(INTEGRITY|UNSUPPORTED|PASSPHRASE_INCORRECT)$/);
        }
      });
      await fc.assert(law, { numRuns: 200 });
    });
  },
);

it('a key whose line ends were lost is not repeated in the message', () => {
  const oneLine = Buffer.from(`${text('sec1-plain').toString().replaceAll('\n', ' ')}\n-----END X-----\n`);
  expect(() => readKeyPem(oneLine)).toThrow(expect.objectContaining({ code: 'INTEGRITY', message: 'no PEM block' }));
  const label = `EC PRIVATE KEY----- ${text('sec1-plain').toString('latin1', 31, 90).replaceAll('\n', ' ')}`;
  const block = Buffer.from(`-----BEGIN ${label}-----\nAQID\n-----END ${label}-----\n`);
  expect(() => readKeyPem(block)).toThrow(
    expect.objectContaining({ code: 'INTEGRITY', message: 'unknown PEM type (not a label)' }),
  );
});
