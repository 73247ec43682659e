/** Keys on tokens as a person meets them: PIN prompts, touch notices, lists. The agent is one that the tests script. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AgentKey, SignRequest, TokenStatusMessage } from '../../src/rpc/messages.ts';
import { VERSION } from '../../src/version.ts';
import { type CommandLineHome, commandLineHome } from '../support/cli.ts';
import { type Script, startScriptedAgent } from '../support/scripted-agent.ts';

const PIN = '135792';
const TOKEN = { backend: 'yubikey', label: 'YubiKey 5', serial: '1234567' };
const KEY: AgentKey = {
  key_id: 'c0ffee'.padEnd(64, '0'),
  role: 'root',
  gun: '',
  location: 'yubikey:serial=1234567;slot=9c',
  backend: 'yubikey',
  needs_pin: true,
  needs_touch: true,
  needs_passphrase: false,
  public_key: { algorithm: 'ecdsa', bytes: Buffer.alloc(91) },
  last_used_ms: 0,
  device: {
    serial: '1234567',
    label: 'YubiKey 5',
    firmware: '5.4.3',
    slot: '9c',
    pin_policy: 'once',
    touch_policy: 'always',
    attested: 'yes',
    warnings: ['its firmware leaks keys (EUCLEAK)'],
  },
  passed_over: [],
};
const OWNER = { key_id: KEY.key_id, role: KEY.role, gun: KEY.gun };
const STATUS: TokenStatusMessage = {
  token: TOKEN,
  manufacturer: 'Yubico',
  model: 'YubiKey 5 NFC',
  firmware: '5.4.3',
  module_path: '/usr/lib/libykcs11.so',
  present: true,
  logged_in: false,
  pin_tries_left: 2,
  puk_tries_left: 5,
  pin_locked: false,
  warnings: [],
  location: 'yubikey:serial=1234567',
  problem: '',
};

let home: CommandLineHome;
let agent: AsyncDisposable;
let tries: number;
let isPresent: boolean;
let initialised: object[];
let unlockedWith: string[];

/** A token with three tries, whose keys want a touch. */
const script: Script = {
  Status: async () => ({ version: VERSION, pid: 1, started_at_ms: 0, listeners: [], backends: [] }),
  FindKey: async () => KEY,
  ListKeys: async () => (isPresent ? [KEY] : []),
  ListTokens: async () => ({ tokens: [{ ...STATUS, present: isPresent, pin_tries_left: tries }] }),
  Sign: async (_request: SignRequest, person) => {
    for (;;) {
      const pin = await person.question({ kind: 'pin', ...OWNER, token: TOKEN, tries_left: tries });
      if (pin === PIN) break;
      if (pin !== undefined) tries--;
      if (pin === undefined) throw { code: status.FAILED_PRECONDITION, details: 'the PIN is needed' };
    }
    const takeAway = person.touch({ token: TOKEN, ...OWNER });
    await delay(300);
    takeAway();
    await delay(100);
    return { signature: Buffer.alloc(64, 1) };
  },
  ChangePin: async ({ token }: { token: string }, person) => {
    await person.question({ kind: 'pin', token: TOKEN, tries_left: tries });
    const chosen = await person.question({ kind: 'new pin', token: TOKEN });
    if (chosen !== '246824') throw { code: status.INVALID_ARGUMENT, details: `no new PIN for ${token}` };
    return {};
  },
  Unlock: async (request: { passphrase: Uint8Array }) => {
    const pin = Buffer.from(request.passphrase).toString();
    unlockedWith.push(pin);
    if (pin !== PIN) throw { code: status.UNAUTHENTICATED, details: 'the PIN is wrong' };
    return {};
  },
  InitialiseToken: async (request: object) => {
    initialised.push(request);
    return {};
  },
};

beforeAll(async () => {
  home = await commandLineHome();
  await mkdir(join(home.path, 'run'), { mode: 0o700 });
  agent = await startScriptedAgent(join(home.path, 'run', 's'), script);
  await writeFile(join(home.path, 'pin'), `${PIN}\n`, { mode: 0o600 });
  await writeFile(join(home.path, 'wrong-pin'), '000000\n', { mode: 0o600 });
  await writeFile(join(home.path, 'message'), 'hello');
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});
beforeEach(() => {
  tries = 3;
  isPresent = true;
  initialised = [];
  unlockedWith = [];
});

const at = (...args: string[]) => ['--socket', 'run/s', ...args];
const sign = (...args: string[]) => at('key', 'sign', KEY.key_id, '--in', 'message', ...args);
const NOTICE = `Touch YubiKey 5 (serial 1234567) to use the root key with ID ${KEY.key_id.slice(0, 7)}`;

describe('a key', () => {
  it('that is not found may be on a token that is away', async () => {
    isPresent = false;
    expect(await home.signet(at('key', 'show', KEY.key_id.slice(0, 8)))).toEqual({
      ending: 3,
      stdout: '',
      stderr:
        'signet: no key ID begins with c0ffee00\n' +
        'signet: hint: yubikey:serial=1234567 is not plugged in, and its keys are not seen; ' +
        'signet key list shows the others\n',
    });
  });
});

describe('a list of keys', () => {
  it('names the tokens that are not plugged in, beside the data', async () => {
    isPresent = false;
    expect(await home.signet(at('key', 'list', '--json'))).toEqual({
      ending: 0,
      stdout: '[]\n',
      stderr: 'signet: yubikey:serial=1234567 is not plugged in: its keys are not listed\n',
    });
    isPresent = true;
    expect(await home.signet(at('key', 'list'))).toMatchObject({ ending: 0, stderr: '' });
  });
});

describe('a PIN prompt', () => {
  it('shows the token, its serial number, the key and the tries that are left', async () => {
    const result = await home.signetOnTerminal(sign(), [
      [
        `\\[signet key sign\\] Enter the PIN of YubiKey 5 \\(serial 1234567\\) for the root key with ID ${KEY.key_id.slice(0, 7)}, 3 tries left: `,
        '000000\r',
      ],
      ['Enter the PIN .*, 2 tries left: ', '111111\r'],
      ['Enter the PIN .*, LAST TRY before it is locked: ', `${PIN}\r`],
    ]);
    expect(result).toMatchObject({ ending: 0, echo: true });
    expect(result.output).not.toContain(PIN);
  });

  it('is answered by --pin-file, once, and never with the last try', async () => {
    expect(await home.signet(sign('--pin-file', 'pin'))).toMatchObject({ ending: 0 });
    expect(await home.signet(sign('--pin-file', 'wrong-pin'))).toMatchObject({
      ending: 4,
      stdout: '',
      stderr: `signet: the PIN from ${join(home.path, 'wrong-pin')} is not the PIN of YubiKey 5 (serial 1234567)\n`,
    });
    expect(tries).toBe(2);
    tries = 1;
    expect(await home.signet(sign('--pin-file', 'pin'))).toMatchObject({
      ending: 4,
      stderr: expect.stringContaining('has one try left, which is not spent unattended'),
    });
    expect(tries).toBe(1);
  });

  it('is never answered from a variable', async () => {
    const env = { NOTARY_ROOT_PASSPHRASE: PIN, NOTARY_DELEGATION_PASSPHRASE: PIN };
    expect(await home.signet(sign('--passphrase-file', 'pin'), { env })).toMatchObject({
      ending: 4,
      stdout: '',
      stderr:
        'signet: the PIN of YubiKey 5 (serial 1234567) is needed and nobody can be asked for it\n' +
        'signet: hint: use --pin-file or --pin-fd, or run it on a terminal\n',
    });
    expect(tries).toBe(3);
  });

  it('has a new PIN typed twice', async () => {
    const result = await home.signetOnTerminal(at('token', 'change-pin'), [
      ['Enter the PIN of YubiKey 5 \\(serial 1234567\\), 3 tries left: ', `${PIN}\r`],
      ['Enter the new PIN of YubiKey 5 \\(serial 1234567\\): ', '246824\r'],
      ['Repeat the new PIN of YubiKey 5 \\(serial 1234567\\): ', '246825\r'],
      ['They do not match. Please retry.\r\n.*Enter the new PIN', '246824\r'],
      ['Repeat the new PIN', '246824\r'],
      ['The PIN was changed.', null],
    ]);
    expect(result).toMatchObject({ ending: 0, echo: true });
  });
});

describe('signet unlock, of a key on a token,', () => {
  const unlock = (...args: string[]) => at('unlock', KEY.key_id, ...args);

  it('asks for the PIN, and says how long it stays open', async () => {
    const result = await home.signetOnTerminal(unlock('--for', '1h'), [
      ['Enter the PIN of YubiKey 5 \\(serial 1234567\\) for the root key with ID c0ffee0, 3 tries left: ', `${PIN}\r`],
      ['a token stays open until it is locked or taken out', null],
    ]);
    expect(result).toMatchObject({ ending: 0, echo: true });
    expect(unlockedWith).toEqual([PIN]);
  });

  it('takes the PIN from a file, and never a passphrase from a variable', async () => {
    const env = { NOTARY_ROOT_PASSPHRASE: '246824' };
    expect(await home.signet(unlock(), { env })).toMatchObject({
      ending: 4,
      stderr: expect.stringContaining('the PIN of YubiKey 5 (serial 1234567) is needed'),
    });
    expect(unlockedWith).toEqual([]);
    expect(await home.signet(unlock('--pin-file', 'pin'), { env })).toMatchObject({ ending: 0 });
    expect(unlockedWith).toEqual([PIN]);
  });

  it('tries a wrong PIN once, and none where one try is left', async () => {
    expect(await home.signet(unlock('--pin-file', 'wrong-pin'))).toMatchObject({ ending: 4 });
    tries = 1;
    expect(await home.signet(unlock('--pin-file', 'pin'))).toMatchObject({ ending: 4 });
    expect(unlockedWith).toEqual(['000000']);
  });
});

describe('a touch', () => {
  it('is asked for with the token and the key, and the notice goes when it was given', async () => {
    const result = await home.signetOnTerminal(sign('--pin-file', 'pin'), []);
    expect(result).toMatchObject({ ending: 0 });
    expect(result.output).toContain(`${NOTICE}\r\u001b[K`);
    expect(result.output.trimEnd()).toMatch(/[A-Za-z0-9+/]{86}==$/);
  });

  it('is a line on stderr without a terminal', async () => {
    const result = await home.signet(sign('--pin-file', 'pin'));
    expect(result).toMatchObject({ ending: 0, stderr: `signet: ${NOTICE}\n` });
  });

  it('that is not given leaves nothing behind on Ctrl-C', async () => {
    const result = await home.signetOnTerminal(sign('--pin-file', 'pin', '-o', 'never'), [
      ['Touch YubiKey 5', { signal: 'SIGINT' }],
    ]);
    expect(result).toMatchObject({ ending: 130, echo: true });
    expect(result.output).toContain(`${NOTICE}\r\u001b[K`);
  });
});

describe('signet token', () => {
  it('lists tokens with their tries', async () => {
    const { stdout } = await home.signet(at('token', 'list'));
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.split(/ {2,}/)),
    ).toEqual([
      ['TOKEN', 'SERIAL', 'MODEL', 'FIRMWARE', 'PIN', 'PUK', 'LOCATION', 'STATE'],
      ['YubiKey 5', '1234567', 'YubiKey 5 NFC', '5.4.3', '3 tries', '5 tries', 'yubikey:serial=1234567', 'ready'],
    ]);
    expect(JSON.parse((await home.signet(at('token', 'list', '--json'))).stdout)).toMatchObject([
      { serial: '1234567', pinTriesLeft: 3, pukTriesLeft: 5, present: true, problem: null },
    ]);
  });

  it('erases a token only when the word is typed, or the long option given', async () => {
    const init = at('token', 'init', '1234567', '--label', 'new');
    expect(await home.signet(init)).toMatchObject({
      ending: 2,
      stderr: expect.stringContaining('hint: to go ahead without being asked, add --really-erase-all-keys'),
    });
    expect(await home.signetOnTerminal(init, [['Type "erase" to go ahead: ', 'y\r']])).toMatchObject({ ending: 130 });
    expect(initialised).toEqual([]);
    expect(await home.signetOnTerminal(init, [['Type "erase" to go ahead: ', 'erase\r']])).toMatchObject({ ending: 0 });
    expect(await home.signet([...init, '--really-erase-all-keys'])).toMatchObject({ ending: 0 });
    expect(initialised).toEqual(Array.from({ length: 2 }, () => ({ serial: '', token: '1234567', label: 'new' })));
  });

  it("shows a key's device and what is known against it", async () => {
    const { stdout } = await home.signet(at('key', 'show', KEY.key_id));
    for (const line of [
      'slot          9c',
      'touch policy  always',
      'warning       its firmware leaks keys (EUCLEAK)',
    ]) {
      expect(stdout).toContain(`${line}\n`);
    }
  });
});

describe('signet doctor', () => {
  it.each([
    [3, 'ok', 'YubiKey 5 (serial 1234567, firmware 5.4.3) is there, with 3 PIN tries left'],
    [1, 'warning', 'YubiKey 5 (serial 1234567, firmware 5.4.3) has one PIN try left'],
  ] as const)('tells with %i tries left, and spends none', async (left, state, text) => {
    tries = left;
    const { stdout } = await home.signet(at('doctor', '--json'));
    expect(JSON.parse(stdout)).toContainEqual(expect.objectContaining({ check: 'tokens', state, text }));
    expect(tries).toBe(left);
  });
});

describe('signet doctor, of a key on a token,', () => {
  it('tells its slot, its policies and what is known against its device', async () => {
    const { stdout } = await home.signet(at('doctor'));
    const id = KEY.key_id.slice(0, 12);
    expect(stdout).toContain(
      `ok       the root key ${id} is on 1234567: slot 9c, PIN policy once, touch policy always\n`,
    );
    expect(stdout).toContain(
      `warning  the root key ${id}: its firmware leaks keys (EUCLEAK); mend it: signet key show ${id}\n`,
    );
  });
});

describe('a daemon of another version', () => {
  it('that lacks a call is named as the reason', async () => {
    const result = await home.signet(at('key', 'attest', KEY.key_id));
    expect(result).toEqual({
      ending: 1,
      stdout: '',
      stderr:
        'signet: the running signetd does not know this call\n' +
        'signet: hint: restart it: it is of another version\n',
    });
  });
});
