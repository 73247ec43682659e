/** What is said when a module does not show the token that is configured. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { waitFor } from '../support/conditions.ts';
import { type FakeToken, fakeToken } from '../support/fake-token.ts';
import { outcomeOf } from '../support/outcome.ts';

const LIST = 'list the tokens with: pkcs11-tool --module /nowhere/fake.so -L';
let fake: FakeToken;

beforeEach(async () => {
  fake = await fakeToken();
});
afterEach(() => fake[Symbol.asyncDispose]());

test('no slots: it is not plugged in', async () => {
  await fake.plan({ tokens: [] });
  const backend = await fake.open();
  expect(await outcomeOf(backend.refresh())).toEqual({
    code: 'TOKEN_NOT_PRESENT',
    message: 'no token matches pkcs11:token=fake',
    hint: `plug it in, or ${LIST}`,
  });
});

test('slots without a token, a few of which are named: perhaps another program has it', async () => {
  await fake.plan({ tokens: ['other'], emptySlots: ['Reader "A"', 'Reader "A"', 'B', 'C', 'D', 'E'] });
  const backend = await fake.open();
  expect(await outcomeOf(backend.refresh())).toEqual({
    code: 'TOKEN_NOT_PRESENT',
    message:
      'no token matches pkcs11:token=fake; there is none in "Reader \\"A\\"", "B", "C", "D", or another program has it for itself',
    hint: `plug it in, or end the other program (gpg's: gpgconf --kill scdaemon), or ${LIST}`,
  });
});

test.each([
  ['away', { tokens: [] }, { code: 'TOKEN_NOT_PRESENT', message: 'no token matches pkcs11:token=fake' }],
  [
    'out of reach',
    { load: 'exit' },
    { code: 'UNAVAILABLE', message: expect.stringMatching(/^the token host of .* ended/) },
  ],
])('a token that is %s is told as it was known last', async (_, plan, failure) => {
  const backend = await fake.open();
  const before = await backend.token.status();
  expect(before).toMatchObject({ identity: { label: 'fake' }, present: true });
  await fake.plan(plan);
  process.kill(backend.hostPid ?? 0, 'SIGKILL');
  await waitFor('the host to be gone', () => backend.hostPid === undefined);
  expect(await outcomeOf(backend.refresh())).toMatchObject(failure);
  expect(await backend.token.status()).toEqual({ ...before, present: false, loggedIn: false });
  expect(await backend.health()).toEqual({ ready: false, reason: failure.message });
});

test('slots that the module cannot list: what is known is said', async () => {
  await fake.plan({ tokens: [], emptySlots: 'no list' });
  const backend = await fake.open();
  expect(await outcomeOf(backend.refresh())).toMatchObject({
    code: 'TOKEN_NOT_PRESENT',
    message: 'no token matches pkcs11:token=fake',
  });
});
