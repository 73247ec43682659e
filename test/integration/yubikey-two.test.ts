/**
 * Two YubiKeys in one daemon. Each has a process with Yubico's library, and after a reset of one card these processes reset the
 * cards for each other: signatures must go on all the same.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { SignContext } from '../../src/backends/backend.ts';
import type { YubikeyBackend, YubikeyOptions } from '../../src/backends/yubikey/yubikey-backend.ts';
import { expectSigns, keyIn } from '../support/backend-keys.ts';
import { pinPerson } from '../support/pin-person.ts';
import { resetCard, selectApplication } from '../support/virtual-yubikey/sharing-program.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const SERIALS = [1001, 1002] as const;
const ROUNDS = 6;
/** Looks take place meanwhile, one each second. */
const PAUSE_MS = 500;

let home: YubikeyHome;

beforeAll(async () => {
  const keys = [{ slot: 0x9a, certificate: 'root' }];
  home = await yubikeyHome({ cards: SERIALS.map((serial) => ({ serial, keys })) });
});
afterAll(() => home[Symbol.asyncDispose]());
beforeEach(async () => {
  for (const index of SERIALS.keys()) await home.yubikeys.card(index).clearStatistics();
});

function openBoth(options: Partial<YubikeyOptions>): Promise<YubikeyBackend[]> {
  const stateDirectory = join(home.directory, 'state');
  return Promise.all(SERIALS.map((serial) => home.open({ serial: `${serial}`, stateDirectory, ...options })));
}

/** @returns What the cards counted of PINs that were refused. */
async function signInTurn(backends: readonly YubikeyBackend[], context: SignContext): Promise<readonly number[]> {
  for (const backend of backends) await expectSigns(backend, await keyIn(backend, '9a'), context);
  await selectApplication(home.yubikeys, 'oath');
  await resetCard(home.yubikeys);
  for (let round = 0; round < ROUNDS; round++) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    for (const backend of backends) await expectSigns(backend, await keyIn(backend, '9a'), context);
  }
  return Promise.all(SERIALS.map(async (_, index) => (await home.yubikeys.card(index).statistics()).pin.failures));
}

test('both sign in turn with a configured PIN, also after another program has reset one of them', async () => {
  const backends = await openBoth({ pinFile: await home.pinFile(FACTORY_PIN) });
  expect(await signInTurn(backends, { caller: 'test' })).toEqual([0, 0]);
  for (const backend of backends) await backend[Symbol.asyncDispose]();
});

test('a person whose PINs are kept for a time is asked once for each of them', async () => {
  const backends = await openBoth({ pinCacheMs: 600_000 });
  const person = pinPerson(() => FACTORY_PIN);
  expect(await signInTurn(backends, person.context)).toEqual([0, 0]);
  expect(person.questions.map(({ token }) => token.serial)).toEqual(SERIALS.map(String));
  for (const backend of backends) await backend[Symbol.asyncDispose]();
});
