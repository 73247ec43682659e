/** One trust directory, used in turn by the real `notary` and `docker` programs and by a running signetd. */
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AgentClient } from '../../src/client/agent-client.ts';
import { keyIdOf } from '../../src/crypto/key-id.ts';
import type { PublicKey } from '../../src/crypto/public-key.ts';
import { type AgentDaemon, startAgentDaemon } from '../support/agent-daemon.ts';
import { openssl } from '../support/certificates.ts';
import { waitFor } from '../support/conditions.ts';
import type { NotaryClient } from '../support/notary.ts';
import { runProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { type Signetd, startSignetd } from '../support/signetd.ts';
import { type Stack, startStack } from '../support/stack.ts';
import { temporaryDirectory } from '../support/temp.ts';
import { verifyIndependently } from '../support/verify.ts';

const VECTORS = fileURLToPath(new URL('../vectors/key-formats/', import.meta.url));
const GUN = 'registry.example.com/team/shared';
const MESSAGE = Buffer.from('message');
/** The passphrases of `createNotaryClient`. */
const PASSPHRASES = {
  NOTARY_ROOT_PASSPHRASE: 'root-passphrase',
  NOTARY_TARGETS_PASSPHRASE: 'targets-passphrase',
  NOTARY_SNAPSHOT_PASSPHRASE: 'snapshot-passphrase',
  NOTARY_DELEGATION_PASSPHRASE: 'delegation-passphrase',
};

const resources = new Resources();
let stack: Stack<Signetd>;

beforeAll(async () => {
  stack = resources.use(await startStack(startSignetd));
});
afterAll(() => resources[Symbol.asyncDispose]());

interface Shared {
  readonly notary: NotaryClient;
  readonly daemon: AgentDaemon;
  readonly agent: AgentClient;
  /** `<trust>/private` */
  readonly path: string;
}

/** A person whose trust directory notary and a signetd share. */
async function share(name: string, env: Readonly<Record<string, string>> = PASSPHRASES): Promise<Shared> {
  const notary = await stack.client(name);
  const path = join(notary.home, '.notary', 'private');
  const { path: directory } = resources.use(await temporaryDirectory());
  const daemon = resources.use(await startAgentDaemon(directory, { storagePath: path, env }));
  return { notary, daemon, agent: daemon.agent(), path };
}

/** Signs, verifies without the product's code, and checks that the public half belongs to the ID. */
async function signs(agent: AgentClient, keyId: string): Promise<void> {
  const { signature } = await agent.sign({ key_id: keyId, message: MESSAGE });
  const publicKey = (await agent.getPublicKey(keyId)) as PublicKey;
  expect(keyIdOf(publicKey)).toBe(keyId);
  expect(verifyIndependently(publicKey, MESSAGE, signature)).toBe(true);
}

async function listed(agent: AgentClient): Promise<{ keyId: string; role: string; gun: string }[]> {
  const keys = [];
  for await (const { key_id: keyId, role, gun } of agent.listKeys()) keys.push({ keyId, role, gun });
  return keys;
}

/** Rows of `notary key list`: the GUN column is empty where it is not known. */
async function listedByNotary(notary: NotaryClient): Promise<string> {
  return (await notary.succeeds('key', 'list')).replaceAll(/ +/g, ' ');
}

function keyIdIn(output: string): string {
  const [keyId] = /[0-9a-f]{64}/.exec(output) ?? [];
  if (keyId === undefined) throw new Error(`no key ID in: ${output}`);
  return keyId;
}

describe('keys that notary wrote', () => {
  it('sign through a running signetd: a generated root key and an imported delegation key', async () => {
    const { notary, agent } = await share('alice');
    const root = keyIdIn(await notary.succeeds('key', 'generate'));
    await signs(agent, root);
    await openssl(['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', join(notary.home, 'd.pem')]);
    await notary.succeeds('key', 'import', join(notary.home, 'd.pem'), '--role', 'targets/releases');
    const keys = await listed(agent);
    const delegation = keys.find(({ role }) => role === 'targets/releases')?.keyId ?? 'not listed';
    await signs(agent, delegation);
    expect(keys).toEqual(
      expect.arrayContaining([
        { keyId: root, role: 'root', gun: '' },
        { keyId: delegation, role: 'targets/releases', gun: '' },
      ]),
    );
    expect(keys).toHaveLength(2);
  });

  it('stop signing when notary removes them', async () => {
    const { notary, agent } = await share('bob');
    const root = keyIdIn(await notary.succeeds('key', 'generate'));
    await signs(agent, root);
    await notary.run(['key', 'remove', root], 'yes\n');
    await waitFor('the removal to be seen', async () => {
      const error = await agent.sign({ key_id: root, message: MESSAGE }).then(
        () => undefined,
        (thrown: { code: string }) => thrown.code,
      );
      return error === 'KEY_NOT_FOUND';
    });
    expect(await listed(agent)).toEqual([]);
  });

  it('are opened anew when notary seals them again: what was unlocked by hand is locked', async () => {
    const { notary, agent, path } = await share('carol', {});
    const root = keyIdIn(await notary.succeeds('key', 'generate'));
    const file = join(path, `${root}.key`);
    const unlock = () =>
      agent.unlock({ key_id: root, passphrase: Buffer.from(PASSPHRASES.NOTARY_ROOT_PASSPHRASE), ttl_ms: 0 });
    await unlock();
    await signs(agent, root);
    const before = await readFile(file, 'utf8');
    await notary.succeeds('key', 'passwd', root);
    expect(await readFile(file, 'utf8')).not.toBe(before);
    await waitFor('the new file to be seen', async () => {
      const error = await agent.sign({ key_id: root, message: MESSAGE }).then(
        () => undefined,
        (thrown: { code: string }) => thrown.code,
      );
      return error === 'PASSPHRASE_INCORRECT' || error === 'PASSPHRASE_REQUIRED';
    });
    await unlock();
    await signs(agent, root);
  });
});

describe('keys that signetd wrote', () => {
  it('are listed by notary with their roles and GUNs, exported and sealed again by it', async () => {
    const { notary, agent, daemon, path } = await share('dave');
    const root = (await agent.generateKey({ algorithm: 'ecdsa', role: 'root', gun: '' })).key_id;
    const targets = (await agent.generateKey({ algorithm: 'ecdsa', role: 'targets', gun: GUN })).key_id;
    const signer = (await agent.generateKey({ algorithm: 'ed25519', role: 'alice', gun: '' })).key_id;
    const created = await daemon.signer().createKey('ecdsa', GUN, 'timestamp');
    const timestamp = created.keyInfo.keyID.ID;

    const rows = await listedByNotary(notary);
    for (const row of [`root ${root}`, `alice ${signer}`]) expect(rows).toContain(row);
    for (const row of [`targets .*shared ${targets}`, `timestamp .*shared ${timestamp}`]) {
      expect(rows).toMatch(new RegExp(row));
    }

    for (const keyId of [root, targets, signer]) {
      const before = await readFile(join(path, `${keyId}.key`), 'utf8');
      expect(await notary.succeeds('key', 'passwd', keyId)).toContain('Successfully updated passphrase');
      expect(await readFile(join(path, `${keyId}.key`), 'utf8')).not.toBe(before);
      await signs(agent, keyId);
    }
    const bundle = join(notary.home, 'bundle.pem');
    await notary.succeeds('key', 'export', '--key', `${root},${timestamp}`, '-o', bundle);
    const text = await readFile(bundle, 'utf8');
    for (const keyId of [root, timestamp]) expect(text).toContain(`path: ${keyId}\n`);
    expect(await listedByNotary(notary)).toContain(timestamp);
  });

  it('come back through notary key export and import', async () => {
    const { notary, agent } = await share('erin');
    const other = await share('frank');
    const root = (await agent.generateKey({ algorithm: 'ecdsa', role: 'root', gun: '' })).key_id;
    const bundle = join(notary.home, 'bundle.pem');
    await notary.succeeds('key', 'export', '-o', bundle);
    await other.notary.succeeds('key', 'import', bundle);
    await signs(other.agent, root);
    expect(await listed(other.agent)).toEqual([{ keyId: root, role: 'root', gun: '' }]);
  });

  it('are sealed again and relabelled by signetd, and used by notary', async () => {
    const { notary, agent, path } = await share('rupert');
    const { key_id: keyId } = await agent.generateKey({ algorithm: 'ecdsa', role: 'alice', gun: '' });
    await agent.relabelKey({ key_id: keyId, role: 'root', gun: '' });
    expect(await listedByNotary(notary)).toContain(`root ${keyId}`);
    // Its passphrase is that of the role it was made for; notary knows the one of its role now.
    const passphrase = Buffer.from(PASSPHRASES.NOTARY_ROOT_PASSPHRASE);
    await agent.relabelKey({ key_id: keyId, role: 'alice', gun: '' });
    await agent.changePassphrase({ key_id: keyId, new_passphrase: passphrase });
    await agent.relabelKey({ key_id: keyId, role: 'root', gun: '' });
    const before = await readFile(join(path, `${keyId}.key`), 'utf8');
    expect(await notary.succeeds('key', 'passwd', keyId)).toContain('Successfully updated passphrase');
    expect(await readFile(join(path, `${keyId}.key`), 'utf8')).not.toBe(before);
    await signs(agent, keyId);
  });

  it('exported by signetd, are imported by notary', async () => {
    const { agent } = await share('sybil');
    const other = await share('trent');
    const { key_id: keyId } = await agent.generateKey({ algorithm: 'ecdsa', role: 'root', gun: '' });
    const bundle = join(other.notary.home, 'exported.pem');
    await writeFile(bundle, (await agent.exportKey(keyId)).pem);
    await other.notary.succeeds('key', 'import', bundle);
    await signs(other.agent, keyId);
    expect(await listed(other.agent)).toEqual([{ keyId, role: 'root', gun: '' }]);
  });

  it('are gone for notary when signetd removes them', async () => {
    const { notary, agent, path } = await share('grace');
    const { key_id: keyId } = await agent.generateKey({ algorithm: 'ecdsa', role: 'root', gun: '' });
    expect(await agent.removeKey(keyId)).toEqual({ removed: true });
    expect(await notary.succeeds('key', 'list')).toContain('No signing keys found');
    expect(await readdir(path)).toEqual([]);
  });
});

describe('a collection', () => {
  it('is made by notary with a root key that signetd made; the keys of both sign through signetd', async () => {
    const { notary, agent } = await share('heidi');
    const { key_id: root } = await agent.generateKey({ algorithm: 'ecdsa', role: 'root', gun: '' });
    expect(await notary.succeeds('init', GUN)).toContain(`Root key found, using: ${root}`);
    await writeFile(join(notary.home, 'one.txt'), 'hello\n');
    await notary.succeeds('add', GUN, 'v1', 'one.txt');
    expect(await notary.succeeds('publish', GUN)).toContain('Successfully published changes');
    expect(await notary.succeeds('list', GUN)).toMatch(/^v1 /m);
    const keys = await listed(agent);
    expect(keys.map(({ role }) => role).sort()).toEqual(['root', 'snapshot', 'targets']);
    for (const { keyId } of keys) await signs(agent, keyId);
    for (const { role, gun } of keys) expect(gun).toBe(role === 'root' ? '' : GUN);
  });
});

describe("the vectors of Debian's notary", () => {
  const passphraseOf = (role: string) => {
    const known = ['root', 'targets', 'snapshot'].includes(role) ? role : 'delegation';
    return `vector-${known}-pass`;
  };

  it.each(['repo-ecdsa', 'repo-ed25519-timestamp', 'repo-p384-root', 'repo-rsa-root'])(
    '%s: every key signs once it is unlocked, and not before',
    async (repository) => {
      const { path: directory } = resources.use(await temporaryDirectory());
      const storagePath = join(directory, 'keys');
      await mkdir(storagePath, { mode: 0o700 });
      const names = await readdir(join(VECTORS, repository));
      for (const name of names) await copyFile(join(VECTORS, repository, name), join(storagePath, name));
      const agent = resources.use(await startAgentDaemon(directory, { storagePath })).agent();
      const keys = await listed(agent);
      expect(keys.map(({ keyId }) => `${keyId}.key`).sort()).toEqual(names.sort());
      for (const { keyId, role } of keys) {
        const locked = agent.sign({ key_id: keyId, message: MESSAGE });
        await expect(locked).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
        await agent.unlock({ key_id: keyId, passphrase: Buffer.from(passphraseOf(role)), ttl_ms: 0 });
        await signs(agent, keyId);
      }
    },
  );
});

function isInstalled(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe.runIf(isInstalled('docker'))('keys that docker trust wrote', () => {
  it('sign through a running signetd under the name of their signer: generated and loaded', async () => {
    const { path: directory } = resources.use(await temporaryDirectory());
    const env = { DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE: 'repository-passphrase' };
    const storagePath = join(directory, 'trust', 'private');
    const agent = resources.use(await startAgentDaemon(directory, { storagePath, env })).agent();
    const dockerEnv = { PATH: process.env['PATH'] ?? '', HOME: directory, DOCKER_CONFIG: directory, ...env };
    const docker = async (...args: string[]) => {
      const { ending, stdout, stderr } = await runProgram('docker', args, { cwd: directory, env: dockerEnv });
      expect({ args, ending, output: stdout + stderr }).toMatchObject({ ending: 0 });
    };
    await docker('trust', 'key', 'generate', 'alice');
    const pem = join(directory, 'k.pem');
    await openssl(['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', pem]);
    await docker('trust', 'key', 'load', pem, '--name', 'jeff');
    const keys = await listed(agent);
    expect(keys.map(({ role, gun }) => [role, gun]).sort()).toEqual([
      ['alice', ''],
      ['jeff', ''],
    ]);
    for (const { keyId } of keys) await signs(agent, keyId);
    expect((await readdir(storagePath)).map((name) => basename(name, '.key')).sort()).toEqual(
      keys.map(({ keyId }) => keyId).sort(),
    );
  });
});
