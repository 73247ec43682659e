import { createHash, X509Certificate } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dependentsOf } from '../../../src/cli/dependents.ts';
import { keyIdOf } from '../../../src/crypto/key-id.ts';
import { publicKeyOf } from '../../../src/crypto/public-key.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

const CERTIFICATE = fileURLToPath(new URL('../../vectors/certificates/notary-root-p256.crt', import.meta.url));
const PLAIN = 'a'.repeat(64);

let directory: TemporaryDirectory;
const location = (keyId: string) => join(directory.path, 'private', `${keyId}.key`);

async function collection(gun: string, files: Readonly<Record<string, unknown>>): Promise<void> {
  const metadata = join(directory.path, 'tuf', gun, 'metadata');
  await mkdir(metadata, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    await writeFile(join(metadata, `${name}.json`), typeof content === 'string' ? content : JSON.stringify(content));
  }
}

beforeAll(async () => {
  directory = await temporaryDirectory();
});
afterAll(async () => {
  await directory[Symbol.asyncDispose]();
});

describe('dependentsOf', () => {
  it('names the roles of root metadata and the delegations that a key is in', async () => {
    await collection('example.com/team/app', {
      root: { signed: { keys: {}, roles: { root: { keyids: ['x'] }, targets: { keyids: ['y', PLAIN] } } } },
      targets: { signed: { delegations: { keys: {}, roles: [{ name: 'targets/alice', keyids: [PLAIN] }] } } },
    });
    expect(await dependentsOf(PLAIN, location(PLAIN))).toEqual([
      { gun: 'example.com/team/app', role: 'targets' },
      { gun: 'example.com/team/app', role: 'targets/alice' },
    ]);
    expect(await dependentsOf('b'.repeat(64), location(PLAIN))).toEqual([]);
  });

  it('finds a root key by the certificate that holds its public half', async () => {
    const pem = await readFile(CERTIFICATE);
    const keyId = keyIdOf(publicKeyOf(new X509Certificate(pem).publicKey));
    const certificateId = createHash('sha256').update(pem).digest('hex');
    const keys = {
      [certificateId]: { keytype: 'ecdsa-x509', keyval: { private: null, public: pem.toString('base64') } },
    };
    await collection('example.com/x509', { root: { signed: { keys, roles: { root: { keyids: [certificateId] } } } } });
    expect(await dependentsOf(keyId, location(keyId))).toEqual([{ gun: 'example.com/x509', role: 'root' }]);
  });

  it.each([
    ['no JSON', '{'],
    ['null', 'null'],
    ['a text', '"root"'],
    ['roles that are no object', { signed: { roles: 7, keys: [] } }],
    ['key IDs that are no list', { signed: { roles: { root: { keyids: PLAIN } } } }],
    [
      'a certificate that is none',
      { signed: { keys: { [PLAIN]: { keytype: 'ecdsa-x509', keyval: { public: 'bm8=' } } } } },
    ],
    ['delegations that are no list', { signed: { delegations: { roles: {} } } }],
  ])('passes over metadata with %s', async (_, content) => {
    await collection('example.com/damaged', { root: content, targets: content });
    const found = await dependentsOf(PLAIN, location(PLAIN));
    expect(found.filter(({ gun }) => gun === 'example.com/damaged')).toEqual([]);
  });

  it('is empty for a key that is not in a trust directory', async () => {
    expect(await dependentsOf(PLAIN, 'pkcs11:token=t;id=%01')).toEqual([]);
    expect(await dependentsOf(PLAIN, '/nowhere/private/x.key')).toEqual([]);
  });
});
