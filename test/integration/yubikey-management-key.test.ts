/** PIV's management key: the factory's, one's own, one that the YubiKey keeps; 3DES and AES, which the library knows since 2.3. */
import { afterEach, describe, expect, test } from 'vitest';
import type { YubikeyBackend, YubikeyOptions } from '../../src/backends/yubikey/yubikey-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { keysOf } from '../support/backend-keys.ts';
import { outcomeOf } from '../support/outcome.ts';
import { type PinPerson, pinPerson } from '../support/pin-person.ts';
import { runProgram } from '../support/processes.ts';
import type { CardSettings } from '../support/virtual-yubikey/card/settings.ts';
import { isLibrarySince } from '../support/virtual-yubikey/library.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const ROOT = { algorithm: 'ecdsa', role: 'root', gun: 'example.com/app' } as const;
const NAME = 'yubikey:serial=12345678';
const message = Buffer.from('what is signed');

const knowsAes = await isLibrarySince(2, 3);

let home: YubikeyHome;

async function start(card: Partial<CardSettings> = {}): Promise<void> {
  home = await yubikeyHome({ cards: [{ serial: 12345678, keys: [{ slot: 0x9a, certificate: 'root' }], ...card }] });
}

afterEach(async () => {
  await home[Symbol.asyncDispose]();
});

const card = () => home.yubikeys.card();

async function open(options: Partial<YubikeyOptions> = {}): Promise<YubikeyBackend> {
  return await home.open({ serial: '12345678', authorities: home.authorities, ...options });
}

const make = (backend: YubikeyBackend, slot: string, context = CONTEXT) =>
  outcomeOf(backend.generator.generate({ ...ROOT, device: { slot, overwriteSlot: true } }, context));
const made = (slot: string) => ({ value: { device: { slot, attested: true } } });

/** As ykman leaves a management key under the PIN. */
async function keepUnderPin(managementKey: string) {
  const write = async (id: string, hex: string) => {
    const args = ['-a', 'write-object', `--id=${id}`, '-f', 'hex', '-i', '-', `--key=${managementKey}`];
    return await runProgram('yubico-piv-tool', args, { env: home.yubikeys.env, input: `${hex}\n` });
  };
  await write('0x5fff00', '8003810102');
  return await write('0x5fc109', `881a8918${managementKey}`);
}

const pinOr = (other: string | undefined): PinPerson =>
  pinPerson(({ secret }) => (secret === 'pin' ? FACTORY_PIN : other));

describe('a management key', () => {
  const OWN = 'a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718';

  test("that is not the factory's is asked for once, and taken from a file", async () => {
    await start({ managementKey: OWN });
    await using backend = await open();
    const person = pinOr(OWN);
    expect(await make(backend, '82', person.context)).toMatchObject(made('82'));
    expect(person.questions.map(({ secret }) => secret)).toEqual(['pin', 'management-key']);
    await backend[Symbol.asyncDispose]();

    const managementKeyFile = await home.secretFile('management-key', `${OWN}\n`);
    await using configured = await open({ managementKeyFile, pinFile: await home.pinFile(FACTORY_PIN) });
    expect(await make(configured, '83')).toMatchObject(made('83'));
  });

  test('that the YubiKey keeps under its PIN is read from there', async () => {
    await start({ managementKey: OWN });
    expect((await keepUnderPin(OWN)).ending).toBe(0);
    await using backend = await open();
    const person = pinOr(undefined);
    expect(await make(backend, '82', person.context)).toMatchObject(made('82'));
    expect(person.questions.map(({ secret }) => secret)).toEqual(['pin']);
    await backend[Symbol.asyncDispose]();
    await using unattended = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    await unattended.generator.generate({ ...ROOT, device: { slot: '83', touchPolicy: 'cached' } }, CONTEXT);
    expect((await card().statistics()).pin.failures).toBe(0);
  });

  test('that is wrong or missing makes no key', async () => {
    await start({ managementKey: OWN });
    await using backend = await open();
    expect(await make(backend, '82', pinOr('0'.repeat(48)).context)).toMatchObject({
      code: 'PIN_INCORRECT',
      message: `${NAME} refused the management key`,
    });
    expect(await make(backend, '82', pinOr('not hex').context)).toMatchObject({
      code: 'CONFIGURATION',
      message: 'what was given is no management key',
    });
    expect(await make(backend, '82', pinOr(undefined).context)).toMatchObject({
      code: 'PIN_REQUIRED',
      message: `the management key of ${NAME} is needed`,
    });
    expect((await card().status()).keys.map(({ slot }) => slot)).not.toContain(0x82);
  });
});

describe('a management key of AES', () => {
  const OWN = 'a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90';
  /** Of a library that cannot use AES. */
  const hint = "libykcs11 2.2.0 cannot use AES management keys, the factory's since firmware 5.7: install 2.3 or later";

  test("is the factory's since firmware 5.7, and nobody is asked for it", async () => {
    await start({ firmware: '5.7.1' });
    await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    const needed = { code: 'PIN_REQUIRED', message: `the management key of ${NAME} is needed`, hint };
    expect(await make(backend, '9c')).toMatchObject(knowsAes ? made('9c') : needed);
    const { firmware, warnings } = await backend.token.status();
    expect([firmware, warnings.includes(hint)]).toEqual(['5.7.1', !knowsAes]);
    for (const { keyId } of await keysOf(backend)) {
      const signature = await backend.sign(keyId, { message }, CONTEXT);
      expect(verifySignature(await backend.publicKey(keyId), message, signature)).toBe(true);
    }
  });

  test.each([
    { algorithm: 'AES-128', digits: 32 },
    { algorithm: 'AES-192', digits: 48 },
    { algorithm: 'AES-256', digits: 64 },
  ] as const)('with $digits digits is taken from a person and from a file', async ({ algorithm, digits }) => {
    const managementKey = OWN.slice(0, digits);
    await start({ managementAlgorithm: algorithm, managementKey });
    const expected = knowsAes ? made('9c') : { code: 'PIN_INCORRECT', hint };
    const person = pinOr(managementKey);
    await using asking = await open();
    expect(await make(asking, '9c', person.context)).toMatchObject(expected);
    expect(person.questions.map(({ secret }) => secret)).toEqual(['pin', 'management-key']);
    await asking[Symbol.asyncDispose]();

    const managementKeyFile = await home.secretFile('management-key', `${managementKey}\n`);
    await using configured = await open({ managementKeyFile, pinFile: await home.pinFile(FACTORY_PIN) });
    expect(await make(configured, '82')).toMatchObject(knowsAes ? made('82') : expected);
  });

  test('that the YubiKey keeps under its PIN is read from there', async () => {
    const managementKey = OWN.slice(0, 48);
    await start({ firmware: '5.7.1', managementAlgorithm: 'AES-192', managementKey });
    await keepUnderPin(managementKey); // a tool as old as the library cannot, either
    await using backend = await open({ pinFile: await home.pinFile(FACTORY_PIN) });
    expect(await make(backend, '9c')).toMatchObject(knowsAes ? made('9c') : { code: 'PIN_REQUIRED', hint });
    expect((await card().statistics()).pin.failures).toBe(0);
  });
});
