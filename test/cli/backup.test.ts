/** `signet key backup` and `signet key restore` */
import { cp, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandLineHome, commandLineHome, generatedKeyId, SIGNET } from '../support/cli.ts';
import { runProgram } from '../support/processes.ts';

let home: CommandLineHome;
const ids: string[] = [];
const env = { NOTARY_ROOT_PASSPHRASE: 'root-passphrase', NOTARY_DELEGATION_PASSPHRASE: 'delegation-passphrase' };
const signet = (...args: string[]) => home.signet(args, { env });
const restored = (directory: string) => join(home.path, directory, 'private');

beforeAll(async () => {
  home = await commandLineHome();
  for (const role of ['root', 'alice', 'bob']) {
    ids.push(generatedKeyId(await signet('key', 'generate', '--role', role)));
  }
  ids.sort();
  await writeFile(join(home.path, 'archive-passphrase'), 'of the archive\n', { mode: 0o600 });
  await writeFile(join(home.path, 'short'), 'short\n', { mode: 0o600 });
  expect(await signet('key', 'backup', '-o', 'backup', '--passphrase-file', 'archive-passphrase')).toEqual({
    ending: 0,
    stdout: '3 keys backed up to backup\n',
    stderr: '',
  });
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

const restore = (...args: string[]) =>
  signet('key', 'restore', 'backup', '--passphrase-file', 'archive-passphrase', ...args);

describe('a backup', () => {
  it('says that it is without a damaged key', async () => {
    await restore('-d', 'incomplete');
    await writeFile(join(restored('incomplete'), `${'0'.repeat(64)}.key`), 'no key');
    // A second copy, where old versions of notary had it, is no loss.
    await cp(join(home.keys, `${ids[0]}.key`), join(restored('incomplete'), 'root_keys', `${ids[0]}.key`));
    const backUp = (file: string, ...args: string[]) =>
      signet('key', 'backup', '-d', 'incomplete', '-o', file, '--passphrase-file', 'archive-passphrase', ...args);
    expect(await backUp('without')).toEqual({
      ending: 0,
      stdout: '3 keys backed up to without\n',
      stderr: 'signet: warning: left out one key file that cannot be read: signet doctor tells which\n',
    });
    expect(JSON.parse((await backUp('counted', '--json')).stdout)).toMatchObject({ keys: 3, leftOut: 1 });
  });

  it('is restored byte for byte', async () => {
    const result = await restore('-d', 'there');
    expect(result).toMatchObject({ ending: 0, stderr: 'signet: 3 restored, 0 replaced, 0 unchanged\n' });
    expect(result.stdout.trimEnd().split('\n').sort()).toEqual(ids.map((id) => `restored   ${id}`));
    for (const id of ids) {
      expect(await readFile(join(restored('there'), `${id}.key`))).toEqual(
        await readFile(join(home.keys, `${id}.key`)),
      );
    }
  });

  it('changes nothing where its keys are already, and nothing with --dry-run', async () => {
    await restore('-d', 'again');
    const again = JSON.parse((await restore('-d', 'again', '--json')).stdout) as { unchanged: string[] };
    expect(again).toMatchObject({ restored: [], replaced: [], dryRun: false });
    expect(again.unchanged.toSorted()).toEqual(ids);
    expect(await restore('-d', 'dry', '--dry-run')).toMatchObject({
      ending: 0,
      stderr: 'signet: 3 would be restored, 0 would be replaced, 0 unchanged\n',
    });
    expect(await signet('key', 'list', '-d', 'dry')).toMatchObject({ stdout: 'No signing keys found.\n' });
  });

  it('replaces a key with another content only when that is asked for, and else restores nothing', async () => {
    await restore('-d', 'changed');
    const [id = ''] = ids;
    const file = join(restored('changed'), `${id}.key`);
    await signet('key', 'rename-role', '-d', 'changed', id, 'carol');
    const changed = await readFile(file);
    for (const other of ids.slice(1)) await rm(join(restored('changed'), `${other}.key`));
    const refused = await restore('-d', 'changed');
    expect(refused).toMatchObject({ ending: 3, stdout: '' });
    expect((await readdir(restored('changed'))).filter((name) => name.endsWith('.key'))).toEqual([`${id}.key`]);
    expect(await readFile(file)).toEqual(changed);
    expect(await restore('-d', 'changed', '--really-replace')).toMatchObject({
      ending: 0,
      stderr: 'signet: 2 restored, 1 replaced, 0 unchanged\n',
    });
  });

  it('cannot be cut short or changed unnoticed, and then restores nothing', async () => {
    const archive = await readFile(join(home.path, 'backup'));
    await writeFile(join(home.path, 'cut'), archive.subarray(0, archive.length - 20));
    const flipped = Buffer.from(archive);
    flipped[archive.length - 100] = (flipped[archive.length - 100] ?? 0) ^ 1;
    await writeFile(join(home.path, 'flipped'), flipped);
    for (const name of ['cut', 'flipped']) {
      const result = await signet('key', 'restore', name, '-d', 'damaged', '--passphrase-file', 'archive-passphrase');
      expect(result).toMatchObject({ ending: 6, stdout: '' });
    }
    expect(await signet('key', 'list', '-d', 'damaged')).toMatchObject({ stdout: 'No signing keys found.\n' });
  });

  it('holds metadata and staged changes too, and warns of links there', async () => {
    const files = {
      'metadata/root.json': '{"signed":{}}',
      'metadata/targets/releases.json': '{}',
      'changelist/00000000001700000000_a.change': '{"action":"create"}',
    };
    const collection = (directory: string) => join(home.path, directory, 'tuf', 'registry.example.com', 'Team', 'app');
    for (const folder of ['metadata/targets', 'changelist']) {
      await mkdir(join(collection('whole'), folder), { recursive: true });
    }
    for (const [path, content] of Object.entries(files)) await writeFile(join(collection('whole'), path), content);
    const passphrase = ['--passphrase-file', 'archive-passphrase'];
    const backUp = (...args: string[]) => signet('key', 'backup', '-d', 'whole', ...passphrase, ...args);
    await restore('-d', 'whole');
    expect(await backUp('-o', 'of-all')).toEqual({
      ending: 0,
      stdout: '3 keys and 3 files of metadata backed up to of-all\n',
      stderr: '',
    });
    await symlink('root.json', join(collection('whole'), 'metadata', 'link.json'));
    expect(await backUp('-o', 'without-link', '--json')).toMatchObject({
      ending: 0,
      stdout: expect.stringContaining('"files": 3,\n  "filesLeftOut": 1'),
      stderr: "signet: warning: left out one file in tuf that no archive can hold: the daemon's log tells which\n",
    });
    await rm(join(home.path, 'whole'), { recursive: true });
    const result = await signet('key', 'restore', 'of-all', '-d', 'elsewhere', ...passphrase);
    expect(result).toMatchObject({ ending: 0, stderr: 'signet: 6 restored, 0 replaced, 0 unchanged\n' });
    expect(result.stdout).toContain('restored   tuf/registry.example.com/Team/app/metadata/root.json\n');
    for (const [path, content] of Object.entries(files)) {
      expect(await readFile(join(collection('elsewhere'), path), 'utf8')).toBe(content);
    }
    expect(await readdir(join(home.path, 'elsewhere', 'tuf'))).toEqual(['registry.example.com']);
  });

  it('is asked for its passphrase four times on a terminal', async () => {
    const right = await home.signetOnTerminal(
      ['key', 'restore', 'backup', '-d', 'typed'],
      [
        ['\\[signet key restore\\] Enter passphrase for the archive: ', 'wrong\r'],
        ['Passphrase incorrect. Please retry.\r\n.*Enter passphrase', 'of the archive\r'],
        ['3 restored', null],
      ],
    );
    expect(right).toMatchObject({ ending: 0, echo: true });
  });

  it('is not there when its passphrase is not chosen, or too short', async () => {
    const interrupted = await home.signetOnTerminal(
      ['key', 'backup', '-o', 'none'],
      [['Enter passphrase for new archive: ', '\u0003']],
    );
    expect(interrupted).toMatchObject({ ending: 130, echo: true });
    expect(await signet('key', 'backup', '-o', 'none', '--passphrase-file', 'short')).toMatchObject({
      ending: 2,
      stderr: `signet: the passphrase from ${join(home.path, 'short')} is too short for an archive\nsignet: hint: it needs 8 bytes or more\n`,
    });
    expect(await readdir(home.path)).not.toContain('none');
  });

  it('does not replace a file', async () => {
    expect(await signet('key', 'backup', '-o', 'backup', '--passphrase-file', 'archive-passphrase')).toMatchObject({
      ending: 2,
      stderr: 'signet: backup exists\nsignet: hint: name another file, or add --force to replace it\n',
    });
  });

  it('is read from stdin too', async () => {
    const command = `signet key restore - -d stdin --passphrase-file archive-passphrase < backup`;
    const script = command.replace('signet', `exec setsid --wait "$SIGNET"`);
    const result = await runProgram('sh', ['-c', script], { env: { ...home.env, SIGNET }, cwd: home.path });
    expect(result).toMatchObject({ ending: 0, stderr: 'signet: 3 restored, 0 replaced, 0 unchanged\n' });
  });
});
