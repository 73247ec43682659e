/** `signet` as a user meets it: command line in, stdout, stderr and exit code out. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AgentClient } from '../../src/client/agent-client.ts';
import { VERSION } from '../../src/version.ts';
import { type RunningProgram, runProgram, startProgram } from '../support/processes.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

const bin = (name: string) => fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));

let directory: TemporaryDirectory;
let env: Record<string, string>;

beforeAll(async () => {
  directory = await temporaryDirectory();
  env = { PATH: process.env['PATH'] ?? '', HOME: directory.path };
});
afterAll(async () => {
  await directory[Symbol.asyncDispose]();
});

const signet = (...args: string[]) => runProgram(bin('signet'), args, { env });

describe('signet without a daemon', () => {
  it('prints help on stdout and succeeds', async () => {
    const result = await signet('--help');
    expect(result).toMatchObject({ ending: 0, stderr: '' });
    expect(result.stdout).toMatch(/^usage: signet /);
  });

  it('prints its version', async () => {
    expect(await signet('--version')).toEqual({ ending: 0, stdout: `signet ${VERSION}\n`, stderr: '' });
  });

  it.each([
    [[], 'signet: no command given\nsignet: hint: signet --help lists the commands\n'],
    [['--frobnicate'], 'signet: unknown option --frobnicate\nsignet: hint: signet --help lists the commands\n'],
    [
      ['key', 'lsit'],
      'signet: unknown command "key lsit"\nsignet: hint: did you mean "key list"? signet key --help lists its verbs\n',
    ],
    [['quux'], 'signet: unknown command "quux"\nsignet: hint: signet --help lists the commands\n'],
    [
      ['key', 'list', '--jsn'],
      'signet: unknown option --jsn, did you mean --json?\nsignet: hint: signet key list --help shows how it is used\n',
    ],
    [['key', 'show'], 'signet: signet key show needs ID\nsignet: hint: signet key show --help shows how it is used\n'],
    [
      ['key', 'list', 'more'],
      'signet: unexpected argument "more"\nsignet: hint: signet key list --help shows how it is used\n',
    ],
    [
      ['key', 'generate', '--curve', 'P-521'],
      'signet: --curve cannot be "P-521"\nsignet: hint: use one of P-256, P-384\n',
    ],
    [
      ['key', 'generate', '--role'],
      'signet: --role needs a value\nsignet: hint: signet key generate --help shows how it is used\n',
    ],
  ])('refuses %j with exit code 2', async (args, stderr) => {
    expect(await signet(...args)).toEqual({ ending: 2, stdout: '', stderr });
  });

  it('tells errors as JSON on stderr with --json', async () => {
    const result = await signet('key', 'generate', '--json', '--curve', 'P-521');
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(JSON.parse(result.stderr)).toEqual({
      error: { code: 'INVALID_ARGUMENT', message: '--curve cannot be "P-521"', hint: 'use one of P-256, P-384' },
    });
  });

  it.each([
    [['help']],
    [['--help']],
    [['key', '--help']],
    [['help', 'key', 'import']],
    [['key', 'import', '--help']],
    [['-d', '/nowhere', 'key', 'import', '--help']],
  ])('explains itself for %j on stdout', async (args) => {
    const result = await signet(...args);
    expect(result).toMatchObject({ ending: 0, stderr: '' });
    expect(result.stdout).toMatch(/^usage: signet /);
  });

  it('does not send control characters to the terminal', async () => {
    expect((await signet('key', '\u001b[31mred')).stderr).toContain('unknown command "key ?[31mred"');
  });

  it('says that no daemon answers, and starts none, when it is asked for its state', async () => {
    const socket = join(directory.path, '.signet', 'run', 'signetd.sock');
    expect(await signet('daemon', 'status')).toEqual({
      ending: 5,
      stdout: '',
      stderr: `signet: no signetd answers on ${socket}\nsignet: hint: the next command that needs it starts it, or: signet daemon start\n`,
    });
  });
});

describe('signet with a daemon', () => {
  let daemon: RunningProgram;
  let agent: AgentClient;
  const socket = () => join(directory.path, '.signet', 'run', 'signetd.sock');
  const keys = () => join(directory.path, '.docker', 'trust', 'private');

  beforeAll(async () => {
    daemon = await startProgram(bin('signetd'), ['--welcome'], { env }, { output: /Stop with Ctrl-C/ });
    agent = new AgentClient(socket());
  });
  afterAll(async () => {
    agent[Symbol.dispose]();
    expect(await daemon.stop()).toMatchObject({ ending: 0 });
  });

  it('greets on one screen: where it listens, where keys and their passphrase are, what to try', () => {
    expect(daemon.stdout).toBe(
      [
        `signetd ${VERSION} is ready (pid ${daemon.pid})`,
        '',
        `  listens on  ${socket()}  (agent socket, for tools of this user)`,
        `  keys        ${keys()}  (file backend, up)`,
        `  passphrase  ${join(directory.path, '.signet', 'secrets', 'passphrase')}  (for keys that servers ask for; back it up too, in another place)`,
        '',
        'Try, in another terminal:  bin/signet key list',
        'Stop with Ctrl-C.',
        '',
        '',
      ].join('\n'),
    );
  });

  it('lists nothing as notary does', async () => {
    expect(await signet('key', 'list')).toEqual({ ending: 0, stdout: 'No signing keys found.\n', stderr: '' });
    expect(await signet('key', 'list', '--json')).toEqual({ ending: 0, stdout: '[]\n', stderr: '' });
  });

  it('lists keys: root first, then by GUN; file names that are no keys are left out', async () => {
    const b = await agent.generateKey({ algorithm: 'ecdsa', role: 'snapshot', gun: 'example.com/b' });
    const a = await agent.generateKey({ algorithm: 'ed25519', role: 'timestamp', gun: 'example.com/a' });
    const root = await agent.generateKey({ algorithm: 'ecdsa', role: 'root', gun: '' });
    await mkdir(keys(), { recursive: true });
    await writeFile(join(keys(), `${'0'.repeat(64)}.key`), 'not a key\n');
    const result = await signet('key', 'list');
    expect(result).toMatchObject({ ending: 0, stderr: '' });
    const [header = '', ...rows] = result.stdout.trimEnd().split('\n');
    expect(header.split(/ {2,}/)).toEqual(['ROLE', 'GUN', 'KEY ID', 'NEEDS', 'LAST USED', 'LOCATION']);
    expect(rows.map((row) => row.split(/ {2,}/))).toEqual([
      ['root', root.key_id, 'passphrase', '-', join(keys(), `${root.key_id}.key`)],
      ['timestamp', 'example.com/a', a.key_id, 'passphrase', '-', join(keys(), `${a.key_id}.key`)],
      ['snapshot', 'example.com/b', b.key_id, 'passphrase', '-', join(keys(), `${b.key_id}.key`)],
    ]);
    const json = JSON.parse((await signet('key', 'list', '--json')).stdout) as { keyId: string; needs: string[] }[];
    expect(json.map(({ keyId }) => keyId)).toEqual([root.key_id, a.key_id, b.key_id]);
    expect(json[0]).toMatchObject({
      role: 'root',
      backend: 'file',
      needs: ['passphrase'],
      publicKey: { algorithm: 'ecdsa', public: Buffer.from(root.public_key?.bytes ?? []).toString('base64') },
    });
  });

  it('shows the state of the daemon', async () => {
    const result = await signet('daemon', 'status');
    expect(result).toMatchObject({ ending: 0, stderr: '' });
    expect(result.stdout).toContain(`signetd ${VERSION}, pid ${daemon.pid}, since `);
    expect(result.stdout).toContain(`backend   file  ${keys()}  up\n`);
    expect(JSON.parse((await signet('daemon', 'status', '--json')).stdout)).toMatchObject({
      version: VERSION,
      pid: daemon.pid,
      listeners: [{ kind: 'agent', address: socket() }],
      log_level: 'info',
    });
  });

  it('refuses a second daemon on the same socket, with the pid that holds it', async () => {
    const second = await runProgram(bin('signetd'), [], { env });
    expect(second).toMatchObject({ ending: 1, stdout: '' });
    const fatal = JSON.parse(second.stderr.trimEnd().split('\n').at(-1) ?? '') as object;
    expect(fatal).toMatchObject({
      level: 'fatal',
      msg: `the agent socket ${socket()} is held by pid ${daemon.pid}`,
      hint: 'another signetd is running; stop it, or set agent.socket',
    });
  });
});

describe('signetd', () => {
  it('prints its version on stdout', async () => {
    const result = await runProgram(bin('signetd'), ['-version'], { env });
    expect(result).toEqual({
      ending: 0,
      stdout: `signetd Version: ${VERSION}, Node version: ${process.version}\n`,
      stderr: '',
    });
  });

  it('ends with exit code 2 and its usage for an unknown flag', async () => {
    const result = await runProgram(bin('signetd'), ['--confg', 'x'], { env });
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(result.stderr).toContain('usage: signetd [-config FILE]');
  });

  it('says what to do about wrong usage before it prints how it is used', async () => {
    const result = await runProgram(bin('signetd'), ['-purge-deleted'], { env });
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(result.stderr.split('\n').slice(0, 3)).toEqual([
      'signetd: -purge-deleted needs an age',
      'signetd: hint: write -purge-deleted -older-than 30d',
      expect.stringMatching(/^usage: signetd /),
    ]);
  });

  it.runIf(process.platform === 'linux')('ends with exit code 1 for a HOME where nothing can be made', async () => {
    const result = await runProgram(bin('signetd'), [], { env: { ...env, HOME: '/proc/nope' }, timeoutMs: 20_000 });
    expect(result).toMatchObject({ ending: 1, stdout: '' });
    expect(result.stderr).toMatch(/"level":"fatal".*\(ENOENT\)/);
  });

  it('ends with exit code 1 and one fatal line that names the file for a configuration that is not there', async () => {
    const file = join(directory.path, 'absent.json');
    const result = await runProgram(bin('signetd'), ['-config', file], { env });
    expect(result).toMatchObject({ ending: 1, stdout: '' });
    const lines = result.stderr.trimEnd().split('\n');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ level: 'fatal', msg: expect.stringContaining(file) as string });
  });
});
