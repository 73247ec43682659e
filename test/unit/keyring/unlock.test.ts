import { chmod, mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Interaction } from '../../../src/backends/backend.ts';
import { KDF_ITERATIONS } from '../../../src/crypto/key-pem.ts';
import { Secret } from '../../../src/crypto/secret.ts';
import { SignetError } from '../../../src/errors.ts';
import { aliasVariable, ConfiguredPassphrases, type PassphraseOptions } from '../../../src/keyring/unlock.ts';
import { NOBODY } from '../../support/interaction.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

/** Every variable of the notary and docker clients. */
const CLIENT_ENV = {
  NOTARY_ROOT_PASSPHRASE: 'n-root',
  NOTARY_TARGETS_PASSPHRASE: 'n-targets',
  NOTARY_SNAPSHOT_PASSPHRASE: 'n-snapshot',
  NOTARY_DELEGATION_PASSPHRASE: 'n-delegation',
  DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE: 'd-root',
  DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE: 'd-repository',
};

const PASSPHRASE_FILE_HINT =
  'name a file in storage.passphrase_file that holds the passphrase and that this user can read';

let directory: TemporaryDirectory;
let passphraseFile: string;
let randomFile: string;
let credentials: string;

beforeEach(async () => {
  directory = await temporaryDirectory();
  passphraseFile = join(directory.path, 'passphrase');
  randomFile = join(directory.path, 'home', '.signet', 'secrets', 'passphrase');
  credentials = join(directory.path, 'credentials');
});
afterEach(() => directory[Symbol.asyncDispose]());

function open(options: Partial<PassphraseOptions> = {}): Promise<ConfiguredPassphrases> {
  const none = {
    env: {},
    alias: undefined,
    passphraseFile: undefined,
    randomFile: undefined,
    kdfIterations: undefined,
  };
  return ConfiguredPassphrases.open({ ...none, ...options });
}

/** Writes the file and the credential. @returns Options with every source there is */
async function everything(): Promise<PassphraseOptions> {
  await writeFile(passphraseFile, 'from-file\n', { mode: 0o600 });
  await mkdir(credentials);
  await writeFile(join(credentials, 'signet-passphrase'), 'from-credential\n', { mode: 0o400 });
  await mkdir(dirname(randomFile), { recursive: true });
  await writeFile(randomFile, 'from-random\n', { mode: 0o600 });
  const env = { ...CLIENT_ENV, NOTARY_SIGNER_ALIAS1: 'from-alias', CREDENTIALS_DIRECTORY: credentials };
  return { env, alias: 'alias1', passphraseFile, randomFile, kdfIterations: undefined };
}

async function candidatesFor(passphrases: ConfiguredPassphrases, role: string): Promise<string[]> {
  const secrets = await passphrases.candidates({ role });
  return secrets.map((secret) => Buffer.from(secret.bytes()).toString());
}

async function newKey(passphrases: ConfiguredPassphrases, role = 'timestamp'): Promise<[string, number]> {
  const { passphrase, iterations } = await passphrases.forNewKey({ role, gun: '' });
  return [Buffer.from(passphrase.bytes()).toString(), iterations];
}

/** Asserts a refusal, and that neither it nor its causes hold any of the secrets. */
async function refused(work: Promise<unknown>, expected: object): Promise<void> {
  const error = await work.then(
    () => new Error('not refused'),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(SignetError);
  expect(error).toMatchObject(expected);
  expect(inspect(error, { depth: 10 })).not.toMatch(/from-|n-root|n-targets|d-root|d-repo/);
}

describe('the variable of an alias', () => {
  it.each([
    ['alias1', 'NOTARY_SIGNER_ALIAS1'],
    ['my.alias-2', 'NOTARY_SIGNER_MY_ALIAS-2'],
    ['a.b.c', 'NOTARY_SIGNER_A_B_C'],
    ['Timestamp_1', 'NOTARY_SIGNER_TIMESTAMP_1'],
  ])('of %s is %s', (alias, variable) => expect(aliasVariable(alias)).toBe(variable));
});

describe('a new key is sealed under', () => {
  it('the first source that is configured: alias, file, credential, client variable, random', async () => {
    const options = await everything();
    const { NOTARY_SIGNER_ALIAS1: _, ...withoutAlias } = options.env;
    expect(await newKey(await open(options))).toEqual(['from-alias', KDF_ITERATIONS]);
    const second = { ...options, env: withoutAlias, alias: undefined };
    expect(await newKey(await open(second))).toEqual(['from-file', KDF_ITERATIONS]);
    const third = { ...second, passphraseFile: undefined };
    expect(await newKey(await open(third))).toEqual(['from-credential', KDF_ITERATIONS]);
    const fourth = { ...third, env: CLIENT_ENV };
    expect(await newKey(await open(fourth), 'targets')).toEqual(['n-targets', KDF_ITERATIONS]);
    expect(await newKey(await open({ ...fourth, env: {} }), 'targets')).toEqual(['from-random', 10_240]);
  });

  it('as many iterations as the configuration says', async () => {
    const options = { ...(await everything()), kdfIterations: 4096 };
    expect(await newKey(await open(options))).toEqual(['from-alias', 4096]);
    expect(await newKey(await open({ randomFile, kdfIterations: 4096 }))).toEqual(['from-random', 4096]);
  });

  it.each([
    ['root', 'n-root'],
    ['targets', 'n-targets'],
    ['snapshot', 'n-snapshot'],
    ['timestamp', 'd-repository'],
    ['targets/releases', 'n-delegation'],
    ['alice', 'n-delegation'],
    ['', 'n-delegation'],
    ['constructor', 'n-delegation'],
  ])("the client's variable for role %j", async (role, expected) => {
    expect((await newKey(await open({ env: CLIENT_ENV }), role))[0]).toBe(expected);
  });

  it.each([
    ['root', 'd-root'],
    ['targets', 'd-repository'],
    ['alice', 'd-repository'],
  ])("docker's variable for role %j where notary's is not set", async (role, expected) => {
    const env = Object.fromEntries(Object.entries(CLIENT_ENV).filter(([name]) => name.startsWith('DOCKER')));
    expect((await newKey(await open({ env }), role))[0]).toBe(expected);
  });

  it('nothing where nothing is configured: that is PASSPHRASE_REQUIRED', async () => {
    await refused((await open()).forNewKey({ role: 'root', gun: '' }), {
      code: 'PASSPHRASE_REQUIRED',
      message: 'no passphrase is configured for new keys',
      hint: 'set storage.default_alias and its variable, or storage.passphrase_file',
    });
  });

  it('nothing from an empty variable', async () => {
    const env = { NOTARY_ROOT_PASSPHRASE: '', DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE: 'd-root' };
    expect((await newKey(await open({ env }), 'root'))[0]).toBe('d-root');
  });
});

describe('an existing key is tried', () => {
  const storage = ['from-alias', 'from-file', 'from-credential', 'from-random'];

  it.each([
    ['timestamp', [...storage, 'd-repository']],
    ['snapshot', [...storage, 'n-snapshot', 'd-repository']],
    ['', [...storage, 'n-delegation', 'd-repository']],
  ])('with the sources of the storage first when its role %j is a server role', async (role, expected) => {
    expect(await candidatesFor(await open(await everything()), role)).toEqual(expected);
  });

  it.each([
    ['root', ['n-root', 'd-root', ...storage]],
    ['targets', ['n-targets', 'd-repository', ...storage]],
    ['alice', ['n-delegation', 'd-repository', ...storage]],
  ])("with the clients' variables first when its role %j is a person's", async (role, expected) => {
    expect(await candidatesFor(await open(await everything()), role)).toEqual(expected);
  });

  it('with each passphrase once', async () => {
    const env = { ...CLIENT_ENV, NOTARY_SIGNER_ALIAS1: 'n-root', DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE: 'n-root' };
    expect(await candidatesFor(await open({ env, alias: 'alias1' }), 'root')).toEqual(['n-root']);
  });

  it('with nothing where nothing is configured', async () => {
    expect(await candidatesFor(await open(), 'root')).toEqual([]);
  });

  it('with what a file holds now, not what it held at start', async () => {
    await writeFile(passphraseFile, 'from-file', { mode: 0o600 });
    const passphrases = await open({ passphraseFile });
    await writeFile(passphraseFile, 'from-file-2', { mode: 0o600 });
    expect(await candidatesFor(passphrases, '')).toEqual(['from-file-2']);
    await rm(passphraseFile);
    await refused(passphrases.candidates({ role: '' }), {
      code: 'CONFIGURATION',
      message: `storage.passphrase_file ${passphraseFile} cannot be read (ENOENT)`,
      hint: PASSPHRASE_FILE_HINT,
    });
  });
});

describe('a configured source that gives nothing stops the start', () => {
  it.each([{}, { NOTARY_SIGNER_MY_ALIAS: '' }])('an alias without its variable (%j)', async (env) => {
    await refused(open({ env: { ...CLIENT_ENV, ...env }, alias: 'my.alias' }), {
      code: 'CONFIGURATION',
      message: 'the passphrase alias "my.alias" needs the environment variable NOTARY_SIGNER_MY_ALIAS',
      hint: 'set NOTARY_SIGNER_MY_ALIAS, or remove storage.default_alias',
    });
  });

  it('a file that is missing, also behind an alias that is set', async () => {
    const env = { NOTARY_SIGNER_ALIAS1: 'from-alias' };
    await refused(open({ env, alias: 'alias1', passphraseFile }), {
      code: 'CONFIGURATION',
      message: `storage.passphrase_file ${passphraseFile} cannot be read (ENOENT)`,
      hint: PASSPHRASE_FILE_HINT,
    });
  });

  it.each([0o640, 0o604, 0o620, 0o601])('a file of mode %o: it is open to others', async (mode) => {
    await writeFile(passphraseFile, 'from-file');
    await chmod(passphraseFile, mode);
    await refused(open({ passphraseFile }), {
      code: 'CONFIGURATION',
      message: `storage.passphrase_file ${passphraseFile} is open to others`,
      hint: `run: chmod 600 ${passphraseFile}`,
    });
  });

  it.each(['', '\n', '\r\n'])('a file without a passphrase (%j)', async (content) => {
    await writeFile(passphraseFile, content, { mode: 0o600 });
    await refused(open({ passphraseFile }), {
      code: 'CONFIGURATION',
      message: `storage.passphrase_file ${passphraseFile} is empty`,
      hint: PASSPHRASE_FILE_HINT,
    });
  });

  it('a file that is too large to be a passphrase', async () => {
    await writeFile(passphraseFile, 'from-'.repeat(1000), { mode: 0o600 });
    await refused(open({ passphraseFile }), {
      code: 'CONFIGURATION',
      message: `storage.passphrase_file: ${passphraseFile} is larger than 4096 bytes`,
      hint: PASSPHRASE_FILE_HINT,
    });
  });

  it.each([0o700, 0o755])('a directory of mode %o in the place of the file', async (mode) => {
    await mkdir(passphraseFile, { mode });
    await refused(open({ passphraseFile }), {
      code: 'CONFIGURATION',
      message: `storage.passphrase_file ${passphraseFile} is a directory`,
      hint: PASSPHRASE_FILE_HINT,
    });
  });
});

describe('a passphrase file', () => {
  it('may be a link, as orchestrators mount secrets', async () => {
    await writeFile(`${passphraseFile}.v1`, 'from-a-volume\n', { mode: 0o600 });
    await symlink(`${passphraseFile}.v1`, passphraseFile);
    expect(await newKey(await open({ passphraseFile }))).toEqual(['from-a-volume', KDF_ITERATIONS]);
  });

  it.each([
    ['x\n', 'x'],
    ['x\r\n', 'x'],
    ['x\n\n', 'x\n'],
    [' x y ', ' x y '],
    ['Grüße', 'Grüße'],
  ])('of %j holds %j: only the last line break does not count', async (content, expected) => {
    await writeFile(passphraseFile, content, { mode: 0o600 });
    expect(await newKey(await open({ passphraseFile }))).toEqual([expected, KDF_ITERATIONS]);
  });
});

describe('the random passphrase', () => {
  it('is made once: 256 bits, in a file of mode 0600 in directories of mode 0700', async () => {
    const [first] = await newKey(await open({ randomFile }));
    expect(first).toMatch(/^[\w-]{43}$/);
    expect((await stat(randomFile)).mode & 0o7777).toBe(0o600);
    for (const path of [dirname(randomFile), dirname(dirname(randomFile))]) {
      expect((await stat(path)).mode & 0o7777).toBe(0o700);
    }
    expect(await newKey(await open({ randomFile }))).toEqual([first, 10_240]);
  });

  it('is the same for all who start at once', async () => {
    const all = await Promise.all(Array.from({ length: 16 }, () => open({ randomFile })));
    const passphrases = await Promise.all(all.map((one) => newKey(one)));
    expect(new Set(passphrases.map(([text]) => text)).size).toBe(1);
    expect(await readdir(dirname(randomFile))).toEqual(['passphrase']);
  });

  it('is not made where another one is configured', async () => {
    await open({ env: { NOTARY_SIGNER_ALIAS1: 'from-alias' }, alias: 'alias1', randomFile });
    await expect(stat(randomFile)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it("is made also where only clients' variables are set: they cover some roles", async () => {
    const passphrases = await open({ env: { NOTARY_ROOT_PASSPHRASE: 'n-root' }, randomFile });
    expect(await newKey(passphrases, 'timestamp')).toEqual([(await readFile(randomFile, 'utf8')).trim(), 10_240]);
  });

  it('leaves no copy: what a killed start left beside it is cleared away', async () => {
    for (let start = 0; start < 2; start++) {
      await mkdir(dirname(randomFile), { recursive: true });
      const left = join(dirname(randomFile), `.signet-${process.pid}-0123456789abcdef.tmp`);
      await writeFile(left, 'copy');
      await utimes(left, 0, 0);
      await open({ randomFile });
      expect(await readdir(dirname(randomFile))).toEqual(['passphrase']);
    }
  });

  it.each(['', '\n'])('that is empty (%j) stops the start: keys may have been sealed under it', async (content) => {
    await mkdir(dirname(randomFile), { recursive: true });
    await writeFile(randomFile, content, { mode: 0o600 });
    await refused(open({ randomFile }), {
      code: 'CONFIGURATION',
      message: `the passphrase file ${randomFile} is empty or a symbolic link`,
      hint: 'restore it from a backup, or remove it if no key was sealed with it',
    });
    expect(await readFile(randomFile, 'utf8')).toBe(content);
  });

  it('that is a link stops the start', async () => {
    await mkdir(dirname(randomFile), { recursive: true });
    await symlink(join(directory.path, 'elsewhere'), randomFile);
    await refused(open({ randomFile }), { code: 'CONFIGURATION' });
  });

  it('that cannot be made stops the start', async () => {
    await writeFile(join(directory.path, 'home'), 'a file');
    await refused(open({ randomFile }), { code: 'UNAVAILABLE' });
  });
});

describe('what is described', () => {
  it('is the name of the source, never its value', async () => {
    const options = await everything();
    expect(await (await open(options)).describe()).toBe('NOTARY_SIGNER_ALIAS1');
    expect(await (await open({ ...options, alias: undefined })).describe()).toBe(passphraseFile);
    expect(await (await open({ randomFile })).describe()).toBe(randomFile);
    expect(await (await open()).describe()).toBe('none configured');
  });

  it("is the source of new timestamp keys, also where that is a client's variable", async () => {
    const options = { ...(await everything()), alias: undefined, passphraseFile: undefined };
    for (const [env, name, value] of [
      [
        { ...CLIENT_ENV, CREDENTIALS_DIRECTORY: credentials },
        join(credentials, 'signet-passphrase'),
        'from-credential',
      ],
      [CLIENT_ENV, 'DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE', 'd-repository'],
      [{ NOTARY_SNAPSHOT_PASSPHRASE: 'n-snapshot' }, randomFile, 'from-random'],
    ] as const) {
      const passphrases = await open({ ...options, env });
      expect(await passphrases.describe()).toBe(name);
      expect((await newKey(passphrases, 'timestamp'))[0]).toBe(value);
    }
  });
});

describe('with a person to ask, a new key gets', () => {
  const owner = { role: 'root', gun: '' };
  const asking = (text: string | undefined) => {
    const asked: object[] = [];
    const interaction: Interaction = {
      ...NOBODY,
      newPassphrase: async (key) => {
        asked.push(key);
        return text === undefined ? undefined : Secret.fromText(text);
      },
    };
    return { asked, interaction };
  };

  it('what is configured, without a question', async () => {
    const { asked, interaction } = asking('from a person');
    const passphrases = await open({ env: CLIENT_ENV, randomFile });
    const { passphrase } = await passphrases.forNewKey(owner, { interaction });
    expect(Buffer.from(passphrase.bytes()).toString()).toBe('n-root');
    expect(asked).toEqual([]);
  });

  it('the answer, rather than what Signet made up', async () => {
    const { asked, interaction } = asking('from a person');
    const { passphrase, iterations } = await (await open({ randomFile })).forNewKey(owner, { interaction });
    expect([Buffer.from(passphrase.bytes()).toString(), iterations]).toEqual(['from a person', KDF_ITERATIONS]);
    expect(asked).toEqual([owner]);
  });

  it('nothing when the person declines', async () => {
    const { interaction } = asking(undefined);
    const passphrases = await open({ randomFile });
    await refused(passphrases.forNewKey(owner, { interaction }), { code: 'PASSPHRASE_REQUIRED' });
  });
});
