/** The daemon as `signet` starts, stops and shows it. */
import { chmod, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VERSION } from '../../src/version.ts';
import { type CommandLineHome, commandLineHome, SIGNET } from '../support/cli.ts';
import { runProgram } from '../support/processes.ts';

let home: CommandLineHome;
beforeEach(async () => {
  home = await commandLineHome();
});
afterEach(async () => {
  await home[Symbol.asyncDispose]();
});

interface Status {
  readonly pid: number;
  readonly version: string;
  readonly config_file: string;
  readonly backends: readonly { readonly location: string }[];
}

const status = async (): Promise<Status> =>
  JSON.parse((await home.signet(['daemon', 'status', '--json'])).stdout) as Status;

describe('a command that needs the daemon', () => {
  it('starts it when none answers, with a log that only its user reads', async () => {
    expect(await home.signet(['key', 'list'])).toEqual({ ending: 0, stdout: 'No signing keys found.\n', stderr: '' });
    expect(await status()).toMatchObject({ version: VERSION, config_file: '' });
    const log = join(home.path, '.signet', 'log', 'signetd.log');
    expect((await stat(log)).mode & 0o777).toBe(0o600);
    expect(await readFile(log, 'utf8')).toContain('"msg":"ready"');
  });

  it('uses the one that runs', async () => {
    await home.signet(['key', 'list']);
    const { pid } = await status();
    await home.signet(['token', 'list']);
    expect((await status()).pid).toBe(pid);
  });

  it('starts one only, however many commands come at once', async () => {
    const results = await Promise.all(Array.from({ length: 4 }, () => home.signet(['key', 'list'])));
    for (const result of results) {
      expect(result).toEqual({ ending: 0, stdout: 'No signing keys found.\n', stderr: '' });
    }
    const { stdout } = await home.signet(['daemon', 'logs', '--lines', '1000']);
    expect(stdout.match(/"msg":"ready"/g)).toHaveLength(1);
  });

  it('keeps nothing of its shell in use by starting it: no directory, no lock', async () => {
    const script =
      'mkdir gone && cd gone && rmdir ../gone && exec 8> ../lock && flock 8 && exec setsid --wait "$0" key list';
    const options = { cwd: home.path, env: home.env };
    expect(await runProgram('bash', ['-c', script, SIGNET], options)).toEqual({
      ending: 0,
      stdout: 'No signing keys found.\n',
      stderr: '',
    });
    expect(await runProgram('flock', ['--nonblock', 'lock', 'true'], options)).toMatchObject({ ending: 0 });
  });

  it('takes the configuration of the user', async () => {
    const storage = join(home.path, 'elsewhere');
    const file = join(home.path, '.signet', 'signetd.json');
    await mkdir(join(home.path, '.signet'), { mode: 0o700 });
    await writeFile(file, JSON.stringify({ storage: { backend: 'file', path: storage } }));
    await home.signet(['key', 'list']);
    expect(await status()).toMatchObject({ config_file: file, backends: [{ location: storage }] });
  });

  it("says the daemon's own sentence when it does not start", async () => {
    await mkdir(join(home.path, '.signet'), { mode: 0o700 });
    const file = join(home.path, '.signet', 'signetd.json');
    await writeFile(file, '{"storage": {"backand": "file"}}');
    expect(await home.signet(['key', 'list'])).toEqual({
      ending: 1,
      stdout: '',
      stderr:
        `signet: signetd did not start: unknown key "storage.backand" in ${file}\n` +
        'signet: hint: did you mean "storage.backend"? docs/configuration.md lists every key\n',
    });
  });

  it('does not give passphrases of its environment to the daemon', async () => {
    const env = { NOTARY_ROOT_PASSPHRASE: 'of this command only' };
    expect(await home.signet(['key', 'generate'], { env })).toMatchObject({ ending: 0 });
    await home.signet(['lock']);
    const [{ keyId }] = JSON.parse((await home.signet(['key', 'list', '--json'])).stdout) as [{ keyId: string }];
    expect(await home.signet(['key', 'sign', keyId], { input: 'x' })).toMatchObject({ ending: 4, stdout: '' });
    expect(await home.signet(['key', 'sign', keyId], { input: 'x', env })).toMatchObject({ ending: 0 });
  });
});

describe('signet daemon', () => {
  it('starts with a configuration, says where, and refuses to start a second one', async () => {
    const config = join(home.path, 'agent.json');
    await writeFile(config, '{"logging": {"level": "error"}}');
    const log = join(home.path, '.signet', 'log', 'signetd.log');
    const started = await home.signet(['daemon', 'start', '--config', 'agent.json', '--idle-timeout', '2m']);
    expect(started).toEqual({
      ending: 0,
      stdout: `signetd listens on ${home.socket}, its log is ${log}\n`,
      stderr: '',
    });
    const { pid, config_file } = await status();
    expect(config_file).toBe(config);
    expect(await home.signet(['daemon', 'start'])).toEqual({
      ending: 5,
      stdout: '',
      stderr: `signet: signetd runs already (pid ${pid}) on ${home.socket}\nsignet: hint: stop it first: signet daemon stop\n`,
    });
  });

  it('says where commands find one whose configuration names another socket', async () => {
    const socket = join(home.path, 'elsewhere', 's');
    await writeFile(join(home.path, 'agent.json'), JSON.stringify({ agent: { socket } }));
    const started = await home.signet(['daemon', 'start', '--config', 'agent.json']);
    expect(started).toMatchObject({ ending: 0, stderr: `signet: commands find it with SIGNET_SOCKET=${socket}\n` });
    expect(started.stdout).toMatch(new RegExp(`^signetd listens on ${socket}, `));
    const env = { SIGNET_SOCKET: socket };
    expect(await home.signet(['key', 'list'], { env })).toMatchObject({ stdout: 'No signing keys found.\n' });
    expect(await home.signet(['daemon', 'stop'], { env })).toMatchObject({ stdout: 'signetd has ended.\n' });
  });

  it('stops it, and is content if there is none', async () => {
    await home.signet(['key', 'list']);
    expect(await home.signet(['daemon', 'stop'])).toEqual({ ending: 0, stdout: 'signetd has ended.\n', stderr: '' });
    expect(await home.signet(['daemon', 'stop'])).toEqual({ ending: 0, stdout: 'signetd does not run.\n', stderr: '' });
    expect(await home.signet(['daemon', 'status'])).toMatchObject({ ending: 5 });
  });

  it('ends by itself after the idle time-out', async () => {
    await home.signet(['daemon', 'start', '--idle-timeout', '1s']);
    const { pid } = await status();
    await expect.poll(() => isRunning(pid), { timeout: 20_000 }).toBe(false);
  });

  it.each([['soon'], ['-1s']])('refuses the idle time-out %j', async (text) => {
    expect(await home.signet(['daemon', 'start', `--idle-timeout=${text}`])).toEqual({
      ending: 2,
      stdout: '',
      stderr: `signet: --idle-timeout cannot be "${text}"\nsignet: hint: write a number with its unit, as "8h", or 0s for never\n`,
    });
  });

  it('prints the last lines of the log', async () => {
    await home.signet(['key', 'list']);
    const all = (await home.signet(['daemon', 'logs'])).stdout;
    const last = (await home.signet(['daemon', 'logs', '--lines', '1'])).stdout;
    expect(all.trimEnd().split('\n').length).toBeGreaterThan(1);
    expect(last).toBe(`${all.trimEnd().split('\n').at(-1)}\n`);
    expect(await home.signet(['daemon', 'logs', '--lines', '0'])).toEqual({ ending: 0, stdout: '', stderr: '' });
  });

  it('says where the log would be if there were one', async () => {
    expect(await home.signet(['daemon', 'logs'])).toMatchObject({
      ending: 5,
      stderr: expect.stringContaining(`there is no log ${join(home.path, '.signet', 'log', 'signetd.log')}`),
    });
  });
});

describe('the trust directory', () => {
  const passphrase = { NOTARY_ROOT_PASSPHRASE: 'a root passphrase' };

  it('is the one that --trust-dir names, for this command only', async () => {
    await home.signet(['-d', 'other', 'key', 'generate'], { env: passphrase });
    expect((await home.signet(['key', 'list', '-d', 'other'])).stdout).toContain(join(home.path, 'other', 'private'));
    expect((await home.signet(['key', 'list'])).stdout).toBe('No signing keys found.\n');
  });

  it('is the one of DOCKER_CONFIG, also for a daemon that was started without it', async () => {
    await home.signet(['key', 'list']);
    const env = { ...passphrase, DOCKER_CONFIG: 'ci' };
    await home.signet(['key', 'generate'], { env });
    expect((await home.signet(['key', 'list'], { env })).stdout).toContain(join(home.path, 'ci', 'trust', 'private'));
    expect((await home.signet(['key', 'list'])).stdout).toBe('No signing keys found.\n');
  });

  it('must not be a symbolic link', async () => {
    await mkdir(join(home.path, 'real'), { mode: 0o700 });
    await symlink('real', join(home.path, 'link'));
    const result = await home.signet(['key', 'list', '-d', 'link']);
    expect(result).toMatchObject({ ending: 2, stdout: '' });
    expect(result.stderr).toContain(`the trust directory ${join(home.path, 'link')} is a symbolic link`);
  });

  it('must not be open to others', async () => {
    await mkdir(join(home.path, 'open'));
    await chmod(join(home.path, 'open'), 0o777);
    const result = await home.signet(['key', 'list', '-d', 'open']);
    expect(result).toMatchObject({ ending: 1, stdout: '' });
    expect(result.stderr).toContain(`hint: run: chmod go-w ${join(home.path, 'open')}`);
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
