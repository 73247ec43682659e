/** Files, directories and sockets that are not what they should be: a clear sentence, an exit code, nothing lost. */
import { chmod, lchown, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openssl } from '../support/certificates.ts';
import { type CommandLineHome, commandLineHome, generatedKeyId, SIGNET } from '../support/cli.ts';
import { runProgram } from '../support/processes.ts';

let home: CommandLineHome;
let keyId: string;
const env = { NOTARY_ROOT_PASSPHRASE: 'root-passphrase', NOTARY_DELEGATION_PASSPHRASE: 'delegation-passphrase' };
const signet = (...args: string[]) => home.signet(args, { env });
const inHome = (name: string) => join(home.path, name);

beforeAll(async () => {
  home = await commandLineHome();
  keyId = generatedKeyId(await signet('key', 'generate'));
  await signet('key', 'export', '--key', keyId, '-o', 'good.pem');
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

describe('signet key import', () => {
  const good = () => readFile(inHome('good.pem'));

  it.each([
    ['a file that is not there', async () => undefined, 'cannot read file (ENOENT)'],
    ['a directory', async () => void (await mkdir(inHome('file'))), 'cannot read file (EISDIR)'],
    ['an empty file', async () => await writeFile(inHome('file'), ''), 'file: the file is empty'],
    [
      'a text',
      async () => await writeFile(inHome('file'), 'These are not the keys you are looking for.\n'),
      'file: the file is no key file of a known kind',
    ],
    [
      'a public key',
      async () => await writeFile(inHome('file'), (await signet('key', 'public', keyId)).stdout),
      'file: the file holds a public key, and no private key',
    ],
    [
      'a file of 17 MiB',
      async () => await writeFile(inHome('file'), Buffer.alloc(17 * 1024 * 1024)),
      'file is larger than 16777216 bytes',
    ],
  ])('refuses %s and says why', async (_, make, message) => {
    await rm(inHome('file'), { recursive: true, force: true });
    await make();
    const before = await readdir(home.keys);
    const result = await signet('key', 'import', 'file');
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(result.stderr.split('\n')[0]).toBe(`signet: ${message}`);
    expect(await readdir(home.keys)).toEqual(before);
  });

  it('refuses a truncated file', async () => {
    await writeFile(inHome('truncated'), (await good()).subarray(0, 300));
    const result = await signet('key', 'import', '-d', 'new', 'truncated');
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(result.stderr).toMatch(/^signet: truncated: /);
  });

  it('refuses every file when one of them cannot be read, and stores none', async () => {
    await writeFile(inHome('bad'), 'nothing');
    expect(await signet('key', 'import', '-d', 'none', 'good.pem', 'bad')).toMatchObject({ ending: 2, stdout: '' });
    expect(await signet('key', 'list', '-d', 'none')).toMatchObject({ stdout: 'No signing keys found.\n' });
  });

  it('never replaces a key: what is there already is an error when nothing else was imported', async () => {
    const file = join(home.keys, `${keyId}.key`);
    const before = await readFile(file);
    expect(await signet('key', 'import', 'good.pem')).toEqual({
      ending: 3,
      stdout: '',
      stderr:
        `signet: ${keyId} is there already, and was left alone\n` +
        'signet: the key is there already\n' +
        'signet: hint: nothing was changed; to import it anew, remove it first: signet key remove\n',
    });
    expect(await readFile(file)).toEqual(before);
  });

  it('wants to know the collection of a targets key', async () => {
    await openssl(['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', inHome('ec.pem')]);
    expect(await signet('key', 'import', 'ec.pem', '--role', 'targets')).toEqual({
      ending: 2,
      stdout: '',
      stderr: expect.stringMatching(
        /^signet: ec\.pem: the targets key [0-9a-f]{64} does not say which collection it belongs to\nsignet: hint: name it with --gun, or another role with --role\n$/,
      ),
    });
  });
});

describe('a file that a command writes', () => {
  it('is not replaced without --force', async () => {
    await writeFile(inHome('precious'), 'precious');
    const commands = [
      ['key', 'export', '-o', 'precious'],
      ['key', 'public', keyId, '-o', 'precious'],
      ['key', 'sign', keyId, '--in', 'good.pem', '-o', 'precious'],
    ];
    for (const command of commands) {
      expect(await signet(...command)).toEqual({
        ending: 2,
        stdout: '',
        stderr: 'signet: precious exists\nsignet: hint: name another file, or add --force to replace it\n',
      });
    }
    expect(await readFile(inHome('precious'), 'utf8')).toBe('precious');
    expect(await signet('key', 'public', keyId, '-o', 'precious', '--force')).toMatchObject({ ending: 0 });
    expect(await readFile(inHome('precious'), 'utf8')).toContain('BEGIN PUBLIC KEY');
  });

  it('is not there when the command fails', async () => {
    await signet('lock');
    const result = await home.signet(['key', 'sign', keyId, '--in', 'good.pem', '-o', 'never']);
    expect(result).toMatchObject({ ending: 4 });
    expect(await readdir(home.path)).not.toContain('never');
  });

  it('must have a directory to be in', async () => {
    expect(await signet('key', 'export', '-o', 'nowhere/keys.pem')).toMatchObject({
      ending: 5,
      stderr: `signet: cannot create ${inHome('nowhere/keys.pem')} (ENOENT)\n`,
    });
  });
});

describe('the standard output', () => {
  it('that is full ends a command with a sentence', async () => {
    const script = 'exec setsid --wait "$0" key list > /dev/full';
    expect(await runProgram('sh', ['-c', script, SIGNET], { cwd: home.path, env: home.env })).toEqual({
      ending: 5,
      stdout: '',
      stderr: 'signet: cannot write to the standard output (ENOSPC)\n',
    });
  });

  it('that nobody reads to its end is no error', async () => {
    const script = 'set -o pipefail; setsid --wait "$0" key list | true';
    expect(await runProgram('bash', ['-c', script, SIGNET], { cwd: home.path, env: home.env })).toMatchObject({
      ending: 0,
      stderr: '',
    });
  });
});

describe('a key ID', () => {
  it('may be any unique beginning of four characters or more', async () => {
    const { stdout } = await signet('key', 'show', keyId.slice(0, 8).toUpperCase(), '--json');
    expect(JSON.parse(stdout)).toMatchObject({ keyId, role: 'root' });
  });

  it('that several keys begin with is refused with the candidates', async () => {
    // Listed by their names: their content does not matter here.
    const directory = inHome('alike/private');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const pem = await readFile(join(home.keys, `${keyId}.key`), 'utf8');
    for (const end of ['1', '2']) await writeFile(join(directory, `${'a'.repeat(63)}${end}.key`), pem);
    expect(await signet('key', 'show', '-d', 'alike', 'aaaa')).toEqual({
      ending: 2,
      stdout: '',
      stderr:
        'signet: 2 key IDs begin with aaaa\n' +
        'signet: hint: type more of it: aaaaaaaaaaaa (root), aaaaaaaaaaaa (root)\n',
    });
  });

  it.each([
    ['abc', '"abc" is not a key ID'],
    ['xyz12345', '"xyz12345" is not a key ID'],
    [`${'0'.repeat(65)}`, `"${'0'.repeat(65)}" is not a key ID`],
    ['\u001b[31m', '"?[31m" is not a key ID'],
  ])('%j is none', async (text, message) => {
    const result = await signet('key', 'show', text);
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(result.stderr.split('\n')[0]).toBe(`signet: ${message}`);
  });

  it.each([['0000'], ['0'.repeat(64)]])('%s of no key is exit code 3', async (text) => {
    expect(await signet('key', 'show', text)).toMatchObject({ ending: 3, stdout: '' });
  });
});

describe('a signature', () => {
  it.each([
    ['over another message', async () => (await signet('key', 'sign', keyId, '--in', 'good.pem')).stdout],
    ['that is none', async () => 'bm90IGEgc2lnbmF0dXJl'],
    ['that is empty', async () => ''],
  ])('%s is not valid: exit code 6', async (_, make) => {
    await writeFile(inHome('signature'), await make());
    const result = await home.signet(['key', 'verify', keyId, '-s', 'signature'], { env, input: 'message' });
    expect(result).toEqual({
      ending: 6,
      stdout: '',
      stderr: 'signet: the signature is not valid: not of this key, or not over this message\n',
    });
  });

  it('over a message of more than one request is made and verified by digest', async () => {
    await writeFile(inHome('large'), Buffer.alloc(5 * 1024 * 1024, 'x'));
    await signet('key', 'sign', keyId, '--in', 'large', '-o', 'large.sig', '--format', 'der');
    expect(await signet('key', 'verify', keyId, '-s', 'large.sig', '--in', 'large')).toMatchObject({ ending: 0 });
  });
});

describe('the socket', () => {
  it('of a program that is no signetd gets no passphrase, and an error', async () => {
    const path = inHome('other/s');
    await mkdir(dirname(path), { mode: 0o700 });
    const received: Buffer[] = [];
    const server = createServer((socket) => {
      socket.on('error', () => undefined); // the client has gone
      socket.on('data', (chunk) => received.push(chunk));
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    try {
      const result = await signet('--socket', 'other/s', 'key', 'sign', keyId, '--in', 'good.pem');
      expect(result).toMatchObject({ ending: 5, stdout: '' });
      expect(Buffer.concat(received).toString('latin1')).not.toContain('passphrase');
    } finally {
      server.close();
    }
  });

  it('of another user is refused before anything is sent', async () => {
    const path = inHome('foreign/s');
    await mkdir(dirname(path), { mode: 0o700 });
    const received: Buffer[] = [];
    const server = createServer((socket) => socket.on('data', (chunk) => received.push(chunk)));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    // Whoever is not root cannot give the socket away, but can open its directory to others.
    if (process.getuid?.() === 0) await lchown(path, 4711, 4711);
    else await chmod(dirname(path), 0o777);
    try {
      const result = await signet('--socket', 'foreign/s', 'key', 'list');
      expect(result).toMatchObject({ ending: 4, stdout: '' });
      expect(result.stderr).toMatch(/belongs to another user \(uid 4711\)|other users can replace the agent socket/);
      expect(received).toEqual([]);
    } finally {
      server.close();
    }
  });

  it('that is a file stops the start of a daemon', async () => {
    await mkdir(inHome('occupied'), { mode: 0o700 });
    await writeFile(inHome('occupied/s'), '');
    expect(await signet('--socket', 'occupied/s', 'key', 'list')).toEqual({
      ending: 1,
      stdout: '',
      stderr:
        `signet: signetd did not start: ${inHome('occupied/s')} exists and is not a socket\n` +
        'signet: hint: remove it, or set agent.socket\n',
    });
  });

  it('with a path that is too long is refused by the daemon, in its words', async () => {
    const path = inHome(`${'long'.repeat(30)}/s`);
    const result = await signet('--socket', path, 'key', 'list');
    expect(result).toMatchObject({ ending: 1, stdout: '' });
    expect(result.stderr).toContain('is longer than 107 bytes');
  });
});

describe('the trust directory', () => {
  it('that is a file is refused', async () => {
    await writeFile(inHome('plain'), '');
    const result = await signet('key', 'list', '-d', 'plain');
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(result.stderr).toBe(`signet: the trust directory ${inHome('plain')} is not a directory\n`);
  });

  it('that two commands write to at once has the keys of both', async () => {
    const results = await Promise.all(
      Array.from({ length: 6 }, (_, index) => signet('key', 'generate', '-d', 'busy', '--role', `signer${index}`)),
    );
    const made = results.map(generatedKeyId).sort();
    const keys = JSON.parse((await signet('key', 'list', '-d', 'busy', '--json')).stdout) as { keyId: string }[];
    expect(keys.map((key) => key.keyId).sort()).toEqual(made);
  });
});
