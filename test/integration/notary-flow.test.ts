/**
 * The life of a trusted collection: the real notary client and notary-server, with signetd in notary-signer's place and its
 * keys in each home that an operator may choose.
 *
 * The steps build on each other and run in order.
 */
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { openssl } from '../support/certificates.ts';
import type { NotaryClient } from '../support/notary.ts';
import { fileHome, type ServerKey, type SignerHome, tokenHome } from '../support/signer-homes.ts';
import type { Signetd } from '../support/signetd.ts';
import { type Stack, startStack } from '../support/stack.ts';

const GUN = 'registry.example.com/team/app';
const MORE_GUNS = [1, 2, 3, 4, 5].map((number) => `registry.example.com/team/app-${number}`);

const HOMES = [
  ['in files', fileHome],
  ['on a PKCS#11 token', tokenHome],
] as const;

describe.each(HOMES)('with server keys %s', (_, openHome) => {
  let home: SignerHome;
  let stack: Stack<Signetd>;
  let notary: NotaryClient;
  /** Keys the signer must hold at the end; DeleteKey is never called. */
  const serverKeys: ServerKey[] = [];
  /** Versions of the timestamp published per GUN: every version is one signature. */
  const timestampVersions = new Map<string, number>();

  beforeAll(async () => {
    home = await openHome();
    stack = await startStack(home.startSigner);
    notary = await stack.client('alice');
    await writeFile(join(notary.home, 'one.txt'), 'hello one\n');
    await writeFile(join(notary.home, 'two.txt'), 'hello two\n');
    return async () => {
      await stack[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    };
  });

  /** The role's key IDs in the newest root. */
  async function keyIdsOf(role: string, gun = GUN): Promise<readonly string[]> {
    await notary.succeeds('list', gun);
    const root = (await notary.cached(gun, 'root')) as { signed: { roles: Record<string, { keyids: string[] }> } };
    return root.signed.roles[role]?.keyids ?? [];
  }

  /** Rotates a key and checks that the collection has another one afterwards. @returns What notary printed. */
  async function rotates(role: string, ...flags: string[]): Promise<string> {
    const before = await keyIdsOf(role);
    const { ending, stdout, stderr } = await notary.run(['key', 'rotate', GUN, role, ...flags], 'yes\n');
    expect({ ending, stderr }).toEqual({ ending: 0, stderr: '' });
    expect(await keyIdsOf(role)).not.toEqual(before);
    if (flags.includes('-r')) await recordServerKey(role);
    return stdout;
  }

  async function recordServerKey(role: string, gun = GUN): Promise<void> {
    for (const keyId of await keyIdsOf(role, gun)) serverKeys.push({ keyId, role, gun });
  }

  async function recordTimestampVersion(gun: string): Promise<void> {
    const timestamp = JSON.parse(await stack.server.metadata(gun, 'timestamp.json')) as { signed: { version: number } };
    timestampVersions.set(gun, (timestampVersions.get(gun) ?? 0) + timestamp.signed.version);
  }

  describe('a trusted collection', () => {
    test('notary-server reports its signer as healthy', async () => {
      expect(await stack.server.health()).toEqual({ status: 200, body: '{}' });
    });

    test('a collection that nobody made has no trust data', async () => {
      expect(await notary.fails('list', GUN)).toContain(`does not have trust data for ${GUN}`);
    });

    test('init gets a timestamp key from the signer, add stages, publish signs', async () => {
      await notary.succeeds('init', GUN);
      expect(await notary.succeeds('add', GUN, 'v1', 'one.txt')).toContain('staged for next publish');
      expect(await notary.succeeds('status', GUN)).toMatch(/create +targets +target +v1/);
      expect(await notary.succeeds('publish', GUN)).toContain('Successfully published changes');
      await recordServerKey('timestamp');
    });

    test('list and lookup show the published target', async () => {
      expect(await notary.succeeds('list', GUN)).toMatch(/^v1 +[0-9a-f]{64} +10 +targets/m);
      expect(await notary.succeeds('lookup', GUN, 'v1')).toMatch(/^v1 sha256:[0-9a-f]{64} 10$/m);
    });

    test('verify accepts the right content and refuses another', async () => {
      await notary.succeeds('verify', GUN, 'v1', '-i', 'one.txt', '-q');
      expect(await notary.fails('verify', GUN, 'v1', '-i', 'two.txt')).toContain('checksum for v1 did not match');
    });

    test('addhash adds a target by its hash, remove takes it away', async () => {
      const sha256 = createHash('sha256').update('x').digest('hex');
      const added = await notary.succeeds('addhash', '-p', GUN, 'v2', '42', '--sha256', sha256);
      expect(added).toContain('Successfully published');
      expect(await notary.succeeds('list', GUN)).toMatch(/^v2 +[0-9a-f]{64} +42 +targets/m);
      await notary.succeeds('remove', '-p', GUN, 'v2');
      expect(await notary.succeeds('list', GUN)).not.toMatch(/^v2 /m);
    });
  });

  describe('delegations', () => {
    test('an EC and an RSA certificate become delegations', async () => {
      await selfSigned(notary.home, 'releases', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256']);
      await selfSigned(notary.home, 'qa', ['-newkey', 'rsa:2048']);
      await notary.succeeds('delegation', 'add', '-p', GUN, 'targets/releases', 'releases.crt', '--all-paths');
      await notary.succeeds('delegation', 'add', '-p', GUN, 'targets/qa', 'qa.crt', '--paths', 'qa/');
      const list = await notary.succeeds('delegation', 'list', GUN);
      expect(list).toMatch(/targets\/releases +"" <all paths>/);
      expect(list).toMatch(/targets\/qa +qa\//);
    });

    test('their private keys join those of the collection in the local store', async () => {
      await notary.succeeds('key', 'import', 'releases.key', '--role', 'targets/releases');
      await notary.succeeds('key', 'import', 'qa.key', '--role', 'targets/qa');
      const list = await notary.succeeds('key', 'list');
      for (const role of ['targets/qa', 'targets/releases']) expect(list).toContain(role);
      expect(list).toMatch(/^root /m);
      for (const role of ['targets', 'snapshot']) expect(list).toMatch(new RegExp(`^${role} +\\S*team/app`, 'm'));
    });

    test('each signs within its paths only', async () => {
      await notary.succeeds('add', '-p', GUN, 'rel', 'two.txt', '--roles', 'targets/releases');
      await notary.succeeds('add', '-p', GUN, 'qa/one', 'one.txt', '--roles', 'targets/qa');
      const refused = await notary.fails('add', '-p', GUN, 'two', 'one.txt', '--roles', 'targets/qa');
      expect(refused).toContain('Could not add all targets');
      await notary.succeeds('reset', GUN, '--all'); // a failed change stays in the changelist
      const list = await notary.succeeds('list', GUN);
      expect(list).toMatch(/^rel .*targets\/releases/m);
      expect(list).toMatch(/^qa\/one .*targets\/qa/m);
    });

    test('witness signs again, remove ends a delegation', async () => {
      await notary.succeeds('witness', '-p', GUN, 'targets', 'targets/releases');
      await notary.succeeds('delegation', 'remove', GUN, 'targets/qa', '-y', '-p');
      expect(await notary.succeeds('delegation', 'list', GUN)).not.toContain('targets/qa');
    });
  });

  describe('key rotation', () => {
    test('the targets key is replaced by another local one', async () => {
      expect(await rotates('targets')).toContain('Successfully rotated targets key');
    });

    test('the signer takes over the snapshot key and signs the next snapshot', async () => {
      await rotates('snapshot', '-r');
      expect(await notary.succeeds('key', 'list')).not.toMatch(/^snapshot /m);
      await notary.succeeds('add', '-p', GUN, 'v3', 'two.txt');
    });

    test('the signer makes new timestamp and snapshot keys when asked again', async () => {
      await rotates('timestamp', '-r');
      await rotates('snapshot', '-r');
    });

    test('a timestamp key is never local and a targets key never remote', async () => {
      const timestamp = await notary.fails('key', 'rotate', GUN, 'timestamp');
      expect(timestamp).toContain('does not permit the client managing the timestamp key');
      const targets = await notary.fails('key', 'rotate', GUN, 'targets', '-r');
      expect(targets).toContain('does not permit the server managing the targets key');
    });

    test('the client takes the snapshot key back', async () => {
      await rotates('snapshot');
    });

    test('the root key is replaced', async () => {
      expect(await rotates('root')).toContain('Successfully rotated root key');
    });

    test('every target survives', async () => {
      const list = await notary.succeeds('list', GUN);
      for (const target of ['v1', 'v3', 'rel']) expect(list).toMatch(new RegExp(`^${target} `, 'm'));
    });
  });

  describe('other clients and deletion', () => {
    test('a fresh client lists and verifies', async () => {
      const other = await stack.client('bob');
      expect(await other.succeeds('list', GUN)).toMatch(/^v3 /m);
      const content = join(notary.home, 'two.txt');
      await other.succeeds('verify', GUN, 'v3', '-i', content, '-q');
    });

    test('deleting locally leaves the collection on the server', async () => {
      expect(await notary.succeeds('delete', GUN)).toContain('Successfully deleted local trust data');
      expect(await notary.succeeds('list', GUN)).toMatch(/^v1 /m);
    });

    test('deleting remotely removes it for everybody', async () => {
      await recordTimestampVersion(GUN);
      expect(await notary.succeeds('delete', GUN, '--remote')).toContain('local and remote trust data');
      expect(await notary.fails('list', GUN)).toContain('does not have trust data');
    });

    test('the same name can be initialised again', async () => {
      await notary.succeeds('init', '-p', GUN);
      await notary.succeeds('list', GUN);
      await recordServerKey('timestamp');
      await recordTimestampVersion(GUN);
    });

    test.each(MORE_GUNS)('%s is created and signed', async (gun) => {
      await notary.succeeds('init', '-p', gun);
      await recordServerKey('timestamp', gun);
      await recordTimestampVersion(gun);
    });
  });

  describe('the signer afterwards', () => {
    test('ends cleanly on SIGTERM, with its log written out', async () => {
      const { ending } = await stack.signer.stop();
      expect(ending).toBe(0);
    });

    test('left every key it made in its home, with its role and GUN, and nowhere else', async () => {
      const byKeyId = (a: ServerKey, b: ServerKey) => (a.keyId < b.keyId ? -1 : 1);
      const held = await home.heldKeys(stack.signer);
      expect(held.toSorted(byKeyId)).toEqual(serverKeys.toSorted(byKeyId));
    });

    test('logged one line per signature, with who asked for what', () => {
      const signed = stack.signer.log().filter((line) => line['msg'] === 'signed');
      for (const line of signed) {
        expect(line).toMatchObject({
          caller: expect.stringContaining('notary-server-client'),
          algorithm: 'ecdsa',
          durationMs: expect.any(Number),
          outcome: 'ok',
          contentSha256: expect.stringMatching(/^[0-9a-f]{64}$/),
        });
        const { keyId, role, gun } = line;
        expect(serverKeys).toContainEqual({ keyId, role, gun });
      }
      for (const [gun, versions] of timestampVersions) {
        const timestamps = signed.filter((line) => line['role'] === 'timestamp' && line['gun'] === gun);
        expect({ gun, signatures: timestamps.length }).toEqual({ gun, signatures: versions });
      }
      expect(signed.filter((line) => line['role'] === 'snapshot').length).toBeGreaterThan(0);
    });

    test.each(MORE_GUNS)('logged the hash of what it signed for %s', async (gun) => {
      const timestamp = await stack.server.metadata(gun, 'timestamp.json');
      const signedBytes = /^\{"signed":(\{.*\}),"signatures":/s.exec(timestamp)?.[1] ?? '';
      const contentSha256 = createHash('sha256').update(signedBytes).digest('hex');
      const lines = stack.signer.log().filter((line) => line['msg'] === 'signed' && line['gun'] === gun);
      expect(lines.at(-1)).toMatchObject({ role: 'timestamp', contentSha256 });
    });

    test('logged nothing of the signed content', () => {
      const { stdout, stderr } = stack.signer.program;
      expect((stdout + stderr).includes('_type')).toBe(false); // the matcher for strings would print it all
    });
  });
});

/** Makes `<name>.key` and `<name>.crt` in `home`. */
async function selfSigned(home: string, name: string, newKey: readonly string[]): Promise<void> {
  const [keyFile, certFile] = [join(home, `${name}.key`), join(home, `${name}.crt`)];
  await openssl([
    ...['req', '-x509', ...newKey, '-noenc', '-sha256', '-days', '365', '-subj', `/CN=${name}`],
    ...['-keyout', keyFile, '-out', certFile],
  ]);
}
