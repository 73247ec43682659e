/** Keys on a YubiKey: made in 9c, listed with what the card says about them, used, removed. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { YubikeyBackend } from '../../src/backends/yubikey/yubikey-backend.ts';
import type { AttestationAuthorities } from '../../src/crypto/attestation-authorities.ts';
import { certificatePem } from '../../src/crypto/certificate.ts';
import { PrivateKey } from '../../src/crypto/private-key.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { buildSlotCertificate } from '../../src/crypto/root-certificate.ts';
import { keysOf } from '../support/backend-keys.ts';
import { outcomeOf } from '../support/outcome.ts';
import { runProgram } from '../support/processes.ts';
import { isLibrarySince } from '../support/virtual-yubikey/library.ts';
import { cardTools } from '../support/virtual-yubikey/tools.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const ROOT = { algorithm: 'ecdsa', role: 'root', gun: 'registry.example.com/team/app' } as const;
const message = Buffer.from('what is signed');

let home: YubikeyHome;

beforeAll(async () => {
  home = await yubikeyHome();
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await home.yubikeys.card().factoryReset();
});

async function open(): Promise<YubikeyBackend> {
  return await home.open({ pinFile: await home.pinFile(FACTORY_PIN), authorities: home.authorities });
}

test('a new root key is made in slot 9c, signs, and tells what it is', async () => {
  await using backend = await open();
  expect(await keysOf(backend)).toEqual([]);
  const key = await backend.generator.generate(ROOT, CONTEXT);
  expect(key).toMatchObject({
    role: 'root',
    gun: 'registry.example.com/team/app',
    needs: { pin: true, touch: false, passphrase: false },
    device: {
      serial: '12345678',
      label: 'YubiKey PIV #12345678',
      slot: '9c',
      firmware: '5.4.3',
      pinPolicy: 'always',
      touchPolicy: 'never',
      attested: true,
    },
  });
  expect(await keysOf(backend)).toEqual([key]);
  for (let i = 0; i < 3; i++) {
    const signature = await backend.sign(key.keyId, { message }, CONTEXT);
    expect(verifySignature(key.publicKey, message, signature)).toBe(true);
  }
});

test('role and GUN are in a certificate that openssl verifies, and survive without anything on this machine', async () => {
  const owner = { role: 'targets/releases', gun: 'example.com/übung 100%:5000/a' };
  await using backend = await open();
  const key = await backend.generator.generate({ algorithm: 'ecdsa', ...owner }, CONTEXT);
  const der = await backend.certifier.certificate(key.keyId, CONTEXT);
  const path = join(home.directory, 'slot.der');
  await writeFile(path, der ?? '');
  const pem = await openssl('x509', '-inform', 'DER', '-in', path);
  const pemPath = join(home.directory, 'slot.pem');
  await writeFile(pemPath, pem);
  expect(await openssl('verify', '-check_ss_sig', '-CAfile', pemPath, pemPath)).toContain('OK');
  const shown = await openssl('x509', '-in', pemPath, '-noout', '-subject', '-ext', 'subjectAltName,extendedKeyUsage');
  expect(shown).toContain('subject=CN = targets/releases\n');
  expect(shown).toContain('URI:signet:targets/releases:example.com/%C3%BCbung%20100%25%3A5000/a\n');
  expect(shown).toContain('Code Signing');
  await backend[Symbol.asyncDispose]();

  await using again = await open();
  expect(await again.find(key.keyId)).toMatchObject(owner);
});

test('keys go to 9c, 9a and 9d, to a retired slot on request, and over nothing that is there', async () => {
  await using backend = await open();
  const make = (device?: { slot?: string; overwriteSlot?: boolean }) =>
    backend.generator.generate({ ...ROOT, ...(device && { device }) }, CONTEXT);
  const first = [await make(), await make(), await make()];
  expect(first.map(({ device }) => device?.slot)).toEqual(['9c', '9a', '9d']);
  expect(await outcomeOf(make())).toEqual({
    code: 'TOKEN_FULL',
    message: 'slots 9c, 9a, 9d are not empty',
    hint: 'name a retired slot, 82 to 95, or remove a key',
  });
  expect((await make({ slot: '82' })).device?.slot).toBe('82');
  expect((await make({ slot: '95' })).device?.slot).toBe('95');
  expect(await outcomeOf(make({ slot: '82' }))).toMatchObject({ code: 'KEY_EXISTS', message: 'slot 82 is not empty' });
  expect(await outcomeOf(make({ slot: '96' }))).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: '"96" is no PIV slot for keys',
  });
  for (const overwriteSlot of [false, true]) {
    expect(await outcomeOf(make({ slot: 'f9', overwriteSlot }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'slot f9 holds the attestation key: nothing is ever written there',
    });
  }
  expect(await outcomeOf(make({ overwriteSlot: true }))).toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect((await keysOf(backend)).length).toBe(5);

  const replaced = await make({ slot: '9a', overwriteSlot: true });
  const ids = (await keysOf(backend)).map(({ keyId }) => keyId);
  expect(ids).toContain(replaced.keyId);
  expect(ids).not.toContain(first[1]?.keyId);
  for (const { keyId, publicKey } of await keysOf(backend)) {
    const signature = await backend.sign(keyId, { message }, CONTEXT);
    expect(publicKey !== undefined && verifySignature(publicKey, message, signature)).toBe(true);
  }
});

test('a removed key is gone from the card, and its slot is used again', async () => {
  await using backend = await open();
  const { keyId, publicKey } = await backend.generator.generate(ROOT, CONTEXT);
  const { keys: before } = await home.yubikeys.card().status();
  expect(before.some(({ spki }) => spki === Buffer.from(publicKey.bytes).toString('base64'))).toBe(true);
  expect(await backend.remover.remove(keyId, CONTEXT)).toBe(true);
  const { keys: after } = await home.yubikeys.card().status();
  expect(after.some(({ spki }) => spki === Buffer.from(publicKey.bytes).toString('base64'))).toBe(false);
  expect(await keysOf(backend)).toEqual([]);
  expect(await backend.remover.remove(keyId, CONTEXT)).toBe(false);
  expect((await backend.generator.generate(ROOT, CONTEXT)).device?.slot).toBe('9c');
});

describe('a slot that another program filled', () => {
  const generate = (slot: string) =>
    cardTools(home.yubikeys).pivTool(`-a generate -A ECCP256 -s ${slot}`, '-o', join(home.directory, 'made.pem'));

  test('while the daemon had the card is not overwritten', async () => {
    await using backend = await open();
    expect(await keysOf(backend)).toEqual([]);
    await generate('9c');
    expect((await backend.generator.generate(ROOT, CONTEXT)).device?.slot).toBe('9a');
    expect((await keysOf(backend)).map(({ device }) => device?.slot).sort()).toEqual(['9a', '9c']);
  });

  test('after Signet had emptied it is not taken for empty', async () => {
    await using backend = await open();
    const { keyId } = await backend.generator.generate(ROOT, CONTEXT);
    await backend.remover.remove(keyId, CONTEXT);
    await generate('9c');
    expect((await backend.generator.generate(ROOT, CONTEXT)).device?.slot).toBe('9a');
  });
});

test('an imported key signs with its own public half, and is known not to be made on the card', async () => {
  await using backend = await open();
  for (const namedCurve of ['P-256', 'P-384']) {
    const { privateKey } = generateKeyPairSync('ec', {
      namedCurve,
      publicKeyEncoding: { format: 'der', type: 'spki' },
      privateKeyEncoding: { format: 'der', type: 'pkcs8' },
    });
    const key = await backend.importer.import(privateKey, { role: 'root', gun: '' }, CONTEXT);
    expect(key.device).toMatchObject({ attested: false, firmware: '5.4.3' });
    const signature = await backend.sign(key.keyId, { message }, CONTEXT);
    expect(verifySignature(key.publicKey, message, signature)).toBe(true);
    expect(await outcomeOf(backend.attester.attest(key.keyId, CONTEXT))).toMatchObject({ code: 'UNSUPPORTED' });
  }
});

test('a key gets another role and GUN', async () => {
  await using backend = await open();
  const { keyId } = await backend.generator.generate(ROOT, CONTEXT);
  const owner = { role: 'targets', gun: 'example.com/other' };
  expect(await backend.relabeller.relabel(keyId, owner, CONTEXT)).toMatchObject({ keyId, ...owner });
  expect(await backend.find(keyId)).toMatchObject(owner);
});

test('RSA keys are made in the sizes that the card has', async () => {
  await using backend = await open();
  const kinds = [2048, 3072] as const;
  expect(kinds.map((modulusBits) => backend.generator.makes?.({ algorithm: 'rsa', modulusBits }))).toEqual([
    true,
    false,
  ]);
  const key = await backend.generator.generate({ ...ROOT, algorithm: 'rsa', modulusBits: 2048 }, CONTEXT);
  const signature = await backend.sign(key.keyId, { message }, CONTEXT);
  expect(verifySignature(key.publicKey, message, signature)).toBe(true);
});

test('PIN and touch policies are those that were asked for, as the card itself says', async () => {
  await using backend = await open();
  const asked = { slot: '9c', pinPolicy: 'once', touchPolicy: 'cached' } as const;
  const key = await backend.generator.generate({ ...ROOT, device: asked }, CONTEXT);
  expect(key).toMatchObject({
    needs: { touch: true },
    device: { ...asked, attested: true },
    role: 'root',
    gun: 'registry.example.com/team/app',
  });
  const card = (await home.yubikeys.card().status()).keys.find(({ slot }) => slot === 0x9c);
  expect(card).toMatchObject({ pinPolicy: 'once', touchPolicy: 'cached', origin: 'generated' });
  const signature = await backend.sign(key.keyId, { message }, CONTEXT);
  expect(verifySignature(key.publicKey, message, signature)).toBe(true);
});

test('without yubico-piv-tool the library sets policies since 2.3, and before that no key is made', async () => {
  const env = { ...home.yubikeys.env, PATH: '/nowhere' };
  await using backend = await home.open({ pinFile: await home.pinFile(FACTORY_PIN), env });
  const device = { pinPolicy: 'once', touchPolicy: 'always' } as const;
  const outcome = await outcomeOf(backend.generator.generate({ ...ROOT, device }, CONTEXT));
  if (await isLibrarySince(2, 3)) {
    expect(outcome).toMatchObject({ value: { device, needs: { touch: true } } });
    return;
  }
  expect(outcome).toMatchObject({
    code: 'UNSUPPORTED',
    message: 'yubico-piv-tool is not installed',
    hint: 'install it; libykcs11 sets PIN and touch policies by itself since version 2.3',
  });
  expect(await keysOf(backend)).toEqual([]);
});

test('published weaknesses of the firmware are told of the keys that they concern', async () => {
  await using backend = await open(); // firmware 5.4.3
  const made = await backend.generator.generate(ROOT, CONTEXT);
  expect(made.device?.warnings).toEqual([expect.stringMatching(/^YSA-2024-03: /)]);
  expect((await backend.find(made.keyId))?.device?.warnings).toEqual(made.device?.warnings);
  const rsa = await backend.generator.generate({ ...ROOT, algorithm: 'rsa', modulusBits: 2048 }, CONTEXT);
  expect(rsa.device?.warnings).toEqual([]);
});

describe('attestation', () => {
  test('is the chain from the key to the root of the card', async () => {
    await using backend = await open();
    const { keyId } = await backend.generator.generate(ROOT, CONTEXT);
    const { chain, root, device } = await backend.attester.attest(keyId, CONTEXT);
    expect(device).toMatchObject({ slot: '9c', attested: true, firmware: '5.4.3' });
    expect(root).toBe(home.authorities.roots[0]?.subject.text);
    const [leaf, attester] = chain.map((der) => certificatePem({ der }));
    await writeFile(join(home.directory, 'leaf.pem'), leaf ?? '');
    await writeFile(join(home.directory, 'f9.pem'), attester ?? '');
    await writeFile(join(home.directory, 'root.pem'), home.yubikeys.attestationRoot.pem);
    const files = ['root.pem', 'f9.pem', 'leaf.pem'].map((name) => join(home.directory, name));
    const [rootFile = '', attesterFile = '', leafFile = ''] = files;
    expect(await openssl('verify', '-CAfile', rootFile, '-untrusted', attesterFile, leafFile)).toContain('OK');
  });

  test('is believed from chosen authorities only, and shown without any', async () => {
    const pinFile = await home.pinFile(FACTORY_PIN);
    await using without = await home.open({ pinFile });
    const { keyId, device } = await without.generator.generate(ROOT, CONTEXT);
    expect(device).not.toHaveProperty('attested');
    expect(device).toMatchObject({ touchPolicy: 'never', pinPolicy: 'always' });
    expect(await without.attester.attest(keyId, CONTEXT)).toMatchObject({ root: '', chain: { length: 2 } });
    await without[Symbol.asyncDispose]();

    await using other = await home.open({ pinFile, authorities: await strangers() });
    expect((await other.find(keyId))?.device?.attested).toBe(false);
    expect(await outcomeOf(other.attester.attest(keyId, CONTEXT))).toMatchObject({ code: 'INTEGRITY' });
  });

  test('that is required and not to be had leaves no key', async () => {
    const authorities = await strangers();
    await using backend = await home.open({
      pinFile: await home.pinFile(FACTORY_PIN),
      authorities,
      requireAttestation: ['root'],
    });
    expect(await outcomeOf(backend.generator.generate(ROOT, CONTEXT))).toMatchObject({
      code: 'PERMISSION_DENIED',
      message:
        'keys for the role root on yubikey: must be attested as made on it, and the new key could not be; it was removed',
    });
    expect(await keysOf(backend)).toEqual([]);
    expect((await backend.generator.generate({ ...ROOT, role: 'targets' }, CONTEXT)).role).toBe('targets');
    const { privateKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      publicKeyEncoding: { format: 'der', type: 'spki' },
      privateKeyEncoding: { format: 'der', type: 'pkcs8' },
    });
    expect(await outcomeOf(backend.importer.import(privateKey, { role: 'root', gun: '' }, CONTEXT))).toMatchObject({
      code: 'PERMISSION_DENIED',
    });
  });

  test('that is required is there for a key that was made on the card', async () => {
    await using backend = await home.open({
      pinFile: await home.pinFile(FACTORY_PIN),
      authorities: home.authorities,
      requireAttestation: ['root'],
    });
    expect((await backend.generator.generate(ROOT, CONTEXT)).device?.attested).toBe(true);
  });
});

/** Authorities that attest nothing here. */
async function strangers(): Promise<AttestationAuthorities> {
  using key = await PrivateKey.generate('ecdsa');
  const options = { publicKey: key.publicKey, notBefore: new Date(), commonName: 'somebody' };
  return { roots: [await buildSlotCertificate(options, (input) => key.sign(input))], intermediates: [] };
}

async function openssl(...args: readonly string[]): Promise<string> {
  const { ending, stdout, stderr } = await runProgram('openssl', args, { env: { PATH: process.env['PATH'] ?? '' } });
  expect(ending, stderr).toBe(0);
  return stdout;
}
