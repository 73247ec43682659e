/** What is said when a module does not show the token that is configured. */
import { afterEach, beforeEach, expect, test } from 'vitest';
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

test('slots that the module cannot list: what is known is said', async () => {
  await fake.plan({ tokens: [], emptySlots: 'no list' });
  const backend = await fake.open();
  expect(await outcomeOf(backend.refresh())).toMatchObject({
    code: 'TOKEN_NOT_PRESENT',
    message: 'no token matches pkcs11:token=fake',
  });
});
