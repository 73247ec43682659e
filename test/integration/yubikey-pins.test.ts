/** PINs, PUK, management key and touches of a YubiKey, with every try counted by the card. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { YubikeyBackend, YubikeyOptions } from '../../src/backends/yubikey/yubikey-backend.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { expectSigns, keyIn } from '../support/backend-keys.ts';
import { waitFor } from '../support/conditions.ts';
import { outcomeOf } from '../support/outcome.ts';
import { type PinPerson, pinPerson } from '../support/pin-person.ts';
import { runProgram } from '../support/processes.ts';
import type { CardSettings } from '../support/virtual-yubikey/card/settings.ts';
import { FACTORY_PIN, FACTORY_PUK, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const ROOT = { algorithm: 'ecdsa', role: 'root', gun: 'example.com/app' } as const;
const NAME = 'yubikey:serial=12345678';
const message = Buffer.from('what is signed');
const PIN_ALWAYS = { slot: 0x9c, certificate: 'root' } as const;
const PIN_ONCE = { slot: 0x9a, certificate: 'root' } as const;

let home: YubikeyHome;
let running: YubikeyHome | undefined;

async function start(card: Partial<CardSettings> = {}): Promise<void> {
  running = await yubikeyHome({ cards: [{ serial: 12345678, keys: [PIN_ALWAYS, PIN_ONCE], ...card }] });
  home = running;
}

afterEach(async () => {
  await running?.[Symbol.asyncDispose]();
  running = undefined;
});

const card = () => home.yubikeys.card();

async function open(options: Partial<YubikeyOptions> = {}): Promise<YubikeyBackend> {
  return await home.open({ serial: '12345678', stateDirectory: join(home.directory, 'state'), ...options });
}

async function tries(): Promise<{ readonly attempts: number; readonly failures: number }> {
  return (await card().statistics()).pin;
}

describe('a configured PIN', () => {
  beforeEach(() => start());

  test('signs again and again with a key that wants it each time', async () => {
    await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    const key = await keyIn(backend, '9c');
    expect(key.device?.pinPolicy).toBe('always');
    await Promise.all(Array.from({ length: 20 }, () => expectSigns(backend, key)));
    expect((await tries()).failures).toBe(0);
  });

  test('that is wrong is tried once, whoever asks, and never again after a restart', async () => {
    const pinFile = await home.pinFile('654321');
    await using backend = await open({ pinFile });
    const key = await keyIn(backend, '9a');
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, () => outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))),
    );
    expect(new Set(outcomes.map(({ code }) => code))).toEqual(new Set(['PIN_INCORRECT']));
    expect(await tries()).toMatchObject({ failures: 1 });
    for (let start = 0; start < 5; start++) {
      await backend[Symbol.asyncDispose]();
      await using again = await open({ pinFile });
      expect(await outcomeOf(again.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'PIN_INCORRECT' });
    }
    expect(await tries()).toMatchObject({ attempts: 1, failures: 1 });
  });

  test('is not used for the last try, which is left to a person', async () => {
    await card().factoryReset();
    await using backend = await open();
    const person = pinPerson(() => FACTORY_PIN);
    const { keyId } = await backend.generator.generate(ROOT, person.context);
    for (const wrong of ['000000', '111111']) {
      const given = pinPerson(() => wrong);
      await backend.unlocker.lock();
      expect(await outcomeOf(backend.sign(keyId, { message }, given.context))).toMatchObject({ code: 'PIN_INCORRECT' });
    }
    const { failures } = await tries();
    await backend[Symbol.asyncDispose]();
    await using configured = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    expect(await outcomeOf(configured.sign(keyId, { message }, CONTEXT))).toEqual({
      code: 'PIN_REQUIRED',
      message: `one PIN try is left on ${NAME}: it is not spent unattended`,
      hint: 'unlock one of its keys by hand',
      retriesLeft: 1,
    });
    expect((await tries()).failures).toBe(failures);
    expect((await configured.token.status()).pinTriesLeft).toBe(1);
    await configured.unlocker.unlock(keyId, Secret.fromText(FACTORY_PIN), undefined);
    expect((await configured.token.status()).pinTriesLeft).toBe(3);
  });
});

describe('a person', () => {
  beforeEach(() => start());

  test('is asked for the PIN each time by a key that wants it each time', async () => {
    await using backend = await open();
    const person = pinPerson(() => FACTORY_PIN);
    const key = await keyIn(backend, '9c');
    await expectSigns(backend, key, person.context);
    await expectSigns(backend, key, person.context);
    expect(person.questions.map(({ secret, token, key: wanted }) => [secret, token.serial, wanted?.keyId])).toEqual([
      ['pin', '12345678', key.keyId],
      ['pin', '12345678', key.keyId],
    ]);
    expect((await tries()).failures).toBe(0);
  });

  test('is asked once for everything that a new key needs', async () => {
    await using backend = await open();
    const person = pinPerson(() => FACTORY_PIN);
    await backend.generator.generate({ ...ROOT, device: { slot: '82' } }, person.context);
    expect(person.questions.map(({ secret }) => secret)).toEqual(['pin']);
    expect((await tries()).failures).toBe(0);
  });

  test('who declines spends no try and makes no key', async () => {
    await using backend = await open();
    const nobody = pinPerson(() => undefined);
    const before = (await card().status()).keys.length;
    const outcome = await outcomeOf(backend.generator.generate({ ...ROOT, device: { slot: '82' } }, nobody.context));
    expect(outcome).toMatchObject({ code: 'PIN_REQUIRED', message: `${NAME} needs its PIN, which was not given` });
    expect((await card().status()).keys.length).toBe(before);
    expect((await tries()).attempts).toBe(0);
  });
});

describe('PIN and PUK', () => {
  beforeEach(() => start());

  test('are changed, and a PIN file with the old one is not tried any more', async () => {
    const pinFile = await home.pinFile(FACTORY_PIN);
    await using backend = await open({ pinFile });
    await backend.token.changePin('pin', answering({ old: FACTORY_PIN, new: '24681357' }).context);
    await backend.token.changePin('puk', answering({ old: FACTORY_PUK, new: 'newpuk12' }).context);
    await backend[Symbol.asyncDispose]();
    await using again = await open({ pinFile });
    const key = await keyIn(again, '9a');
    expect(await outcomeOf(again.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'PIN_INCORRECT' });
    expect((await tries()).failures).toBe(0);
    await writeFile(pinFile, '24681357', { mode: 0o600 });
    await expectSigns(again, key);
    expect((await card().statistics()).puk.failures).toBe(0);
  });

  test('a locked PIN is set anew with the PUK', async () => {
    await using backend = await open();
    const key = await keyIn(backend, '9a');
    for (const wrong of ['000000', '111111', '222222']) {
      await outcomeOf(backend.sign(key.keyId, { message }, pinPerson(() => wrong).context));
    }
    expect(await outcomeOf(backend.sign(key.keyId, { message }, pinPerson(() => FACTORY_PIN).context))).toMatchObject({
      code: 'PIN_LOCKED',
      retriesLeft: 0,
    });
    expect(await backend.token.status()).toMatchObject({ pinLocked: true, pinTriesLeft: 0 });
    expect(
      await outcomeOf(backend.token.unblockPin(answering({ old: 'wrongpuk', new: '24681357' }).context)),
    ).toMatchObject({
      code: 'PIN_INCORRECT',
      message: `${NAME} refused the PUK`,
    });
    await backend.token.unblockPin(answering({ old: FACTORY_PUK, new: '24681357' }).context);
    expect(await backend.token.status()).toMatchObject({ pinLocked: false });
    await expectSigns(backend, key, pinPerson(() => '24681357').context);
  });

  test('that no YubiKey takes are refused before the old one is used', async () => {
    await using backend = await open();
    for (const pin of ['12345', '123456789', 'äöü12']) {
      const change = backend.token.changePin('pin', answering({ old: FACTORY_PIN, new: pin }).context);
      expect(await outcomeOf(change)).toEqual({
        code: 'INVALID_ARGUMENT',
        message: 'a PIN has 6 to 8 characters without accents',
      });
    }
    expect((await tries()).attempts).toBe(0);
  });
});

describe('touch', () => {
  beforeEach(() =>
    start({
      keys: [
        PIN_ONCE,
        { slot: 0x9d, certificate: 'root', touchPolicy: 'always' },
        { slot: 0x82, certificate: 'root', touchPolicy: 'cached' },
      ],
    }),
  );

  const toucher = (): PinPerson => pinPerson(() => FACTORY_PIN);

  test('is asked for only by keys that want it', async () => {
    await using backend = await open();
    const person = toucher();
    const [without, always] = [await keyIn(backend, '9a'), await keyIn(backend, '9d')];
    expect(without.needs.touch).toBe(false);
    expect(always).toMatchObject({ needs: { touch: true }, device: { touchPolicy: 'always' } });
    await expectSigns(backend, without, person.context);
    expect(person.touches.count).toBe(0);
    await expectSigns(backend, always, person.context);
    await expectSigns(backend, always, person.context);
    expect(person.touches).toMatchObject({ count: 2, pending: 0 });
  });

  test('is asked for once within 15 s where the card caches it', async () => {
    await using backend = await open();
    const person = toucher();
    const key = await keyIn(backend, '82');
    expect(key.device?.touchPolicy).toBe('cached');
    for (let i = 0; i < 3; i++) await expectSigns(backend, key, person.context);
    expect(person.touches).toMatchObject({ count: 1, pending: 0 });
    expect((await card().statistics()).touchesAwaited).toBe(1);
  });

  test('that comes late is waited for', async () => {
    await using backend = await open();
    const person = toucher();
    const key = await keyIn(backend, '9d');
    await card().setTouch('wait');
    const signing = expectSigns(backend, key, person.context);
    await card().untilAwaitingTouch();
    expect(person.touches).toMatchObject({ count: 1, pending: 1 });
    expect(await card().touch()).toBe(true);
    await signing;
    expect(person.touches.pending).toBe(0);
  });

  test('that does not come ends the call and nothing else', async () => {
    await using backend = await open();
    const person = toucher();
    const key = await keyIn(backend, '9d');
    await card().setTouchTimeout(300);
    await card().setTouch('wait');
    expect(await outcomeOf(backend.sign(key.keyId, { message }, person.context))).toMatchObject({
      code: 'TOUCH_TIMEOUT',
      hint: 'touch it when it blinks',
    });
    expect(person.touches.pending).toBe(0);
    await card().setTouch('auto');
    await expectSigns(backend, key, person.context);
    expect((await tries()).failures).toBe(0);
  });

  test('that does not come, time after time, says nothing against a configured PIN', async () => {
    await start({ keys: [{ ...PIN_ALWAYS, touchPolicy: 'always' }] });
    await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    const key = await keyIn(backend, '9c');
    await card().setTouch('deny');
    for (let i = 0; i < 4; i++) {
      expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'TOUCH_TIMEOUT' });
    }
    await card().setTouch('auto');
    await expectSigns(backend, key);
    expect((await tries()).failures).toBe(0);
  });
});

test('a key that wants the PIN each time gets it in every slot', async () => {
  await start({ keys: [{ slot: 0x9a, certificate: 'root', pinPolicy: 'always' }] });
  await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
  const key = await keyIn(backend, '9a');
  expect(key.device?.pinPolicy).toBe('always');
  for (let i = 0; i < 3; i++) await expectSigns(backend, key);
  expect((await tries()).failures).toBe(0);
});

test('a failure of the card costs one signature, whether the key wants the PIN each time or not', async () => {
  await start();
  await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
  for (const slot of ['9a', '9c']) {
    const key = await keyIn(backend, slot);
    await expectSigns(backend, key);
    await card().answerNext('GENERAL_AUTHENTICATE', 0x6f00, 1);
    expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'UNAVAILABLE' });
    await expectSigns(backend, key);
  }
  expect((await tries()).failures).toBe(0);
});

test('a signature that the card makes wrongly never leaves, and the next one is good', async () => {
  await start();
  await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
  for (const slot of ['9a', '9c']) {
    const { keyId } = await keyIn(backend, slot);
    await card().signWronglyNext();
    expect(await outcomeOf(backend.sign(keyId, { message }, CONTEXT))).toMatchObject({
      code: 'INTEGRITY',
      message: `${NAME} answered a signature that is not by key ${keyId}`,
    });
    await expectSigns(backend, await keyIn(backend, slot));
  }
  expect((await tries()).failures).toBe(0);
});

test('a text that the library takes for an order is never a PIN', async () => {
  await start();
  await using backend = await open();
  const { keyId } = await keyIn(backend, '9a');
  for (const text of ['VERIFY_NONE', 'VERIFY_BIO', '12345']) {
    expect(await outcomeOf(backend.sign(keyId, { message }, pinPerson(() => text).context))).toEqual({
      code: 'PIN_INCORRECT',
      message: 'login on token "YubiKey PIV #12345678" failed',
      hint: 'the PIN has a length that no PIN of this token has: no try was spent',
      retriesLeft: 3,
    });
  }
  expect((await tries()).attempts).toBe(0);
});

test('a key in 9c that wants the PIN once gets it once', async () => {
  await start({ keys: [{ slot: 0x9c, certificate: 'root', pinPolicy: 'once' }] });
  await using backend = await open({ pinCacheMs: 60_000 });
  const person = pinPerson(() => FACTORY_PIN);
  const key = await keyIn(backend, '9c');
  expect(key.device?.pinPolicy).toBe('once');
  for (let i = 0; i < 3; i++) await expectSigns(backend, key, person.context);
  expect(person.questions.length).toBe(1);
  expect((await tries()).failures).toBe(0);
});

test('a new key that wants a touch asks for it when it signs its certificate', async () => {
  await start({ keys: [] });
  await using backend = await open();
  const person = pinPerson(() => FACTORY_PIN);
  await card().setTouch('wait');
  const making = backend.generator.generate({ ...ROOT, device: { touchPolicy: 'always' } }, person.context);
  await card().untilAwaitingTouch();
  expect(person.touches).toMatchObject({ count: 1, pending: 1 });
  await card().touch();
  expect((await making).device).toMatchObject({ slot: '9c', touchPolicy: 'always' });
  expect(person.questions.map(({ secret }) => secret)).toEqual(['pin']);
});

test('a new key that is not touched in time is taken away again', async () => {
  await start({ keys: [] });
  await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
  await card().setTouch('deny');
  const making = backend.generator.generate({ ...ROOT, device: { touchPolicy: 'always' } }, CONTEXT);
  expect(await outcomeOf(making)).toMatchObject({ code: 'TOUCH_TIMEOUT' });
  expect(await backend.count()).toBe(0);
});

describe('a YubiKey that is let go of', () => {
  beforeEach(() => start());

  test('is free for other programs until it is used again', async () => {
    await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    const key = await keyIn(backend, '9a');
    await expectSigns(backend, key);
    const { hostPid } = backend;
    await backend.token.release();
    expect(backend.hostPid).toBeUndefined();
    expect(() => process.kill(hostPid ?? 0, 0)).toThrow('ESRCH');
    expect(await backend.health()).toEqual({ ready: true });
    expect(await backend.find(key.keyId)).toEqual(key);
    expect(backend.hostPid).toBeUndefined();
    await expectSigns(backend, key);
    expect(backend.hostPid).toBeDefined();
  });

  test('after a time without use is found again, too', async () => {
    await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN), idleReleaseMs: 200 });
    const key = await keyIn(backend, '9a');
    await waitFor('the YubiKey to be let go of', () => backend.hostPid === undefined);
    await expectSigns(backend, key);
    expect((await tries()).failures).toBe(0);
  });

  test('asks for a PIN that a person had given again', async () => {
    await using backend = await open({ pinCacheMs: 60_000 });
    const person = pinPerson(() => FACTORY_PIN);
    const key = await keyIn(backend, '9a');
    await expectSigns(backend, key, person.context);
    await backend.token.release();
    await expectSigns(backend, key, person.context);
    expect(person.questions.length).toBe(2);
  });

  test('asks for it again after a time without use, too: nobody saw whether another one was plugged in', async () => {
    await using backend = await open({ pinCacheMs: 60_000, idleReleaseMs: 200 });
    const person = pinPerson(() => FACTORY_PIN);
    const key = await keyIn(backend, '9a');
    await expectSigns(backend, key, person.context);
    await waitFor('the YubiKey to be let go of', () => backend.hostPid === undefined);
    expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'PIN_REQUIRED' });
    await expectSigns(backend, key, person.context);
    expect(person.questions.length).toBe(2);
  });
});

test("Notary's keys are found as it left them: the role is the certificate's name, and root where it says nothing", async () => {
  await start({
    keys: [
      { slot: 0x9c, certificate: 'root' },
      { slot: 0x9a, certificate: 'somebody at example.com' },
      { slot: 0x9d, certificate: 'targets/releases' },
      { slot: 0x82 },
    ],
  });
  await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
  const found: Record<string, string> = {};
  for await (const key of backend.list()) {
    found[key.device?.slot ?? ''] = key.role;
    expect(key.gun).toBe('');
    await expectSigns(backend, key);
  }
  expect(found).toEqual({ '9c': 'root', '9a': 'root', '9d': 'targets/releases', '82': 'root' });
});

test('another program that selects the card in between costs neither a signature nor a try', async () => {
  await start();
  await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
  const key = await keyIn(backend, '9a');
  for (let i = 0; i < 3; i++) {
    await expectSigns(backend, key);
    const { ending } = await runProgram('yubico-piv-tool', ['-a', 'status'], { env: home.yubikeys.env });
    expect(ending).toBe(0);
  }
  await expectSigns(backend, key);
  expect((await tries()).failures).toBe(0);
});

test('an imported key goes to the next free slot', async () => {
  await start();
  await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { format: 'der', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
  });
  const key = await backend.importer.import(privateKey, { role: 'root', gun: '' }, CONTEXT);
  expect(key.device?.slot).toBe('9d');
});

/** Answers questions for an old and a new secret. */
function answering(answers: { readonly old: string; readonly new: string }): PinPerson {
  return pinPerson(({ isNew }) => (isNew ? answers.new : answers.old));
}
