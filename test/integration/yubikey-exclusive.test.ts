/** Programs that want the YubiKey for themselves, as gpg's scdaemon does, beside Signet: who has it, and what is said. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { KeyInfo } from '../../src/backends/backend.ts';
import type { YubikeyBackend } from '../../src/backends/yubikey/yubikey-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { waitFor } from '../support/conditions.ts';
import { outcomeOf } from '../support/outcome.ts';
import { pinPerson } from '../support/pin-person.ts';
import { MULTIARCH, opener } from '../support/pkcs11-home.ts';
import {
  SHARING_VIOLATION,
  takeExclusively,
  takeExclusivelyOrThrow,
} from '../support/virtual-yubikey/exclusive-program.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const SERIAL = '1001';
const message = Buffer.from('what is signed');
const READERS = '"Yubico YubiKey OTP+FIDO+CCID 00 00", "Yubico YubiKey OTP+FIDO+CCID 00 01"';
const HELD = {
  code: 'TOKEN_NOT_PRESENT',
  message: `no token matches yubikey:serial=1001; there is none in ${READERS}, or another program has it for itself`,
  hint: expect.stringMatching(/^plug it in, or end the other program \(gpg's: gpgconf --kill scdaemon\), or list /),
};

let home: YubikeyHome;
let key: KeyInfo;

beforeAll(async () => {
  home = await yubikeyHome({ cards: [{ serial: Number(SERIAL), keys: [{ slot: 0x9a, certificate: 'root' }] }] });
});
afterAll(() => home[Symbol.asyncDispose]());
beforeEach(async () => {
  await using backend = await home.open({ serial: SERIAL });
  for await (const found of backend.list()) key = found;
  await home.yubikeys.card().clearStatistics();
});

const take = () => takeExclusivelyOrThrow(home.yubikeys);
const pinStatistics = async () => (await home.yubikeys.card().statistics()).pin;
const sign = (backend: YubikeyBackend) => outcomeOf(backend.sign(key.keyId, { message }, CONTEXT));

async function open(more: { readonly idleReleaseMs?: number } = {}): Promise<YubikeyBackend> {
  return await home.open({ serial: SERIAL, pinFile: await home.pinFile(FACTORY_PIN), ...more });
}

/** The first call after the other program has gone; a failure is told for 0.2 s without another try. */
async function expectSignsAgain(backend: YubikeyBackend): Promise<void> {
  await waitFor('the YubiKey to sign again', async () => {
    const { value } = await sign(backend);
    return value !== undefined && verifySignature(await backend.publicKey(key.keyId), message, value as Uint8Array);
  });
}

describe('a YubiKey that another program has for itself when Signet starts', () => {
  test('is not there, and it is said why that may be; it is found by itself when it is let go of', async () => {
    await using program = await take();
    await using backend = await open();
    expect(await sign(backend)).toEqual(HELD);
    expect(await backend.health()).toEqual({ ready: false, reason: HELD.message });
    const before = home.events.length;
    await program[Symbol.asyncDispose]();
    await waitFor('the YubiKey to be noticed', () =>
      home.events.slice(before).includes(`yubikey:serial=${SERIAL} is there`),
    );
    await expectSignsAgain(backend);
    expect(await pinStatistics()).toEqual({ attempts: 1, failures: 0 });
  });

  test('is told of in the same way by OpenSC', async () => {
    await using _program = await take();
    const openToken = opener({ modulePath: `${MULTIARCH}/opensc-pkcs11.so`, env: home.yubikeys.env });
    await using backend = await openToken({ manufacturer: 'piv_II' });
    const { code, message: said } = await outcomeOf(backend.count());
    expect([code, said]).toEqual([
      'TOKEN_NOT_PRESENT',
      'no token matches pkcs11:manufacturer=piv_II; there is none in "slot 0", "Yubico YubiKey OTP+FIDO+CCID 00 01", or another program has it for itself',
    ]);
  });
});

describe('a YubiKey that Signet uses', () => {
  test('is not for others alone until it is let go of, and then not for Signet until they have gone', async () => {
    await using backend = await open();
    await expectSignsAgain(backend);
    expect(await takeExclusively(home.yubikeys)).toBe(SHARING_VIOLATION);
    await backend.token.release();
    await using program = await take();
    const before = await pinStatistics();
    expect(await Promise.all([sign(backend), sign(backend)])).toEqual([HELD, HELD]);
    expect(await backend.token.status()).toMatchObject({ present: false });
    expect(await backend.find(key.keyId)).toMatchObject({ keyId: key.keyId }); // from memory: it is not taken back for a look
    expect(await pinStatistics()).toEqual(before);
    await program[Symbol.asyncDispose]();
    await expectSignsAgain(backend);
    expect((await pinStatistics()).failures).toBe(0);
  });

  test('can be had by others once it has not been used for idle_release', async () => {
    await using backend = await open({ idleReleaseMs: 200 });
    await expectSignsAgain(backend);
    {
      await using _program = await waitFor('the YubiKey to be let go of', async () => {
        const taken = await takeExclusively(home.yubikeys);
        if (typeof taken !== 'string') return taken;
        expect(taken).toBe(SHARING_VIOLATION);
        return undefined;
      });
      expect(await sign(backend)).toEqual(HELD);
    }
    await expectSignsAgain(backend);
    expect((await pinStatistics()).failures).toBe(0);
  });

  test('is not what a person is asked a PIN for while others have it', async () => {
    await using backend = await home.open({ serial: SERIAL });
    const person = pinPerson(() => FACTORY_PIN);
    await backend.token.release();
    {
      await using _program = await take();
      expect(await outcomeOf(backend.sign(key.keyId, { message }, person.context))).toEqual(HELD);
    }
    expect(person.questions).toEqual([]);
    await waitFor('the person to be asked', async () => {
      await outcomeOf(backend.sign(key.keyId, { message }, person.context));
      return person.questions.length === 1;
    });
  });
});
