/** YubiKeys that come and go: nothing is lost, nothing is mistaken, and nobody has to restart anything. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { YubikeyBackend } from '../../src/backends/yubikey/yubikey-backend.ts';
import { expectSigns, keyIn, keysOf } from '../support/backend-keys.ts';
import { waitFor } from '../support/conditions.ts';
import { outcomeOf } from '../support/outcome.ts';
import { pinPerson } from '../support/pin-person.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const message = Buffer.from('what is signed');
const FIRST = 1001;
const SECOND = 1002;

let home: YubikeyHome;

beforeAll(async () => {
  home = await yubikeyHome({
    cards: [
      {
        serial: FIRST,
        keys: [
          { slot: 0x9a, certificate: 'root' },
          { slot: 0x9d, certificate: 'root', touchPolicy: 'always' },
        ],
      },
      { serial: SECOND, keys: [{ slot: 0x9a, certificate: 'targets' }] },
    ],
  });
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});
afterEach(async () => {
  await home.yubikeys.pcscd.start();
  for (const index of [0, 1]) {
    const card = home.yubikeys.card(index);
    await card.insert();
    await card.setTouch('auto');
    await card.clearFaults();
    await card.clearStatistics();
  }
});

async function open(serial: number, withPin = true): Promise<YubikeyBackend> {
  return await home.open({ serial: String(serial), pinFile: withPin ? await home.pinFile(FACTORY_PIN) : undefined });
}

test('two YubiKeys at once are told apart by their serial numbers', async () => {
  await using first = await open(FIRST);
  await using second = await open(SECOND);
  expect((await keysOf(first)).map(({ role, device }) => [role, device?.serial, device?.label])).toEqual([
    ['root', '1001', 'YubiKey PIV #1001'],
    ['root', '1001', 'YubiKey PIV #1001'],
  ]);
  expect(await keysOf(second)).toMatchObject([{ role: 'targets', device: { serial: '1002' } }]);
  await expectSigns(first, await keyIn(first, '9a'));
  await expectSigns(second, await keyIn(second, '9a'));
});

test('without a serial number exactly one must be there', async () => {
  expect(await outcomeOf(home.open())).toEqual({
    code: 'CONFIGURATION',
    message: '2 tokens match yubikey:',
    hint: expect.stringMatching(/^add the serial number to the URI: serial=100\d or serial=100\d$/),
  });
  await home.yubikeys.card(1).remove();
  await using backend = await home.open({ pinFile: await home.pinFile(FACTORY_PIN) });
  expect((await keysOf(backend))[0]?.device?.serial).toBe('1001');
});

test('one that is plugged in later is found without being asked for', async () => {
  await home.yubikeys.card().remove();
  await using backend = await open(FIRST);
  expect(await outcomeOf(keysOf(backend))).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
  expect(await backend.health()).toMatchObject({ ready: false });
  const before = home.events.length;
  await home.yubikeys.card().insert();
  await waitFor('the YubiKey to be noticed', () => home.events.slice(before).includes('yubikey:serial=1001 is there'));
  expect(await backend.count()).toBe(2);
  await expectSigns(backend, await keyIn(backend, '9a'));
});

test('one that is taken out is missed without being asked for', async () => {
  await using backend = await open(FIRST);
  const key = await keyIn(backend, '9a');
  await expectSigns(backend, key);
  const before = home.events.length;
  await home.yubikeys.card().remove();
  await waitFor('its absence to be noticed', () =>
    home.events.slice(before).includes('yubikey:serial=1001 was taken out'),
  );
  expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
});

describe('taken out in the middle of a signature', () => {
  test('the caller is told so, and after it is back the next call signs', async () => {
    await using backend = await open(FIRST);
    const key = await keyIn(backend, '9d');
    await home.yubikeys.card().setTouch('wait');
    const signing = outcomeOf(backend.sign(key.keyId, { message }, CONTEXT));
    await home.yubikeys.card().untilAwaitingTouch();
    await home.yubikeys.card().remove();
    expect(await signing).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
    await home.yubikeys.card().setTouch('auto');
    await home.yubikeys.card().insert();
    await expectSigns(backend, key);
  });

  test("a person's PIN goes with it, and is asked for again", async () => {
    await using backend = await home.open({ serial: String(FIRST), pinCacheMs: 60_000 });
    const person = pinPerson(() => FACTORY_PIN);
    const key = await keyIn(backend, '9d');
    await expectSigns(backend, key, person.context);
    await expectSigns(backend, key, person.context);
    expect(person.questions.length).toBe(1);
    await home.yubikeys.card().setTouch('wait');
    const signing = outcomeOf(backend.sign(key.keyId, { message }, person.context));
    await home.yubikeys.card().untilAwaitingTouch();
    await home.yubikeys.card().remove();
    expect(await signing).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
    await home.yubikeys.card().setTouch('auto');
    await home.yubikeys.card().insert();
    await expectSigns(backend, key, person.context);
    expect(person.questions.length).toBe(2);
    expect((await home.yubikeys.card().statistics()).pin.failures).toBe(0);
  });
});

test('taking it out again and again is nothing to recover from', async () => {
  await using backend = await open(FIRST);
  const key = await keyIn(backend, '9a');
  const outcomes: Record<string, unknown>[] = [];
  const sign = () => outcomeOf(backend.sign(key.keyId, { message }, CONTEXT));
  for (let time = 0; time < 4; time++) {
    await delay(600); // as fast as a person does it
    await home.yubikeys.card().remove();
    const taken = await sign();
    expect(taken).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
    await home.yubikeys.card().insert();
    await waitFor('the YubiKey to sign', async () => {
      const outcome = await sign();
      if (outcome['code'] !== undefined) outcomes.push(outcome);
      return outcome['code'] === undefined;
    });
  }
  expect(outcomes.filter(({ code }) => code !== 'TOKEN_NOT_PRESENT')).toEqual([]);
});

test('another YubiKey is not mistaken for the one that was taken out', async () => {
  await using backend = await open(FIRST);
  const key = await keyIn(backend, '9a');
  await home.yubikeys.card().remove();
  expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
  expect((await home.yubikeys.card(1).statistics()).pin.attempts).toBe(0);
});

test('a pcscd that is stopped and started costs nothing but the calls in between', async () => {
  await using backend = await open(FIRST);
  const key = await keyIn(backend, '9a');
  await expectSigns(backend, key);
  await home.yubikeys.pcscd.stop();
  const { code } = await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT));
  expect(['TOKEN_NOT_PRESENT', 'UNAVAILABLE']).toContain(code);
  await waitFor('the service to be named', async () => {
    const { hint } = await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT));
    return hint === 'see that pcscd, the service for smart cards, runs';
  });
  await home.yubikeys.pcscd.start();
  await waitFor('the YubiKey to sign again', async () => {
    const outcome = await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT));
    return outcome['value'] !== undefined;
  });
});
