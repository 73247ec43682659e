import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PIN, PUK, reference, terminal } from './terminal.ts';

const WRONG = reference('000000');
const WRONG_PUK = reference('00000000');

test('counts wrong PINs down to blocked, and compares no more then', async () => {
  const { verifyPin } = await terminal();
  expect([await verifyPin(WRONG), await verifyPin(WRONG), await verifyPin(WRONG)]).toEqual(['63c2', '63c1', '63c0']);
  expect(await verifyPin(PIN)).toBe('6983');
});

test('gives all tries back after the right PIN', async () => {
  const { verifyPin } = await terminal();
  expect([await verifyPin(WRONG), await verifyPin(), await verifyPin(WRONG)]).toEqual(['63c2', '9000', '63c2']);
});

test('asking for the tries left costs none', async () => {
  const { send, verifyPin, applet } = await terminal();
  await verifyPin(WRONG);
  for (let times = 0; times < 5; times++) expect((await send('VERIFY', 0, 0x80)).statusWord).toBe('63c2');
  expect(applet.state.statistics.pin).toEqual({ attempts: 1, failures: 1 });
  await verifyPin();
  expect((await send('VERIFY', 0, 0x80)).statusWord).toBe('9000');
});

test('a wrong PIN withdraws the proof of an earlier right one', async () => {
  const { send, verifyPin } = await terminal();
  await verifyPin();
  await verifyPin(WRONG);
  expect((await send('VERIFY', 0, 0x80)).statusWord).toBe('63c2');
});

test('a PIN of the wrong length is no try', async () => {
  const { verifyPin, applet } = await terminal();
  expect(await verifyPin(Buffer.from('123456'))).toBe('6a80');
  expect(applet.state.statistics.pin.attempts).toBe(0);
});

test.each([
  ['selecting PIV again', async ({ select }: Awaited<ReturnType<typeof terminal>>) => void (await select())],
  [
    'power loss',
    async ({ applet, select }: Awaited<ReturnType<typeof terminal>>) => {
      applet.powerOff();
      await select();
    },
  ],
])('%s withdraws the proofs of PIN and management key', async (_what, act) => {
  const card = await terminal();
  await card.verifyPin();
  await card.authenticate();
  await act(card);
  expect((await card.send('VERIFY', 0, 0x80)).statusWord).toBe('63c3');
  expect((await card.send('PUT_DATA', 0x3f, 0xff, Buffer.from('5c035fc1055301aa', 'hex'))).statusWord).toBe('6982');
});

describe('CHANGE REFERENCE DATA', () => {
  test.each([
    ['PIN', 0x80, PIN, reference('87654321')],
    ['PUK', 0x81, PUK, reference('abcdefgh')],
  ])('changes the %s for one who knows it', async (_what, key, old, fresh) => {
    const { send } = await terminal();
    const change = async (from: Buffer, to: Buffer) =>
      (await send('CHANGE_REFERENCE_DATA', 0, key, Buffer.concat([from, to]))).statusWord;
    expect(await change(old, fresh)).toBe('9000');
    expect([await change(old, fresh), await change(old, fresh)]).toEqual(['63c2', '63c1']);
    expect(await change(fresh, old)).toBe('9000');
    expect(await change(fresh, old)).toBe('63c2');
  });

  test.each(['12345', ''])('refuses the new PIN %j before it looks at the old one', async (pin) => {
    const { send, applet } = await terminal();
    const data = Buffer.concat([WRONG, reference(pin)]);
    expect((await send('CHANGE_REFERENCE_DATA', 0, 0x80, data)).statusWord).toBe('6a80');
    expect(applet.state.pin.retriesLeft).toBe(3);
  });
});

test('the PUK unblocks the PIN, and wrong PUKs block the PUK', async () => {
  const { send, verifyPin } = await terminal();
  const reset = async (puk: Buffer, pin: Buffer) =>
    (await send('RESET_RETRY_COUNTER', 0, 0x80, Buffer.concat([puk, pin]))).statusWord;
  for (let times = 0; times < 3; times++) await verifyPin(WRONG);
  expect(await reset(WRONG_PUK, PIN)).toBe('63c2');
  expect(await reset(PUK, reference('777777'))).toBe('9000');
  expect(await verifyPin(reference('777777'))).toBe('9000');
  for (const statusWord of ['63c2', '63c1', '63c0', '6983']) expect(await reset(WRONG_PUK, PIN)).toBe(statusWord);
  expect(await reset(PUK, PIN)).toBe('6983');
});

test('whatever is tried, a card bears exactly as many wrong PINs in a row as its counter says', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.boolean(), { maxLength: 30 }),
      fc.integer({ min: 1, max: 15 }),
      async (tries, total) => {
        const { verifyPin } = await terminal({ pinRetries: total });
        let left = total;
        for (const isRight of tries) {
          const isBlocked = left === 0;
          if (!isBlocked) left = isRight ? total : left - 1;
          const expected = isBlocked ? '6983' : isRight ? '9000' : `63c${left.toString(16)}`;
          expect(await verifyPin(isRight ? PIN : WRONG)).toBe(expected);
        }
      },
    ),
    { numRuns: 10 },
  );
});

describe('SET PIN RETRIES', () => {
  test('wants PIN and management key, and brings factory PIN and PUK', async () => {
    const { send, verifyPin, authenticate, applet } = await terminal({ pin: '777777', puk: '88888888' });
    const set = async () => (await send('SET_PIN_RETRIES', 5, 4)).statusWord;
    expect(await set()).toBe('6982');
    await authenticate();
    expect(await set()).toBe('6982');
    await verifyPin(reference('777777'));
    expect(await set()).toBe('9000');
    expect(await verifyPin(WRONG)).toBe('63c4');
    expect(await verifyPin()).toBe('9000');
    expect(applet.state.puk.retriesLeft).toBe(4);
  });

  test('refuses counts that a status word has no room for', async () => {
    const { send, verifyPin, authenticate } = await terminal();
    await authenticate();
    await verifyPin();
    expect((await send('SET_PIN_RETRIES', 16, 3)).statusWord).toBe('6a86');
    expect((await send('SET_PIN_RETRIES', 3, 0)).statusWord).toBe('6a86');
  });
});

describe('RESET', () => {
  test('refuses while PIN or PUK still have tries', async () => {
    const { send, verifyPin } = await terminal();
    for (let times = 0; times < 3; times++) await verifyPin(WRONG);
    expect((await send('RESET', 0, 0)).statusWord).toBe('6985');
  });

  test('leaves the attestation key, and nothing else', async () => {
    const settings = { pinRetries: 1, pukRetries: 1, keys: [{ slot: 0x9a, certificate: 'x' }] };
    const { send, verifyPin, applet } = await terminal(settings);
    await verifyPin(WRONG);
    await send('RESET_RETRY_COUNTER', 0, 0x80, Buffer.concat([WRONG_PUK, PIN]));
    expect((await send('RESET', 0, 0)).statusWord).toBe('9000');
    expect([...applet.state.keys.keys()]).toEqual([0xf9]);
    expect([...applet.state.objects.keys()]).toEqual([0x5fff01]);
    expect(await verifyPin()).toBe('9000');
  });
});
