/** What firmware 5.7 has more: Ed25519 and large RSA keys. The library knows them since 2.5. */
import { generateKeyPairSync } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { KeyRequest } from '../../src/backends/backend.ts';
import type { YubikeyBackend, YubikeyOptions } from '../../src/backends/yubikey/yubikey-backend.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { expectSigns, keysOf } from '../support/backend-keys.ts';
import { outcomeOf } from '../support/outcome.ts';
import type { CardSettings } from '../support/virtual-yubikey/card/settings.ts';
import { isLibrarySince } from '../support/virtual-yubikey/library.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const OWNER = { role: 'root', gun: 'example.com/app' };
const NAME = 'yubikey:serial=12345678';
const PKCS8 = { format: 'der', type: 'pkcs8' } as const;
const message = Buffer.from('what is signed');

const knowsNewKeys = await isLibrarySince(2, 5);
const knowsAes = await isLibrarySince(2, 3);

let home: YubikeyHome;

async function start(card: Partial<CardSettings> = {}): Promise<void> {
  home = await yubikeyHome({ cards: [{ serial: 12345678, firmware: '5.7.1', ...card }] });
}
/** Where the library cannot use the factory's management key, one as it was before. */
const usable: Partial<CardSettings> = knowsAes ? {} : { managementAlgorithm: '3DES' };

afterEach(async () => {
  await home[Symbol.asyncDispose]();
});

async function open(options: Partial<YubikeyOptions> = {}): Promise<YubikeyBackend> {
  const pinFile = await home.pinFile(FACTORY_PIN);
  return await home.open({ serial: '12345678', pinFile, authorities: home.authorities, ...options });
}

const KINDS: readonly { name: string; isNew: boolean; request: Omit<KeyRequest, 'role' | 'gun'> }[] = [
  { name: 'P-384', isNew: false, request: { algorithm: 'ecdsa', curve: 'P-384' } },
  { name: 'RSA-2048', isNew: false, request: { algorithm: 'rsa', modulusBits: 2048 } },
  { name: 'RSA-3072', isNew: true, request: { algorithm: 'rsa' } },
  { name: 'RSA-4096', isNew: true, request: { algorithm: 'rsa', modulusBits: 4096 } },
  { name: 'Ed25519', isNew: true, request: { algorithm: 'ed25519' } },
];

describe('keys that are made', () => {
  beforeEach(() => start(usable));

  test.each(KINDS)('$name: signs and is attested, if the library has it', async ({ name, isNew, request }) => {
    await using backend = await open();
    const making = backend.generator.generate({ ...OWNER, ...request }, CONTEXT);
    if (isNew && !knowsNewKeys) {
      expect(await outcomeOf(making)).toEqual({
        code: 'UNSUPPORTED',
        message: `${NAME} makes no ${name} keys that Signet can use`,
      });
      return;
    }
    const key = await making;
    expect(key).toMatchObject({ ...OWNER, device: { slot: '9c', attested: true } });
    expect(key.publicKey.algorithm).toBe(request.algorithm);
    await expectSigns(backend, key);
    expect(await backend.attester.attest(key.keyId, CONTEXT)).toMatchObject({ chain: { length: 2 } });
    await backend[Symbol.asyncDispose]();

    await using again = await open();
    expect(await keysOf(again)).toEqual([key]);
    await expectSigns(again, key);
    expect(await again.remover.remove(key.keyId, CONTEXT)).toBe(true);
    expect(await keysOf(again)).toEqual([]);
  });

  test('Ed25519 signs messages as long as a command takes, and refuses longer ones before the PIN is used', async () => {
    await using backend = await open();
    expect(backend.generator.algorithms).toEqual(knowsNewKeys ? ['ecdsa', 'ed25519', 'rsa'] : ['ecdsa']);
    if (!knowsNewKeys) return;
    const { keyId, publicKey } = await backend.generator.generate({ ...OWNER, algorithm: 'ed25519' }, CONTEXT);
    for (const length of [0, 1, 200, 3062]) {
      const bytes = Buffer.alloc(length, 'm');
      expect(verifySignature(publicKey, bytes, await backend.sign(keyId, { message: bytes }, CONTEXT))).toBe(true);
    }
    for (const length of [3063, 5000]) {
      expect(await outcomeOf(backend.sign(keyId, { message: Buffer.alloc(length) }, CONTEXT))).toEqual({
        code: 'INVALID_ARGUMENT',
        message: `Ed25519 keys on ${NAME} sign at most 3062 bytes`,
      });
    }
    expect(verifySignature(publicKey, message, await backend.sign(keyId, { message }, CONTEXT))).toBe(true);
  });
});

describe('keys that are imported', () => {
  beforeEach(() => start(usable));

  const rsa = (modulusLength: number) =>
    generateKeyPairSync('rsa', {
      modulusLength,
      publicKeyEncoding: { format: 'der', type: 'spki' },
      privateKeyEncoding: PKCS8,
    }).privateKey;

  test.each([
    { name: 'RSA-2048', isNew: false, make: () => rsa(2048) },
    { name: 'RSA-3072', isNew: true, make: () => rsa(3072) },
    { name: 'RSA-4096', isNew: true, make: () => rsa(4096) },
    { name: 'Ed25519', isNew: true, make: (): Uint8Array => generateKeyPairSync('ed25519').privateKey.export(PKCS8) },
  ])('$name: signs, if the library has it', async ({ name, isNew, make }) => {
    const NO_SUCH = {
      code: 'UNSUPPORTED',
      message: `${NAME} takes no such ${name === 'Ed25519' ? 'ed25519' : 'rsa'} keys made elsewhere`,
    };
    await using backend = await open();
    const importing = backend.importer.import(make(), OWNER, CONTEXT);
    if (isNew && !knowsNewKeys) {
      expect(await outcomeOf(importing)).toEqual(NO_SUCH);
      return;
    }
    const key = await importing;
    expect(key).toMatchObject({ ...OWNER, device: { slot: '9c', attested: false } });
    await expectSigns(backend, key);
    expect((await keysOf(backend)).map(({ keyId }) => keyId)).toEqual([key.keyId]);
  });
});

describe('keys that another program put there', () => {
  test('are used as far as the library knows them, harm no others, and are not overwritten', async () => {
    const imported = generateKeyPairSync('ed25519').privateKey.export(PKCS8) as Buffer;
    await start({
      ...usable,
      keys: [
        { slot: 0x9a, algorithm: 'Ed25519' },
        { slot: 0x9c, pkcs8: imported.toString('base64') },
        { slot: 0x9d, algorithm: 'RSA-4096', certificate: 'targets' },
        { slot: 0x82, certificate: 'root' },
      ],
    });
    await using backend = await open({ onUnreadable: () => undefined });
    const keys = await keysOf(backend);
    const slots = keys.map(({ device }) => device?.slot);
    expect(slots.sort()).toEqual(knowsNewKeys ? ['82', '9a', '9c', '9d'] : ['82']);
    for (const key of keys) await expectSigns(backend, key);
    expect(await outcomeOf(backend.generator.generate({ ...OWNER, algorithm: 'ecdsa' }, CONTEXT))).toMatchObject({
      code: 'TOKEN_FULL',
    });
  });
});
