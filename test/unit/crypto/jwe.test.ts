import { createCipheriv, createPublicKey, pbkdf2Sync, randomBytes, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_P2C, NOTARY_P2C, openKeyJwe, sealKeyJwe } from '../../../src/crypto/jwe.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { Secret } from '../../../src/crypto/secret.ts';

interface Row {
  readonly key_id: string;
  readonly algorithm: string;
  readonly public_base64: string;
  readonly private: string;
  readonly passphrase_alias?: string;
  readonly passphrase?: string;
}

const PASSPHRASE_OF: Readonly<Record<string, string>> = { alias1: 'signer-db-passphrase', alias2: 'second-passphrase' };

function rowsOf(file: string): readonly Row[] {
  const text = readFileSync(new URL(`../../vectors/signer-sql/${file}`, import.meta.url), 'utf8');
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);
}

function passphraseOf(row: Row): Secret {
  return Secret.fromText(row.passphrase ?? PASSPHRASE_OF[row.passphrase_alias ?? ''] ?? '');
}

const files = ['mysql-private_keys.jsonl', 'postgres-private_keys.jsonl', 'restarted-signer.jsonl'];
const passphrase = Secret.fromText('correct horse');
const ed25519 = await PrivateKey.generate('ed25519');
/** Few iterations, so that hundreds of tokens can be opened. */
const token = await sealKeyJwe(ed25519, passphrase, 1);

const base64url = (value: string | Uint8Array) => Buffer.from(value).toString('base64url');

/** A token made with node:crypto alone, from RFC 7518 §4.8 and RFC 7516 §5.1. */
function makeToken(
  plaintext: Uint8Array,
  options: { header?: Record<string, unknown>; contentKey?: Buffer; p2c?: number } = {},
): string {
  const p2s = randomBytes(12);
  const p2c = options.p2c ?? 1;
  const header = base64url(
    JSON.stringify({ alg: 'PBES2-HS256+A128KW', enc: 'A256GCM', p2c, p2s: base64url(p2s), ...options.header }),
  );
  const salt = Buffer.concat([Buffer.from('PBES2-HS256+A128KW\0'), p2s]);
  const wrap = createCipheriv(
    'id-aes128-wrap',
    pbkdf2Sync(passphrase.bytes(), salt, p2c, 16, 'sha256'),
    Buffer.alloc(8, 0xa6),
  );
  const contentKey = options.contentKey ?? randomBytes(32);
  const wrapped = Buffer.concat([wrap.update(contentKey), wrap.final()]);
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', contentKey.subarray(0, 32), iv).setAAD(Buffer.from(header));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return [header, ...[wrapped, iv, ciphertext, cipher.getAuthTag()].map(base64url)].join('.');
}

function withPart(index: number, part: string): string {
  return token
    .split('.')
    .map((old, at) => (at === index ? part : old))
    .join('.');
}

function withHeader(change: Record<string, unknown>): string {
  const header = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()) as object;
  return withPart(0, base64url(JSON.stringify({ ...header, ...change })));
}

describe('keys that notary-signer wrote', () => {
  it.each(files)('opens every row of %s', async (file) => {
    for (const row of rowsOf(file)) {
      const key = await openKeyJwe(row.private, passphraseOf(row));
      expect(key.keyId).toBe(row.key_id);
      expect(key.algorithm).toBe(row.algorithm);
      expect(Buffer.from(key.publicKey.bytes).toString('base64')).toBe(row.public_base64);
    }
  });

  it.each(files)('refuses every row of %s under another passphrase', async (file) => {
    for (const row of rowsOf(file)) {
      await expect(openKeyJwe(row.private, passphrase)).rejects.toMatchObject({
        code: 'PASSPHRASE_INCORRECT',
        message: 'the passphrase does not open the private key',
      });
    }
  });
});

describe('keys that we write', () => {
  it.each(['ecdsa', 'ed25519'] as const)('are opened again and sign (%s)', async (algorithm) => {
    const key = await PrivateKey.generate(algorithm);
    const opened = await openKeyJwe(await sealKeyJwe(key, passphrase, NOTARY_P2C), passphrase);
    expect(opened.keyId).toBe(key.keyId);
    const message = Buffer.from('message');
    const signature = await opened.sign({ message });
    const spki =
      algorithm === 'ecdsa'
        ? Buffer.from(key.publicKey.bytes)
        : Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key.publicKey.bytes]);
    const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    const isValid = verify(
      algorithm === 'ecdsa' ? 'sha256' : null,
      message,
      { key: publicKey, dsaEncoding: 'ieee-p1363' },
      signature,
    );
    expect(isValid).toBe(true);
  });

  it("have notary-signer's header, lengths and a fresh salt", async () => {
    const key = await PrivateKey.generate('ecdsa');
    const first = await sealKeyJwe(key, passphrase, NOTARY_P2C);
    const second = await sealKeyJwe(key, passphrase, NOTARY_P2C);
    const [header = '', wrapped = '', iv = '', , tag = ''] = first.split('.');
    expect(Buffer.from(header, 'base64url').toString()).toMatch(
      /^\{"alg":"PBES2-HS256\+A128KW","enc":"A256GCM","p2c":8192,"p2s":"[\w-]{16}"\}$/,
    );
    expect([first.length, wrapped.length, iv.length, tag.length]).toEqual([365, 54, 16, 22]);
    expect((await sealKeyJwe(ed25519, passphrase, NOTARY_P2C)).length).toBe(331);
    expect(first.split('.')[0]).not.toBe(second.split('.')[0]);
  });

  it.each([0, -1, 1.5, Number.NaN, MAX_P2C + 1])('refuses %s iterations', async (p2c) => {
    await expect(sealKeyJwe(ed25519, passphrase, p2c)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'iteration count is not 1 to 1000000',
    });
  });

  it('refuses an empty passphrase', async () => {
    await expect(sealKeyJwe(ed25519, Secret.fromText(''), 1)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'the passphrase is empty',
    });
  });

  it('refuses RSA keys', async () => {
    await expect(sealKeyJwe(await PrivateKey.generate('rsa'), passphrase, 1)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'RSA keys cannot be kept in the table of notary-signer',
    });
  });

  it('refuses a key that was disposed of', async () => {
    const key = await PrivateKey.generate('ed25519');
    key.dispose();
    await expect(sealKeyJwe(key, passphrase, 1)).rejects.toMatchObject({ code: 'INTERNAL' });
  });
});

describe('damage', () => {
  it('is noticed wherever one character changes', async () => {
    const characters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \n';
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.constantFrom(...characters), async (at, character) => {
        fc.pre(token[at] !== character);
        const changed = token.slice(0, at) + character + token.slice(at + 1);
        const error: unknown = await openKeyJwe(changed, passphrase).catch((reason: unknown) => reason);
        expect(['INTEGRITY', 'PASSPHRASE_INCORRECT', 'UNSUPPORTED']).toContain((error as { code?: string }).code);
      }),
      { numRuns: 300 },
    );
  });

  it('never throws anything but our errors, whatever the token', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string(),
          fc.array(fc.base64String(), { minLength: 4, maxLength: 6 }).map((parts) => parts.join('.')),
        ),
        async (text) => {
          await expect(openKeyJwe(text, passphrase)).rejects.toMatchObject({ name: 'SignetError' });
        },
      ),
    );
  });

  it('never throws anything but our errors, whatever the header', async () => {
    const members = fc.dictionary(
      fc.constantFrom('alg', 'enc', 'p2c', 'p2s', 'zip', 'crit', 'kid', 'x'),
      fc.jsonValue(),
    );
    await fc.assert(
      fc.asyncProperty(members, async (change) => {
        const outcome: unknown = await openKeyJwe(withHeader(change), passphrase).catch((error: unknown) => error);
        if (!(outcome instanceof PrivateKey)) expect(outcome).toMatchObject({ name: 'SignetError' });
      }),
    );
  });

  it.each([3, 4])('of content or tag (part %s) is told from a wrong passphrase', async (index) => {
    const bytes = Buffer.from(token.split('.')[index] ?? '', 'base64url');
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    await expect(openKeyJwe(withPart(index, base64url(bytes)), passphrase)).rejects.toMatchObject({
      code: 'INTEGRITY',
      message: 'damaged private key: the content fails its authentication',
    });
  });

  it('of the wrapped key cannot be told from a wrong passphrase', async () => {
    await expect(openKeyJwe(withPart(1, base64url(Buffer.alloc(40))), passphrase)).rejects.toMatchObject({
      code: 'PASSPHRASE_INCORRECT',
    });
  });

  it.each([
    ['', 'not five parts'],
    ['a.b.c', 'not five parts'],
    [`${token}.`, 'not five parts'],
    [`${token}=`, 'a part is not base64url'],
    [withPart(4, `${'A'.repeat(21)}B`), 'a part is not base64url'],
    [withPart(0, base64url('[]')), 'the header is not a JSON object'],
    [withPart(0, base64url('{')), 'the header is not a JSON object'],
    [withPart(1, ''), 'no wrapped key of 32 bytes'],
    [withPart(1, base64url(Buffer.alloc(24))), 'no wrapped key of 32 bytes'],
    ['A'.repeat(16 * 1024 + 1), 'longer than 16384 characters'],
    [withHeader({ p2c: 1_000_001 }), 'p2c is above 1000000'],
    [withHeader({ p2c: 1e300 }), 'p2c is above 1000000'],
  ])('is named (%#)', async (text, why) => {
    await expect(openKeyJwe(text, passphrase)).rejects.toMatchObject({
      code: 'INTEGRITY',
      message: `damaged private key: ${why}`,
    });
  });

  it.each([{ p2c: 0 }, { p2c: 1.5 }, { p2c: '8192' }, { p2s: 'AAAA' }, { p2s: 1 }, { p2s: undefined }])(
    'in the key derivation is INTEGRITY (%j)',
    async (change) => {
      await expect(openKeyJwe(withHeader(change), passphrase)).rejects.toMatchObject({ code: 'INTEGRITY' });
    },
  );

  it('is what a plaintext that is no key is called', async () => {
    for (const plaintext of [Buffer.alloc(0), Buffer.alloc(96, 1), Buffer.from('not a key')]) {
      await expect(openKeyJwe(makeToken(plaintext), passphrase)).rejects.toMatchObject({ code: 'INTEGRITY' });
    }
  });

  it('is what an Ed25519 key with the public half of another is called', async () => {
    const other = await PrivateKey.generate('ed25519');
    const seed = ed25519.toPkcs8().subarray(-64, -32);
    const mixed = Buffer.concat([other.publicKey.bytes, seed, other.publicKey.bytes]);
    await expect(openKeyJwe(makeToken(mixed), passphrase)).rejects.toMatchObject({
      code: 'INTEGRITY',
      message: 'malformed private key: the public half belongs to another key',
    });
  });
});

describe('other algorithms', () => {
  it.each([
    ['alg', 'dir'],
    ['alg', 'PBES2-HS512+A256KW'],
    ['alg', 'none'],
    ['enc', 'A128CBC-HS256'],
    ['enc', undefined],
    ['zip', 'DEF'],
    ['crit', ['b64']],
  ])('are refused before any work is done (%s %s)', async (member, value) => {
    await expect(openKeyJwe(withHeader({ [member]: value }), passphrase)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: `private key under an unsupported "${member}"`,
      hint: 'only PBES2-HS256+A128KW with A256GCM, uncompressed, is supported',
    });
  });
});

it('reads what an independent implementation of the two RFCs wrote', async () => {
  const notary = ed25519.toPkcs8().subarray(-96);
  expect((await openKeyJwe(makeToken(notary), passphrase)).keyId).toBe(ed25519.keyId);
});

it('leaves the event loop free while a passphrase is stretched', async () => {
  const notary = ed25519.toPkcs8().subarray(-96);
  const slow = makeToken(notary, { p2c: MAX_P2C });
  let turns = 0;
  let isOpen = false;
  const opening = openKeyJwe(slow, passphrase).finally(() => {
    isOpen = true;
  });
  while (!isOpen) {
    await turn();
    turns++;
  }
  expect((await opening).keyId).toBe(ed25519.keyId);
  expect(turns).toBeGreaterThan(100); // a blocked loop would make a handful
});

it('says nothing of passphrase or key in errors', async () => {
  const error = (await openKeyJwe(withPart(3, 'AAAA'), passphrase).catch((reason: unknown) => reason)) as Error;
  expect(`${error.message}${error.stack}${JSON.stringify(error)}`).not.toContain('correct horse');
});
