import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { formatPem, parsePem } from '../../../src/crypto/pem.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { rootLeafBundle } from '../../../src/tuf/certificate-bundle.ts';
import { chainsTo } from '../../../src/tuf/certificate-chain.ts';
import { TRUST_ON_FIRST_USE, type TrustPinning } from '../../../src/tuf/trust-pinning.ts';
import { TrustedMetadata } from '../../../src/tuf/trusted-metadata.ts';
import { publicKeyOfTufKey, type TufKey, tufKeyId } from '../../../src/tuf/tuf-key.ts';
import { createAuthority, openssl } from '../../support/certificates.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';
import { type CertificateOptions, TestCollection, TestKeys } from '../../support/tuf-collection.ts';

const GUN = 'registry.example.com/Team/App';
const NOW = new Date();

let directory: TemporaryDirectory;
let keys: TestKeys;
/** With a self-signed certificate for GUN. */
let rootKey: TufKey;

beforeAll(async () => {
  directory = await temporaryDirectory();
  keys = new TestKeys();
  rootKey = await keys.certificate(directory.path, GUN);
  return () => directory[Symbol.asyncDispose]();
});

async function rootFile(...rootKeys: TufKey[]): Promise<Buffer> {
  const other = [await keys.generate()];
  const base = { root: rootKeys, targets: other, snapshot: other, timestamp: other };
  const files = await new TestCollection(keys, base, NOW).publish();
  return files.get('root') ?? Buffer.alloc(0);
}

async function believes(file: Buffer, pinning: Partial<TrustPinning>, gun = GUN, now = NOW): Promise<boolean> {
  TrustedMetadata.fromFirstRoot(file, { ...TRUST_ON_FIRST_USE, ...pinning }, { gun, now });
  return true;
}

function refusal(reason: string) {
  const message = `could not validate the path to a trusted root: ${reason}`;
  return expect.objectContaining({ code: 'METADATA_REJECTED', message });
}

const NO_MATCH = refusal('unable to match any certificates to trust_pinning config');
const NO_LEAF = refusal('unable to retrieve valid leaf certificates');

describe('pinned certificates', () => {
  const pins = (...entries: (readonly [string, readonly string[]])[]) => ({ certs: new Map(entries) });

  it('one of the pinned IDs must be that of the root certificate', async () => {
    const file = await rootFile(rootKey);
    expect(await believes(file, pins([GUN, ['deadbeef', tufKeyId(rootKey)]]))).toBe(true);
    await expect(believes(file, pins([GUN, ['deadbeef']]))).rejects.toThrow(NO_MATCH);
    await expect(believes(file, pins([GUN, []]))).rejects.toThrow(NO_MATCH);
  });

  it('capitals of the GUN count: a pin for another spelling is none', async () => {
    const file = await rootFile(rootKey);
    const other = pins([GUN.toLowerCase(), ['deadbeef']]);
    expect(await believes(file, other)).toBe(true);
    await expect(believes(file, { ...other, disableTofu: true })).rejects.toThrow(
      refusal('invalid trust pinning specified'),
    );
  });

  it('the exact GUN is stronger than a prefix, a longer prefix than a shorter', async () => {
    const file = await rootFile(rootKey);
    const good = [tufKeyId(rootKey)];
    expect(await believes(file, pins(['registry.example.com/*', ['bad']], [GUN, good]))).toBe(true);
    expect(await believes(file, pins(['*', ['bad']], ['registry.example.com/Team/*', good]))).toBe(true);
    await expect(believes(file, pins(['*', good], ['registry*', ['bad']]))).rejects.toThrow(NO_MATCH);
  });

  it('counts only signatures by pinned certificates', async () => {
    const file = await rootFile(rootKey, await keys.certificate(directory.path, GUN));
    expect(await believes(file, pins([GUN, [tufKeyId(rootKey)]]))).toBe(true);
  });
});

describe('without a pin', () => {
  it('the first root is trusted, unless that is disabled', async () => {
    const file = await rootFile(rootKey);
    expect(await believes(file, {})).toBe(true);
    await expect(believes(file, { disableTofu: true })).rejects.toThrow(refusal('invalid trust pinning specified'));
  });

  it.each<[string, string, CertificateOptions]>([
    ['a CA', GUN, { extensions: ['basicConstraints=critical,CA:TRUE'] }],
    ['a CA that may not issue', GUN, { extensions: ['basicConstraints=CA:TRUE', 'keyUsage=digitalSignature'] }],
    ['for another GUN', `${GUN}2`, {}],
    ['for a prefix without a star', 'registry.example.com/', {}],
    ['signed over SHA-1', GUN, { digest: 'sha1' }],
  ])('a root certificate that is %s is refused', async (_, commonName, options) => {
    const key = await keys.certificate(directory.path, commonName, options);
    await expect(believes(await rootFile(key), {})).rejects.toThrow(NO_LEAF);
  });

  it('a root certificate for a prefix with a star is taken, and one of an RSA key', async () => {
    const wildcard = await keys.certificate(directory.path, 'registry.example.com/*');
    expect(await believes(await rootFile(wildcard), {})).toBe(true);
    const rsa = await keys.certificate(directory.path, GUN, { newKey: ['rsa:2048'] });
    expect(await believes(await rootFile(rsa), {})).toBe(true);
  });

  it('no bundle holds a short RSA key, an intermediate first, or something that is no certificate', async () => {
    const [short, ca] = await Promise.all([
      keys.certificate(directory.path, GUN, { newKey: ['rsa:1024'] }),
      keys.certificate(directory.path, GUN, { extensions: ['basicConstraints=critical,CA:TRUE'] }),
    ]);
    const key = Buffer.from('-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n');
    expect(rootLeafBundle(rootKey.bytes, GUN)?.intermediates).toEqual([]);
    expect(rootLeafBundle(Buffer.concat([rootKey.bytes, ca.bytes]), GUN)?.intermediates).toHaveLength(1);
    for (const bundle of [
      short.bytes,
      Buffer.concat([ca.bytes, rootKey.bytes]),
      Buffer.concat([rootKey.bytes, key]),
      Buffer.concat([rootKey.bytes, ...Array<Uint8Array>(16).fill(ca.bytes)]),
      Buffer.from('none'),
    ]) {
      expect(rootLeafBundle(bundle, GUN)).toBeUndefined();
    }
  });

  it('a damaged certificate never does more than to be refused', () => {
    const block = parsePem(rootKey.bytes);
    if (block === undefined) throw new Error('no certificate');
    fc.assert(
      fc.property(fc.nat(block.bytes.length - 1), fc.nat(255), fc.nat(), (at, octet, cut) => {
        const der = Buffer.from(block.bytes);
        der[at] = octet;
        const pem = (bytes: Uint8Array) => Buffer.from(formatPem({ type: 'CERTIFICATE', headers: {}, bytes }));
        const shortened = der.subarray(0, cut % (der.length + 1));
        for (const bytes of [pem(der), pem(shortened), Buffer.concat([rootKey.bytes, pem(der)])]) {
          const bundle = rootLeafBundle(bytes, GUN);
          if (bundle !== undefined) chainsTo(bundle, [bundle.leaf], NOW);
          try {
            publicKeyOfTufKey({ algorithm: 'ecdsa-x509', bytes });
          } catch (error) {
            expect(error).toMatchObject({ name: 'SignetError', code: 'METADATA_REJECTED' });
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it('a bundle with two leaves is refused', async () => {
    const second = await keys.certificate(directory.path, GUN);
    const two = { ...rootKey, bytes: Buffer.concat([rootKey.bytes, second.bytes]) };
    await expect(believes(await rootFile(two), {})).rejects.toThrow(NO_LEAF);
  });
});

describe('pinned CAs', () => {
  interface Issuer {
    readonly certFile: string;
    readonly keyFile: string;
  }

  /** A leaf for the GUN, followed by the given certificates. */
  async function issued(name: string, issuer: Issuer, intermediates: readonly string[] = []): Promise<TufKey> {
    const file = (extension: string) => join(directory.path, `${name}.${extension}`);
    const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc'];
    await openssl([
      'req',
      '-new',
      ...ec,
      '-subj',
      `/CN=${GUN.replaceAll('/', '\\/')}`,
      '-keyout',
      file('key'),
      '-out',
      file('csr'),
    ]);
    await openssl([
      ...['x509', '-req', '-in', file('csr'), '-CA', issuer.certFile, '-CAkey', issuer.keyFile],
      ...['-set_serial', '7', '-days', '365', '-out', file('crt')],
    ]);
    const pem = parsePem(await readFile(file('key')));
    if (pem === undefined) throw new Error('openssl wrote no key');
    keys.add(PrivateKey.fromPkcs8(pem.bytes));
    const certificates = await Promise.all([file('crt'), ...intermediates].map((path) => readFile(path)));
    return { algorithm: 'ecdsa-x509', bytes: Buffer.concat(certificates) };
  }

  /** The pin of a CA for a prefix. */
  async function pin(prefix: string, certFile: string): Promise<Partial<TrustPinning>> {
    return { ca: new Map([[prefix, await readFile(certFile)]]) };
  }

  /** A CA with the given basic constraints and more extensions, below another. */
  async function subordinate(name: string, issuer: Issuer, extensions: readonly string[]): Promise<Issuer> {
    const [certFile, keyFile] = [join(directory.path, `${name}.crt`), join(directory.path, `${name}.key`)];
    await openssl([
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-subj', `/CN=${name}`],
      ...['-CA', issuer.certFile, '-CAkey', issuer.keyFile, '-days', '300', '-keyout', keyFile, '-out', certFile],
      ...extensions.flatMap((extension) => ['-addext', extension]),
    ]);
    return { certFile, keyFile };
  }

  it('the root certificate must lead to the CA, directly or by intermediates in its bundle', async () => {
    const ca = await createAuthority(directory.path, 'ca');
    const direct = await issued('direct', ca);
    expect(await believes(await rootFile(direct), await pin('registry.example.com/', ca.certFile))).toBe(true);

    const intermediate = await ca.intermediate('intermediate');
    const indirect = await issued('indirect', intermediate, [intermediate.certFile]);
    expect(await believes(await rootFile(indirect), await pin('', ca.certFile))).toBe(true);
    const without = await issued('without', intermediate);
    await expect(believes(await rootFile(without), await pin('', ca.certFile))).rejects.toThrow(NO_MATCH);
    expect(await believes(await rootFile(without), await pin('', intermediate.certFile))).toBe(true);
  });

  it('refuses certificates of another CA with the same name, and self-signed ones', async () => {
    const ca = await createAuthority(directory.path, 'ca-one');
    const certificate = await readFile(ca.certFile);
    const impostor = await createAuthority(directory.path, 'ca-one');
    const key = await issued('by-impostor', impostor);
    const pinned = { ca: new Map([['', certificate]]) };
    await expect(believes(await rootFile(key), pinned)).rejects.toThrow(NO_MATCH);
    await expect(believes(await rootFile(rootKey), pinned)).rejects.toThrow(NO_MATCH);
  });

  it('an issuer that is no CA, may not issue at that depth, or is constrained in an unknown way breaks the chain', async () => {
    const ca = await createAuthority(directory.path, 'ca-two');
    const noCa = await subordinate('no-ca', ca, ['basicConstraints=critical,CA:FALSE']);
    const last = await subordinate('last', ca, ['basicConstraints=critical,CA:TRUE,pathlen:0']);
    const tooDeep = await subordinate('too-deep', last, ['basicConstraints=critical,CA:TRUE']);
    const constrained = await subordinate('constrained', ca, [
      'basicConstraints=critical,CA:TRUE',
      'nameConstraints=critical,permitted;DNS:example.org',
    ]);
    const pinned = await pin('', ca.certFile);
    expect(await believes(await rootFile(await issued('at-last', last, [last.certFile])), pinned)).toBe(true);
    for (const [name, issuer, chain] of [
      ['by-no-ca', noCa, []],
      ['by-too-deep', tooDeep, [tooDeep.certFile, last.certFile]],
      ['by-constrained', constrained, [constrained.certFile]],
    ] as const) {
      const key = await issued(name, issuer, chain);
      await expect(believes(await rootFile(key), pinned), name).rejects.toThrow(NO_MATCH);
    }
  });

  it('certificates that issue one another in circles end soon, in no', async () => {
    const ca = await createAuthority(directory.path, 'ca-four');
    const circle = await subordinate('circle', ca, ['basicConstraints=critical,CA:TRUE']);
    const again = join(directory.path, 'circle-again.crt');
    // fourteen certificates of one name and key: each of them has issued all others
    const bundle = await Promise.all(
      Array.from({ length: 14 }, async (_, number) => {
        const file = `${again}.${number}`;
        await openssl([
          ...['req', '-x509', '-key', circle.keyFile, '-subj', '/CN=circle', '-days', '300', '-out', file],
          ...['-addext', 'basicConstraints=critical,CA:TRUE'],
        ]);
        return file;
      }),
    );
    const key = await issued('in-circle', circle, bundle);
    await expect(believes(await rootFile(key), await pin('', ca.certFile))).rejects.toThrow(NO_MATCH);
    const straight = await issued('straight', circle, [...bundle, circle.certFile]);
    expect(await believes(await rootFile(straight), await pin('', ca.certFile))).toBe(true);
  });

  it('an expired CA vouches for nothing', async () => {
    const ca = await createAuthority(directory.path, 'ca-three'); // 30 days
    const file = await rootFile(await issued('outlives', ca));
    const inTwoMonths = new Date(NOW.getTime() + 60 * 24 * 60 * 60 * 1000);
    await expect(believes(file, await pin('', ca.certFile), GUN, inTwoMonths)).rejects.toThrow(NO_MATCH);
  });

  it('the CA of the longest prefix counts, and certs are stronger than CAs', async () => {
    const [good, bad] = [await createAuthority(directory.path, 'good'), await createAuthority(directory.path, 'bad')];
    const key = await issued('of-good', good);
    const file = await rootFile(key);
    const ca = new Map([
      ['registry.example.com', await readFile(bad.certFile)],
      ['registry.example.com/Team', await readFile(good.certFile)],
    ]);
    expect(await believes(file, { ca })).toBe(true);
    await expect(believes(file, { ca, certs: new Map([[GUN, ['x']]]) })).rejects.toThrow(NO_MATCH);
  });

  it('a CA file without a certificate is an error of the configuration', async () => {
    await expect(believes(await rootFile(rootKey), { ca: new Map([['', Buffer.from('none')]]) })).rejects.toThrow(
      expect.objectContaining({
        code: 'CONFIGURATION',
        message: 'trust_pinning.ca: could not load root cert from CA path',
      }),
    );
  });
});
