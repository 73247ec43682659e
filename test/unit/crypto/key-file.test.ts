import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { certificatePem } from '../../../src/crypto/certificate.ts';
import { toPrivateJwk, toPublicJwk } from '../../../src/crypto/jwk.ts';
import { type PassphraseQuestion, type PassphraseSource, readPrivateKeys } from '../../../src/crypto/key-file.ts';
import { formatPem, parsePem } from '../../../src/crypto/pem.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { formatPublicKey } from '../../../src/crypto/public-key-formats.ts';
import { Secret } from '../../../src/crypto/secret.ts';
import { SignetError } from '../../../src/errors.ts';
import { authorityExtensions, certify, issue } from '../../support/x509.ts';

const P256 = '5b2a2ad7dcd3f82ca3024dd25bc371801a830cf9480f94f7efc588b596ba2122';
const RSA = '3f043f4b23d8458386d456e3adaaf362312522e01554653466e5143b4dd2a38f';

const read = (path: string) => readFileSync(new URL(`../../vectors/${path}`, import.meta.url));
const vector = (name: string) => read(`key-formats/${name}.pem`);
const der = (name: string) => parsePem(vector(name))?.bytes ?? Buffer.of();
const answer =
  (...answers: string[]): PassphraseSource =>
  async ({ attempt }) => {
    const text = answers[attempt - 1];
    return text === undefined ? undefined : Secret.fromText(text);
  };
const PASSPHRASE = answer('passw0rd1');
const ids = async (file: Uint8Array, source?: PassphraseSource) =>
  (await readPrivateKeys(file, source)).keys.map(({ key }) => key.keyId);
const block = (type: string, bytes: Uint8Array, headers: Record<string, string> = {}) =>
  formatPem({ type, headers, bytes });

describe('readPrivateKeys', () => {
  // The key IDs are the answers of Notary's own parser.
  it.each([
    ['p8-plain', P256, false],
    ['sec1-plain', P256, false],
    ['pkcs1-plain', RSA, false],
    ['crlf', P256, false],
    ['leading-text', P256, false],
    ['ed25519-notary-plain', '5ecd3701b8a2f6102a2d8680958bd9933ebe3af5819212aa68e518bfe65b0893', false],
    ['legacy-ed25519-plain', '169eb4b78ce70ec59e0f5f7fb3720eb2c22267953262b34f8e17b77ff57d115b', false],
    ['p8-aes256-sha1', P256, true],
    ['p8-default-openssl3', P256, true],
    ['p8-scrypt', P256, true],
    ['sec1-aes128', P256, true],
    ['pkcs1-aes256', RSA, true],
    ['ed25519-notary-enc', '2f6019432c8dcff0d3b9a67a5d53f60ec0ad10b3ee8d7a8984ee210140a487e5', true],
  ])('reads the PEM file %s', async (name, keyId, sealed) => {
    const file = await readPrivateKeys(vector(name), PASSPHRASE);
    expect(file).toMatchObject({ kind: 'pem', keys: [{ key: { keyId }, sealed, certificates: [] }] });
  });

  it.each([
    ['p8-plain', P256],
    ['p8-aes256-sha1', P256],
    ['sec1-plain', P256],
    ['pkcs1-plain', RSA],
    ['p8-p384', undefined],
    ['p8-p521', undefined],
    ['ed25519-rfc8410', undefined],
    ['ed25519-notary-plain', '5ecd3701b8a2f6102a2d8680958bd9933ebe3af5819212aa68e518bfe65b0893'],
  ])('reads the DER of %s', async (name, keyId) => {
    const file = await readPrivateKeys(der(name), PASSPHRASE);
    expect(file).toMatchObject({ kind: 'der', keys: [keyId === undefined ? {} : { key: { keyId } }] });
  });

  it('keeps what the headers say', async () => {
    expect((await readPrivateKeys(vector('ed25519-notary-plain'))).keys[0]).toMatchObject({
      role: 'targets',
      gun: 'g/ed',
      path: '',
      label: '',
      sealed: false,
    });
  });

  it('reads a key behind its curve parameters, as openssl ecparam -genkey writes it', async () => {
    const parameters = '-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n';
    expect(await ids(Buffer.concat([Buffer.from(parameters), vector('sec1-plain')]))).toStrictEqual([P256]);
    await expect(readPrivateKeys(Buffer.from(parameters))).rejects.toMatchObject({
      message: 'the file holds curve parameters, and no private key',
    });
  });

  it('reads a file with a byte order mark', async () => {
    expect(await ids(Buffer.concat([Buffer.of(0xef, 0xbb, 0xbf), vector('p8-plain')]))).toStrictEqual([P256]);
  });

  it('does not change the bytes it is given', async () => {
    for (const file of [vector('p8-plain'), der('p8-plain'), der('p8-aes256-sha1'), read('pkcs12/plain-p256.p12')]) {
      const before = Buffer.from(file);
      await readPrivateKeys(file, PASSPHRASE);
      expect(file).toStrictEqual(before);
    }
  });
});

describe('bundles of notary key export', () => {
  const byRole: Readonly<Record<string, string>> = { root: 'root', targets: 'targets', snapshot: 'snapshot' };

  it('give every key with its owner, each opened by a passphrase of its own', async () => {
    const questions: PassphraseQuestion[] = [];
    const file = await readPrivateKeys(read('key-files/notary-bundle.pem'), async (question) => {
      questions.push(question);
      return Secret.fromText(`vector-${byRole[question.role] ?? 'delegation'}-pass`);
    });
    const expected = [
      ['targets/releases', '', '279f61cb2a204ff6c0036ba949f4a230c65f8b255c785ed3bd3cf11a273e93a7'],
      ['root', '', '6bdf3445debcf401b9d1016960c1e0ded2a5d70e431f68e6b63224ff0c96df8c'],
      ['root', '', '86a78e51f0b7935adaef3fcfde151dc27eb5a08848d7920873ac484196411a54'],
      ['targets', 'docker.io/vectors/app', '8aeb0423ab13525051ea48a416076774241ff222b8708d683b5d06bc13e76a32'],
    ];
    expect(file.kind).toBe('bundle');
    expect(file.keys.map(({ role, gun, path, key }) => [role, gun, path === key.keyId ? path : ''])).toStrictEqual(
      expected,
    );
    expect(questions).toStrictEqual(
      expected.map(([role, gun, path]) => ({ kind: 'bundle', role, gun, path, attempt: 1 })),
    );
  });

  it('give nothing if one key cannot be opened, and say which', async () => {
    const source: PassphraseSource = async ({ role }) =>
      role === 'targets' ? undefined : Secret.fromText(`vector-${byRole[role] ?? 'delegation'}-pass`);
    await expect(readPrivateKeys(read('key-files/notary-bundle.pem'), source)).rejects.toMatchObject({
      code: 'PASSPHRASE_REQUIRED',
      message: 'the private key is sealed under a passphrase (key 4 of 4)',
    });
  });

  it.each([
    [{ path: `tuf_keys/docker.io/a/b/${P256}_targets` }, { gun: 'docker.io/a/b', role: 'targets', path: P256 }],
    [{ path: `root_keys/${P256}_root` }, { gun: '', role: 'root', path: P256 }],
    [
      { path: `tuf_keys/${P256}`, role: 'user' },
      { gun: '', role: 'user', path: P256 },
    ],
    [
      { path: `tuf_keys/x/${P256}_a`, role: 'b', gun: 'y' },
      { gun: 'y', role: 'b', path: P256 },
    ],
    [{ path: '../../etc/passwd' }, { gun: '', role: '', path: 'passwd' }],
  ])('of old versions name owners in the path: %j', async (headers, owner) => {
    const file = Buffer.from(block('PRIVATE KEY', der('p8-plain'), headers));
    expect(await readPrivateKeys(file)).toMatchObject({ kind: 'bundle', keys: [owner] });
  });

  it('are refused when a path names another key', async () => {
    const file = Buffer.from(block('PRIVATE KEY', der('p8-plain'), { path: RSA }));
    await expect(readPrivateKeys(file)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: `the key named ${RSA} has the ID ${P256}`,
    });
  });

  it('are refused as a whole when a block is malformed', async () => {
    const text = read('key-files/notary-bundle.pem').toString().replace('-----END ENCRYPTED PRIVATE KEY-----\n', '\n');
    await expect(readPrivateKeys(Buffer.from(text), PASSPHRASE)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: '1 of 4 PEM blocks malformed',
    });
  });

  it('are refused with too many blocks', async () => {
    const text = '-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n'.repeat(1025);
    await expect(readPrivateKeys(Buffer.from(text))).rejects.toMatchObject({ message: 'more than 1024 PEM blocks' });
  });
});

describe('passphrases', () => {
  it('are asked for again after a wrong answer', async () => {
    expect(await ids(vector('p8-aes256-sha1'), answer('wrong', 'passw0rd1'))).toStrictEqual([P256]);
    expect(await ids(read('pkcs12/openssl3-p256.p12'), answer('wrong', 'passw0rd1'))).toStrictEqual([P256]);
  });

  it('are asked for no more than four times', async () => {
    let asked = 0;
    const source: PassphraseSource = async () => {
      asked++;
      return Secret.fromText('wrong');
    };
    await expect(readPrivateKeys(vector('p8-aes256-sha1'), source)).rejects.toMatchObject({
      code: 'PASSPHRASE_INCORRECT',
    });
    expect(asked).toBe(4);
  });

  it('that were wrong are named so when the asker gives up', async () => {
    await expect(readPrivateKeys(vector('sec1-aes128'), answer('wrong'))).rejects.toMatchObject({
      code: 'PASSPHRASE_INCORRECT',
      message: 'the passphrase does not open the private key',
    });
  });

  it.each(['key-formats/p8-aes256-sha1.pem', 'pkcs12/openssl3-p256.p12'])(
    'that are missing are named so: %s',
    async (path) => {
      await expect(readPrivateKeys(read(path))).rejects.toMatchObject({
        code: 'PASSPHRASE_REQUIRED',
        message: expect.stringMatching(/is sealed under a passphrase$/),
      });
    },
  );

  it('are not asked for where nothing is sealed', async () => {
    const never: PassphraseSource = () => Promise.reject(new Error('asked'));
    expect(await ids(vector('p8-plain'), never)).toStrictEqual([P256]);
    expect(await ids(read('pkcs12/empty-passphrase-p256.p12'), never)).toStrictEqual([P256]);
  });
});

describe('PKCS#12', () => {
  it.each(
    readdirSync(new URL('../../vectors/pkcs12', import.meta.url)).filter((name) =>
      /^(?:openssl3|plain|sha512)/.test(name),
    ),
  )('gives the key of %s with its certificate', async (name) => {
    const file = await readPrivateKeys(read(`pkcs12/${name}`), PASSPHRASE);
    expect(file).toMatchObject({ kind: 'pkcs12', keys: [{ role: '', gun: '', path: '', sealed: true }] });
    expect(file.keys[0]?.certificates.map(({ subject }) => subject.commonName)).toStrictEqual([
      expect.stringMatching(/^p12 /),
    ]);
    expect(file.keys[0]?.label).toBe(name === 'openssl3-p256.p12' ? 'signing key' : '');
  });

  it('without a key is refused', async () => {
    await expect(readPrivateKeys(read('pkcs12/only-certificate.p12'), PASSPHRASE)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'the file holds certificates at most, and no private key',
    });
  });
});

describe('certificates beside a key', () => {
  it('are given with it in order, others left out', async () => {
    const root = await issue('root', { extensions: authorityExtensions() });
    const key = PrivateKey.fromPkcs8(der('p8-plain'));
    const own = await certify('own', key.publicKey, { by: root });
    const stranger = (await issue('stranger')).certificate;
    const text = [root.certificate, stranger, own].map(certificatePem).join('') + vector('p8-plain').toString();
    const { kind, keys } = await readPrivateKeys(Buffer.from(text));
    expect(kind).toBe('pem');
    expect(keys[0]?.certificates.map(({ subject }) => subject.commonName)).toStrictEqual(['own', 'root']);
  });
});

describe('JWK', () => {
  const jwk = toPrivateJwk(der('p8-plain'));
  const other = toPublicJwk(PrivateKey.fromPkcs1(der('pkcs1-plain')).publicKey);
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));

  it('gives its key, named by kid', async () => {
    const file = await readPrivateKeys(json(jwk));
    expect(file).toMatchObject({ kind: 'jwk', keys: [{ label: jwk.kid, key: { keyId: P256 }, sealed: false }] });
  });

  it('Sets give all private keys', async () => {
    const file = await readPrivateKeys(json({ keys: [jwk, other, toPrivateJwk(der('ed25519-rfc8410'))] }));
    expect(file.kind).toBe('jwk-set');
    expect(file.keys.map(({ key }) => key.algorithm)).toStrictEqual(['ecdsa', 'ed25519']);
  });

  it.each<[unknown, string, string]>([
    [other, 'INVALID_ARGUMENT', 'the file holds a public key, and no private key'],
    [{ keys: [other] }, 'INVALID_ARGUMENT', 'the file holds a public key, and no private key'],
    [{ keys: [] }, 'INVALID_ARGUMENT', 'a JWK Set holds 1 to 256 keys'],
    [{ keys: [1] }, 'INVALID_ARGUMENT', 'a JWK Set holds 1 to 256 keys'],
    [{ keys: [jwk, { kty: 'oct', k: 'AA' }] }, 'UNSUPPORTED', 'JWK: keys of type "oct" are not supported'],
    [{ protected: 'x', ciphertext: 'y' }, 'UNSUPPORTED', 'encrypted JWKs are not supported'],
    [{ signed: {}, signatures: [] }, 'INVALID_ARGUMENT', 'the file holds TUF metadata, not a key'],
    [{ hello: 'world' }, 'INVALID_ARGUMENT', 'the JSON file holds no JWK and no JWK Set'],
  ])('refuses %j', async (value, code, message) => {
    await expect(readPrivateKeys(json(value))).rejects.toMatchObject({ code, message });
  });

  it('that is no JSON is refused without a word of its text', async () => {
    const error: unknown = await readPrivateKeys(Buffer.from('{"d":"secret",}')).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', message: 'the file is not JSON' });
    // JSON.parse quotes what it cannot read.
    expect(error).not.toHaveProperty('cause');
  });
});

describe('files that hold no key for Signet say what they are', () => {
  const ssh = 'convert a copy of it with "ssh-keygen -p -m PKCS8 -f COPY" (RSA and ECDSA keys)';
  const publicKey = PrivateKey.fromPkcs8(der('p8-plain')).publicKey;

  it.each<[string, Uint8Array, string, string, string | undefined]>([
    ['nothing', Buffer.of(), 'INVALID_ARGUMENT', 'the file is empty', undefined],
    ['much', Buffer.alloc(1024 * 1024 + 1), 'INVALID_ARGUMENT', 'the file is larger than 1 MiB', undefined],
    [
      'any text',
      Buffer.from('hello'),
      'INVALID_ARGUMENT',
      'the file is no key file of a known kind',
      'give a PEM, DER, PKCS#12 (.p12, .pfx) or JWK file',
    ],
    [
      'OpenSSH',
      read('key-files/openssh.pem'),
      'UNSUPPORTED',
      'private keys in the format of OpenSSH are not supported',
      ssh,
    ],
    [
      'an OpenSSH public key',
      read('openssh/p8-plain.pub'),
      'UNSUPPORTED',
      'the file holds an OpenSSH public key',
      'convert it with "ssh-keygen -e -m PKCS8 -f FILE"',
    ],
    [
      'PuTTY',
      Buffer.from('PuTTY-User-Key-File-3: ecdsa-sha2-nistp256\n'),
      'UNSUPPORTED',
      'the file holds a PuTTY key',
      `export it from PuTTYgen as an OpenSSH key, then ${ssh}`,
    ],
    [
      'OpenPGP',
      Buffer.from('-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ==\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n'),
      'UNSUPPORTED',
      'OpenPGP keys are not supported',
      undefined,
    ],
    [
      'DSA',
      Buffer.from(block('DSA PRIVATE KEY', Buffer.of(0))),
      'UNSUPPORTED',
      'DSA keys are not supported',
      undefined,
    ],
    [
      'a request',
      Buffer.from(block('CERTIFICATE REQUEST', Buffer.of(0))),
      'INVALID_ARGUMENT',
      'the file has a PEM block of type "CERTIFICATE REQUEST", which is no key',
      undefined,
    ],
    [
      'a secret in the wrong place',
      Buffer.from(`-----BEGIN MIIEvgIBADANBgkqhkiG9w0BAQ-----\n`),
      'INVALID_ARGUMENT',
      'the file has a PEM block of type (not a label), which is no key',
      undefined,
    ],
    [
      'UTF-16',
      Buffer.from('\ufeff-----BEGIN PRIVATE KEY-----', 'utf16le'),
      'UNSUPPORTED',
      'the file is encoded in UTF-16',
      'save it as UTF-8',
    ],
    [
      'a certificate',
      read('certificates/pub-cert-ecdsa.crt'),
      'INVALID_ARGUMENT',
      'the file holds a certificate, and no private key',
      'give the file with the private key; one that was made on a token cannot leave it',
    ],
    [
      'a certificate in DER',
      parsePem(read('certificates/pub-cert-ecdsa.crt'))?.bytes ?? Buffer.of(),
      'INVALID_ARGUMENT',
      'the file holds a certificate, and no private key',
      'give the file with the private key; one that was made on a token cannot leave it',
    ],
    ...(['pem', 'der', 'jwk'] as const).map(
      (format) =>
        [
          `a public key in ${format}`,
          formatPublicKey(publicKey, format),
          'INVALID_ARGUMENT',
          'the file holds a public key, and no private key',
          'give the file with the private key; one that was made on a token cannot leave it',
        ] as const satisfies [string, Uint8Array, string, string, string],
    ),
    [
      'DES of PKCS#5 v1',
      vector('p8-pbe1'),
      'UNSUPPORTED',
      expect.stringMatching(/^encrypted private key: PBES1 encryption .* is not supported$/),
      'convert it with "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA1"',
    ],
    [
      '64 bytes of Ed25519, which Notary refuses too',
      vector('legacy-ed25519-64'),
      'INVALID_ARGUMENT',
      'malformed Ed25519 private key: 64 bytes instead of 96',
      undefined,
    ],
  ])('%s', async (_, file, code, message, hint) => {
    await expect(readPrivateKeys(file, PASSPHRASE)).rejects.toMatchObject({ code, message, hint });
  });
});

describe('damaged files', () => {
  it.each([
    'key-formats/p8-plain.pem',
    'key-formats/sec1-aes128.pem',
    'key-formats/pkcs1-rsa1024.pem',
    'pkcs12/nomac-p256.p12',
  ])('give keys or a SignetError: %s', async (path) => {
    const original = read(path);
    await fc.assert(
      fc.asyncProperty(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }), async (index, change) => {
        const damaged = Buffer.from(original);
        damaged.writeUInt8(damaged.readUInt8(index) ^ change, index);
        const outcome = await readPrivateKeys(damaged, PASSPHRASE).catch((error: unknown) => error);
        if (outcome instanceof Error) expect(outcome).toBeInstanceOf(SignetError);
        else expect(outcome).toMatchObject({ keys: [{}] });
      }),
      { numRuns: 200 },
    );
  });

  it('any bytes behind any beginning give a SignetError', async () => {
    const beginnings = [
      '',
      '{',
      '{"kty":',
      '-----BEGIN PRIVATE KEY-----\n',
      '\u00300\u0082\u0001',
      '0\u0080\u0002\u0001\u0003',
    ];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...beginnings), fc.uint8Array({ maxLength: 200 }), async (beginning, rest) => {
        const file = Buffer.concat([Buffer.from(beginning, 'latin1'), rest]);
        await expect(readPrivateKeys(file, PASSPHRASE)).rejects.toThrow(SignetError);
      }),
      { numRuns: 500 },
    );
  });
});
