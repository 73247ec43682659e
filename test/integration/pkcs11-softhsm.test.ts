/** Keys and certificates on SoftHSM: what the conformance suite does not ask for. */
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { KeyInfo, KeyRequest, SignContext } from '../../src/backends/backend.ts';
import type { Pkcs11Backend, Pkcs11Options } from '../../src/backends/pkcs11/pkcs11-backend.ts';
import { GENERIC } from '../../src/backends/pkcs11/profile.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { SignetError } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { runProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { SOFTHSM_MODULE, type SoftHsm, softHsm, TEST_PIN, tokenUri } from '../support/softhsm.ts';
import { addObjects } from '../support/token-objects.ts';
import { verifyIndependently } from '../support/verify.ts';

const CONTEXT: SignContext = { caller: 'test' };
const OWNER = { role: 'root', gun: 'example.com/a' };
const MESSAGE = Buffer.from('to be signed');

let resources: Resources;
let hsm: SoftHsm;

beforeEach(async () => {
  resources = new Resources();
  hsm = resources.use(await softHsm());
  await hsm.createToken('ci');
});
afterEach(() => resources[Symbol.asyncDispose]());

const open = async (options: Partial<Pkcs11Options> = {}): Promise<Pkcs11Backend> =>
  resources.use(await hsm.open(tokenUri('ci'), { pinFile: await hsm.pinFile(), ...options }));
const pkcs11Tool = async (...args: readonly string[]) => {
  const all = ['--module', SOFTHSM_MODULE, '--token-label', 'ci', '--login', '--pin', TEST_PIN, ...args];
  const { ending, stdout, stderr } = await runProgram('pkcs11-tool', all, { env: hsm.env });
  if (ending !== 0) throw new Error(`pkcs11-tool failed: ${stderr}`);
  return stdout;
};
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

describe('keys made on the token', () => {
  it.each<[Omit<KeyRequest, 'role' | 'gun'>, number]>([
    [{ algorithm: 'ecdsa', curve: 'P-256' }, 64],
    [{ algorithm: 'ecdsa', curve: 'P-384' }, 96],
    [{ algorithm: 'ed25519' }, 64],
    [{ algorithm: 'rsa', modulusBits: 2048 }, 256],
    [{ algorithm: 'rsa', modulusBits: 3072 }, 384],
    [{ algorithm: 'rsa', modulusBits: 4096 }, 512],
  ])('%j sign, and cannot be extracted', async (request, signatureBytes) => {
    const backend = await open();
    const key = await backend.generator.generate({ ...request, ...OWNER }, CONTEXT);
    const signature = await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
    expect(signature.length).toBe(signatureBytes);
    expect(verifyIndependently(key.publicKey, MESSAGE, signature)).toBe(true);
    expect(await pkcs11Tool('-O', '--type', 'privkey')).toMatch(
      /Access:\s+sensitive, always sensitive, never extractable, local/,
    );
  });

  it.each<[Omit<KeyRequest, 'role' | 'gun'>, string, string]>([
    [{ algorithm: 'rsa', curve: 'P-256' }, 'INVALID_ARGUMENT', 'rsa keys have no choice of a curve'],
    [{ algorithm: 'ecdsa', modulusBits: 2048 }, 'INVALID_ARGUMENT', 'ecdsa keys have no modulus'],
    [
      { algorithm: 'ecdsa', device: { slot: '9c' } },
      'UNSUPPORTED',
      'pkcs11:token=ci has no slots or policies to choose from',
    ],
  ])('%j are refused before anything is made', async (request, code, message) => {
    const backend = await open();
    expect(await failure(backend.generator.generate({ ...request, ...OWNER }, CONTEXT))).toMatchObject({
      code,
      message,
    });
    expect(await backend.count()).toBe(0);
  });

  it('are not taken to a slot or with policies that the token does not have', async () => {
    const backend = await open();
    const { importer } = backend;
    if (importer === undefined) throw new Error('SoftHSM takes keys');
    const importing = importer.import(rawRsa(), { ...OWNER, device: { slot: '9a' } }, CONTEXT);
    expect(await failure(importing)).toMatchObject({
      code: 'UNSUPPORTED',
      message: 'pkcs11:token=ci has no slots or policies to choose from',
    });
    expect(await backend.count()).toBe(0);
  });

  it('tell their token', async () => {
    const backend = await open();
    const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    expect(key.device).toEqual({ label: 'ci', serial: expect.stringMatching(/^[0-9a-f]{16}$/), pinPolicy: 'once' });
    expect(await backend.token.status()).toEqual({
      identity: { backend: 'pkcs11', label: 'ci', serial: key.device?.serial },
      manufacturer: 'SoftHSM project',
      model: 'SoftHSM v2',
      firmware: undefined,
      modulePath: SOFTHSM_MODULE,
      present: true,
      loggedIn: true,
      pinTriesLeft: undefined,
      pukTriesLeft: undefined,
      pinLocked: false,
      warnings: [],
    });
  });
});

describe('another role and GUN', () => {
  it('are kept on the token', async () => {
    const backend = await open();
    const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const owner = { role: 'targets/releases', gun: 'example.com:5000/b' };
    expect(await backend.relabeller?.relabel(key.keyId, owner, CONTEXT)).toMatchObject({ keyId: key.keyId, ...owner });
    expect(await (await open()).find(key.keyId)).toMatchObject(owner);
    const signature = await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
    expect(verifySignature(key.publicKey, MESSAGE, signature)).toBe(true);
    const unknown = key.keyId.replace(/^./, (digit) => (digit === '0' ? '1' : '0')) as KeyInfo['keyId'];
    expect(await failure(backend.relabeller?.relabel(unknown, owner, CONTEXT) ?? Promise.resolve())).toMatchObject({
      code: 'KEY_NOT_FOUND',
    });
  });

  it('cannot be had where the module keeps no labels; nor what else it does not do', async () => {
    const lacks = { keepsLabels: false, storesCertificates: false, imports: [], removesKeys: false };
    const backend = await open({ profile: { ...GENERIC, ...lacks } });
    expect(backend.remover).toBeUndefined();
    expect(backend.relabeller).toBeUndefined();
    expect(backend.certifier).toBeUndefined();
    expect(backend.importer).toBeUndefined();
  });
});

describe('a certificate', () => {
  /** Of a key that OpenSSL makes, which is then imported. */
  async function openWithCertificate() {
    const backend = await open();
    const [keyFile, certificateFile] = ['key.der', 'cert.der'].map((name) => join(hsm.directory, name)) as [
      string,
      string,
    ];
    const env = { PATH: process.env['PATH'] ?? '' };
    const openssl = async (...args: readonly string[]) => {
      const { ending, stderr } = await runProgram('openssl', args, { env });
      if (ending !== 0) throw new Error(`openssl failed: ${stderr}`);
    };
    const make = async () => {
      const pem = join(hsm.directory, 'key.pem');
      await openssl(
        ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', pem],
        ...['-subj', '/CN=example.com', '-days', '30', '-outform', 'DER', '-out', certificateFile],
      );
      await openssl('pkcs8', '-topk8', '-nocrypt', '-in', pem, '-outform', 'DER', '-out', keyFile);
      return { key: await readFile(keyFile), certificate: await readFile(certificateFile) };
    };
    const first = await make();
    const imported = await backend.importer?.import(first.key, OWNER, CONTEXT);
    if (imported === undefined || backend.certifier === undefined) throw new Error('SoftHSM imports and certifies');
    return { backend, certifier: backend.certifier, keyId: imported.keyId, certificate: first.certificate, make };
  }

  it('is stored beside its key, found by other programs, replaced and removed', async () => {
    const { certifier, keyId, certificate } = await openWithCertificate();
    expect(await certifier.certificate(keyId, CONTEXT)).toBeUndefined();
    expect(await certifier.removeCertificate(keyId, CONTEXT)).toBe(false);
    for (let i = 0; i < 2; i++) {
      await certifier.putCertificate(keyId, certificate, CONTEXT);
      expect(await certifier.certificate(keyId, CONTEXT)).toEqual(certificate);
      const listed = await pkcs11Tool('-O', '--type', 'cert');
      expect(listed.match(/Certificate Object/g)).toHaveLength(1);
      expect(listed).toContain(`ID:         ${keyId}`);
      expect(listed).toContain('subject:    DN: CN=example.com');
      const read = join(hsm.directory, 'read.der');
      await pkcs11Tool('--read-object', '--type', 'cert', '--id', keyId, '--output-file', read);
      expect(new X509Certificate(await readFile(read)).subject).toBe('CN=example.com');
    }
    expect(await certifier.removeCertificate(keyId, CONTEXT)).toBe(true);
    expect(await certifier.certificate(keyId, CONTEXT)).toBeUndefined();
  });

  it('of another key, or none at all, is refused', async () => {
    const { certifier, keyId, certificate, make } = await openWithCertificate();
    const other = (await make()).certificate;
    const refusals: [Uint8Array, string][] = [
      [other, 'the certificate is for another key'],
      [Buffer.from('no certificate'), 'not an X.509 certificate of a key that is supported'],
      [certificate.subarray(0, 100), 'not an X.509 certificate of a key that is supported'],
    ];
    for (const [der, message] of refusals) {
      const putting = certifier.putCertificate(keyId, der, CONTEXT);
      expect(await failure(putting)).toMatchObject({ code: 'INVALID_ARGUMENT', message });
    }
    expect(await certifier.certificate(keyId, CONTEXT)).toBeUndefined();
  });
});

describe('a device that is let go of', () => {
  it('has no process, and is not taken back by looks, but by use', async () => {
    const backend = await open();
    const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const { hostPid = 0 } = backend;
    await backend.token.release();
    expect(() => process.kill(hostPid, 0)).toThrow('ESRCH');
    expect(await backend.health()).toEqual({ ready: true });
    expect(await backend.find(key.keyId)).toMatchObject(OWNER);
    expect(await backend.count()).toBe(1);
    expect(backend.hostPid).toBeUndefined();
    const signature = await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
    expect(verifySignature(key.publicKey, MESSAGE, signature)).toBe(true);
    expect(backend.hostPid).toBeGreaterThan(0);
  });

  it('while it works lets the work end', async () => {
    const backend = await open();
    const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const signing = Array.from({ length: 200 }, () => backend.sign(key.keyId, { message: MESSAGE }, CONTEXT));
    await Promise.race(signing);
    await Promise.all([backend.token.release(), backend.token.release()]);
    const good = (await Promise.all(signing)).filter((signature) => verifySignature(key.publicKey, MESSAGE, signature));
    expect(good).toHaveLength(200);
    await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
  });

  it('because it was idle comes back at its next use', async () => {
    const attachments: string[] = [];
    const backend = await open({ idleReleaseMs: 200, onEvent: (what) => attachments.push(what) });
    const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    for (let round = 0; round < 2; round++) {
      await waitFor('the end of the process', () => backend.hostPid === undefined);
      const before = attachments.length;
      await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
      expect(attachments.slice(before)).toContain('token pkcs11:token=ci attached');
    }
  });
});

describe('objects of other programs', () => {
  it('may be thousands', async () => {
    // In memory where there is such a place: SoftHSM flushes each object to the disk.
    const inMemory = await access('/dev/shm').then(
      () => '/dev/shm',
      () => undefined,
    );
    const large = resources.use(await softHsm(inMemory));
    await large.createToken('large');
    await addObjects(large, 'large', 'pairs', 2500);
    const pinFile = await large.pinFile();
    const backend = resources.use(await large.open(tokenUri('large'), { pinFile, operationTimeoutMs: 60_000 }));
    const keys: KeyInfo[] = [];
    for await (const key of backend.list()) keys.push(key);
    expect(keys).toHaveLength(2500);
    expect(new Set(keys.map(({ gun }) => gun)).size).toBe(2500);
    const last = keys.find(({ gun }) => gun === 'example.com/2499');
    if (last?.publicKey === undefined) throw new Error('the last key is not listed');
    const signature = await backend.sign(last.keyId, { message: MESSAGE }, CONTEXT);
    expect(verifySignature(last.publicKey, MESSAGE, signature)).toBe(true);
    expect(await backend.health()).toEqual({ ready: true });
  });

  it('of types and curves that Signet does not know are left out and named', async () => {
    await pkcs11Tool('--keypairgen', '--key-type', 'EC:secp256k1', '--id', '02', '--usage-sign');
    await pkcs11Tool('--keypairgen', '--key-type', 'EC:prime256v1', '--id', '03', '--usage-sign');
    const unreadable: string[] = [];
    const backend = await open({ onUnreadable: (what, error) => unreadable.push(`${what} ${error.message}`) });
    expect(await backend.count()).toBe(1);
    expect(unreadable).toEqual([
      expect.stringMatching(
        /^pkcs11:token=ci;serial=[0-9a-f]{16};type=private;id=%02 EC keys on the curve 1\.3\.132\.0\.10 are not supported$/,
      ),
    ]);
  });
});

describe('errors', () => {
  it('name the operation, the token, the module and the return value', async () => {
    const backend = await open({ profile: { ...GENERIC, refusedAtGeneration: ['SENSITIVE', 'EXTRACTABLE'] } });
    expect(await failure(backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT))).toMatchObject({
      code: 'UNSUPPORTED',
      message: 'token "ci" makes keys that can be extracted',
    });
    expect(await backend.count()).toBe(0);
    const key = await backend.importer?.import(rawRsa(), OWNER, CONTEXT);
    await pkcs11Tool('--delete-object', '--type', 'privkey', '--id', key?.keyId ?? '');
    const signing = backend.sign(key?.keyId ?? ('' as KeyInfo['keyId']), { message: MESSAGE }, CONTEXT);
    expect((await failure(signing)).message).toBe(`no key ${key?.keyId} on token "ci"`);
  });
});

function rawRsa(): Buffer {
  return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'der', type: 'pkcs8' });
}
