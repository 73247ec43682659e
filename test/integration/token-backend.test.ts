import { chmod, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { inspect } from 'node:util';
import { p256 } from '@noble/curves/nist.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeyInfo, SignContext } from '../../src/backends/backend.ts';
import { CKF_TOKEN } from '../../src/backends/pkcs11/constants.ts';
import type { TokenHooks } from '../../src/backends/pkcs11/hooks.ts';
import type { Pkcs11Backend, Pkcs11Options } from '../../src/backends/pkcs11/pkcs11-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { SignetError } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { AGREED, FAKE_PIN, type FakeToken, fakeToken } from '../support/fake-token.ts';
import { pinPerson } from '../support/pin-person.ts';

const CONTEXT: SignContext = { caller: 'test' };
let fake: FakeToken;

beforeEach(async () => {
  fake = await fakeToken();
});
afterEach(() => fake[Symbol.asyncDispose]());

async function openWithKey(
  options: Partial<Pkcs11Options> = {},
): Promise<{ readonly backend: Pkcs11Backend; readonly key: KeyInfo; readonly sign: () => Promise<Uint8Array> }> {
  const backend = await fake.open({ pinFile: await fake.pinFile(), ...options });
  for await (const key of backend.list()) {
    return { backend, key, sign: () => backend.sign(key.keyId, AGREED, CONTEXT) };
  }
  throw new Error('the fake token has one key');
}

const failure = (promise: Promise<unknown>): Promise<SignetError> =>
  promise.then(
    () => {
      throw new Error('expected a failure');
    },
    (error: unknown) => {
      if (error instanceof SignetError) return error;
      throw error;
    },
  );
const logins = async () => (await fake.log()).filter((line) => line.startsWith('login')).length;

describe('a token host', () => {
  it('signs, with role and GUN from the label', async () => {
    const { key, sign } = await openWithKey();
    expect(key).toMatchObject({
      role: 'root',
      gun: 'example.com:5000/a',
      location: 'pkcs11:token=fake;serial=0001;type=private;id=%01',
      needs: { pin: true, touch: false, passphrase: false },
    });
    const signature = await sign();
    expect(key.publicKey && verifySignature(key.publicKey, AGREED.message, signature)).toBe(true);
  });

  it.each(['wrong signature', 'short signature', 'no signature'])('never lets a %s out', async (how) => {
    const { key, sign } = await openWithKey();
    await fake.plan({ sign: how });
    expect(await failure(sign())).toMatchObject({
      code: 'INTEGRITY',
      message: `pkcs11:token=fake answered a signature that is not by key ${key.keyId}`,
    });
  });

  it.each([
    ['exit', 'the token host of pkcs11:token=fake (fake.so) ended (exit code 7)'],
    [
      'huge frame',
      'the token host of pkcs11:token=fake (fake.so) is replaced: token host protocol: a frame of 4294967295 bytes',
    ],
    [
      'tiny frame',
      'the token host of pkcs11:token=fake (fake.so) is replaced: token host protocol: a frame of 1 bytes',
    ],
    [
      'not json',
      'the token host of pkcs11:token=fake (fake.so) is replaced: token host protocol: a header that is not JSON',
    ],
    [
      'no object',
      'the token host of pkcs11:token=fake (fake.so) is replaced: token host protocol: a header that is no object',
    ],
    [
      'unknown code',
      'the token host of pkcs11:token=fake (fake.so) is replaced: token host protocol: an unknown reply',
    ],
    ['unknown id', 'the token host of pkcs11:token=fake (fake.so) is replaced: an answer that nobody asked for'],
    [
      'long header',
      'the token host of pkcs11:token=fake (fake.so) is replaced: token host protocol: a header longer than its frame',
    ],
  ])('is replaced after: %s', async (how, message) => {
    const { backend, sign } = await openWithKey();
    const { hostPid } = backend;
    await fake.plan({ sign: how });
    expect(await failure(sign())).toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining(message) });
    await fake.plan({});
    await sign();
    expect(backend.hostPid).not.toBe(hostPid);
  });

  it('is replaced when it does not answer in time, and everybody who waits is told', async () => {
    const { backend, sign } = await openWithKey({ operationTimeoutMs: 5000 });
    const { hostPid } = backend;
    await fake.plan({ sign: 'hang' });
    // More than the host has at one time.
    const errors = await Promise.all(Array.from({ length: 20 }, () => failure(sign())));
    expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(['UNAVAILABLE']));
    expect(errors[0]?.message).toBe(
      'the token host of pkcs11:token=fake (fake.so) did not answer within 5000 ms and is replaced',
    );
    await fake.plan({});
    await sign();
    expect(backend.hostPid).not.toBe(hostPid);
  });

  it('that says the token is gone is replaced', async () => {
    const { backend, sign } = await openWithKey();
    const { hostPid } = backend;
    await fake.plan({ sign: 'lost', tokens: [] });
    expect(await failure(sign())).toMatchObject({ code: 'TOKEN_NOT_PRESENT', message: 'gone (CKR_DEVICE_REMOVED)' });
    expect(await failure(sign())).toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
      message: 'no token matches pkcs11:token=fake',
    });
    expect(await backend.health()).toEqual({ ready: false, reason: 'no token matches pkcs11:token=fake' });
    await fake.plan({});
    await waitFor('the token to be found again', async () => (await backend.health()).ready);
    await sign();
    expect(backend.hostPid).not.toBe(hostPid);
  });

  it('that keeps ending is given time', async () => {
    const { sign } = await openWithKey();
    await fake.plan({ load: 'exit', sign: 'exit' });
    const errors: SignetError[] = [];
    await waitFor('the back-off', async () => {
      errors.push(await failure(sign()));
      return /^that happened \d+ times in a row; it is tried again in \d+ ms$/.test(errors.at(-1)?.hint ?? '');
    });
    expect(errors.at(-1)?.message).toBe('the token host of pkcs11:token=fake (fake.so) ended (exit code 7)');
    await fake.plan({});
    await waitFor('the token to work again', () =>
      sign().then(
        () => true,
        () => false,
      ),
    );
  });

  it('does not begin what nobody waits for any more, and tells that at once', async () => {
    const { backend, key, sign } = await openWithKey();
    await fake.plan({ delayMs: 1000 });
    const first = sign();
    const controller = new AbortController();
    const context = { caller: 'test', signal: controller.signal };
    const rest = Array.from({ length: 10 }, () => failure(backend.sign(key.keyId, AGREED, context)));
    await waitFor('the first signature to begin', async () => (await fake.log()).includes('sign'));
    let isFirstDone = false;
    void first.then(() => {
      isFirstDone = true;
    });
    controller.abort();
    for (const { code } of await Promise.all(rest)) expect(code).toBe('CANCELLED');
    expect(isFirstDone).toBe(false);
    await first;
    await sign();
    expect((await fake.log()).filter((line) => line === 'sign')).toHaveLength(2);
  });

  it('is not kept from signing by health checks where listing the keys takes long', async () => {
    await fake.plan({ keysDelayMs: 100 });
    const { backend } = await openWithKey();
    const listings = async () => (await fake.log()).filter((line) => line === 'keys').length;
    const before = await listings();
    for (let i = 0; i < 20; i++) expect(await backend.health()).toEqual({ ready: true });
    expect((await listings()) - before).toBeLessThanOrEqual(1);
    await fake.plan({ tokens: [], sign: 'lost' });
    process.kill(backend.hostPid ?? 0, 'SIGKILL');
    await waitFor('the loss to be known', async () => !(await backend.health()).ready);
  });

  it('that is slow fails no look-up and no check', async () => {
    const { backend, key } = await openWithKey();
    await fake.plan({ keysDelayMs: 1500 });
    expect(await backend.health()).toEqual({ ready: true });
    process.kill(backend.hostPid ?? 0, 'SIGKILL');
    await waitFor('its end', () => backend.hostPid === undefined);
    expect(await backend.find(key.keyId)).toMatchObject({ keyId: key.keyId, role: 'root' });
  });

  it('that ends right after its token was attached says why', async () => {
    await fake.plan({ login: 'exit' });
    const events: unknown[] = [];
    await fake.open({ pinFile: await fake.pinFile(), onEvent: (_, error) => events.push(error) });
    const message = 'the token host of pkcs11:token=fake (fake.so) ended (exit code 8)';
    expect(events).toContainEqual(expect.objectContaining({ code: 'UNAVAILABLE', message }));
  });

  it('gets neither passphrases nor flags for Node from the environment', async () => {
    // A host that took these over would not start at all.
    const env = { FAKE_HOST: `${fake.directory}/plan.json`, NODE_OPTIONS: '--no-such-flag', NOTARY_SIGNER_A: 'x' };
    const { sign } = await openWithKey({ env });
    await sign();
  });
});

describe('the keys of other programs', () => {
  const facts = (ckaId: number, more: object) => ({
    ckaId: Buffer.of(ckaId).toString('base64'),
    label: Buffer.from('their key').toString('base64'),
    keyType: 3,
    hasPrivate: true,
    ...more,
  });
  const P256 = Buffer.from('06082a8648ce3d030107', 'hex').toString('base64');
  const G = Buffer.from(p256.Point.BASE.toBytes(false)).toString('base64');

  it('that cannot be used are left out and told once', async () => {
    const unreadable: string[] = [];
    const keysBefore = [
      facts(2, { keyType: 0x1f }),
      facts(3, { ecParams: P256, ecPoint: Buffer.alloc(65, 4).toString('base64') }),
      facts(4, { ecParams: P256 }),
    ];
    await fake.plan({ keysBefore });
    const { backend } = await openWithKey({ onUnreadable: (what, error) => unreadable.push(`${what} ${error.code}`) });
    expect(await backend.count()).toBe(1);
    expect(unreadable).toEqual([
      'pkcs11:token=fake;serial=0001;type=private;id=%02 UNSUPPORTED',
      'pkcs11:token=fake;serial=0001;type=private;id=%03 INTEGRITY',
      'pkcs11:token=fake;serial=0001;type=private;id=%04 INTEGRITY',
    ]);
  });

  it('have neither role nor GUN, and count only with a private half, and once', async () => {
    const theirs = facts(5, { ecParams: P256, ecPoint: G });
    const anchor = facts(6, { ecParams: P256, ecPoint: G, hasPrivate: false });
    await fake.plan({ keysAfter: [anchor, theirs, theirs] });
    const { backend } = await openWithKey();
    const keys: KeyInfo[] = [];
    for await (const key of backend.list()) keys.push(key);
    expect(keys).toHaveLength(2);
    expect(keys[1]).toMatchObject({
      role: '',
      gun: '',
      location: 'pkcs11:token=fake;serial=0001;type=private;id=%05',
    });
  });
});

describe('choosing a token', () => {
  it('refuses when several match', async () => {
    await fake.plan({ tokens: ['fake', 'fake'] });
    expect(await failure(fake.open())).toMatchObject({
      code: 'CONFIGURATION',
      message: '2 tokens match pkcs11:token=fake',
      hint: expect.stringMatching(
        /^name one of them in the configuration: pkcs11:token=fake;serial=0001\S*, pkcs11:token=fake;serial=\S+$/,
      ),
    });
  });

  it('opens without a token, and finds it when it comes', async () => {
    await fake.plan({ tokens: ['another'] });
    const backend = await fake.open();
    expect(await backend.health()).toEqual({ ready: false, reason: 'no token matches pkcs11:token=fake' });
    await fake.plan({ tokens: ['another', 'fake'] });
    await waitFor('the token', async () => (await backend.health()).ready);
    expect(await backend.count()).toBe(1);
  });
});

describe('the PIN', () => {
  it('of a file that was refused is tried once, whoever asks, until the file changes', async () => {
    const pinFile = await fake.pinFile('97979797');
    const { backend, sign } = await openWithKey({ pinFile });
    expect(await logins()).toBe(1);
    for (let i = 0; i < 20; i++) {
      const error = await failure(sign());
      expect(error).toMatchObject({
        code: 'PIN_INCORRECT',
        message: `the PIN of pin-source ${pinFile} was refused and is not tried again`,
        hint: `correct the PIN in ${pinFile}`,
      });
      expect(inspect(error, { depth: 9 })).not.toContain('97979797');
      expect((await backend.health()).ready).toBe(false);
    }
    await writeFile(pinFile, '97979797\n'); // the same again
    await failure(sign());
    expect(await logins()).toBe(1);

    await writeFile(pinFile, `${FAKE_PIN}\n`);
    await waitFor('the corrected PIN', async () => (await backend.health()).ready);
    await sign();
    expect(await logins()).toBe(2);
  });

  it('is not tried again when hosts are replaced', async () => {
    const { sign } = await openWithKey({ pinFile: await fake.pinFile('97979797') });
    for (let i = 0; i < 3; i++) {
      await fake.plan({ sign: 'exit' });
      await failure(sign());
    }
    expect(await logins()).toBe(1);
  });

  it('is tried at most twice where the host dies of it', async () => {
    await fake.plan({ login: 'exit' });
    const backend = await fake.open({ pinFile: await fake.pinFile() });
    for (let i = 0; i < 10; i++) await backend.health();
    expect(await logins()).toBeLessThanOrEqual(2);
  });

  it('is not tried when one try is left; a person may', async () => {
    await fake.plan({ flags: CKF_TOKEN.USER_PIN_FINAL_TRY });
    const { backend, key, sign } = await openWithKey();
    expect(await failure(sign())).toMatchObject({
      code: 'PIN_REQUIRED',
      message: 'one PIN try is left on pkcs11:token=fake: it is not spent unattended',
      retriesLeft: 1,
    });
    expect(await logins()).toBe(0);
    await backend.unlocker.unlock(key.keyId, Secret.fromText(FAKE_PIN), undefined);
    await sign();
  });

  it('is not tried at all when it is locked', async () => {
    await fake.plan({ flags: CKF_TOKEN.USER_PIN_LOCKED });
    const { backend, key, sign } = await openWithKey();
    expect(await failure(sign())).toMatchObject({ code: 'PIN_LOCKED', retriesLeft: 0 });
    const unlocking = backend.unlocker.unlock(key.keyId, Secret.fromText(FAKE_PIN), undefined);
    expect(await failure(unlocking)).toMatchObject({
      code: 'PIN_LOCKED',
      message: 'the PIN of pkcs11:token=fake is locked',
    });
    expect(await logins()).toBe(0);
  });

  it('of each of two people who give one at the same time is checked, and only one that was taken is kept', async () => {
    const { backend, key, sign } = await openWithKey({ pinFile: undefined, pinCacheMs: 60_000 });
    const unlock = (pin: string) => backend.unlocker.unlock(key.keyId, Secret.fromText(pin), undefined);
    const outcomes = await Promise.allSettled([unlock(FAKE_PIN), unlock('97979797')]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(await logins()).toBe(2);
    expect(await backend.unlocker.unlockedCount()).toBe(0);
    await sign(); // with the one that is cached
    expect(await logins()).toBe(3);
  });

  it('that is wrong opens nothing for longer', async () => {
    const { backend, key, sign } = await openWithKey({ pinFile: undefined });
    const unlock = (pin: string, ttlMs: number) => backend.unlocker.unlock(key.keyId, Secret.fromText(pin), ttlMs);
    await unlock(FAKE_PIN, 300);
    expect(await failure(unlock('97979797', 60_000))).toMatchObject({ code: 'PIN_INCORRECT' });
    expect(await failure(sign())).toMatchObject({ code: 'PIN_REQUIRED' });
    await unlock(FAKE_PIN, 60_000);
    await unlock(FAKE_PIN, 300);
    await waitFor('the time to pass', async () => (await backend.unlocker.unlockedCount()) === 0);
  });

  it('of a person holds as long as asked for, and is kept nowhere', async () => {
    const { backend, key, sign } = await openWithKey({ pinFile: undefined });
    expect(await failure(sign())).toMatchObject({ code: 'PIN_REQUIRED', message: 'pkcs11:token=fake needs its PIN' });
    await backend.unlocker.unlock(key.keyId, Secret.fromText(FAKE_PIN), 300);
    await sign();
    await waitFor('the time to pass', async () => (await backend.unlocker.unlockedCount()) === 0);
    expect(await failure(sign())).toMatchObject({ code: 'PIN_REQUIRED' });
    expect(inspect(backend, { depth: 12, showHidden: true })).not.toContain(FAKE_PIN);
  });

  it('is given again after somebody else logged the token out', async () => {
    const { sign } = await openWithKey();
    await fake.plan({ sign: 'not logged in' });
    expect(await failure(sign())).toMatchObject({ code: 'PIN_REQUIRED' });
    await fake.plan({});
    await sign();
  });

  it('file that is open to others is refused at the start', async () => {
    const pinFile = await fake.pinFile();
    await chmod(pinFile, 0o640);
    expect(await failure(fake.open({ pinFile }))).toMatchObject({
      code: 'CONFIGURATION',
      message: `pin-source ${pinFile} is open to others`,
      hint: `run: chmod 600 ${pinFile}`,
    });
  });
});

describe('a person who can be asked', () => {
  it('is told that one try is left, and may spend it', async () => {
    await fake.plan({ flags: CKF_TOKEN.USER_PIN_FINAL_TRY });
    const { backend, key } = await openWithKey();
    const person = pinPerson(() => FAKE_PIN);
    await backend.sign(key.keyId, AGREED, person.context);
    expect(person.questions).toMatchObject([
      { token: { backend: 'pkcs11', label: 'fake', serial: '0001' }, triesLeft: 1, key: { keyId: key.keyId } },
    ]);
    expect(await logins()).toBe(1);
  });

  it('is not asked for a PIN that is locked', async () => {
    await fake.plan({ flags: CKF_TOKEN.USER_PIN_LOCKED });
    const { backend, key } = await openWithKey({ pinFile: undefined });
    const person = pinPerson(() => FAKE_PIN);
    expect(await failure(backend.sign(key.keyId, AGREED, person.context))).toMatchObject({ code: 'PIN_LOCKED' });
    expect(person.questions).toEqual([]);
  });

  it('need not be asked again if the host ends meanwhile', async () => {
    const { backend, key } = await openWithKey({ pinFile: undefined });
    const person = pinPerson(async () => {
      process.kill(backend.hostPid ?? 0, 'SIGKILL');
      await waitFor('the end of the host', () => backend.hostPid === undefined);
      return FAKE_PIN;
    });
    await backend.sign(key.keyId, AGREED, person.context);
    expect(person.questions).toHaveLength(1);
    expect(await logins()).toBe(1);
  });

  it('has given the PIN for one token, and no other gets it', async () => {
    const { backend, key } = await openWithKey({ pinFile: undefined, uri: { serial: '0001', modulePath: '/none.so' } });
    const person = pinPerson(async () => {
      await fake.plan({ tokens: ['another'] });
      process.kill(backend.hostPid ?? 0, 'SIGKILL');
      await waitFor('the end of the host', () => backend.hostPid === undefined);
      return FAKE_PIN;
    });
    expect(await failure(backend.sign(key.keyId, AGREED, person.context))).toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
      message:
        'the operation began with token "fake" (serial number 0001), and now token "another" (serial number 0001) is there',
      hint: 'nothing was done to that one: put the first one back, or begin again',
    });
    expect(await logins()).toBe(0);
  });

  it('may take longer than the time after which the device is let go of', async () => {
    const { backend, key } = await openWithKey({ pinFile: undefined, idleReleaseMs: 100 });
    await waitFor('the end of the host', () => backend.hostPid === undefined);
    let held: number | undefined;
    const person = pinPerson(async () => {
      const { hostPid } = backend;
      await delay(400);
      held = hostPid === backend.hostPid ? hostPid : undefined;
      return FAKE_PIN;
    });
    await backend.sign(key.keyId, AGREED, person.context);
    expect(held).toBeGreaterThan(0);
  });

  it('is asked at once by calls that came while nobody could be asked', async () => {
    const { backend, key, sign } = await openWithKey({ pinFile: undefined });
    expect(await failure(sign())).toMatchObject({ code: 'PIN_REQUIRED' });
    const person = pinPerson(() => FAKE_PIN);
    await Promise.all([1, 2, 3].map(() => backend.sign(key.keyId, AGREED, person.context)));
    expect(person.questions).toHaveLength(1);
    await sign();
  });
});

describe('a backend for one kind of device', () => {
  it('keeps the last try for a person by what the device tells of itself', async () => {
    let triesLeft = 1;
    const hooks = { retryCounters: async () => ({ pinTriesLeft: triesLeft, pukTriesLeft: undefined, warnings: [] }) };
    const { backend, key, sign } = await openWithKey({ hooks });
    expect(await failure(sign())).toMatchObject({
      code: 'PIN_REQUIRED',
      message: 'one PIN try is left on pkcs11:token=fake: it is not spent unattended',
    });
    expect(await logins()).toBe(0);
    triesLeft = 2;
    const mistaken = pinPerson(() => '97979797');
    await fake.plan({});
    const pinFree = await fake.open({ hooks, pinFile: undefined });
    expect(await failure(pinFree.sign(key.keyId, AGREED, mistaken.context))).toMatchObject({
      code: 'PIN_INCORRECT',
      retriesLeft: 2,
    });
    expect(mistaken.questions).toMatchObject([{ triesLeft: 2 }]);
    expect(await backend.token.status()).toMatchObject({ pinTriesLeft: 2 });
  });

  it('describes keys in its own way, leaves some out, and shows that a touch is waited for', async () => {
    const hooks: TokenHooks = {
      describe: (info) => ({ ...info, needs: { ...info.needs, touch: true } }),
    };
    const { backend, key } = await openWithKey({ hooks, backendName: 'yubikey' });
    expect(backend.name).toBe('yubikey');
    expect(key.needs.touch).toBe(true);
    const person = pinPerson(() => undefined);
    await backend.sign(key.keyId, AGREED, person.context);
    expect(person.touches).toEqual({ count: 1, pending: 0 });
    await fake.plan({ sign: 'exit' });
    await failure(backend.sign(key.keyId, AGREED, person.context));
    expect(person.touches).toEqual({ count: 2, pending: 0 });
    const none = await fake.open({ hooks: { describe: () => undefined }, pinFile: await fake.pinFile() });
    expect(await none.count()).toBe(0);
  });

  it('tells a token that was there and is gone as not present', async () => {
    const { backend, sign } = await openWithKey();
    const description = await backend.token.describe();
    await fake.plan({ sign: 'lost', tokens: [] });
    await failure(sign());
    await waitFor('the loss to be known', async () => !(await backend.health()).ready);
    expect(await backend.token.status()).toMatchObject({ present: false, identity: { serial: '0001' } });
    expect(await backend.token.describe()).toEqual(description);
  });

  it('tells which token it is without asking for counters', async () => {
    let timesAsked = 0;
    const retryCounters = async () => {
      timesAsked++;
      return { pinTriesLeft: 3, pukTriesLeft: undefined, warnings: [] };
    };
    const { backend } = await openWithKey({ hooks: { retryCounters }, pinFile: undefined });
    expect(await backend.token.describe()).toMatchObject({ identity: { label: 'fake', serial: '0001' } });
    expect(timesAsked).toBe(0);
    await backend.token.status();
    expect(timesAsked).toBe(1);
  });

  it('that was never there tells nothing of itself', async () => {
    await fake.plan({ tokens: [] });
    const backend = await fake.open({});
    for (const told of [backend.token.describe(), backend.token.status()]) {
      expect((await failure(told)).code).toBe('TOKEN_NOT_PRESENT');
    }
  });
});
