/** PINs on a real module, with every C_Login counted: nobody's PIN is guessed, and none is tried twice. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SignContext } from '../../src/backends/backend.ts';
import type { Pkcs11Backend, Pkcs11Options } from '../../src/backends/pkcs11/pkcs11-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { SignetError } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { type FaultyModule, faultyModule } from '../support/faulty-module.ts';
import { pinPerson } from '../support/pin-person.ts';
import { runProgram, startProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { SO_PIN, SOFTHSM_MODULE, type SoftHsm, softHsm, TEST_PIN, tokenUri } from '../support/softhsm.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));
const CONTEXT: SignContext = { caller: 'test' };
const OWNER = { role: 'root', gun: 'example.com/a' };
const MESSAGE = Buffer.from('to be signed');
const WRONG_PIN = '00000000';

let resources: Resources;
let hsm: SoftHsm;
let module: FaultyModule;
let stateDirectory: string;

beforeEach(async () => {
  resources = new Resources();
  hsm = resources.use(await softHsm());
  await hsm.createToken('ci');
  module = await faultyModule(hsm);
  stateDirectory = join(hsm.directory, 'state');
});
afterEach(() => resources[Symbol.asyncDispose]());

const open = (options: Partial<Pkcs11Options> = {}) => module.open(tokenUri('ci'), { stateDirectory, ...options });
const generate = (backend: Pkcs11Backend, context: SignContext = CONTEXT) =>
  backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, context);
const outcome = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: unknown) => (error instanceof SignetError ? error.code : String(error)),
  );

describe('a PIN that was configured', () => {
  it('and is wrong costs one try: over restarts, for a hundred callers, in however many calls', async () => {
    const pinFile = await hsm.pinFile(WRONG_PIN);
    for (let restart = 0; restart < 3; restart++) {
      await using backend = await open({ pinFile });
      const outcomes = await Promise.all(Array.from({ length: 100 }, () => outcome(generate(backend))));
      expect(new Set(outcomes)).toEqual(new Set(['PIN_INCORRECT']));
    }
    expect(await module.logins()).toBe(1);
    await writeFile(pinFile, TEST_PIN);
    await using backend = await open({ pinFile });
    await generate(backend);
    expect(await module.logins()).toBe(2);
  });

  it('and kills the module costs one try, over restarts', async () => {
    const pinFile = await hsm.pinFile();
    await module.misbehave('C_Login crash');
    for (let restart = 0; restart < 3; restart++) {
      await using backend = await open({ pinFile });
      for (let i = 0; i < 3; i++) expect(await outcome(generate(backend))).not.toBe('ok');
    }
    expect(await module.logins()).toBe(1);
    await module.misbehave();
    await using backend = await open({ pinFile });
    expect(await outcome(generate(backend))).toBe('PIN_REQUIRED');
    const person = pinPerson(() => TEST_PIN);
    await generate(backend, person.context);
    expect(person.questions[0]?.reason?.message).toBe(
      `the PIN of pin-source ${pinFile} was tried without an answer and is not tried again`,
    );
    await using later = await open({ pinFile });
    await generate(later);
  });

  it('is read from a systemd credential', async () => {
    const credentialsDirectory = join(hsm.directory, 'credentials');
    await mkdir(credentialsDirectory);
    await writeFile(join(credentialsDirectory, 'signet-pin'), TEST_PIN, { mode: 0o400 });
    await using backend = await open({ credentialsDirectory, isOnlyToken: true });
    await generate(backend);
    await using one = await open({ credentialsDirectory });
    expect(await outcome(generate(one))).toBe('PIN_REQUIRED');
  });

  it('and remembered by the keyring is forgotten when the token refuses it', async () => {
    let kept: string | undefined = WRONG_PIN;
    const rememberedPin = () => ({
      read: async () => (kept === undefined ? undefined : Secret.fromText(kept)),
      forget: async () => {
        kept = undefined;
        return true;
      },
    });
    await using backend = await open({ rememberedPin });
    expect(kept).toBeUndefined();
    expect(await outcome(generate(backend))).toBe('PIN_REQUIRED');
    expect(await module.logins()).toBe(1);
    kept = TEST_PIN;
    await generate(backend);
  });

  it('that is changed through the daemon is not tried any more', async () => {
    const pinFile = await hsm.pinFile();
    await using backend = await open({ pinFile });
    const answers = [TEST_PIN, '11223344'];
    await backend.token.changePin('pin', pinPerson(() => answers.shift()).context);
    await backend.token.release();
    const before = await module.logins();
    expect(await outcome(generate(backend))).toBe('PIN_INCORRECT');
    expect(await module.logins()).toBe(before);
    await writeFile(pinFile, '11223344');
    await generate(backend);
  });
});

describe('signetd that is restarted again and again with a wrong PIN', () => {
  it('spends one try', async () => {
    const pinFile = await hsm.pinFile(WRONG_PIN);
    const home = join(hsm.directory, 'home');
    await mkdir(home, { mode: 0o700 });
    const configFile = join(hsm.directory, 'signetd.json');
    const uri = `pkcs11:token=ci?module-path=${module.modulePath}&pin-source=file:${pinFile}`;
    const config = {
      storage: { backend: 'file', path: join(hsm.directory, 'keys') },
      agent: { socket: join(hsm.directory, 'run', 's') },
      tokens: [{ uri }],
    };
    await writeFile(configFile, JSON.stringify(config));
    for (const signal of ['SIGTERM', 'SIGKILL', 'SIGTERM'] as const) {
      const env = { ...module.env, HOME: home };
      const program = await startProgram(SIGNETD, ['-config', configFile], { env }, { output: /"msg":"ready"/ });
      expect(program.stderr).not.toContain(WRONG_PIN);
      program.kill(signal);
      await program.ended;
    }
    expect(await module.logins()).toBe(1);
    const [state = ''] = await readdir(join(home, '.signet', 'state'));
    expect(await readFile(join(home, '.signet', 'state', state), 'utf8')).toContain('"refused": true');
  });
});

describe('a person', () => {
  it('is asked once for all who wait', async () => {
    await using backend = await open();
    let answer: (pin: string) => void = () => undefined;
    const person = pinPerson(
      () =>
        new Promise<string>((resolve) => {
          answer = resolve;
        }),
    );
    const calls = Array.from({ length: 20 }, () => generate(backend, person.context));
    await waitFor('the question', () => person.questions.length === 1);
    answer(TEST_PIN);
    await Promise.all(calls);
    expect(person.questions).toEqual([
      {
        token: { backend: 'pkcs11', label: 'ci', serial: expect.stringMatching(/^[0-9a-f]{16}$/) },
        secret: 'pin',
        isNew: false,
        triesLeft: undefined,
        key: undefined,
      },
    ]);
    expect(await module.logins()).toBe(1);
  });

  it('who declines, or is wrong, ends the wait of all; and no machine tries again', async () => {
    await using backend = await open();
    const nobody = pinPerson(() => undefined);
    const declined = await Promise.all([1, 2, 3].map(() => outcome(generate(backend, nobody.context))));
    expect(declined).toEqual(['PIN_REQUIRED', 'PIN_REQUIRED', 'PIN_REQUIRED']);
    const mistaken = pinPerson(() => WRONG_PIN);
    const refused = await Promise.all([1, 2, 3].map(() => outcome(generate(backend, mistaken.context))));
    expect(refused).toEqual(['PIN_INCORRECT', 'PIN_INCORRECT', 'PIN_INCORRECT']);
    expect(mistaken.questions).toHaveLength(1);
    expect(await module.logins()).toBe(1);
  });

  it('who goes away leaves the question to the next who waits', async () => {
    await using backend = await open();
    const controller = new AbortController();
    const gone = pinPerson(
      () => new Promise((resolve) => controller.signal.addEventListener('abort', () => resolve(undefined))),
    );
    const first = outcome(generate(backend, { ...gone.context, signal: controller.signal }));
    await waitFor('the question', () => gone.questions.length === 1);
    const person = pinPerson(() => TEST_PIN);
    const second = generate(backend, person.context);
    controller.abort();
    expect(await first).toBe('CANCELLED');
    await second;
    expect(person.questions).toHaveLength(1);
  });

  it('is asked where the configured PIN was refused', async () => {
    await using backend = await open({ pinFile: await hsm.pinFile(WRONG_PIN) });
    const person = pinPerson(() => TEST_PIN);
    await generate(backend, person.context);
    expect(await backend.health()).toEqual({ ready: true });
    expect(await module.logins()).toBe(2);
  });

  it('is asked again once the module has ended, unless the PIN is cached for a time, and always after the token was let go of or locked', async () => {
    for (const [pinCacheMs, asked] of [
      [0, 2],
      [60_000, 1],
    ] as const) {
      await using backend = await open({ pinCacheMs });
      const person = pinPerson(() => TEST_PIN);
      await generate(backend, person.context);
      process.kill(backend.hostPid ?? 0, 'SIGKILL');
      await waitFor('the end of the process', () => backend.hostPid === undefined);
      await generate(backend, person.context);
      expect(person.questions).toHaveLength(asked);
      await backend.token.release(); // drops it
      await generate(backend, person.context);
      expect(person.questions).toHaveLength(asked + 1);
      await backend.unlocker.lock(); // so does this
      await generate(backend, person.context);
      expect(person.questions).toHaveLength(asked + 2);
    }
  });
});

describe('a key that wants the PIN for each signature', () => {
  async function openWithKey(options: Partial<Pkcs11Options> = {}) {
    const args = ['--module', SOFTHSM_MODULE, '--token-label', 'ci', '--login', '--pin', TEST_PIN];
    const making = ['--keypairgen', '--key-type', 'EC:prime256v1', '--id', '01', '--always-auth', '--usage-sign'];
    const { ending, stderr } = await runProgram('pkcs11-tool', [...args, ...making], { env: hsm.env });
    if (ending !== 0) throw new Error(`pkcs11-tool failed: ${stderr}`);
    const backend = resources.use(await open(options));
    for await (const key of backend.list()) {
      const sign = async (context: SignContext = CONTEXT) => {
        const signature = await backend.sign(key.keyId, { message: MESSAGE }, context);
        return key.publicKey !== undefined && verifySignature(key.publicKey, MESSAGE, signature);
      };
      return { backend, key, sign };
    }
    throw new Error('the token has one key');
  }

  it('gets it from the file, for many callers at once', async () => {
    const { key, sign } = await openWithKey({ pinFile: await hsm.pinFile() });
    expect(key.device?.pinPolicy).toBe('always');
    expect(await Promise.all(Array.from({ length: 20 }, () => sign()))).toEqual(Array.from({ length: 20 }, () => true));
    expect(await module.logins()).toBe(21);
  });

  it('gets it from a person, who is asked for each signature, and once for the login and the first one', async () => {
    const { key, sign } = await openWithKey();
    const person = pinPerson(() => TEST_PIN);
    for (let i = 1; i <= 3; i++) {
      expect(await sign(person.context)).toBe(true);
      expect(person.questions).toHaveLength(i);
    }
    expect(person.questions[2]?.key).toMatchObject({ keyId: key.keyId });
    expect(await outcome(sign())).toBe('PIN_REQUIRED');
  });

  it('gets it from the cache where that was configured', async () => {
    const { sign } = await openWithKey({ pinCacheMs: 60_000 });
    const person = pinPerson(() => TEST_PIN);
    for (let i = 0; i < 3; i++) expect(await sign(person.context)).toBe(true);
    expect(await sign()).toBe(true);
    expect(person.questions).toHaveLength(1);
  });

  it('and a wrong one from the file costs one try, whoever waits', async () => {
    const pinFile = await hsm.pinFile();
    const { backend, sign } = await openWithKey({ pinFile });
    expect(await sign()).toBe(true);
    await writeFile(pinFile, WRONG_PIN);
    const before = await module.logins();
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => outcome(sign())));
    expect(new Set(outcomes)).toEqual(new Set(['PIN_INCORRECT']));
    expect(await module.logins()).toBe(before + 1);
    expect(await sign(pinPerson(() => TEST_PIN).context)).toBe(true);
    expect(await backend.count()).toBe(1);
  });
});

describe('the PINs of a token', () => {
  const person = (...answers: (string | undefined)[]) => pinPerson(() => answers.shift());

  it('are changed by who knows the old one', async () => {
    await using backend = await open();
    const asked = person(TEST_PIN, '11223344');
    await backend.token.changePin('pin', asked.context);
    expect(asked.questions).toMatchObject([
      { secret: 'pin', isNew: false },
      { secret: 'pin', isNew: true },
    ]);
    await generate(backend, person('11223344').context);
  });

  it('are not changed by who does not', async () => {
    await using backend = await open();
    expect(await outcome(backend.token.changePin('pin', person(WRONG_PIN, '11223344').context))).toBe('PIN_INCORRECT');
    expect(await outcome(backend.token.changePin('pin', person(TEST_PIN).context))).toBe('PIN_REQUIRED');
    expect(await outcome(backend.token.changePin('pin', CONTEXT))).toBe('PIN_REQUIRED');
    expect(await outcome(backend.token.changePin('puk', person('a', 'b').context))).toBe('UNSUPPORTED');
    await generate(backend, person(TEST_PIN).context);
  });

  it('are set by the security officer, whose own is changed likewise', async () => {
    await using backend = await open();
    await generate(backend, person(TEST_PIN).context); // logged in: the officer's turn ends that
    await expect(backend.token.unblockPin(person(WRONG_PIN, '55667788').context)).rejects.toMatchObject({
      code: 'PIN_INCORRECT',
      message: expect.stringMatching(/: login as the security officer on token "ci" failed \(CKR_PIN_INCORRECT\)$/),
      hint: 'the SO PIN is wrong',
    });
    const asked = person(SO_PIN, '55667788');
    await backend.token.unblockPin(asked.context);
    expect(asked.questions).toMatchObject([
      { secret: 'so-pin', isNew: false },
      { secret: 'pin', isNew: true },
    ]);
    await generate(backend, person('55667788').context);
    await backend.token.changePin('so-pin', person(SO_PIN, '99887766').context);
    expect(await outcome(backend.token.unblockPin(person(SO_PIN, TEST_PIN).context))).toBe('PIN_INCORRECT');
    await backend.token.unblockPin(person('99887766', TEST_PIN).context);
    await generate(backend, person(TEST_PIN).context);
  });

  it('are new after it was made anew, and its keys are gone', async () => {
    await using backend = await open();
    const key = await generate(backend, person(TEST_PIN).context);
    expect(await outcome(backend.token.initialise?.('other', person(SO_PIN, '1').context) ?? Promise.resolve())).toBe(
      'INVALID_ARGUMENT',
    );
    expect(await backend.find(key.keyId)).toBeDefined();
    await expect(backend.token.initialise?.('ci', person(WRONG_PIN, '1').context)).rejects.toMatchObject({
      code: 'PIN_INCORRECT',
      message: expect.stringMatching(/: initialising token "ci" failed \(CKR_PIN_INCORRECT\)$/),
      hint: 'the SO PIN is wrong',
    });
    await backend.token.initialise?.('ci', person(SO_PIN, '12121212').context);
    const other = await generate(backend, person('12121212').context);
    expect(await backend.find(key.keyId)).toBeUndefined();
    expect(await backend.find(other.keyId)).toBeDefined();
  });

  it('are given to a blank token, with its label', async () => {
    await using backend = await module.open(tokenUri('brand new'), { stateDirectory });
    expect(await backend.health()).toMatchObject({ ready: false });
    await backend.token.initialise?.('brand new', person('so-pin-1', '12121212').context);
    await generate(backend, person('12121212').context);
    expect((await backend.token.status()).identity.label).toBe('brand new');
  });
});
