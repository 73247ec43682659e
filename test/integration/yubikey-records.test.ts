/** What is remembered of a YubiKey's keys, and that it can be lost. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { YubikeyBackend } from '../../src/backends/yubikey/yubikey-backend.ts';
import { buildSlotCertificate } from '../../src/crypto/root-certificate.ts';
import { outcomeOf } from '../support/outcome.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

const CONTEXT = { caller: 'test' };
const OWNER = { role: 'targets', gun: 'example.com/app' };

let home: YubikeyHome;
const stateDirectory = () => join(home.directory, 'state');
const recordFile = () => join(stateDirectory(), 'yubikey-12345678.json');

beforeAll(async () => {
  home = await yubikeyHome();
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await home.yubikeys.card().insert();
  await home.yubikeys.card().factoryReset();
  await rm(stateDirectory(), { recursive: true, force: true });
});

async function open(): Promise<YubikeyBackend> {
  return await home.open({
    serial: '12345678',
    pinFile: await home.pinFile(FACTORY_PIN),
    authorities: home.authorities,
    stateDirectory: stateDirectory(),
  });
}

async function generate(backend: YubikeyBackend) {
  return await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
}

test('the attestation of a key is shown while the YubiKey is away, also after a restart', async () => {
  await using backend = await open();
  const { keyId } = await generate(backend);
  const attestation = await backend.attester.attest(keyId, CONTEXT);
  expect(attestation.device).toMatchObject({ attested: true, slot: '9c', serial: '12345678' });
  await backend[Symbol.asyncDispose]();
  await home.yubikeys.card().remove();
  await using again = await open();
  const { chain, device } = await again.attester.attest(keyId, CONTEXT);
  expect(chain.map((der) => Buffer.from(der))).toEqual(attestation.chain.map((der) => Buffer.from(der)));
  expect(device).toMatchObject({ attested: true, slot: '9c', serial: '12345678', pinPolicy: 'always' });
});

test('role and GUN stay when the certificate of the slot is replaced, until the record is lost', async () => {
  await using backend = await open();
  const { keyId, publicKey } = await generate(backend);
  const options = { publicKey, commonName: 'of another authority', notBefore: new Date() };
  const other = await buildSlotCertificate(options, (input) => backend.sign(keyId, input, CONTEXT));
  await backend.certifier.putCertificate(keyId, other.der, CONTEXT);
  expect(Buffer.from((await backend.certifier.certificate(keyId, CONTEXT)) ?? [])).toEqual(Buffer.from(other.der));
  expect(await backend.find(keyId)).toMatchObject(OWNER);
  await backend[Symbol.asyncDispose]();

  await using again = await open();
  expect(await again.find(keyId)).toMatchObject(OWNER);
  await again[Symbol.asyncDispose]();
  await rm(recordFile());
  await using forgetful = await open();
  expect(await forgetful.find(keyId)).toMatchObject({ role: 'root', gun: '' });
});

test('a record that is lost or damaged is made anew from the YubiKey', async () => {
  await using backend = await open();
  const { keyId } = await generate(backend);
  await backend[Symbol.asyncDispose]();
  const written = await readFile(recordFile(), 'utf8');
  expect(written).toContain(keyId);
  for (const damage of [undefined, '', '{}', 'null', '{"version":1,"keys":[1]}', written.replace(keyId, 'x')]) {
    if (damage === undefined) await rm(recordFile());
    else await writeFile(recordFile(), damage);
    await using again = await open();
    expect(await again.find(keyId)).toMatchObject(OWNER);
    await again[Symbol.asyncDispose]();
    expect(JSON.parse(await readFile(recordFile(), 'utf8'))).toMatchObject({
      serial: '12345678',
      keys: [{ keyId, slot: '9c', ...OWNER }],
    });
  }
  expect((await readdir(stateDirectory())).filter((name) => name.startsWith('yubikey-'))).toEqual([
    'yubikey-12345678.json',
  ]);
});

test('a key that was removed is not remembered', async () => {
  await using backend = await open();
  const { keyId } = await generate(backend);
  await backend.remover.remove(keyId, CONTEXT);
  expect(await readFile(recordFile(), 'utf8')).not.toContain(keyId);
  expect(await outcomeOf(backend.attester.attest(keyId, CONTEXT))).toMatchObject({ code: 'KEY_NOT_FOUND' });
});
