/** The contract about passphrases and PINs that open keys. */
import { inspect } from 'node:util';
import { expect, it } from 'vitest';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { CONTEXT, declared, expectCode, type HomeInTest, UNKNOWN } from './subject.ts';

/** Each key has a passphrase of its own. */
export function describePassphrases(home: HomeInTest): void {
  const unlocker = () => declared(home.backend.unlocker);

  it('counts open keys, locks one, locks all', async () => {
    const first = await home.makeKey();
    await home.makeKey();
    await home.makeKey();
    expect(await unlocker().unlockedCount()).toBe(3);
    expect(await unlocker().lock(first.keyId)).toBe(1);
    expect(await unlocker().lock(first.keyId)).toBe(0);
    expect(await unlocker().lock()).toBe(2);
    expect(await unlocker().unlockedCount()).toBe(0);
  });

  it('refuses a wrong passphrase and takes the right one', async () => {
    await expectOpensWithItsOwn(home, 'a wrong one', 'PASSPHRASE_INCORRECT');
  });
}

/** One PIN opens all keys. */
export function describePin(home: HomeInTest): void {
  const unlocker = () => declared(home.backend.unlocker);

  it('opens and closes all keys together', async () => {
    const { keyId } = await home.makeKey();
    await home.makeKey();
    expect(await unlocker().unlockedCount()).toBe(2);
    expect(await unlocker().lock(UNKNOWN)).toBe(0);
    expect(await unlocker().lock(keyId)).toBe(2);
    expect(await unlocker().lock(keyId)).toBe(0);
    expect(await unlocker().unlockedCount()).toBe(0);
  });

  it('refuses a wrong PIN and takes the right one', async () => {
    await expectOpensWithItsOwn(home, '98765', 'PIN_INCORRECT');
  });

  it('is the same token in its description, its status and its keys', async () => {
    const { device } = await home.makeKey(); // first: some modules name the token after its key
    const token = declared(home.backend.token);
    const description = await token.describe();
    expect(await token.status()).toMatchObject({ ...description, present: true });
    expect(description.identity).toMatchObject({
      backend: home.backend.name,
      label: device?.label,
      serial: device?.serial,
    });
  });
}

async function expectOpensWithItsOwn(
  home: HomeInTest,
  wrong: string,
  code: 'PASSPHRASE_INCORRECT' | 'PIN_INCORRECT',
): Promise<void> {
  const { keyId, publicKey } = await home.makeKey();
  const unlocker = declared(home.backend.unlocker);
  await unlocker.lock();
  const error = await expectCode(code, unlocker.unlock(keyId, Secret.fromText(wrong), undefined));
  expect(inspect(error, { depth: 9 })).not.toContain(wrong);
  expect(await unlocker.unlockedCount()).toBe(0);
  await unlocker.unlock(keyId, Secret.fromText(home.passphrase), 60_000);
  expect(await unlocker.unlockedCount()).toBe(1);
  const message = Buffer.from('open');
  expect(verifySignature(publicKey, message, await home.backend.sign(keyId, { message }, CONTEXT))).toBe(true);
}
