import { expect, it } from 'vitest';
import { LastUsed } from '../../../../src/backends/sql/last-used.ts';
import { type KeyId, parseKeyId } from '../../../../src/crypto/key-id.ts';
import { SignetError } from '../../../../src/errors.ts';
import { waitFor } from '../../../support/conditions.ts';

const A = parseKeyId('a'.repeat(64));
const B = parseKeyId('b'.repeat(64));
const GONE = parseKeyId('c'.repeat(64));

function lastUsed(intervalMs: number) {
  const written: (readonly KeyId[])[] = [];
  const errors: unknown[] = [];
  const state = { down: false };
  const uses = new LastUsed({
    write: async (keyIds) => {
      if (state.down) throw new SignetError('UNAVAILABLE', 'the database is down');
      written.push(keyIds);
      return keyIds.filter((keyId) => keyId !== GONE).length;
    },
    intervalMs,
    onError: (error) => errors.push(error),
  });
  return { uses, written, errors, state };
}

it('writes the first use before it answers, once for all who ask', async () => {
  const { uses, written } = lastUsed(60_000);
  await Promise.all([uses.first(A), uses.first(A), uses.first(B)]);
  expect(written).toEqual([[A], [B]]);
  await uses[Symbol.asyncDispose]();
});

it('fails the first use when it cannot be written', async () => {
  const { uses, state } = lastUsed(60_000);
  state.down = true;
  await expect(uses.first(A)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  await uses[Symbol.asyncDispose]();
});

it('tells whether the key is still there', async () => {
  const { uses } = lastUsed(60_000);
  expect(await Promise.all([uses.first(A), uses.first(GONE)])).toEqual([true, false]);
  await uses[Symbol.asyncDispose]();
});

it('gathers later uses and writes each key once', async () => {
  const { uses, written } = lastUsed(10);
  for (let i = 0; i < 1000; i++) uses.again(i % 2 === 0 ? A : B);
  expect(written).toEqual([]);
  await waitFor('the batch', () => written.length === 1);
  expect(written).toEqual([[A, B]]);
  await uses[Symbol.asyncDispose]();
});

it('keeps what could not be written, tells it, and writes it when the database is back', async () => {
  const { uses, written, errors, state } = lastUsed(5);
  state.down = true;
  uses.again(A);
  await waitFor('two failures', () => errors.length >= 2);
  state.down = false;
  await waitFor('the batch', () => written.length === 1);
  expect(written).toEqual([[A]]);
  await uses[Symbol.asyncDispose]();
});

it('writes what is left when it ends', async () => {
  const { uses, written } = lastUsed(60_000);
  uses.again(A);
  await uses[Symbol.asyncDispose]();
  expect(written).toEqual([[A]]);
});
