/** Questions on the terminal, and answers from elsewhere. */
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandLineHome, commandLineHome, generatedKeyId, SIGNET } from '../support/cli.ts';
import { runProgram } from '../support/processes.ts';
import { runOnTerminal } from '../support/terminal.ts';

let home: CommandLineHome;
let keyId: string;
const PASSPHRASE = 'correct horse';

beforeAll(async () => {
  home = await commandLineHome();
  const env = { NOTARY_TARGETS_PASSPHRASE: PASSPHRASE };
  keyId = generatedKeyId(await home.signet(['key', 'generate', '-r', 'targets', '-g', 'example.com/app'], { env }));
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

const lock = () => home.signet(['lock']);
const sign = () => ['key', 'sign', keyId, '--in', join(home.path, 'message')];

beforeAll(async () => {
  await writeFile(join(home.path, 'message'), 'hello');
});

describe('on a terminal', () => {
  it('says which program asks, for which key of which collection, and never shows the passphrase', async () => {
    await lock();
    const result = await home.signetOnTerminal(sign(), [['Enter passphrase for [^:]*: ', `${PASSPHRASE}\r`]]);
    expect(result).toMatchObject({ ending: 0, echo: true });
    expect(result.output).toContain(
      `[signet key sign] Enter passphrase for targets key with ID ${keyId.slice(0, 7)} (example.com/app): `,
    );
    expect(result.output).not.toContain(PASSPHRASE);
    expect(result.output).toMatch(/[A-Za-z0-9+/]{86}==\r\n$/);
  });

  it('asks again after a wrong passphrase, four times in all, as notary does', async () => {
    await lock();
    const again = await home.signetOnTerminal(sign(), [
      ['Enter passphrase', 'wrong\r'],
      ['Passphrase incorrect. Please retry.\r\n.*Enter passphrase', `${PASSPHRASE}\r`],
    ]);
    expect(again).toMatchObject({ ending: 0 });
    await lock();
    const never = await home.signetOnTerminal(
      sign(),
      Array.from({ length: 4 }, () => ['Enter passphrase', 'wrong\r'] as const),
    );
    expect(never).toMatchObject({ ending: 4, echo: true });
    expect(never.output).toContain(
      `signet: no passphrase of 4 opens targets key with ID ${keyId.slice(0, 7)} (example.com/app)\r\n`,
    );
  });

  it('takes back what was typed with backspace, Ctrl-U and in UTF-8', async () => {
    await lock();
    const typed = `nonsense\u0015${PASSPHRASE.slice(0, 4)}ü\u007f${PASSPHRASE.slice(4)}x\b\r`;
    expect(await home.signetOnTerminal(sign(), [['Enter passphrase', typed]])).toMatchObject({ ending: 0 });
  });

  it.each([
    ['Ctrl-C', 'half\u0003'],
    ['SIGTERM', { signal: 'SIGTERM' }],
    ['SIGHUP', { signal: 'SIGHUP' }],
    ['SIGINT', { signal: 'SIGINT' }],
  ] as const)('gives the terminal back as it was after %s', async (_, answer) => {
    await lock();
    const result = await home.signetOnTerminal(sign(), [['Enter passphrase', answer]]);
    expect(result).toMatchObject({ ending: 130, echo: true });
    expect(result.output).toContain('signet: cancelled\r\n');
  });

  it('is left with Ctrl-Z, which gives the terminal back, and comes again with fg', async () => {
    await lock();
    const result = await runOnTerminal(['bash', '--norc', '-i'], { env: home.env, cwd: home.path }, [
      ['[$#] ', `${SIGNET} ${sign().join(' ')}\r`],
      ['Enter passphrase for targets key', 'half a passphrase\u001a'],
      ['Stopped', 'stty -a | grep -ow -e -echo -e echo\r'],
      ['\r\necho\r\n', 'fg\r'],
      ['Enter passphrase for targets key', `${PASSPHRASE}\r`],
      ['[A-Za-z0-9+/]{86}==', 'exit\r'],
    ]);
    expect(result.ending).toBe(0);
  });

  it('is declined with Ctrl-D', async () => {
    await lock();
    const result = await home.signetOnTerminal(sign(), [['Enter passphrase', '\u0004']]);
    expect(result).toMatchObject({ ending: 130, echo: true });
    expect(result.output).toContain('signet: nothing was typed for the passphrase of targets key');
  });

  it('leaves no key behind when the choice of its passphrase is interrupted', async () => {
    const result = await home.signetOnTerminal(['key', 'generate'], [['Enter passphrase', '\u0003']]);
    expect(result).toMatchObject({ ending: 130 });
    expect((await home.signet(['key', 'list'])).stdout).not.toContain('root');
  });

  it('has a new passphrase typed twice, eight bytes at least, with a hint at its strength', async () => {
    const result = await home.signetOnTerminal(
      ['key', 'generate', '--role', 'alice'],
      [
        ['Enter passphrase for new alice key with ID [0-9a-f]{7}: ', '  short  \r'],
        ['Passphrase is too short\\. .*\r\n.*Enter passphrase', 'password1\r'],
        ['Strength: weak', null],
        ['Repeat passphrase for new alice key with ID [0-9a-f]{7}: ', 'password2\r'],
        ['Passphrases do not match. Please retry.\r\n.*Enter passphrase', 'Tr0ub4dor&3 is too short, they say\r'],
        ['Repeat passphrase', 'Tr0ub4dor&3 is too short, they say\r'],
        ['Generated new ecdsa alice key with keyID: ', null],
      ],
    );
    expect(result).toMatchObject({ ending: 0, echo: true });
    expect(result.output.match(/Strength/g)).toHaveLength(1);
  });

  it('gives up after twelve new passphrases, as notary does', async () => {
    const result = await home.signetOnTerminal(
      ['key', 'generate', '--role', 'bob'],
      Array.from({ length: 12 }, () => ['Enter passphrase', 'short\r'] as const),
    );
    expect(result).toMatchObject({ ending: 4 });
    expect(result.output).toContain('signet: maximum number of passphrase attempts exceeded\r\n');
  });

  it('warns before the passphrase of a root key', async () => {
    const result = await home.signetOnTerminal(
      ['key', 'generate'],
      [['recover the key\\.\r\n.*new root key', '\u0003']],
    );
    expect(result).toMatchObject({ ending: 130 });
  });

  it('has a word typed before a key is removed', async () => {
    const env = { NOTARY_DELEGATION_PASSPHRASE: PASSPHRASE };
    const id = generatedKeyId(await home.signet(['key', 'generate', '-r', 'carol'], { env }));
    const no = await home.signetOnTerminal(['key', 'remove', id], [['Type "remove" to go ahead: ', 'yes\r']]);
    expect(no).toMatchObject({ ending: 130 });
    expect(no.output).toContain('signet: aborted, nothing was changed\r\n');
    const yes = await home.signetOnTerminal(['key', 'remove', id], [['Type "remove" to go ahead: ', 'remove\r']]);
    expect(yes).toMatchObject({ ending: 0 });
    expect(yes.output).toContain(`Deleted ${id} (role carol) from `);
  });

  it('asks nobody with --no-input', async () => {
    await lock();
    expect(await home.signetOnTerminal([...sign(), '--no-input'], [])).toMatchObject({ ending: 4 });
  });
});

describe('without a terminal', () => {
  it('says what is missing and how to give it', async () => {
    await lock();
    expect(await home.signet(sign())).toEqual({
      ending: 4,
      stdout: '',
      stderr:
        `signet: the passphrase of targets key with ID ${keyId.slice(0, 7)} (example.com/app) is needed and nobody can be asked for it\n` +
        'signet: hint: set NOTARY_TARGETS_PASSPHRASE, use --passphrase-file or --passphrase-fd, or run it on a terminal\n',
    });
  });

  it('needs --yes to remove a key', async () => {
    expect(await home.signet(['key', 'remove', keyId])).toEqual({
      ending: 2,
      stdout: '',
      stderr:
        'signet: this needs a confirmation, and there is no terminal to ask on\n' +
        'signet: hint: to go ahead without being asked, add --yes\n',
    });
  });

  it.each([
    ['NOTARY_TARGETS_PASSPHRASE', 0],
    ['DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE', 0],
    ['NOTARY_ROOT_PASSPHRASE', 4],
    ['NOTARY_SNAPSHOT_PASSPHRASE', 4],
    ['NOTARY_DELEGATION_PASSPHRASE', 4],
    ['DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE', 4],
  ])('takes the passphrase of a targets key from %s: exit code %i', async (name, ending) => {
    await lock();
    expect(await home.signet(sign(), { env: { [name]: PASSPHRASE } })).toMatchObject({ ending });
  });

  it('tries a passphrase that nobody typed once, and says where it came from', async () => {
    await lock();
    expect(await home.signet(sign(), { env: { NOTARY_TARGETS_PASSPHRASE: 'wrong' } })).toEqual({
      ending: 4,
      stdout: '',
      stderr: `signet: the passphrase from NOTARY_TARGETS_PASSPHRASE does not open targets key with ID ${keyId.slice(0, 7)} (example.com/app)\n`,
    });
  });

  it('reads it from a file that only its owner reads, before any variable', async () => {
    await lock();
    const file = join(home.path, 'passphrase');
    await writeFile(file, `${PASSPHRASE}\n`, { mode: 0o600 });
    const options = { env: { NOTARY_TARGETS_PASSPHRASE: 'wrong' } };
    expect(await home.signet([...sign(), '--passphrase-file', 'passphrase'], options)).toMatchObject({ ending: 0 });
    await lock();
    await chmod(file, 0o644);
    const open = await home.signet([...sign(), '--passphrase-file', 'passphrase'], options);
    expect(open).toMatchObject({ ending: 1, stdout: '' });
    expect(open.stderr).toBe(
      `signet: --passphrase-file ${file} is open to others\nsignet: hint: run: chmod 600 ${file}\n`,
    );
  });

  it('reads it from a file descriptor', async () => {
    await lock();
    const script = `exec setsid --wait ${SIGNET} ${sign().join(' ')} --passphrase-fd 3 3<<'END'\n${PASSPHRASE}\nEND\n`;
    const result = await runProgram('sh', ['-c', script], { env: home.env, cwd: home.path });
    expect(result).toMatchObject({ ending: 0, stderr: '' });
  });

  it.each([
    [['--passphrase-fd', '99'], 'signet: --passphrase-fd 99 cannot be read (EBADF)\n'],
    [['--passphrase-fd', 'x'], 'signet: --passphrase-fd needs the number of a file descriptor\n'],
    [['--passphrase-fd', '0'], 'signet: --passphrase-fd 0: nothing was written to it\n'],
    [
      ['--passphrase-fd', '0', '--passphrase-file', 'x'],
      'signet: --passphrase-file and --passphrase-fd exclude each other\n',
    ],
  ])('refuses %j with exit code 2', async (args, stderr) => {
    await lock();
    expect(await home.signet([...sign(), ...args])).toEqual({ ending: 2, stdout: '', stderr });
  });
});

describe('pinentry', () => {
  /** Speaks the Assuan protocol like the real ones, and tells what it was asked. */
  const pinentry = async (answer: string) => {
    const path = join(home.path, 'pinentry.sh');
    const script = `#!/bin/sh
echo "OK Pleased to meet you"
while read -r line; do
  echo "$line" >> "$HOME/pinentry.log"
  case "$line" in
    GETPIN) ${answer} ;;
    BYE) echo OK; exit 0 ;;
    *) echo OK ;;
  esac
done
`;
    await writeFile(path, script, { mode: 0o700 });
    return { SIGNET_PINENTRY: path };
  };

  it('asks in a window where there is no terminal', async () => {
    await lock();
    const env = await pinentry(`printf 'D correct%%20horse\\nOK\\n'`);
    expect(await home.signet(sign(), { env })).toMatchObject({ ending: 0, stderr: '' });
    expect(await readFile(join(home.path, 'pinentry.log'), 'utf8')).toContain(
      `SETDESC signet key sign asks: Enter passphrase for targets key with ID ${keyId.slice(0, 7)} (example.com/app)\n`,
    );
  });

  it('is cancelled when the window is closed', async () => {
    await lock();
    const env = await pinentry(`echo 'ERR 83886179 Operation cancelled <Pinentry>'`);
    const result = await home.signet(sign(), { env });
    expect(result).toMatchObject({ ending: 130, stdout: '' });
    expect(result.stderr).toMatch(/^signet: the window for the passphrase of targets key .* was closed\n$/);
  });

  it.each([
    ['ends at once', 'exit 0', 'cannot ask here'],
    ['fails', `echo 'ERR 83918950 Inappropriate ioctl for device <Pinentry>'`, 'cannot ask here'],
  ])('that %s is an error of its own', async (_, answer, message) => {
    await lock();
    const env = await pinentry(answer);
    const result = await home.signet(sign(), { env });
    expect(result).toMatchObject({ ending: 5, stdout: '' });
    expect(result.stderr).toContain(message);
  });

  it('that is missing is named', async () => {
    await lock();
    expect(await home.signet(sign(), { env: { SIGNET_PINENTRY: '/nowhere/pinentry' } })).toEqual({
      ending: 5,
      stdout: '',
      stderr: 'signet: cannot run /nowhere/pinentry (ENOENT)\n',
    });
  });
});
