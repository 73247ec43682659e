import { chmod, mkdir, readdir, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PinMemory } from '../../../../src/backends/pkcs11/pin-memory.ts';
import { type PinSource, pinSourcesOf, type SourcedPin } from '../../../../src/backends/pkcs11/pin-source.ts';
import { Secret } from '../../../../src/crypto/secret.ts';
import { SignetError } from '../../../../src/errors.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../../support/temp.ts';

const TOKEN = { backend: 'pkcs11', label: 'ci', serial: '0001' };

let directory: TemporaryDirectory;
let path: string;
let states: string;
let source: PinSource;
let memory: PinMemory;

beforeEach(async () => {
  directory = await temporaryDirectory();
  path = join(directory.path, 'pin');
  states = join(directory.path, 'a', 'state');
  await put('1234');
  [source] = pinSourcesOf({ pinFile: path }, TOKEN) as [PinSource];
  memory = restarted();
});
afterEach(() => directory[Symbol.asyncDispose]());

const put = (pin: string) => writeFile(path, `${pin}\n`, { mode: 0o600 });
const restarted = () => new PinMemory(states, TOKEN);
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const stateFile = () => readFile(join(states, 'token-22b0596e2151cc32.json'), 'utf8');

async function read(): Promise<SourcedPin> {
  const sourced = await source.read();
  if (sourced === undefined) throw new Error('the source has no PIN');
  return sourced;
}
const begin = async (using = memory) => using.begin(source, await read());

const REFUSED = { code: 'PIN_INCORRECT', message: expect.stringMatching(/ was refused and is not tried again$/) };
const UNANSWERED = {
  code: 'PIN_REQUIRED',
  message: expect.stringMatching(/ was tried without an answer and is not tried again$/),
};

describe('a PIN that nobody typed', () => {
  it('is given again once the token took it, also after a restart', async () => {
    for (let i = 0; i < 3; i++) {
      await (await begin()).accepted();
      await (await begin(restarted())).accepted();
    }
  });

  it('is never tried again after it was refused, until the file changes', async () => {
    await (await begin()).refused();
    for (let i = 0; i < 3; i++) {
      await expect(begin()).rejects.toMatchObject({
        ...REFUSED,
        message: `the PIN of pin-source ${path} was refused and is not tried again`,
        hint: `correct the PIN in ${path}`,
      });
      await expect(begin(restarted())).rejects.toMatchObject(REFUSED);
    }
    await put('5678');
    await (await begin(restarted())).accepted();
  });

  it('is not tried again in one process when the same PIN is written again', async () => {
    await (await begin()).refused();
    await put('1234');
    await utimes(path, 1, 1);
    await expect(begin()).rejects.toMatchObject(REFUSED);
  });

  it('is written down before the try: a daemon that dies of it does not try it again', async () => {
    await (await begin()).unanswered();
    await expect(begin()).rejects.toMatchObject(UNANSWERED);
    await expect(begin(restarted())).rejects.toMatchObject(UNANSWERED);
  });

  it('is tried once more after a try without an answer if the token had taken it before', async () => {
    await (await begin()).accepted();
    await (await begin(restarted())).unanswered();
    await (await begin(restarted())).unanswered();
    await expect(begin(restarted())).rejects.toMatchObject(UNANSWERED);
  });

  it('may be tried by a process that saw it accepted twice without an answer, not more', async () => {
    await (await begin()).accepted();
    await begin();
    await begin();
    await expect(begin()).rejects.toMatchObject(UNANSWERED);
  });

  it('is not begun where that is not allowed, which is asked unless this process saw it accepted', async () => {
    const denied = async () => {
      throw new Error('one try is left');
    };
    await expect(memory.begin(source, await read(), denied)).rejects.toThrow('one try is left');
    await (await begin(restarted())).accepted(); // nothing was written down, no lock is left
    await expect(memory.begin(source, await read(), denied)).rejects.toThrow('one try is left');
    await (await begin()).accepted();
    await (await memory.begin(source, await read(), denied)).accepted();
  });

  it('may be tried if it was not tried after all', async () => {
    await (await begin()).notTried();
    await (await begin()).accepted();
    await (await begin()).notTried();
    await (await begin()).accepted();
  });

  it('is not trusted any more when the token refuses what it took before', async () => {
    await (await begin()).accepted();
    await (await begin()).refused();
    await expect(begin()).rejects.toMatchObject(REFUSED);
    await expect(begin(restarted())).rejects.toMatchObject(REFUSED);
  });

  it('may be tried again by the next process once a person opened the token', async () => {
    await (await begin()).refused();
    await memory.clear();
    await (await begin(restarted())).accepted();
  });

  it('is refused for one token only', async () => {
    await (await begin()).refused();
    await (await begin(new PinMemory(states, { ...TOKEN, serial: '0002' }))).accepted();
  });

  it('is remembered within the process where there is no directory', async () => {
    const alone = new PinMemory(undefined, TOKEN);
    await (await begin(alone)).refused();
    await expect(begin(alone)).rejects.toMatchObject(REFUSED);
  });
});

describe('two daemons with one state directory', () => {
  it('spend one try of a wrong PIN: the other waits for its outcome', async () => {
    let tries = 0;
    const start = async () => {
      const daemon = restarted();
      const tried = await begin(daemon);
      tries++;
      await sleep(20); // the token checks it
      await tried.refused();
      throw new Error('the token refused it');
    };
    const ends = await Promise.allSettled(Array.from({ length: 6 }, start));
    expect(tries).toBe(1);
    const others = ends.map((end) => (end as PromiseRejectedResult).reason).filter((e) => e instanceof SignetError);
    expect(others).toHaveLength(5);
    for (const error of others) expect(error).toMatchObject(REFUSED);
  });

  it('both open the token with a right one', async () => {
    const start = async () => {
      const tried = await begin(restarted());
      await sleep(20);
      await tried.accepted();
    };
    await Promise.all([start(), start(), start()]);
    expect(JSON.parse(await stateFile()).sources).toMatchObject({ [`pin-source ${path}`]: { accepted: true } });
  });

  it('spend one try of a PIN that its source forgets when it is refused', async () => {
    let remembered: Secret | undefined = Secret.fromText('1234');
    const forget = async () => {
      remembered = undefined;
      return true;
    };
    const rememberedPin = () => ({ read: async () => remembered?.clone(), forget });
    [source] = pinSourcesOf({ pinFile: undefined, rememberedPin }, TOKEN) as [PinSource];
    const before = await read();
    await (await begin()).refused();
    await expect(restarted().begin(source, before)).rejects.toMatchObject({
      code: 'PIN_REQUIRED',
      message: 'the PIN of the keyring was changed or removed just now',
    });
  });

  it('do not wait for ever', async () => {
    const tried = await begin();
    await expect(begin(new PinMemory(states, TOKEN, 0))).rejects.toMatchObject({
      code: 'TOKEN_BUSY',
      message: `process ${process.pid} is still trying a PIN of token ci`,
      hint: expect.stringMatching(/^try again later; if no signetd runs, remove .*token-22b0596e2151cc32\.json\.lock$/),
    });
    await tried.accepted();
    await (await begin(new PinMemory(states, TOKEN, 0))).accepted();
  });

  it('do not wait for one that was killed in the middle of a try, and do not try that PIN again', async () => {
    await begin();
    const lock = join(states, 'token-22b0596e2151cc32.json.lock');
    const owner = JSON.parse(await readFile(lock, 'utf8'));
    await writeFile(lock, JSON.stringify({ ...owner, pid: 2 ** 22 + 1 })); // more than Linux gives
    await expect(begin(new PinMemory(states, TOKEN, 0))).rejects.toMatchObject(UNANSWERED);
    expect(await readdir(states)).toEqual(['token-22b0596e2151cc32.json']);
  });
});

describe('the state file', () => {
  it('is for its owner only, in a directory for its owner only, and tells nothing of the PIN', async () => {
    await (await begin()).refused();
    const file = await stat(join(states, 'token-22b0596e2151cc32.json'));
    expect(file.mode & 0o777).toBe(0o600);
    expect((await stat(states)).mode & 0o777).toBe(0o700);
    const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true });
    expect(JSON.parse(await stateFile())).toEqual({
      version: 1,
      token: { label: 'ci', serial: '0001' },
      sources: {
        [`pin-source ${path}`]: {
          identity: `${dev} ${ino} ${size} ${mtimeNs}`,
          accepted: false,
          refused: true,
          unanswered: 0,
        },
      },
    });
  });

  it.each(['', '{', 'null', '[]', '{"version":2,"sources":{}}', '{"version":1}', '{"version":1,"sources":{"a":{}}}'])(
    'that is damaged stops every try: %j',
    async (content) => {
      await (await begin()).accepted();
      await writeFile(join(states, 'token-22b0596e2151cc32.json'), content);
      await expect(begin(restarted())).rejects.toMatchObject({
        code: 'INTEGRITY',
        message: expect.stringMatching(/token-22b0596e2151cc32\.json is damaged$/),
      });
    },
  );

  it('that cannot be written stops every try', async () => {
    const hint = 'without that file a wrong PIN could be tried at each start: make its directory writable';
    await expect(begin(new PinMemory('/proc', TOKEN))).rejects.toMatchObject({ code: 'CONFIGURATION', hint });
    await writeFile(join(directory.path, 'a'), 'in the way');
    await expect(begin()).rejects.toMatchObject({ code: 'CONFIGURATION', hint });
  });
});

describe('sources of PINs', () => {
  it('are the file, the credential for this token, the one for the only token, the keyring', async () => {
    const names = (isOnlyToken: boolean, serial: string) =>
      pinSourcesOf(
        {
          pinFile: '/pin',
          credentialsDirectory: '/credentials',
          isOnlyToken,
          rememberedPin: () => ({ read: async () => undefined, forget: async () => true }),
        },
        { ...TOKEN, serial },
      ).map(({ name }) => name);
    const [file, own, shared, keyring] = [
      'pin-source /pin',
      'the credential signet-pin-0001',
      'the credential signet-pin',
      'the keyring',
    ];
    expect(names(true, '0001')).toEqual([file, own, shared, keyring]);
    expect(names(false, '0001')).toEqual([file, own, keyring]);
    expect(names(true, '../../etc')).toEqual([file, shared, keyring]);
    expect(names(false, '0000000000000000')).toEqual([file, keyring]); // every token of some modules has that one
  });

  it('read credentials, which are made anew at each start, and know one of the same length again', async () => {
    const at = async (folder: string, pin: string) => {
      const credentialsDirectory = join(directory.path, folder);
      await mkdir(credentialsDirectory);
      await writeFile(join(credentialsDirectory, 'signet-pin-0001'), pin, { mode: 0o400 });
      const [credential] = pinSourcesOf({ pinFile: undefined, credentialsDirectory }, TOKEN);
      return { credential, sourced: await credential?.read() };
    };
    const first = await at('1', '1234');
    expect(text(first.sourced?.pin.bytes() ?? Buffer.of())).toBe('1234');
    expect((await at('2', '9999')).sourced?.identity).toBe(first.sourced?.identity);
    expect((await at('3', '12345')).sourced?.identity).not.toBe(first.sourced?.identity);
    const none = pinSourcesOf({ pinFile: undefined, credentialsDirectory: directory.path }, TOKEN)[0];
    expect(await none?.read()).toBeUndefined();
  });

  it('forget what the keyring remembered as soon as it was refused', async () => {
    let remembered: Secret | undefined = Secret.fromText('1234');
    [source] = pinSourcesOf(
      {
        pinFile: undefined,
        rememberedPin: () => ({
          read: async () => remembered?.clone(),
          forget: async () => {
            remembered = undefined;
            return true;
          },
        }),
      },
      TOKEN,
    ) as [PinSource];
    await (await begin()).refused();
    expect(await source.read()).toBeUndefined();
  });

  it('that cannot forget a refused PIN are not asked for it again, also after a restart', async () => {
    const rememberedPin = () => ({ read: async () => Secret.fromText('1234'), forget: async () => false });
    [source] = pinSourcesOf({ pinFile: undefined, rememberedPin }, TOKEN) as [PinSource];
    await (await begin()).refused();
    await expect(begin(restarted())).rejects.toMatchObject({
      ...REFUSED,
      message: 'the PIN of the keyring was refused and is not tried again',
    });
    await restarted().clear(); // a person opened the token
    await (await begin(restarted())).notTried();
  });

  it('refuse a file that others may read', async () => {
    await chmod(path, 0o644);
    await expect(source.read()).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `pin-source ${path} is open to others`,
    });
  });
});
