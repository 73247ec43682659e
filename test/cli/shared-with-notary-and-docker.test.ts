/** One trust directory, three programs: what one makes, changes or removes, the others use. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createAuthority, openssl } from '../support/certificates.ts';
import { type CommandLineHome, commandLineHome, generatedKeyId } from '../support/cli.ts';
import { startNotarySigner } from '../support/notary.ts';
import { runProgram } from '../support/processes.ts';
import { startStack } from '../support/stack.ts';
import { runOnTerminal } from '../support/terminal.ts';

/** What the variables of both programs hold. */
const PASSPHRASES = {
  NOTARY_ROOT_PASSPHRASE: 'root-passphrase',
  NOTARY_TARGETS_PASSPHRASE: 'targets-passphrase',
  NOTARY_DELEGATION_PASSPHRASE: 'short', // a variable has no minimum
  DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE: 'root-passphrase',
  DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE: 'short',
};

let home: CommandLineHome;
beforeAll(async () => {
  home = await commandLineHome();
  await writeFile(join(home.path, 'message'), 'hello');
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

const options = (env: Readonly<Record<string, string>> = PASSPHRASES) => ({
  cwd: home.path,
  env: { ...home.env, ...env },
});
/** Without a terminal, so that nothing waits for one; notary works on Docker's directory. */
const notary = (args: readonly string[], env = PASSPHRASES as Readonly<Record<string, string>>, input = '') =>
  runProgram('setsid', ['--wait', 'notary', '-d', join(home.path, '.docker', 'trust'), ...args], {
    ...options(env),
    input,
  });
const docker = (args: readonly string[], env = PASSPHRASES as Readonly<Record<string, string>>) =>
  runProgram('setsid', ['--wait', 'docker', ...args], options(env));
const signet = (args: readonly string[], env = PASSPHRASES as Readonly<Record<string, string>>) =>
  home.signet(args, { env });

interface ListedKey {
  readonly keyId: string;
  readonly role: string;
  readonly gun: string;
}
const listed = async (...args: string[]) =>
  JSON.parse((await signet(['key', 'list', '--json', ...args])).stdout) as ListedKey[];

/** Signs with the key, whose passphrase comes from `env`, and checks the signature with the public half. */
async function signsWith(keyId: string, env: Readonly<Record<string, string>> = PASSPHRASES): Promise<void> {
  await signet(['lock']);
  const message = join(home.path, 'message');
  expect(await signet(['key', 'sign', keyId, '--in', message, '-o', 'signature', '--force'], env)).toMatchObject({
    ending: 0,
  });
  const verified = await signet(['key', 'verify', keyId, '--signature', 'signature', '--in', message], env);
  expect(verified).toEqual({ ending: 0, stdout: 'The signature is valid.\n', stderr: '' });
}

/** notary opens a key when it changes its passphrase, which the variables make the same. */
async function notaryOpens(keyId: string, env: Readonly<Record<string, string>> = PASSPHRASES): Promise<boolean> {
  const { stdout } = await notary(['key', 'passwd', keyId], env);
  return stdout.includes(`Successfully updated passphrase for key ID: ${keyId}`);
}

const generated = async (...args: string[]) => generatedKeyId(await signet(['key', 'generate', ...args]));

describe('a key that signet made', () => {
  it.each([
    [['--role', 'root'], 'root', ''],
    [['--role', 'targets', '--gun', 'example.com/app'], 'targets', 'example.com/app'],
    [['--role', 'targets/releases'], 'targets/releases', ''],
    [['--role', 'alice', '--curve', 'P-384'], 'alice', ''],
    [['--role', 'bob', '--algorithm', 'rsa', '--bits', '2048'], 'bob', ''],
    [['--role', 'carol', '--algorithm', 'ed25519'], 'carol', ''],
  ])('with %j is listed and opened by notary', async (args, role, gun) => {
    const keyId = await generated(...args);
    const { stdout } = await notary(['key', 'list']);
    expect(stdout).toMatch(new RegExp(`^${role} +${gun} *${keyId} +`, 'm'));
    expect(await notaryOpens(keyId)).toBe(true);
    await signsWith(keyId);
  });

  it('has the passphrase that signet gave it last', async () => {
    const keyId = await generated();
    await writeFile(join(home.path, 'new'), 'a new passphrase\n', { mode: 0o600 });
    expect(await signet(['key', 'passwd', keyId, '--new-passphrase-file', 'new'])).toEqual({
      ending: 0,
      stdout: `Successfully updated passphrase for key ID: ${keyId}\n`,
      stderr: '',
    });
    expect(await notaryOpens(keyId)).toBe(false);
    expect(await notaryOpens(keyId, { NOTARY_ROOT_PASSPHRASE: 'a new passphrase' })).toBe(true);
  });

  it('has the role and GUN that signet gave it last', async () => {
    const keyId = await generated('--role', 'dave');
    await signet(['key', 'rename-role', keyId, 'targets', '--gun', 'example.com/renamed']);
    expect((await notary(['key', 'list'])).stdout).toMatch(new RegExp(`^targets +example.com/renamed +${keyId}`, 'm'));
  });

  it('is gone for notary when signet removed it', async () => {
    const keyId = await generated();
    expect(await signet(['key', 'remove', keyId, '--yes'])).toMatchObject({ ending: 0 });
    expect((await notary(['key', 'list'])).stdout).not.toContain(keyId);
  });

  it('goes to another directory with signet key export and notary key import', async () => {
    const keyId = await generated('--role', 'targets', '--gun', 'example.com/exported');
    await signet(['key', 'export', '--key', keyId, '-o', 'one.pem']);
    const there = ['-d', join(home.path, 'notary')];
    const imported = await runProgram('notary', [...there, 'key', 'import', 'one.pem'], options());
    expect(imported).toMatchObject({ ending: 0, stdout: '' });
    expect((await runProgram('notary', [...there, 'key', 'list'], options())).stdout).toMatch(
      new RegExp(`^targets +example.com/exported +${keyId}`, 'm'),
    );
    const passwd = await runProgram('notary', [...there, 'key', 'passwd', keyId], options());
    expect(passwd.stdout).toContain('Successfully updated passphrase');
  });
});

describe('a key that notary made', () => {
  const notaryGenerated = async (role: string) => generatedKeyId(await notary(['key', 'generate', '--role', role]));

  it.each([['root'], ['targets/releases'], ['erin']])('for role %s signs for signet', async (role) => {
    await signsWith(await notaryGenerated(role));
  });

  it('has the passphrase that notary gave it last, also if signet had it unlocked', async () => {
    const keyId = await notaryGenerated('root');
    await signsWith(keyId);
    const changed = await runOnTerminal(
      ['notary', '-d', join(home.path, '.docker', 'trust'), 'key', 'passwd', keyId],
      options({}),
      [
        ['Enter passphrase for root key', 'root-passphrase\r'],
        ['Enter passphrase for new root key', 'changed by notary\r'],
        ['Repeat passphrase', 'changed by notary\r'],
        ['Successfully', null],
      ],
    );
    expect(changed).toMatchObject({ ending: 0 });
    await expect.poll(async () => (await signet(['key', 'sign', keyId, '--in', 'message'])).ending).toBe(4);
    await signsWith(keyId, { NOTARY_ROOT_PASSPHRASE: 'changed by notary' });
  });

  it('is gone for signet when notary removed it', async () => {
    const keyId = await notaryGenerated('frank');
    await signsWith(keyId);
    await notary(['key', 'remove', keyId], PASSPHRASES, 'yes\n');
    expect((await listed()).map((key) => key.keyId)).not.toContain(keyId);
    expect(await signet(['key', 'show', keyId])).toMatchObject({ ending: 3 });
  });

  it('goes to another directory with notary key export and signet key import, with its passphrase', async () => {
    const keyId = await notaryGenerated('root');
    await notary(['key', 'export', '--key', keyId, '-o', join(home.path, 'notarys.pem')]);
    expect(await signet(['key', 'import', '-d', 'third', 'notarys.pem'])).toEqual({
      ending: 0,
      stdout: `Imported ${keyId} (root key)\n`,
      stderr: '',
    });
    expect(await listed('-d', 'third')).toMatchObject([{ keyId, role: 'root' }]);
    expect(
      await signet(['key', 'sign', '-d', 'third', keyId, '--in', 'message'], {
        NOTARY_ROOT_PASSPHRASE: 'root-passphrase',
      }),
    ).toMatchObject({ ending: 0 });
  });

  it('is read in the layout of an old notary, which is left as it is', async () => {
    const keyId = await notaryGenerated('root');
    const old = join(home.path, 'old', 'private', 'root_keys');
    await mkdir(old, { recursive: true, mode: 0o700 });
    const pem = await readFile(join(home.keys, `${keyId}.key`), 'utf8');
    const file = join(old, `${keyId}_root.key`);
    await writeFile(file, pem.replace('role: root\n\n', ''));
    expect(await listed('-d', 'old')).toMatchObject([{ keyId, role: 'root', gun: '' }]);
    expect(await signet(['key', 'sign', '-d', 'old', keyId, '--in', 'message'])).toMatchObject({ ending: 0 });
    expect(await readFile(file, 'utf8')).toBe(pem.replace('role: root\n\n', ''));
  });
});

describe('docker trust', () => {
  it("makes a signer's key that signet signs with, and whose public half it knows", async () => {
    expect(await docker(['trust', 'key', 'generate', 'grace'])).toMatchObject({ ending: 0 });
    const { keyId } = (await listed()).find(({ role }) => role === 'grace') ?? { keyId: '' };
    await signsWith(keyId);
    const verified = ['key', 'verify', '--public', 'grace.pub', '--signature', 'signature', '--in', 'message'];
    expect(await signet(verified)).toMatchObject({ ending: 0, stdout: 'The signature is valid.\n' });
  });

  it.each([
    ['RSA of 3072 bits, by openssl genrsa', ['genrsa', '-out', 'signer.pem', '3072']],
    ['P-256, by openssl ecparam', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', 'signer.pem']],
  ])('and signet load the same file, %s, as the same key', async (_, command) => {
    expect(await runProgram('openssl', command, options())).toMatchObject({ ending: 0 });
    const loaded = await docker(['trust', 'key', 'load', 'signer.pem', '--name', 'heidi']);
    expect(loaded.stdout).toContain('Successfully imported key');
    const { keyId } = (await listed()).find(({ role }) => role === 'heidi') ?? { keyId: '' };
    await signsWith(keyId);
    expect(await signet(['key', 'import', 'signer.pem', '--role', 'ivan'])).toMatchObject({ ending: 3, stdout: '' });
    await signet(['key', 'remove', keyId, '--yes']);
    expect(await signet(['key', 'import', 'signer.pem', '--role', 'ivan'])).toMatchObject({
      ending: 0,
      stdout: `Imported ${keyId} (ivan key)\n`,
    });
    await signsWith(keyId);
    await signet(['key', 'remove', keyId, '--yes']);
  });

  it('takes the public key that signet prints', async () => {
    const keyId = await generated('--role', 'judy');
    await signet(['key', 'public', keyId, '-o', 'judy.pub']);
    const added = await docker(['trust', 'signer', 'add', '--key', 'judy.pub', 'judy', 'localhost:1/app'], {
      ...PASSPHRASES,
      DOCKER_CONTENT_TRUST_SERVER: 'https://localhost:1',
    });
    // It reads the key before it finds that there is no server.
    expect(added.stderr).not.toContain('public key');
    expect(added.stdout + added.stderr).toContain('Adding signer "judy" to localhost:1/app...');
  });
});

describe('a certificate of an authority', () => {
  it("is a signer's public key, and its key file is imported", async () => {
    const authority = await createAuthority(home.path, 'ca');
    const leaf = await authority.issue('mallory', { extendedKeyUsage: ['clientAuth'] });
    const imported = await signet(['key', 'import', leaf.keyFile, '--role', 'mallory']);
    const keyId = /^Imported ([0-9a-f]{64}) \(mallory key\)$/m.exec(imported.stdout)?.[1] ?? '';
    await signsWith(keyId);
    const verify = ['key', 'verify', '--public', leaf.certFile, '--signature', 'signature', '--in', 'message'];
    expect(await signet(verify)).toMatchObject({ ending: 0, stdout: 'The signature is valid.\n' });
  });

  it('in a PKCS#12 file comes with its key', async () => {
    const authority = await createAuthority(home.path, 'ca2');
    const { certFile, keyFile } = await authority.issue('niaj', { extendedKeyUsage: ['clientAuth'] });
    const file = join(home.path, 'niaj.p12');
    await openssl([
      'pkcs12',
      '-export',
      '-in',
      certFile,
      '-inkey',
      keyFile,
      '-out',
      file,
      '-passout',
      'pass:of the file',
    ]);
    await writeFile(join(home.path, 'p12'), 'of the file', { mode: 0o600 });
    const imported = await signet(['key', 'import', 'niaj.p12', '--role', 'niaj', '--passphrase-file', 'p12']);
    const keyId = /^Imported ([0-9a-f]{64}) \(niaj key\)$/m.exec(imported.stdout)?.[1] ?? '';
    await signsWith(keyId, { NOTARY_DELEGATION_PASSPHRASE: 'of the file' });
  });
});

describe('a root key that signet made', () => {
  it('is the root of a collection that notary publishes, and signet says so before it removes it', async () => {
    await using stack = await startStack(startNotarySigner);
    const person = await stack.client('person');
    const trust = join(person.home, '.notary');
    const keyId = generatedKeyId(await signet(['-d', trust, 'key', 'generate']));
    expect(await person.succeeds('init', '-p', 'example.com/team/app')).toContain(`Root key found, using: ${keyId}`);
    const removed = await signet(['-d', trust, 'key', 'remove', keyId, '--yes', '--json']);
    expect(JSON.parse(removed.stdout)).toEqual({
      keyId,
      dependents: [{ gun: 'example.com/team/app', role: 'root' }],
    });
  });
});
