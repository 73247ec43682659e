/** The virtual YubiKey, judged by the programs that people use with real ones. */
import { createHash, createPublicKey, type KeyObject, randomBytes, verify, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';
import { type CardTools, cardTools } from '../support/virtual-yubikey/tools.ts';
import { startVirtualYubikeys, type VirtualYubikeys } from '../support/virtual-yubikey/virtual-yubikeys.ts';

const MANAGEMENT_KEY = '010203040506070801020304050607080102030405060708';
const SO_LOGIN = `--login --login-type so --so-pin ${MANAGEMENT_KEY}`;
const LOGIN = '--login --pin 123456';

let yubikeys: VirtualYubikeys;
let tools: CardTools;
let directory: TemporaryDirectory;
const at = (name: string) => join(directory.path, name);

beforeAll(async () => {
  directory = await temporaryDirectory();
  yubikeys = await startVirtualYubikeys();
  tools = cardTools(yubikeys);
});

afterEach(async () => {
  await yubikeys.card().factoryReset();
  await yubikeys.card().clearStatistics();
});

afterAll(async () => {
  await yubikeys[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

async function publicKeyIn9a(): Promise<KeyObject> {
  const { keys } = await yubikeys.card().status();
  const spki = Buffer.from(keys.find(({ slot }) => slot === 0x9a)?.spki ?? '', 'base64');
  return createPublicKey({ key: spki, format: 'der', type: 'spki' });
}

describe('yubico-piv-tool', () => {
  test('reads version, serial number and tries of a factory-fresh card', async () => {
    const status = await tools.pivTool('-a status');
    expect(status).toMatch(/^Version:\t5\.4\.3\nSerial Number:\t12345678\n/);
    expect(status).toContain('PIN tries left:\t3');
    expect(await yubikeys.card().statistics()).toMatchObject({ pin: { attempts: 0, failures: 0 } });
  });

  test.each(['RSA1024', 'RSA2048', 'ECCP256', 'ECCP384'])(
    'makes a key of %s, which OpenSSL reads',
    async (algorithm) => {
      await tools.pivTool(`-a generate -s 9a -A ${algorithm}`, '-o', at('key.pem'));
      const { keys } = await yubikeys.card().status();
      const spki = keys.find(({ slot }) => slot === 0x9a)?.spki;
      const key = createPublicKey(await readFile(at('key.pem')));
      expect(key.export({ format: 'der', type: 'spki' }).toString('base64')).toBe(spki);
    },
  );

  test('makes a key with policies, and its attestation leads to the maker', async () => {
    await tools.pivTool('-a generate -s 9c -A ECCP256 --pin-policy once --touch-policy cached');
    await tools.pivTool('-a attest -s 9c', '-o', at('attestation.pem'));
    await tools.pivTool('-a read-certificate -s f9', '-o', at('f9.pem'));
    await writeFile(at('root.pem'), yubikeys.attestationRoot.pem);
    const chain = ['-CAfile', at('root.pem'), '-untrusted', at('f9.pem')];
    expect(await tools.run('openssl', 'verify', ...chain, at('attestation.pem'))).toContain('OK');
    const text = await tools.run('openssl', 'asn1parse', '-in', at('attestation.pem'));
    expect(text).toMatch(/1\.3\.6\.1\.4\.1\.41482\.3\.8\n.*\[HEX DUMP\]:0203\n/);
    expect(await yubikeys.card().status()).toMatchObject({
      keys: [{}, { slot: 0x9c, origin: 'generated', pinPolicy: 'once', touchPolicy: 'cached' }],
    });
  });

  test('imports key and certificate, and the key signs', async () => {
    const subject = ['-subj', '/CN=imported', '-days', '2'];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-keyout', at('imported.key')];
    await tools.run('openssl', 'req', '-x509', ...key, ...subject, '-out', at('imported.pem'));
    await tools.pivTool('-a import-key -s 9a', '-i', at('imported.key'));
    await tools.pivTool('-a import-certificate -s 9a', '-i', at('imported.pem'));
    await tools.pivTool('-a read-certificate -s 9a', '-o', at('read.pem'));
    const [written, read] = [await readFile(at('imported.pem')), await readFile(at('read.pem'))];
    expect(new X509Certificate(read).raw).toEqual(new X509Certificate(written).raw);
    const signed = await tools.pivTool('-a verify-pin -P 123456 -a test-signature -s 9a', '-i', at('imported.pem'));
    expect(signed).toContain('Successful ECDSA verification');
    await tools.pivToolFailing('-a attest -s 9a');
  });

  test('imports an RSA key, and the key signs', async () => {
    const key = ['-newkey', 'rsa:2048', '-noenc', '-keyout', at('rsa.key')];
    await tools.run('openssl', 'req', '-x509', ...key, '-subj', '/CN=imported', '-out', at('rsa.pem'));
    await tools.pivTool('-a import-key -s 9e', '-i', at('rsa.key'));
    expect(await tools.pivTool('-a test-signature -s 9e', '-i', at('rsa.pem'))).toContain(
      'Successful RSA verification',
    );
  });

  test('counts wrong PINs down to blocked, and the PUK unblocks', async () => {
    const wrong = '-a verify-pin -P 000000';
    expect(await tools.pivToolFailing(wrong)).toContain('2 tries left');
    expect(await tools.pivToolFailing(wrong)).toContain('1 tries left');
    expect(await tools.pivToolFailing(wrong)).toContain('Pin code blocked');
    expect(await tools.pivToolFailing('-a verify-pin -P 123456')).toContain('Pin code blocked');
    expect(await yubikeys.card().statistics()).toMatchObject({ pin: { attempts: 4, failures: 4 } });
    await tools.pivTool('-a unblock-pin -P 12345678 -N 777777');
    await tools.pivTool('-a verify-pin -P 777777');
  });

  test('changes PIN, PUK and the number of tries', async () => {
    await tools.pivTool('-a change-pin -P 123456 -N 654321');
    await tools.pivTool('-a change-puk -P 12345678 -N 87654321');
    expect(await tools.pivToolFailing('-a change-puk -P 12345678 -N 87654321')).toContain('2 tries left');
    await tools.pivTool('-a verify-pin -P 654321 -a pin-retries --pin-retries 7 --puk-retries 9');
    expect(await yubikeys.card().status()).toMatchObject({ pinRetriesLeft: 7, pukRetriesLeft: 9 });
    await tools.pivTool('-a verify-pin -P 123456');
  });

  test('changes the management key', async () => {
    const other = MANAGEMENT_KEY.replace(/08$/, 'f8');
    await tools.pivTool(`-a set-mgm-key -n ${other}`);
    expect(await tools.pivToolFailing('-a generate -s 9a -A ECCP256')).toContain('Failed authentication');
    await tools.pivTool(`--key=${other} -a generate -s 9a -A ECCP256`);
  });

  test('resets a card whose PIN and PUK are blocked', async () => {
    await tools.pivTool('-a generate -s 9a -A ECCP256');
    await tools.pivToolFailing('-a reset');
    for (let tries = 0; tries < 3; tries++) {
      await tools.pivToolFailing('-a verify-pin -P 000000');
      await tools.pivToolFailing('-a change-puk -P 00000000 -N 11111111');
    }
    await tools.pivTool('-a reset');
    const status = await yubikeys.card().status();
    expect(status).toMatchObject({ pinRetriesLeft: 3, pukRetriesLeft: 3, keys: [{ slot: 0xf9 }] });
  });
});

describe('pkcs11-tool over libykcs11', () => {
  test('lists the token by its serial number, its mechanisms and its objects', async () => {
    const slots = await tools.pkcs11Tool('-L');
    expect(slots).toMatch(/token label +: YubiKey PIV #12345678\n/);
    expect(slots).toMatch(/token model +: YubiKey YK5\n/);
    expect(await tools.pkcs11Tool('-M')).toContain('ECDSA, keySize={256,384}');
    await tools.pkcs11Tool(`${SO_LOGIN} --keypairgen --key-type EC:prime256v1 --id 02`);
    const objects = await tools.pkcs11Tool('-O');
    expect(objects).toContain('Public key for Digital Signature');
    expect(objects).toContain('X.509 Certificate for PIV Attestation 9c');
  });

  test.each([
    ['EC:prime256v1', 'sha256'],
    ['EC:secp384r1', 'sha384'],
  ])('makes a key of %s and signs a digest', async (type, hash) => {
    await tools.pkcs11Tool(`${SO_LOGIN} --keypairgen --key-type ${type} --id 01`);
    const message = randomBytes(100);
    await writeFile(at('digest'), createHash(hash).update(message).digest());
    const files = ['--input-file', at('digest'), '--output-file', at('signature')];
    await tools.pkcs11Tool(`${LOGIN} --sign --mechanism ECDSA --id 01 --signature-format openssl`, ...files);
    expect(verify(hash, message, await publicKeyIn9a(), await readFile(at('signature')))).toBe(true);
    expect(await yubikeys.card().statistics()).toMatchObject({
      pin: { attempts: 1, failures: 0 },
      managementKey: { attempts: 1, failures: 0 },
      signatures: 1,
    });
  });

  test('signs with RSA, and OpenSSL verifies', async () => {
    await tools.pkcs11Tool(`${SO_LOGIN} --keypairgen --key-type rsa:2048 --id 01`);
    await tools.pkcs11Tool('--read-object --type pubkey --id 01', '--output-file', at('public.der'));
    await tools.run('openssl', 'pkey', '-pubin', '-inform', 'DER', '-in', at('public.der'), '-out', at('public.pem'));
    await writeFile(at('message'), randomBytes(100));
    const files = ['--input-file', at('message'), '--output-file', at('signature')];
    await tools.pkcs11Tool(`${LOGIN} --sign --mechanism SHA256-RSA-PKCS --id 01`, ...files);
    const verification = ['-sha256', '-verify', at('public.pem'), '-signature', at('signature'), at('message')];
    expect(await tools.run('openssl', 'dgst', ...verification)).toContain('Verified OK');
  });
});
