/** scripts/softhsm-setup.sh, and every command of docs/ci.md as it stands there, with other directories. */
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { basename, delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { waitFor } from '../support/conditions.ts';
import { type ProgramResult, runProgram, startProgram } from '../support/processes.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCRIPT = join(ROOT, 'scripts', 'softhsm-setup.sh');
const SYSTEM_PATH = process.env['PATH'] ?? '';

type GithubJob = { readonly steps: readonly { readonly uses?: string; readonly run?: string }[] };
type GitlabJob = Readonly<Record<'before_script' | 'script' | 'after_script', readonly string[]>>;

let temporary: TemporaryDirectory;
let runs = 0;
/** A directory of this test alone, with a space, a quote and a dollar sign in its path. */
let place: string;
let token: string;

beforeAll(async () => {
  temporary = await temporaryDirectory();
});
afterAll(() => temporary[Symbol.asyncDispose]());
beforeEach(async () => {
  runs += 1;
  place = join(temporary.path, `it's run $${runs}`);
  token = join(place, 'my token');
  await mkdir(place);
});

const environment = (extra: Readonly<Record<string, string>> = {}) => ({
  PATH: SYSTEM_PATH,
  HOME: temporary.path,
  TMPDIR: temporary.path,
  ...extra,
});
const setUp = (args: readonly string[], extra?: Readonly<Record<string, string>>, shellName = 'sh') => {
  const [command = '', ...rest] = [...shellName.split(' '), SCRIPT, ...args];
  return runProgram(command, rest, { cwd: place, env: environment(extra) });
};
/** As the runners of both CI systems do: bash, ending at the first error. */
const shell = (command: string, extra?: Readonly<Record<string, string>>) =>
  runProgram('bash', ['-e', '-c', command], { cwd: ROOT, env: environment(extra) });

/** The variables as a shell sees them that evaluates the script's output. */
async function variables(output: string): Promise<Readonly<Record<string, string>>> {
  const { stdout } = await runProgram('env', ['-i', 'sh', '-c', `${output}\n/usr/bin/env`], { env: environment() });
  const pairs = stdout.trim().split('\n');
  return Object.fromEntries(pairs.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
}

const pinOf = (directory: string, name = 'pin') => readFile(join(directory, name), 'utf8');
const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);
const outcome = ({ ending, stderr }: ProgramResult) => ({ ending, stderr });

/** Makes a command that does something else first, for a PATH. */
async function wrap(directory: string, name: string, text: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
}

describe('softhsm-setup.sh', () => {
  it.each(['sh', 'busybox sh', 'bash --posix'])('makes a token that works, in %s', async (shellName) => {
    const result = await setUp(['--dir', token, '--label', 'täst/1 "x"'], {}, shellName);
    expect(outcome(result)).toEqual({ ending: 0, stderr: '' });
    const env = await variables(result.stdout);
    const { SIGNET_TOKEN_SERIAL: serial = '', SOFTHSM2_MODULE: module = '' } = env;
    expect(serial).toMatch(/^[0-9a-f]{16}$/);
    expect(env).toMatchObject({
      SOFTHSM2_CONF: join(token, 'softhsm2.conf'),
      SIGNET_TOKEN_DIR: token,
      SIGNET_TOKEN_LABEL: 'täst/1 "x"',
      SIGNET_TOKEN_PIN_FILE: join(token, 'pin'),
      SIGNET_TOKEN_SO_PIN_FILE: join(token, 'so-pin'),
    });
    const path = encodeURIComponent(join(token, 'pin')).replaceAll('%2F', '/').replaceAll("'", '%27');
    expect(env['SIGNET_TOKEN_URI']).toBe(
      `pkcs11:token=t%C3%A4st%2F1%20%22x%22;serial=${serial}?module-path=${module}&pin-source=file:${path}`,
    );
    await writeFile(join(place, 'env'), result.stdout);
    const tool = 'pkcs11-tool --module "$SOFTHSM2_MODULE"';
    const use = `. "$0"; ${tool} -T; ${tool} --token-label "$SIGNET_TOKEN_LABEL" --login --pin env:PIN --list-objects`;
    const listed = await runProgram('sh', ['-ec', use, join(place, 'env')], {
      env: environment({ PIN: await pinOf(token) }),
    });
    expect(listed.stdout).toContain(serial);
    expect(listed.ending).toBe(0);
  });

  it('prints the same when it runs again, and writes it to --env', async () => {
    const first = await setUp(['--dir', token]);
    const pins = [await pinOf(token), await pinOf(token, 'so-pin')];
    const again = await setUp(['--dir', 'my token/', '--env', 'env'], { SOFTHSM2_CONF: '/nonexistent' });
    expect(again).toEqual(first);
    expect(await readFile(join(place, 'env'), 'utf8')).toBe(first.stdout);
    expect([await pinOf(token), await pinOf(token, 'so-pin')]).toEqual(pins);
    expect(await readdir(join(token, 'tokens'))).toHaveLength(1);
  });

  it('finishes a token that was left without a user PIN', async () => {
    const bin = join(place, 'bin');
    await wrap(bin, 'pkcs11-tool', `case "$*" in *--init-pin*) exit 1; esac\nPATH=$REAL exec pkcs11-tool "$@"`);
    await setUp(['--dir', token, '--label', 'other']);
    const failed = await setUp(['--dir', token], { PATH: bin + delimiter + SYSTEM_PATH, REAL: SYSTEM_PATH });
    expect(outcome(failed)).toEqual({ ending: 1, stderr: 'softhsm-setup: pkcs11-tool failed: \n' });
    expect(await readdir(join(token, 'tokens'))).toHaveLength(2);
    expect(outcome(await setUp(['--dir', token]))).toEqual({ ending: 0, stderr: '' });
    expect(await readdir(join(token, 'tokens'))).toHaveLength(2);
  });

  it('takes everything back when a signal stops it', async () => {
    const bin = join(place, 'bin');
    const waiting = join(place, 'waiting');
    await wrap(bin, 'pkcs11-tool', `echo >"$WAITING"; exec sleep 2`);
    const env = environment({ PATH: bin + delimiter + SYSTEM_PATH, WAITING: waiting });
    const program = await startProgram('sh', [SCRIPT, '--dir', token], { env });
    await waitFor('pkcs11-tool to run', () =>
      stat(waiting).then(
        () => true,
        () => false,
      ),
    );
    expect((await program.stop()).ending).toBe(143);
    await expect(stat(token)).rejects.toThrow('ENOENT');
  });

  it('makes a temporary directory and prints it when none is given', async () => {
    const env = await variables((await setUp([])).stdout);
    const directory = env['SIGNET_TOKEN_DIR'] ?? '';
    expect(directory).toMatch(/\/signet-softhsm\.\w{6}$/);
    expect(directory.startsWith(temporary.path)).toBe(true);
    expect(outcome(await setUp(['--remove', '--dir', directory]))).toEqual({ ending: 0, stderr: '' });
    await expect(stat(directory)).rejects.toThrow('ENOENT');
  });

  it('keeps several tokens in one directory apart', async () => {
    const [one, two] = [await setUp(['--dir', token, '--label', 'a']), await setUp(['--dir', token, '--label', 'ab'])];
    const serials = [await variables(one.stdout), await variables(two.stdout)].map((env) => env['SIGNET_TOKEN_SERIAL']);
    expect(new Set(serials).size).toBe(2);
    expect((await setUp(['--dir', token, '--label', 'a'])).stdout).toBe(one.stdout);
  });

  it('writes a configuration with the URI and the agent', async () => {
    const { stdout } = await setUp(['--dir', token, '--config', join(token, 'signetd.json')]);
    const uri = (await variables(stdout))['SIGNET_TOKEN_URI'];
    expect(JSON.parse(await pinOf(token, 'signetd.json'))).toEqual({ agent: {}, tokens: [{ uri }] });
  });

  it('takes the PIN from --pin-file, which stays where it is', async () => {
    const pinFile = join(place, 'the pin');
    await writeFile(pinFile, 'correct horse\n', { mode: 0o600 });
    const first = await setUp(['--dir', token, '--pin-file', 'the pin']);
    expect((await variables(first.stdout))['SIGNET_TOKEN_PIN_FILE']).toBe(pinFile);
    expect(await readdir(token)).not.toContain('pin');
    expect(await setUp(['--dir', token, '--pin-file', pinFile])).toEqual(first);

    expect(outcome(await setUp(['--dir', token]))).toEqual({
      ending: 1,
      stderr: `softhsm-setup: the token signet-ci has a PIN that is not in ${token}/pin; name its file with --pin-file\n`,
    });
    await writeFile(pinFile, 'another horse\n');
    const other = await setUp(['--dir', token, '--pin-file', pinFile]);
    expect(other.ending).toBe(1);
    expect(other.stderr).toContain('CKR_PIN_INCORRECT');
    expect(other.stderr).not.toContain('horse');
  });

  it('makes everything for its owner only, whatever the umask', async () => {
    await writeFile(join(place, 'env'), '', { mode: 0o644 });
    await chmod(join(place, 'env'), 0o644);
    const command = `umask 0; exec "$0" --dir "$1" --env "$2" --config "$1/signetd.json"`;
    const args = ['-c', command, SCRIPT, token, join(place, 'env')];
    expect((await runProgram('sh', args, { env: environment() })).ending).toBe(0);
    expect(await modeOf(join(place, 'env'))).toBe('600');
    expect(await modeOf(token)).toBe('700');
    for (const entry of await readdir(token, { withFileTypes: true, recursive: true })) {
      expect(await modeOf(join(entry.parentPath, entry.name)), entry.name).toBe(entry.isDirectory() ? '700' : '600');
    }
  });

  it('shows the PINs nowhere: output, --env, --config, arguments of other programs', async () => {
    const bin = join(place, 'bin');
    const programs = ['pkcs11-tool', 'softhsm2-util', 'cat', 'od', 'tr', 'sed', 'awk', 'grep', 'mv', 'wc', 'ls'];
    for (const name of programs) await wrap(bin, name, `echo "${name} $*" >>"$LOG"\nPATH=$REAL exec ${name} "$@"`);
    const log = join(place, 'log');
    const path = { PATH: bin + delimiter + SYSTEM_PATH, REAL: SYSTEM_PATH, LOG: log };
    const { ending, stdout, stderr } = await setUp(['--dir', token, '--env', 'env', '--config', 'signetd.json'], path);
    expect({ ending, stderr }).toEqual({ ending: 0, stderr: '' });
    const seen = await Promise.all(
      [log, join(place, 'env'), join(place, 'signetd.json')].map((file) => readFile(file, 'utf8')),
    );
    expect(seen[0]).toContain('--init-pin --pin env:PIN');
    for (const name of ['pin', 'so-pin']) {
      const pin = await pinOf(token, name);
      expect(pin).toMatch(/^[0-9a-f]{32}$/);
      expect([stdout, ...seen].join('\n')).not.toContain(pin);
    }
  });
});

describe('softhsm-setup.sh --remove', () => {
  it('removes what the script made, and the directory if it made that', async () => {
    await setUp(['--dir', token, '--env', join(token, 'env'), '--config', join(place, 'signetd.json')]);
    expect(await setUp(['--remove', '--dir', token])).toEqual({ ending: 0, stdout: '', stderr: '' });
    expect(await readdir(place)).toEqual(['signetd.json']);
  });

  it('leaves a directory that was there before', async () => {
    await mkdir(token);
    await setUp(['--dir', token]);
    expect(await setUp(['--remove', '--dir', token])).toEqual({ ending: 0, stdout: '', stderr: '' });
    expect(await readdir(token)).toEqual([]);
  });

  it('leaves what others put there', async () => {
    await setUp(['--dir', token]);
    await writeFile(join(token, 'theirs'), '');
    await mkdir(join(token, 'tokens', 'theirs'));
    await symlink(place, join(token, 'tokens', '01234567-89ab-cdef-0123-456789abcdef'));
    await writeFile(join(place, 'token.object'), '');
    const { ending, stderr } = await setUp(['--remove', '--dir', token]);
    expect(ending).toBe(0);
    expect(stderr).toBe(
      `softhsm-setup: left ${token}/tokens: something else is in it\nsofthsm-setup: left ${token}: something else is in it\n`,
    );
    expect((await readdir(token)).sort()).toEqual(['theirs', 'tokens']);
    expect((await readdir(join(token, 'tokens'))).sort()).toEqual(['01234567-89ab-cdef-0123-456789abcdef', 'theirs']);
    expect(await readdir(place)).toContain('token.object');
  });

  it('does nothing where the script made nothing', async () => {
    await writeFile(join(place, 'pin'), '');
    for (const directory of [place, join(place, 'missing')]) {
      const stderr = `softhsm-setup: nothing of this script is in ${directory}\n`;
      expect(outcome(await setUp(['--remove', '--dir', directory]))).toEqual({ ending: 0, stderr });
    }
    expect(await readdir(place)).toEqual(['pin']);
  });
});

describe('softhsm-setup.sh refuses', () => {
  it.each([
    [['--dir'], '--dir needs a value'],
    [['--label', ''], '--label needs a value'],
    [['--label', 'a\nb'], 'the value of --label holds a control character'],
    [['--label', 'x'.repeat(33)], 'the label is longer than 32 bytes'],
    [['--label', 'x '], 'the label begins or ends with a space'],
    [['--pin', '1234'], 'unknown argument --pin'],
    [['--remove'], '--remove needs --dir'],
    [['--remove', '--dir', 'd', '--env', 'e'], '--remove takes --dir only'],
  ])('a wrong command line: %j', async (args, message) => {
    const stderr = `softhsm-setup: ${message}\nhint: softhsm-setup.sh --help\n`;
    expect(await setUp(args)).toEqual({ ending: 2, stdout: '', stderr });
    expect(await readdir(place)).toEqual([]);
  });

  it.each([
    [['--dir', 'a#b'], 1, 'SoftHSM2 cannot use a directory with # or = in its path: PLACE/a#b'],
    [['--dir', 'd', '--pin-file', 'missing'], 1, 'there is no PIN file PLACE/missing'],
    [['--dir', 'd', '--pin-file', 'no/pin'], 1, 'the directory of no/pin does not exist'],
    [['--dir', 'd', '--pin-file', 'short'], 1, 'the PIN in PLACE/short is not one line of 4 to 255 characters'],
    [['--dir', 'd', '--pin-file', 'open'], 1, "others may read the PIN file; run: chmod 600 'PLACE/open'"],
    [['--dir', 'd', '--env', 'd/pin'], 2, '--env names PLACE/d/pin, which has another purpose'],
    [['--dir', 'd', '--env', 'x', '--config', './x'], 2, '--env and --config name one file'],
    [['--dir', 'd', '--env', '/dev/null'], 1, '/dev/null is not a file'],
    [['--dir', 'theirs'], 1, 'PLACE/theirs/tokens exists and was not made by this script'],
    [['--dir', 'everybody'], 1, 'everybody can write to PLACE/everybody'],
  ])('and leaves nothing behind: %j', async (args, ending, message) => {
    await writeFile(join(place, 'short'), '123', { mode: 0o600 });
    await writeFile(join(place, 'open'), '123456', { mode: 0o644 });
    await mkdir(join(place, 'theirs', 'tokens'), { recursive: true });
    await mkdir(join(place, 'everybody'));
    await chmod(join(place, 'everybody'), 0o777);
    const before = (await readdir(place, { recursive: true })).sort();
    const result = await setUp(args);
    expect(result.stdout).toBe('');
    const [line] = result.stderr.split('\n');
    const escaped = message.startsWith('others') ? place.replaceAll("'", "'\\''") : place;
    expect([result.ending, line]).toEqual([ending, `softhsm-setup: ${message.replace('PLACE', escaped)}`]);
    expect((await readdir(place, { recursive: true })).sort()).toEqual(before);
  });

  it.each([
    ['apt-get', 'install it with: SUDOapt-get update && SUDOapt-get install -y softhsm2 opensc'],
    ['dnf', 'install it with: SUDOdnf install -y softhsm opensc'],
    ['pacman', 'install it with: SUDOpacman -S --noconfirm softhsm opensc'],
    ['apk', 'install it with: SUDOapk add softhsm opensc'],
    ['brew', 'install it with: brew install softhsm opensc'],
    ['true', 'install SoftHSM2 (package softhsm2 or softhsm) and OpenSC (package opensc)'],
  ])('to run without softhsm2 and says how to install it (%s)', async (manager, advice) => {
    const bin = join(place, 'bin');
    for (const name of ['cat', 'id', 'tr', 'wc']) await wrap(bin, name, `PATH=$REAL exec ${name} "$@"`);
    await wrap(bin, manager, 'exit 1');
    const sudo = process.getuid?.() === 0 ? '' : 'sudo ';
    const run = async () => {
      const env = environment({ PATH: bin, REAL: SYSTEM_PATH });
      return outcome(await runProgram('/bin/sh', [SCRIPT, '--dir', token], { env }));
    };
    const expected = advice.replaceAll('SUDO', sudo);
    expect(await run()).toEqual({ ending: 1, stderr: `softhsm-setup: softhsm2 is not installed; ${expected}\n` });
    await wrap(bin, 'softhsm2-util', 'exit 1');
    const stderr = `softhsm-setup: pkcs11-tool (package opensc) is not installed; ${expected}\n`;
    expect(await run()).toEqual({ ending: 1, stderr });
    await expect(stat(token)).rejects.toThrow('ENOENT');
  });

  it('a module that is not there or not a module', async () => {
    expect(outcome(await setUp(['--dir', token], { SOFTHSM2_MODULE: '/nowhere/libsofthsm2.so' }))).toEqual({
      ending: 1,
      stderr: 'softhsm-setup: SOFTHSM2_MODULE names /nowhere/libsofthsm2.so, which is not a file\n',
    });
    const result = await setUp(['--dir', token], { SOFTHSM2_MODULE: SCRIPT });
    expect(result.ending).toBe(1);
    expect(result.stderr).toMatch(/^softhsm-setup: softhsm2-util --show-slots failed: /);
    await expect(stat(token)).rejects.toThrow('ENOENT');
  });
});

it('prints its options with --help', async () => {
  const result = await setUp(['--help']);
  expect(outcome(result)).toEqual({ ending: 0, stderr: '' });
  for (const option of ['dir', 'label', 'pin-file', 'env', 'config', 'remove']) {
    expect(result.stdout).toContain(`\n  --${option} `);
  }
});

describe('docs/ci.md', () => {
  let page: string;
  /** PATH with a `sudo` that runs its arguments and an `apt-get` that only writes them down. */
  let path: string;
  const blocks = (kind: string) =>
    [...page.matchAll(/^```(?:sh|yaml) (\S+)\n(.*?)^```$/gms)].flatMap(([, found, text = '']) =>
      found === kind ? [text] : [],
    );
  const installed = () => readFile(join(place, 'installed'), 'utf8');

  beforeEach(async () => {
    page = await readFile(join(ROOT, 'docs', 'ci.md'), 'utf8');
    const bin = join(place, 'bin');
    await wrap(bin, 'sudo', 'exec "$@"');
    await wrap(bin, 'apt-get', `printf '%s\\n' "$*" >>"$INSTALLED"`);
    path = bin + delimiter + SYSTEM_PATH;
  });

  const ci = (extra: Readonly<Record<string, string>> = {}) => ({
    PATH: path,
    INSTALLED: join(place, 'installed'),
    ...extra,
  });

  it('shows a token by hand that signs, and OpenSSL verifies', async () => {
    const demo = join(temporary.path, 'by-hand');
    const result = await shell(blocks('by-hand').join('\n').replaceAll('/tmp/signet-token', demo));
    expect(result.ending, result.stderr).toBe(0);
    expect(result.stdout).toContain('Verified OK');
    expect(await readdir(temporary.path)).not.toContain(basename(demo));
  });

  it('has steps for GitHub Actions that run, and only checkout as an action', async () => {
    const { steps } = (parse(blocks('github')[0] ?? '') as { jobs: { token: GithubJob } }).jobs.token;
    expect(steps.flatMap(({ uses }) => uses ?? [])).toEqual(['actions/checkout@v4']);
    const commands = steps.flatMap(({ run }) => run ?? []);
    const results: ProgramResult[] = [];
    for (const command of commands) results.push(await shell(command, ci({ RUNNER_TEMP: place })));
    expect(results.map(({ ending }) => ending)).toEqual([0, 0, 0, 0]);
    expect(await installed()).toBe('update\ninstall -y --no-install-recommends softhsm2 opensc\n');
    expect(results[2]?.stdout).toMatch(/Private Key Object; EC\n +label: +ci/);
    expect((await readdir(place)).sort()).toEqual(['bin', 'installed']);
  });

  it('has steps for GitLab CI that run', async () => {
    const job = (parse(blocks('gitlab')[0] ?? '') as { token: GitlabJob }).token;
    const main = await shell([...job.before_script, ...job.script].join('\n'), ci({ CI_PROJECT_DIR: place }));
    expect(main.ending, main.stderr).toBe(0);
    expect(main.stdout).toMatch(/Private Key Object; EC\n +label: +ci/);
    expect(await installed()).toBe('update\ninstall -y --no-install-recommends softhsm2 opensc\n');
    expect((await shell(job.after_script.join('\n'), ci({ CI_PROJECT_DIR: place }))).ending).toBe(0);
    expect((await readdir(place)).sort()).toEqual(['bin', 'installed']);
  });

  it('has jobs of which the README shows the beginning, and that runs too', async () => {
    page = await readFile(join(ROOT, 'README.md'), 'utf8');
    const { steps } = parse(blocks('github')[0] ?? '') as GithubJob;
    const { script } = (parse(blocks('gitlab')[0] ?? '') as { token: Pick<GitlabJob, 'script'> }).token;
    for (const [variable, commands] of [
      ['RUNNER_TEMP', steps.flatMap(({ run }) => run ?? [])],
      ['CI_PROJECT_DIR', script],
    ] as const) {
      const base = join(place, variable);
      await mkdir(base);
      expect(commands).toHaveLength(3);
      const results: ProgramResult[] = [];
      for (const command of commands) results.push(await shell(command, ci({ [variable]: base })));
      expect(results.map(({ ending }) => ending)).toEqual([0, 0, 0]);
      expect(results[2]?.stdout).toMatch(/token label +: signet-ci/);
    }
  });

  it('has a configuration with which signetd finds the token', async () => {
    const [config, variables] = [join(place, 'signetd.json'), join(place, 'variables')];
    await setUp(['--dir', token, '--config', config, '--env', variables]);
    const env = environment();
    const script = '. "$1"; exec "$2" -config "$3"';
    const signetd = ['-c', script, 'sh', variables, join(ROOT, 'bin', 'signetd'), config];
    await using daemon = await startProgram('sh', signetd, { env }, { output: /"msg":"ready"/ });
    const status = await runProgram(join(ROOT, 'bin', 'signet'), ['daemon', 'status', '--json'], { env });
    const { backends } = JSON.parse(status.stdout) as { backends: { name: string; ready: boolean; reason: string }[] };
    expect(backends).toContainEqual(expect.objectContaining({ name: 'pkcs11', ready: true, reason: '' }));
    expect(page).toContain('npm start -- --config /tmp/signet-token/signetd.json');
    expect(daemon.stderr).not.toContain('"level":"error"');
  });
});
