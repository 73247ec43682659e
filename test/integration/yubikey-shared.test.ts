/**
 * Programs that use other applications of the YubiKey beside Signet, as ykman and gpg (with `pcsc-shared`) do: every call
 * works, and no PIN is tried that nobody supplied.
 */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { KeyInfo } from '../../src/backends/backend.ts';
import type { YubikeyBackend, YubikeyOptions } from '../../src/backends/yubikey/yubikey-backend.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { expectSigns, keyIn } from '../support/backend-keys.ts';
import { outcomeOf } from '../support/outcome.ts';
import { type PinPerson, pinPerson } from '../support/pin-person.ts';
import { runProgram } from '../support/processes.ts';
import { type CardApplication, resetCard, selectApplication } from '../support/virtual-yubikey/sharing-program.ts';
import { FACTORY_PIN, FACTORY_PUK, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const ROOT = { algorithm: 'ecdsa', role: 'root', gun: 'example.com/app' } as const;
const message = Buffer.from('what is signed');
/** Of keys that want it once, and each time. */
const SLOTS = { once: '9a', always: '9c', touched: '82' } as const;

let home: YubikeyHome;

async function start(): Promise<void> {
  const keys = [
    { slot: 0x9a, certificate: 'root' },
    { slot: 0x9c, certificate: 'root' },
    { slot: 0x82, certificate: 'root', touchPolicy: 'always' },
  ] as const;
  home = await yubikeyHome({ cards: [{ serial: 1001, keys }] });
}

const stop = () => home[Symbol.asyncDispose]();

const card = () => home.yubikeys.card();
const select = (which: CardApplication) => selectApplication(home.yubikeys, which);

async function open(options: Partial<YubikeyOptions> = {}): Promise<YubikeyBackend> {
  return await home.open({ serial: '1001', stateDirectory: join(home.directory, 'state'), ...options });
}

const openWithPin = async () => await open({ pinFile: await home.pinFile(FACTORY_PIN) });

async function keysOf(backend: YubikeyBackend): Promise<Readonly<Record<string, KeyInfo>>> {
  const keys: Record<string, KeyInfo> = {};
  for await (const key of backend.list()) keys[key.device?.slot ?? ''] = key;
  return keys;
}

/** Somebody who types slowly: meanwhile another program uses the card. */
function slowPerson(): PinPerson {
  return pinPerson(async ({ secret }) => {
    await select('openpgp');
    return secret === 'puk' ? FACTORY_PUK : FACTORY_PIN;
  });
}

const DISTURBANCES = {
  'selected OATH': () => select('oath'),
  'selected OATH, and a third one PIV': async () => {
    await select('oath');
    await select('piv');
  },
  'selected OATH, and reset the card': async () => {
    await select('oath');
    await resetCard(home.yubikeys);
  },
} satisfies Record<string, () => Promise<void>>;

describe.each(Object.entries(DISTURBANCES))('after another program %s', (_what, disturb) => {
  beforeAll(start);
  afterAll(stop);

  test.each(Object.entries(SLOTS))('a key that wants its PIN %s signs in the same call', async (_policy, slot) => {
    await using backend = await openWithPin();
    const person = pinPerson(() => undefined);
    const key = await keyIn(backend, slot);
    const { hostPid } = backend;
    for (let i = 0; i < 2; i++) {
      await disturb();
      await card().clearStatistics();
      await expectSigns(backend, key, person.context);
      const { pin, signatures, touchesAwaited } = await card().statistics();
      expect(signatures).toBe(1);
      expect(touchesAwaited).toBe(slot === SLOTS.touched ? 1 : 0);
      expect(pin.failures).toBe(0);
      expect(pin.attempts).toBeLessThanOrEqual(slot === SLOTS.always ? 2 : 1);
    }
    expect(backend.hostPid).toBe(hostPid);
    expect(person.questions).toEqual([]);
  });

  test('a person is asked once more, nobody else is let in, and no PIN is tried for them', async () => {
    await using backend = await open();
    const key = await keyIn(backend, SLOTS.once);
    const person = pinPerson(() => FACTORY_PIN);
    await expectSigns(backend, key, person.context);
    await disturb();
    await card().clearStatistics();
    expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'PIN_REQUIRED' });
    expect((await card().statistics()).pin).toEqual({ attempts: 0, failures: 0 });
    await expectSigns(backend, key, person.context);
    expect(person.questions).toHaveLength(2);
    expect((await card().statistics()).pin).toEqual({ attempts: 1, failures: 0 });
  });

  test('the same keys are listed, with their certificates, and the YubiKey is ready', async () => {
    await using backend = await openWithPin();
    const before = await keysOf(backend);
    await disturb();
    expect(await keysOf(backend)).toEqual(before);
    expect(await backend.health()).toEqual({ ready: true });
    expect(await backend.token.status()).toMatchObject({ present: true, pinLocked: false });
    for (const { keyId } of Object.values(before)) {
      expect(await backend.certifier.certificate(keyId, CONTEXT)).toBeDefined();
      expect(await backend.attester.attest(keyId, CONTEXT)).toBeDefined();
    }
    expect((await card().statistics()).pin.failures).toBe(0);
  });

  test('a new key goes over none that is there', async () => {
    await using backend = await openWithPin();
    const before = await keysOf(backend);
    await disturb();
    const made = await backend.generator.generate(ROOT, CONTEXT);
    expect(made.device?.slot).toBe('9d');
    expect(await keysOf(backend)).toEqual({ ...before, '9d': made });
    await disturb();
    expect(await backend.remover.remove(made.keyId, CONTEXT)).toBe(true);
    expect(await keysOf(backend)).toEqual(before);
    expect((await card().statistics()).pin.failures).toBe(0);
  });
});

describe('while another program is at work', () => {
  beforeEach(start);
  afterEach(stop);

  test('looks and listings send nothing to the card', async () => {
    await using backend = await openWithPin();
    const keys = await keysOf(backend);
    await select('oath');
    await card().clearStatistics();
    for (let i = 0; i < 3; i++) {
      expect(await backend.health()).toEqual({ ready: true });
      expect(await keysOf(backend)).toEqual(keys);
    }
    expect((await card().statistics()).apdus).toEqual({});
  });

  test('a PIN that is typed meanwhile opens the YubiKey, and is tried once', async () => {
    await using backend = await open();
    const person = slowPerson();
    await expectSigns(backend, await keyIn(backend, SLOTS.once), person.context);
    expect(person.questions).toHaveLength(1);
    expect((await card().statistics()).pin).toEqual({ attempts: 1, failures: 0 });
  });

  test('a wrong PIN that is typed meanwhile costs one try', async () => {
    await using backend = await open();
    const key = await keyIn(backend, SLOTS.once);
    const person = pinPerson(async () => {
      await select('openpgp');
      return '999999';
    });
    expect(await outcomeOf(backend.sign(key.keyId, { message }, person.context))).toMatchObject({
      code: 'PIN_INCORRECT',
      retriesLeft: 2,
    });
    expect(person.questions).toHaveLength(1);
    expect((await card().statistics()).pin).toEqual({ attempts: 1, failures: 1 });
  });

  test('keys are unlocked', async () => {
    await using backend = await open();
    const key = await keyIn(backend, SLOTS.once);
    await select('oath');
    using pin = Secret.fromText(FACTORY_PIN);
    await backend.unlocker.unlock(key.keyId, pin, undefined);
    await expectSigns(backend, key);
    expect((await card().statistics()).pin).toEqual({ attempts: 1, failures: 0 });
  });

  test('PIN and PUK are changed, and each is tried once', async () => {
    await using backend = await open();
    await keysOf(backend);
    const person = slowPerson();
    await backend.token.changePin('pin', person.context);
    await backend.token.changePin('puk', person.context);
    const { pin, puk } = await card().statistics();
    expect([pin, puk]).toEqual([
      { attempts: 1, failures: 0 },
      { attempts: 1, failures: 0 },
    ]);
    await backend.token.unblockPin(person.context);
    expect((await card().statistics()).puk).toEqual({ attempts: 2, failures: 0 });
  });

  test('a new key is made with what a person types', async () => {
    await using backend = await open();
    const person = slowPerson();
    const made = await backend.generator.generate(ROOT, person.context);
    expect(made).toMatchObject({ role: 'root', gun: 'example.com/app', device: { slot: '9d' } });
    expect((await card().statistics()).pin.failures).toBe(0);
  });
});

describe('a YubiKey that is shared', () => {
  beforeEach(start);
  afterEach(stop);

  test('a PIN that another program changed is tried once, and nobody is shut out', async () => {
    await using backend = await openWithPin();
    const key = await keyIn(backend, SLOTS.once);
    await expectSigns(backend, key);
    const args = ['-a', 'change-pin', '-P', FACTORY_PIN, '-N', '654321'];
    expect((await runProgram('yubico-piv-tool', args, { env: home.yubikeys.env })).ending).toBe(0);
    await card().clearStatistics();
    for (let i = 0; i < 2; i++) {
      const { code } = await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT));
      expect(code).toBe('PIN_INCORRECT');
      await select('oath'); // would wait for ever if the library kept the card to itself
    }
    expect((await card().statistics()).pin).toEqual({ attempts: 1, failures: 1 });
  });

  test('a touch that does not come is asked for twice at most', async () => {
    await using backend = await openWithPin();
    const key = await keyIn(backend, SLOTS.touched);
    await expectSigns(backend, key);
    await card().setTouch('deny');
    for (let i = 0; i < 2; i++) {
      await card().clearStatistics();
      expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'TOUCH_TIMEOUT' });
      expect((await card().statistics()).touchesAwaited).toBeLessThanOrEqual(2);
    }
    expect((await card().statistics()).pin.failures).toBe(0);
  });

  test('keys that are really gone are believed to be', async () => {
    await using backend = await openWithPin();
    const key = await keyIn(backend, SLOTS.once);
    await expectSigns(backend, key);
    await card().factoryReset();
    expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'KEY_NOT_FOUND' });
    expect(await keysOf(backend)).toEqual({});
    expect(await backend.generator.generate(ROOT, CONTEXT)).toMatchObject({ device: { slot: '9c' } });
  });
});
