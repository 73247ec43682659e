/** How many tries PIN and PUK of a YubiKey have left: what is told, and that the last one is kept. The card counts. */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { KeyInfo } from '../../src/backends/backend.ts';
import { RetryCounterReader } from '../../src/backends/yubikey/retry-counters.ts';
import type { YubikeyBackend, YubikeyOptions } from '../../src/backends/yubikey/yubikey-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { outcomeOf } from '../support/outcome.ts';
import { pinPerson } from '../support/pin-person.ts';
import { runProgram } from '../support/processes.ts';
import type { CardSettings } from '../support/virtual-yubikey/card/settings.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const SERIAL = '12345678';
const NAME = `yubikey:serial=${SERIAL}`;
const message = Buffer.from('what is signed');
const [PIN, PUK] = ['24681357', 'aPuk4711'];
const OWN_SECRETS = { pin: PIN, puk: PUK, managementKey: 'ab'.repeat(24) };
const INSTALL = 'install opensc-tool (package opensc)';

let home: YubikeyHome;
let running: YubikeyHome | undefined;

async function start(...cards: Partial<CardSettings>[]): Promise<void> {
  const keys = [{ slot: 0x9a, certificate: 'root' }] as const;
  const settings = cards.length === 0 ? [{}] : cards;
  running = await yubikeyHome({ cards: settings.map((card) => ({ serial: Number(SERIAL), keys, ...card })) });
  home = running;
}

afterEach(async () => {
  await running?.[Symbol.asyncDispose]();
  running = undefined;
});

const card = () => home.yubikeys.card();
const open = (options: Partial<YubikeyOptions> = {}) =>
  home.open({ serial: SERIAL, stateDirectory: join(home.directory, 'state'), ...options });

async function keyOf(backend: YubikeyBackend): Promise<KeyInfo> {
  for await (const key of backend.list()) return key;
  throw new Error('no key');
}

async function expectSigns(backend: YubikeyBackend, context = CONTEXT): Promise<void> {
  const { keyId } = await keyOf(backend);
  const signature = await backend.sign(keyId, { message }, context);
  expect(verifySignature(await backend.publicKey(keyId), message, signature)).toBe(true);
}

const signsNothing = async (backend: YubikeyBackend, context = CONTEXT) =>
  await outcomeOf(backend.sign((await keyOf(backend)).keyId, { message }, context));

async function counters(backend: YubikeyBackend) {
  const { pinTriesLeft, pukTriesLeft, pinLocked, warnings } = await backend.token.status();
  return { pinTriesLeft, pukTriesLeft, pinLocked, warnings: warnings.filter((text) => !text.startsWith('libykcs11')) };
}

/** Another program, which the library is not told of. */
async function spend(what: 'PIN' | 'PUK'): Promise<void> {
  const filled = '30'.repeat(8);
  const apdu = what === 'PIN' ? `0020008008${filled}` : `0024008110${filled}${filled}`;
  const { ending } = await runProgram('opensc-tool', ['-c', 'default', '-s', apdu], { env: home.yubikeys.env });
  expect(ending).toBe(0);
}

/** A directory for PATH with a program of this name. */
async function directoryWith(name: string, script: string): Promise<string> {
  const directory = join(home.directory, 'bin');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(directory, name), 0o755);
  return directory;
}

/** What is installed, but for opensc-tool. */
async function withoutOpensc(): Promise<NodeJS.ProcessEnv> {
  return { ...home.yubikeys.env, PATH: await directoryWith('yubico-piv-tool', 'exec /usr/bin/yubico-piv-tool "$@"') };
}

describe('the tries that are left', () => {
  test('are told exactly, of PIN and PUK, whoever spent them', async () => {
    await start({ ...OWN_SECRETS, pinRetries: 5, pukRetries: 4 });
    await using backend = await open();
    expect(await counters(backend)).toEqual({ pinTriesLeft: 5, pukTriesLeft: 4, pinLocked: false, warnings: [] });
    await spend('PIN');
    await spend('PIN');
    await spend('PUK');
    expect(await counters(backend)).toMatchObject({ pinTriesLeft: 3, pukTriesLeft: 3, pinLocked: false });
    const person = pinPerson(({ isNew }) => (isNew ? 'whatever1' : 'wrongpuk'));
    expect(await outcomeOf(backend.token.changePin('puk', person.context))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(person.questions.map(({ secret, triesLeft }) => [secret, triesLeft])).toEqual([
      ['puk', 3],
      ['puk', undefined],
    ]);
    const mistaken = pinPerson(({ isNew }) => (isNew ? '24681357' : 'wrongpuk'));
    expect(await outcomeOf(backend.token.unblockPin(mistaken.context))).toEqual({
      code: 'PIN_INCORRECT',
      message: `${NAME} refused the PUK`,
      hint: 'without tries it is locked for good; there are three, unless set otherwise',
      retriesLeft: 2,
    });
    for (let i = 0; i < 2; i++) await spend('PUK');
    expect(await outcomeOf(backend.token.unblockPin(person.context))).toMatchObject({
      code: 'PIN_LOCKED',
      message: `the PUK of ${NAME} is locked`,
    });
    for (let i = 0; i < 3; i++) await spend('PIN');
    expect(await counters(backend)).toMatchObject({ pinTriesLeft: 0, pukTriesLeft: 0, pinLocked: true });
  });

  test('are shown to whoever is asked, and told of a wrong PIN', async () => {
    await start({ pinRetries: 6 });
    await using backend = await open();
    const person = pinPerson(() => '000000');
    await spend('PIN');
    expect(await signsNothing(backend, person.context)).toMatchObject({ code: 'PIN_INCORRECT', retriesLeft: 4 });
    expect(person.questions).toMatchObject([{ secret: 'pin', triesLeft: 5 }]);
  });

  test('are asked for without a try, and without ending the login', async () => {
    await start();
    await using backend = await open();
    await expectSigns(backend, pinPerson(() => FACTORY_PIN).context);
    await card().clearStatistics();
    expect(await counters(backend)).toMatchObject({ pinTriesLeft: 3, pukTriesLeft: 3 });
    await expectSigns(backend);
    const { apdus, pin, puk } = await card().statistics();
    expect(apdus).toEqual({ GET_SERIAL: 1, GET_METADATA: 3, GENERAL_AUTHENTICATE: 1 });
    expect([pin.attempts, puk.attempts]).toEqual([0, 0]);
  });

  test('are asked for by nobody who signs', async () => {
    await start();
    await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    await expectSigns(backend);
    await card().clearStatistics();
    for (let i = 0; i < 3; i++) await expectSigns(backend);
    expect((await card().statistics()).apdus).toEqual({ GENERAL_AUTHENTICATE: 3 });
  });

  test('are asked for by nobody who looks which YubiKey it is', async () => {
    await start();
    await using backend = await open();
    await keyOf(backend);
    await card().clearStatistics();
    const { identity } = await backend.token.describe();
    expect(identity).toEqual({ backend: 'yubikey', label: `YubiKey PIV #${SERIAL}`, serial: SERIAL });
    expect((await card().statistics()).apdus).toEqual({});
  });

  test('are told also while another program has selected another application', async () => {
    await start();
    await using backend = await open();
    const select = ['-c', 'default', '-s', '00A4040008A000000527471117'];
    expect((await runProgram('opensc-tool', select, { env: home.yubikeys.env })).ending).toBe(0);
    expect(await counters(backend)).toMatchObject({ pinTriesLeft: 3, pukTriesLeft: 3 });
  });

  test('come with a warning of what nobody has changed since the factory', async () => {
    await start();
    await using backend = await open();
    expect((await counters(backend)).warnings).toEqual([
      "the PIN is still the factory's: signet token change-pin",
      "the PUK is still the factory's: signet token change-pin --puk",
      "the management key is still the factory's: ykman piv access change-management-key --protect",
    ]);
  });

  test('are those of the YubiKey in question', async () => {
    await start({ ...OWN_SECRETS, pinRetries: 7 }, { serial: 1002, ...OWN_SECRETS, pinRetries: 9 });
    await using first = await open();
    await using second = await open({ serial: '1002' });
    expect([await counters(first), await counters(second)]).toMatchObject([{ pinTriesLeft: 7 }, { pinTriesLeft: 9 }]);
  });

  test('of the PIN alone are told by firmware before 5.3, while nobody is logged in', async () => {
    await start({ ...OWN_SECRETS, firmware: '5.2.7', pinRetries: 4 });
    await using backend = await open();
    const problem = 'the firmware tells them since version 5.3 only';
    expect(await counters(backend)).toEqual({
      pinTriesLeft: 4,
      pukTriesLeft: undefined,
      pinLocked: false,
      warnings: [`how many tries of PUK are left is not known: ${problem}`],
    });
    await expectSigns(backend, pinPerson(() => PIN).context);
    await card().clearStatistics();
    expect((await counters(backend)).warnings).toEqual([
      `how many tries of PIN and PUK are left is not known: ${problem}`,
    ]);
    await expectSigns(backend);
    expect((await card().statistics()).apdus).toEqual({ GET_SERIAL: 1, GET_METADATA: 3, GENERAL_AUTHENTICATE: 1 });
  });

  test('of the PIN alone are told with yubico-piv-tool, while nobody is logged in', async () => {
    await start({ ...OWN_SECRETS, pinRetries: 4 });
    await using backend = await open({ env: await withoutOpensc() });
    expect(await counters(backend)).toEqual({
      pinTriesLeft: 4,
      pukTriesLeft: undefined,
      pinLocked: false,
      warnings: [`how many tries of PUK are left is not known: ${INSTALL}`],
    });
    await expectSigns(backend, pinPerson(() => PIN).context);
    expect((await counters(backend)).warnings).toEqual([
      `how many tries of PIN and PUK are left is not known: ${INSTALL}`,
    ]);
    await expectSigns(backend);
  });

  test('are not known without either program, which is said and is no error', async () => {
    await start(OWN_SECRETS);
    await using backend = await open({ env: { ...home.yubikeys.env, PATH: '/nowhere' } });
    expect(await counters(backend)).toEqual({
      pinTriesLeft: undefined,
      pukTriesLeft: undefined,
      pinLocked: false,
      warnings: [`how many tries of PIN and PUK are left is not known: ${INSTALL}`],
    });
    const person = pinPerson(() => PIN);
    await expectSigns(backend, person.context);
    expect(person.questions).toMatchObject([{ triesLeft: undefined }]);
  });

  test.each([
    ['fails', 'echo "Sending: 00 F8 00 00"; exit 1', 'opensc-tool failed'],
    ['says something else', 'yes "Received (SW1=0x90, SW2=0x00)" | head -c 10000000', 'opensc-tool failed'],
    ['never ends', 'exec sleep 600', 'opensc-tool was given no answer in time'],
  ])('are not known where the program %s', async (_, script, problem) => {
    await start(OWN_SECRETS);
    const path = await directoryWith('opensc-tool', script);
    await using backend = await open({ env: { ...home.yubikeys.env, PATH: `${path}:/bin` } });
    await expectSigns(backend, pinPerson(() => PIN).context);
    expect(await counters(backend)).toMatchObject({
      pinTriesLeft: undefined,
      warnings: [`how many tries of PIN and PUK are left is not known: ${problem}`],
    });
    await expectSigns(backend);
  });

  test('of a YubiKey that is at work are not waited for long, however many ask', async () => {
    await start({ keys: [{ slot: 0x9a, certificate: 'root', touchPolicy: 'always' }] });
    await using backend = await open();
    await card().setTouch('wait');
    const signing = outcomeOf(expectSigns(backend, pinPerson(() => FACTORY_PIN).context));
    await card().untilAwaitingTouch();
    const reader = new RetryCounterReader();
    const token = { serial: SERIAL, slotDescription: 'Yubico YubiKey OTP+FIDO+CCID 00 00' };
    const ask = () => reader.read({ token, env: home.yubikeys.env, isLoggedIn: () => true });
    for (const { pinTriesLeft, warnings } of await Promise.all(Array.from({ length: 100 }, ask))) {
      expect(pinTriesLeft).toBeUndefined();
      expect(warnings).toEqual([expect.stringContaining('opensc-tool was given no answer in time')]);
    }
    await card().touch();
    expect(await signing).toEqual({ value: undefined });
    expect(await ask()).toMatchObject({ pinTriesLeft: 3, pukTriesLeft: 3 });
  });
});

describe('the last try', () => {
  const programs = { 'with opensc-tool': true, 'without it': false };

  describe.each(Object.entries(programs))('%s', (_, hasOpensc) => {
    const env = () => (hasOpensc ? home.yubikeys.env : { ...home.yubikeys.env, PATH: '/nowhere' });

    test.each([2, 3])('is kept where %d daemons with as many other wrong PINs start at once', async (tries) => {
      await start({ pinRetries: tries });
      for (let round = 0; round < 2; round++) {
        const pins = Array.from({ length: tries }, (__, index) => `9876${round}${index}`);
        const files = await Promise.all(pins.map((pin) => home.pinFile(pin)));
        const backends = await Promise.all(files.map((pinFile) => open({ pinFile, env: env() })));
        const outcomes = await Promise.all(
          [...backends, ...backends].map((backend) => outcomeOf(expectSigns(backend))),
        );
        // The one that looks at the card may take it away from another for a moment.
        const codes = ['PIN_INCORRECT', 'PIN_REQUIRED', 'TOKEN_NOT_PRESENT', 'UNAVAILABLE'];
        for (const { code } of outcomes) expect(codes).toContain(code);
        await Promise.all(backends.map((backend) => backend[Symbol.asyncDispose]()));
      }
      const { pinRetriesLeft } = await card().status();
      expect(pinRetriesLeft).toBeGreaterThanOrEqual(1);
      expect((await card().statistics()).pin).toMatchObject({ failures: tries - pinRetriesLeft });
    });

    test('is kept where the PIN of three daemons was changed by another program', async () => {
      await start();
      const pinFile = await home.pinFile(FACTORY_PIN);
      const backends = await Promise.all([1, 2, 3].map(() => open({ pinFile, env: env() })));
      for (const backend of backends) await expectSigns(backend);
      const change = ['-a', 'change-pin', '-P', FACTORY_PIN, '-N', PIN];
      expect((await runProgram('yubico-piv-tool', change, { env: home.yubikeys.env })).ending).toBe(0);
      for (const backend of backends) await backend.health(); // it is noticed that nobody is logged in any more
      await Promise.all(backends.map((backend) => outcomeOf(expectSigns(backend))));
      // The first to try it writes down that it was refused; a look without opensc-tool makes the library try its copy.
      expect((await card().status()).pinRetriesLeft).toBeGreaterThanOrEqual(hasOpensc ? 2 : 1);
    });

    test.each(['9a', '9c'])(
      'is not spent by the copy of the PIN that the library keeps, for a key in %s',
      async (slot) => {
        const pinPolicy = slot === '9c' ? 'always' : 'once';
        await start({ keys: [{ slot: Number.parseInt(slot, 16), certificate: 'root', pinPolicy }] });
        await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN), env: env() });
        await expectSigns(backend);
        const { keyId } = await keyOf(backend);
        const tool = (...args: string[]) => runProgram('yubico-piv-tool', args, { env: home.yubikeys.env });
        expect((await tool('-a', 'change-pin', '-P', FACTORY_PIN, '-N', PIN)).ending).toBe(0);
        for (const _ of [1, 2]) expect((await tool('-a', 'verify-pin', '-P', '000000')).ending).toBe(1);
        expect(await card().status()).toMatchObject({ pinRetriesLeft: 1 });
        for (let call = 0; call < 3; call++) {
          expect(await outcomeOf(backend.sign(keyId, { message }, CONTEXT))).toMatchObject({ code: 'PIN_REQUIRED' });
        }
        expect(await card().status()).toMatchObject({ pinRetriesLeft: 1 });
        await expectSigns(backend, pinPerson(() => PIN).context);
      },
    );

    test('is not spent by a daemon that was there before another program spent the others', async () => {
      await start();
      const pinFile = await home.pinFile('wrong-1');
      await using backend = await open({ pinFile, env: env() });
      expect(await card().status()).toMatchObject({ pinRetriesLeft: 2 });
      await spend('PIN');
      await writeFile(pinFile, 'wrong-22\n');
      expect(await signsNothing(backend)).toMatchObject({ code: 'PIN_REQUIRED', retriesLeft: 1 });
      expect(await card().status()).toMatchObject({ pinRetriesLeft: 1 });
      await expectSigns(backend, pinPerson(() => FACTORY_PIN).context);
    });
  });

  /** Another program, which resets nothing: the library goes on thinking that it knows the PIN and the tries. */
  async function changePinAndSpend(): Promise<void> {
    const hex = (pin: string) => Buffer.from(pin).toString('hex').padEnd(16, 'f');
    const change = ['-s', '00A4040005A000000308', '-s', `0024008010${hex(FACTORY_PIN)}${hex(PIN)}`];
    expect((await runProgram('opensc-tool', ['-c', 'default', ...change], { env: home.yubikeys.env })).ending).toBe(0);
    for (let i = 0; i < 2; i++) await spend('PIN');
    expect(await card().status()).toMatchObject({ pinRetriesLeft: 1 });
  }

  test.each([
    ['that wants its PIN each time, where the YubiKey seems to be open', 0x9c, false],
    ['whose PIN was right before a lock', 0x9a, true],
  ])('is kept for a key %s', async (_, slot, isLocked) => {
    await start({ keys: [{ slot, certificate: 'root' }] });
    await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    await expectSigns(backend);
    if (isLocked) await backend.unlocker.lock();
    await changePinAndSpend();
    expect(await signsNothing(backend)).toMatchObject({ code: 'PIN_REQUIRED', retriesLeft: 1 });
    expect(await card().status()).toMatchObject({ pinRetriesLeft: 1 });
    await expectSigns(backend, pinPerson(() => PIN).context);
  });
});

describe('unlocking a YubiKey that is open', () => {
  const unlock = async (backend: YubikeyBackend, pin: string, ttlMs?: number) =>
    await outcomeOf(backend.unlocker.unlock((await keyOf(backend)).keyId, Secret.fromText(pin), ttlMs));

  test('takes the right PIN only, and a wrong one closes it', async () => {
    await start();
    await using backend = await open();
    const { keyId } = await keyOf(backend);
    await backend.unlocker.unlock(keyId, Secret.fromText(FACTORY_PIN), undefined);
    await backend.unlocker.unlock(keyId, Secret.fromText(FACTORY_PIN), undefined);
    await expectSigns(backend);
    expect((await card().statistics()).pin).toEqual({ attempts: 2, failures: 0 });
    expect(await unlock(backend, '000000', 60_000)).toMatchObject({ code: 'PIN_INCORRECT', retriesLeft: 2 });
    expect(await backend.unlocker.unlockedCount()).toBe(0);
    expect(await signsNothing(backend)).toMatchObject({ code: 'PIN_REQUIRED' });
    expect((await card().statistics()).pin).toEqual({ attempts: 3, failures: 1 });
    expect(await card().status()).toMatchObject({ pinRetriesLeft: 2 });
  });

  test.each<[string, (backend: YubikeyBackend) => Promise<unknown>]>([
    ['a PIN of no length that a PIN has', (backend) => unlock(backend, '1')],
    [
      'a change of the PIN that failed',
      (backend) =>
        outcomeOf(backend.token.changePin('pin', pinPerson(({ isNew }) => (isNew ? PIN : '999999')).context)),
    ],
  ])('is ended by a lock also after %s', async (_, mistake) => {
    await start();
    await using backend = await open();
    await unlock(backend, FACTORY_PIN);
    await expectSigns(backend);
    expect(await mistake(backend)).toMatchObject({ code: 'PIN_INCORRECT' });
    await backend.unlocker.lock();
    expect(await signsNothing(backend)).toMatchObject({ code: 'PIN_REQUIRED' });
    expect(await backend.unlocker.lock()).toBe(0);
  });

  test('with a PIN of no length that a PIN has costs no try', async () => {
    await start();
    await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    await expectSigns(backend);
    expect(await unlock(backend, '1')).toMatchObject({ code: 'PIN_INCORRECT' });
    expect((await card().statistics()).pin).toEqual({ attempts: 1, failures: 0 });
    await expectSigns(backend); // with the PIN that is configured
    expect((await card().statistics()).pin).toEqual({ attempts: 2, failures: 0 });
  });
});
