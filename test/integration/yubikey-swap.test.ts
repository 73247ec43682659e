/** Another YubiKey in the same port, while nothing happens and in the middle of everything: it gets nothing meant for the first. */
import { generateKeyPairSync } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { KeyInfo, PinQuestion, SignContext } from '../../src/backends/backend.ts';
import { MemoryBackend } from '../../src/backends/memory/memory-backend.ts';
import type { YubikeyBackend, YubikeyOptions } from '../../src/backends/yubikey/yubikey-backend.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { Keyring } from '../../src/keyring/keyring.ts';
import { expectSigns, keyIn, keysOf } from '../support/backend-keys.ts';
import { waitFor } from '../support/conditions.ts';
import { outcomeOf } from '../support/outcome.ts';
import { pinPerson } from '../support/pin-person.ts';
import { type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const ROOT = { algorithm: 'ecdsa', role: 'root', gun: 'example.com/app' } as const;
const OTHER = { role: 'targets', gun: 'example.com/other' } as const;
const message = Buffer.from('what is signed');
const PIN = '135790';
const PUK = '24680246';
const MANAGEMENT_KEY = 'a1b2c3d4e5f60718293a4b5c6d7e8f9001122334455667ff';
const SWAPPED = {
  code: 'TOKEN_NOT_PRESENT',
  message:
    'the operation began with token "YubiKey PIV #1001" (serial number 1001), and now token "YubiKey PIV #1002" (serial number 1002) is there',
  hint: 'nothing was done to that one: put the first one back, or begin again',
};
const NO_TRIES = { attempts: 0, failures: 0 };

let home: YubikeyHome;

beforeEach(async () => {
  const pkcs8 = newKey().toString('base64');
  // What opens the first one would open the second one, too, which has a copy of one of its keys.
  const secrets = { puk: PUK, managementKey: MANAGEMENT_KEY };
  const copied = { slot: 0x82, certificate: 'root', pkcs8 };
  home = await yubikeyHome({
    cards: [
      {
        serial: 1001,
        reader: 0,
        pin: PIN,
        ...secrets,
        keys: [{ slot: 0x9a, certificate: 'root', touchPolicy: 'always' }, { slot: 0x9c, certificate: 'root' }, copied],
      },
      {
        serial: 1002,
        reader: 0,
        isInserted: false,
        pin: '098765',
        ...secrets,
        keys: [{ slot: 0x9a, certificate: 'targets' }, copied],
      },
    ],
  });
});
afterEach(async () => {
  await home[Symbol.asyncDispose]();
});

const first = () => home.yubikeys.card(0);
const second = () => home.yubikeys.card(1);

function newKey(): Buffer {
  return generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { format: 'der', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
  }).privateKey;
}

async function swap(): Promise<void> {
  await first().remove();
  await second().insert();
}

async function swapBack(): Promise<void> {
  await second().remove();
  await first().insert();
}

/** Waits until the backend works with that card. */
async function untilSeen(backend: YubikeyBackend, serial: string): Promise<void> {
  await waitFor(`${serial} to be seen`, async () => {
    const status = await backend.token.status().catch(() => undefined);
    return status?.present === true && status.identity.serial === serial;
  });
}

function answerTo({ secret, isNew }: PinQuestion): string {
  if (isNew) return secret === 'puk' ? '11223344' : '112233';
  return { pin: PIN, puk: PUK, 'management-key': MANAGEMENT_KEY, 'so-pin': '' }[secret];
}

/** Nothing secret was presented to the second one, and it has what it had. */
async function expectSecondUntouched(): Promise<void> {
  const { pin, puk, managementKey, signatures } = await second().statistics();
  expect({ pin, puk, managementKey, signatures }).toEqual({
    pin: NO_TRIES,
    puk: NO_TRIES,
    managementKey: NO_TRIES,
    signatures: 0,
  });
  expect((await second().status()).keys.map(({ slot }) => slot).sort()).toEqual([0x82, 0x9a, 0xf9]);
}

describe('while nothing happens', () => {
  test('its keys are listed, those of the first are not found, and no PIN of the first is tried', async () => {
    await using backend = await home.open({ pinCacheMs: 600_000 });
    const person = pinPerson(answerTo);
    const key = await keyIn(backend, '9a');
    await expectSigns(backend, key, person.context);
    await swap();
    await untilSeen(backend, '1002');
    expect((await keysOf(backend)).map(({ role, device }) => [role, device?.slot])).toEqual([
      ['targets', '9a'],
      ['root', '82'],
    ]);
    expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'KEY_NOT_FOUND' });
    const { keyId } = await keyIn(backend, '82');
    expect(await outcomeOf(backend.sign(keyId, { message }, CONTEXT))).toMatchObject({ code: 'PIN_REQUIRED' });
    await expectSecondUntouched();
    await swapBack();
    await untilSeen(backend, '1001');
    await expectSigns(backend, key, person.context);
    expect(person.questions.map(({ token }) => token.serial)).toEqual(['1001', '1001']);
  });

  test('a call that comes before anybody noticed reaches neither', async () => {
    await using backend = await home.open({ pinCacheMs: 600_000 });
    const person = pinPerson(answerTo);
    const key = await keyIn(backend, '82');
    await expectSigns(backend, key, person.context);
    await swap();
    const { code } = await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT));
    expect(['TOKEN_NOT_PRESENT', 'PIN_REQUIRED']).toContain(code);
    await expectSecondUntouched();
  });

  test('it is nobody where the serial number of the first is configured', async () => {
    await using backend = await home.open({ serial: '1001', pinFile: await home.pinFile(PIN) });
    const key = await keyIn(backend, '82');
    await swap();
    for (let call = 0; call < 3; call++) {
      const outcome = await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT));
      expect(outcome).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
    }
    await expectSecondUntouched();
    await swapBack();
    await expectSigns(backend, key, CONTEXT);
  });

  test('a PIN for whatever YubiKey is there is tried on each, and what one thinks of it is not held against the other', async () => {
    await using backend = await home.open({ pinFile: await home.pinFile(PIN) });
    const key = await keyIn(backend, '82');
    await swap();
    await untilSeen(backend, '1002');
    expect(await outcomeOf(backend.sign(key.keyId, { message }, CONTEXT))).toMatchObject({ code: 'PIN_INCORRECT' });
    expect((await second().statistics()).pin.failures).toBe(1);
    await swapBack();
    await untilSeen(backend, '1001');
    await expectSigns(backend, key, CONTEXT);
    expect((await first().statistics()).pin.failures).toBe(0);
  });
});

describe('while the daemon has let go of the first', () => {
  async function released(options: Partial<YubikeyOptions> = {}) {
    const backend = await home.open(options);
    const key = await keyIn(backend, '82');
    await backend.token.release();
    await swap();
    return { backend, key };
  }

  test('a key that both have is not used in it with the PIN for the first', async () => {
    const { backend, key } = await released();
    expect(await outcomeOf(backend.unlocker.unlock(key.keyId, Secret.fromText(PIN), undefined))).toEqual(SWAPPED);
    await expectSecondUntouched();
  });

  test('a signature that was asked of the first is not made by it, and the next call finds out', async () => {
    const { backend, key } = await released();
    const person = pinPerson(() => '098765');
    expect(await outcomeOf(backend.sign(key.keyId, { message }, person.context))).toEqual(SWAPPED);
    expect(person.questions).toEqual([]);
    await expectSigns(backend, key, person.context);
    expect(person.questions.map(({ token }) => token.serial)).toEqual(['1002']);
  });

  test('its certificates are not taken for those of the first', async () => {
    const { backend, key } = await released();
    expect(await outcomeOf(backend.certifier.certificate(key.keyId, CONTEXT))).toEqual(SWAPPED);
  });
});

test('in the middle of a signature it does not go on with it', async () => {
  await using backend = await home.open({ pinCacheMs: 600_000 });
  const person = pinPerson(answerTo);
  const key = await keyIn(backend, '9a');
  await first().setTouch('wait');
  const signing = outcomeOf(backend.sign(key.keyId, { message }, person.context));
  await first().untilAwaitingTouch();
  await swap();
  expect(await signing).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
  expect(person.touches.pending).toBe(0);
  await untilSeen(backend, '1002');
  await expectSecondUntouched();
  await first().setTouch('auto');
  await swapBack();
  await untilSeen(backend, '1001');
  await expectSigns(backend, key, person.context);
});

test('while a call waits its turn, it gets no key that was to be made on the first by its serial number', async () => {
  await using backend = await home.open();
  const storage = new MemoryBackend();
  const keyring = new Keyring({ backends: [backend, storage], storage, placement: new Map([['*', ['yubikey']]]) });
  const named = { serial: '1001' };
  const next = pinPerson(answerTo);
  let waiting: Promise<unknown> = Promise.resolve();
  const first = pinPerson(async () => {
    waiting = outcomeOf(keyring.generate(ROOT, next.context, named));
    await waitFor('the next call to have chosen', () => chosen === 2);
    await swap();
    return undefined;
  });
  let chosen = 0;
  const { describe: look } = backend.token;
  backend.token.describe = async () => {
    const answer = await look.call(backend.token);
    chosen++;
    return answer;
  };
  expect(await outcomeOf(keyring.generate(ROOT, first.context, named))).toHaveProperty('code');
  expect(await waiting).toEqual(SWAPPED);
  expect(next.questions).toEqual([]);
  await expectSecondUntouched();
});

test('between a new key and its certificate it gets no certificate, and the key is left as if another program had made it', async () => {
  await using backend = await home.open();
  const person = pinPerson(answerTo);
  await first().setTouch('wait');
  const device = { slot: '9d', touchPolicy: 'always' } as const;
  const making = outcomeOf(backend.generator.generate({ ...ROOT, ...OTHER, device }, person.context));
  await first().untilAwaitingTouch();
  await swap();
  expect(await making).toMatchObject({ code: 'TOKEN_NOT_PRESENT' });
  await untilSeen(backend, '1002');
  await expectSecondUntouched();
  expect((await second().statistics()).apdus.PUT_DATA).toBeUndefined();
  await swapBack();
  await untilSeen(backend, '1001');
  expect(await keyIn(backend, '9d')).toMatchObject({ role: 'root', gun: '' });
});

/** Everything that asks a person, and the question during which the YubiKeys are swapped. */
type Call = (backend: YubikeyBackend, context: SignContext, keyIn: (slot: string) => KeyInfo) => Promise<unknown>;
const PIN_QUESTION = { secret: 'pin', isNew: false } as const;
const KEY_QUESTION = { secret: 'management-key', isNew: false } as const;

const CALLS: readonly (readonly [string, Pick<PinQuestion, 'secret' | 'isNew'>, Call])[] = [
  ['a signature', PIN_QUESTION, (backend, context, key) => backend.sign(key('9a').keyId, { message }, context)],
  [
    'a signature with a key that both have',
    PIN_QUESTION,
    (backend, context, key) => backend.sign(key('82').keyId, { message }, context),
  ],
  [
    'a signature that wants the PIN beside the login',
    PIN_QUESTION,
    async (backend, context, key) => {
      await backend.unlocker.unlock(key('9c').keyId, Secret.fromText(PIN), undefined);
      return await backend.sign(key('9c').keyId, { message }, context);
    },
  ],
  ['a new key, at the PIN', PIN_QUESTION, (backend, context) => backend.generator.generate(ROOT, context)],
  [
    'a new key, at the management key',
    KEY_QUESTION,
    (backend, context) => backend.generator.generate({ ...ROOT, device: { slot: '83' } }, context),
  ],
  [
    'a new key over the one that both have',
    KEY_QUESTION,
    (backend, context) => backend.generator.generate({ ...ROOT, device: { slot: '82', overwriteSlot: true } }, context),
  ],
  [
    'a new key with policies of its own',
    KEY_QUESTION,
    (backend, context) =>
      backend.generator.generate(
        { ...ROOT, device: { slot: '82', overwriteSlot: true, touchPolicy: 'cached' } },
        context,
      ),
  ],
  ['an import', KEY_QUESTION, (backend, context) => backend.importer.import(newKey(), ROOT, context)],
  ['a removal', KEY_QUESTION, (backend, context, key) => backend.remover.remove(key('82').keyId, context)],
  [
    'another role, at the PIN',
    PIN_QUESTION,
    (backend, context, key) => backend.relabeller.relabel(key('82').keyId, OTHER, context),
  ],
  [
    'another role, at the management key',
    KEY_QUESTION,
    (backend, context, key) => backend.relabeller.relabel(key('82').keyId, OTHER, context),
  ],
  [
    'the removal of a certificate',
    KEY_QUESTION,
    (backend, context, key) => backend.certifier.removeCertificate(key('82').keyId, context),
  ],
  ['another PIN', PIN_QUESTION, (backend, context) => backend.token.changePin('pin', context)],
  [
    'another PIN, at the new one',
    { secret: 'pin', isNew: true },
    (backend, context) => backend.token.changePin('pin', context),
  ],
  ['another PUK', { secret: 'puk', isNew: false }, (backend, context) => backend.token.changePin('puk', context)],
  ['a new PIN by the PUK', { secret: 'pin', isNew: true }, (backend, context) => backend.token.unblockPin(context)],
];

describe('while a person is asked, it gets neither the answer nor what comes after', () => {
  test.each(CALLS)('%s', async (_, { secret, isNew }, call) => {
    await using backend = await home.open();
    const keys = await keysOf(backend);
    const key = (slot: string) => {
      const found = keys.find(({ device }) => device?.slot === slot);
      if (found === undefined) throw new Error(`no key in ${slot}`);
      return found;
    };
    let isSwapped = false;
    const person = pinPerson(async (question) => {
      if (!isSwapped && question.secret === secret && question.isNew === isNew) {
        isSwapped = true;
        await swap();
        await untilSeen(backend, '1002');
      }
      return answerTo(question);
    });
    expect(await outcomeOf(call(backend, person.context, key))).toEqual(SWAPPED);
    expect(isSwapped).toBe(true);
    await expectSecondUntouched();
    expect(new Set(person.questions.map(({ token }) => token.serial))).toEqual(new Set(['1001']));
    await swapBack();
    await untilSeen(backend, '1001');
    expect(await outcomeOf(call(backend, person.context, key))).not.toHaveProperty('code');
    expect((await first().statistics()).pin.failures).toBe(0);
  });
});
