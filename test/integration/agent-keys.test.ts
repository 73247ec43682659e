/** The agent's calls on keys, of the built daemon over the real socket: what they do, and every refusal. */
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openKeyPem, readKeyPem } from '../../src/crypto/key-pem.ts';
import { parsePem } from '../../src/crypto/pem.ts';
import { Secret } from '../../src/crypto/secret.ts';
import type { AgentKey, GenerateKeyRequest } from '../../src/rpc/messages.ts';
import { agentHome } from '../support/agent-home.ts';

const PASSPHRASE = 'a passphrase for these tests';
const OTHER = 'another passphrase for these tests';
const OWNER = { role: 'targets', gun: 'registry.example.com/team/app' };
const UNKNOWN = '0'.repeat(64);

const home = agentHome([PASSPHRASE, OTHER]);

const bytes = (text: string) => Buffer.from(text);
const fileOf = (keyId: string) => join(home.daemon.storagePath, `${keyId}.key`);
const unlock = (keyId: string, passphrase: string) =>
  home.agent.unlock({ key_id: keyId, passphrase: bytes(passphrase), ttl_ms: 0 });
const generate = (request: Partial<GenerateKeyRequest> = {}): Promise<AgentKey> =>
  home.agent.generateKey({ algorithm: 'ecdsa', ...OWNER, passphrase: bytes(PASSPHRASE), ...request });

function pkcs8(): Buffer {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'der', type: 'pkcs8' });
}

describe('GenerateKey', () => {
  it('makes every size that it offers', async () => {
    const p384 = await generate({ curve: 'P-384' });
    const spki = Buffer.from(p384.public_key?.bytes ?? []);
    expect(spki.includes(Buffer.from('2b81040022', 'hex'))).toBe(true); // secp384r1, RFC 5480 §2.1.1.1
    const rsa = await generate({ algorithm: 'rsa', modulus_bits: 2048 });
    expect(Buffer.from(rsa.public_key?.bytes ?? [])).toHaveLength(294);
    expect((await generate({ algorithm: 'ed25519' })).backend).toBe('file');
  });

  it.each<[string, Partial<GenerateKeyRequest>, string, string]>([
    ['an unknown curve', { curve: 'P-521' }, 'INVALID_ARGUMENT', 'unknown curve'],
    [
      'a curve for rsa',
      { algorithm: 'rsa', curve: 'P-256' },
      'INVALID_ARGUMENT',
      'only ecdsa keys have a curve to choose',
    ],
    ['an odd modulus', { algorithm: 'rsa', modulus_bits: 1024 }, 'INVALID_ARGUMENT', 'unknown modulus length'],
    ['a modulus for ecdsa', { modulus_bits: 2048 }, 'INVALID_ARGUMENT', 'only rsa keys have a modulus'],
    ['an unknown slot', { slot: 'f9' }, 'INVALID_ARGUMENT', 'no such PIV slot'],
    ['an unknown policy', { touch_policy: 'sometimes' }, 'INVALID_ARGUMENT', 'unknown touch policy'],
    ['an unknown backend', { backend: 'cloud' }, 'INVALID_ARGUMENT', 'no backend "cloud" is configured'],
    [
      'required hardware where there is none',
      { require_hardware: true },
      'TOKEN_NOT_PRESENT',
      'no token is configured for keys of role "targets", only: file',
    ],
    ['an unknown serial', { serial: '1234' }, 'TOKEN_NOT_PRESENT', 'no configured token has the serial number "1234"'],
    [
      'a slot in a directory',
      { slot: '9c' },
      'UNSUPPORTED',
      expect.stringContaining('is no token: it has no slots and no PIN or touch policies') as string,
    ],
    ['a line break in the GUN', { gun: 'a\nrole: root' }, 'INVALID_ARGUMENT', 'gun has a control character'],
  ])('refuses %s', async (_what, request, code, message) => {
    const before = await readdir(home.daemon.storagePath);
    await expect(generate(request)).rejects.toMatchObject({ code, message });
    expect(await readdir(home.daemon.storagePath)).toEqual(before);
  });

  it('puts the key where the caller says', async () => {
    expect((await generate({ backend: 'storage' })).location).toMatch(home.daemon.storagePath);
    expect((await generate({ backend: 'file' })).passed_over).toEqual([]);
  });
});

describe('ImportKey', () => {
  it('stores a key that signs, sealed under the passphrase', async () => {
    const key = await home.agent.importKey({ pkcs8: pkcs8(), ...OWNER, passphrase: bytes(PASSPHRASE) });
    expect(key).toMatchObject({ ...OWNER, needs_passphrase: true, backend: 'file' });
    await home.agent.lock(key.key_id);
    await unlock(key.key_id, PASSPHRASE);
    const { signature } = await home.agent.sign({ key_id: key.key_id, message: bytes('x') });
    expect(signature).toHaveLength(64);
  });

  it('never overwrites', async () => {
    const der = pkcs8();
    const { key_id } = await home.agent.importKey({ pkcs8: der, ...OWNER, passphrase: bytes(PASSPHRASE) });
    const before = await readFile(fileOf(key_id));
    const again = home.agent.importKey({ pkcs8: der, role: 'root', gun: '', passphrase: bytes(OTHER) });
    await expect(again).rejects.toMatchObject({
      code: 'KEY_EXISTS',
      message: `key ${key_id} is in ${fileOf(key_id)} already`,
    });
    expect(await readFile(fileOf(key_id))).toEqual(before);
  });

  it('refuses what is no private key, without repeating it', async () => {
    const secret = bytes('0123456789 this is not DER');
    const error = await home.agent
      .importKey({ pkcs8: secret, ...OWNER, passphrase: bytes(PASSPHRASE) })
      .catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(String(error)).not.toContain('0123456789');
    expect(home.daemon.program.stderr).not.toContain('0123456789');
  });
});

describe('ExportKey', () => {
  it('gives the stored block with the path that notary needs', async () => {
    const { key_id } = await generate();
    const { pem } = await home.agent.exportKey(key_id);
    const block = parsePem(bytes(pem));
    expect([...(block?.headers ?? [])].sort()).toEqual([
      ['gun', OWNER.gun],
      ['path', key_id],
      ['role', OWNER.role],
    ]);
    expect(block?.bytes).toEqual(parsePem(await readFile(fileOf(key_id)))?.bytes);
  });

  it('seals a file that is not sealed', async () => {
    const der = pkcs8();
    const { key_id } = await home.agent.importKey({ pkcs8: der, ...OWNER, passphrase: bytes(PASSPHRASE) });
    await home.agent.lock('');
    const plain = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({ format: 'pem', type: 'pkcs8' });
    await writeFile(fileOf(key_id), plain);
    const { interaction } = await home.session(() => OTHER);
    const { pem } = await home.agent.exportKey(key_id, { interaction });
    using secret = Secret.fromText(OTHER);
    using key = await openKeyPem(readKeyPem(bytes(pem)), secret);
    expect(key.keyId).toBe(key_id);
  });

  it('knows no other keys', async () => {
    await expect(home.agent.exportKey(UNKNOWN)).rejects.toMatchObject({ code: 'KEY_NOT_FOUND' });
    await expect(home.agent.exportKey('abc')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });
});

describe('ChangePassphrase', () => {
  it('asks for the old passphrase, then for the new one', async () => {
    const { key_id } = await generate();
    await home.agent.lock(key_id);
    const { who, interaction } = await home.session(({ kind }) => (kind === 'passphrase' ? PASSPHRASE : OTHER));
    await home.agent.changePassphrase({ key_id, new_passphrase: bytes('') }, { interaction });
    expect(who.asked.map(({ kind }) => kind)).toEqual(['passphrase', 'new passphrase']);
    await expect(unlock(key_id, PASSPHRASE)).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
    await unlock(key_id, OTHER);
    expect((await stat(fileOf(key_id))).mode & 0o777).toBe(0o600);
    expect(readKeyPem(await readFile(fileOf(key_id)))).toMatchObject(OWNER);
  });

  it('needs the old passphrase also for a key that is unlocked', async () => {
    const { key_id } = await generate();
    const before = await readFile(fileOf(key_id));
    await unlock(key_id, PASSPHRASE);
    const change = home.agent.changePassphrase({ key_id, new_passphrase: bytes(OTHER) });
    await expect(change).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
    expect(await readFile(fileOf(key_id))).toEqual(before);
  });

  it('leaves everything as it is when the person declines', async () => {
    const { key_id } = await generate();
    const before = await readFile(fileOf(key_id));
    const { interaction } = await home.session(({ kind }) => (kind === 'passphrase' ? PASSPHRASE : undefined));
    const change = home.agent.changePassphrase({ key_id, new_passphrase: bytes('') }, { interaction });
    await expect(change).rejects.toMatchObject({ code: 'PASSPHRASE_REQUIRED' });
    expect(await readFile(fileOf(key_id))).toEqual(before);
  });
});

describe('RelabelKey', () => {
  it('rewrites the headers without the passphrase', async () => {
    const { key_id } = await generate();
    await home.agent.lock(key_id);
    const before = parsePem(await readFile(fileOf(key_id)));
    const relabelled = await home.agent.relabelKey({ key_id, role: 'alice', gun: '' });
    expect(relabelled).toMatchObject({ key_id, role: 'alice', gun: '', needs_passphrase: true });
    const after = parsePem(await readFile(fileOf(key_id)));
    expect(after?.bytes).toEqual(before?.bytes);
    expect([...(after?.headers ?? [])]).toEqual([['role', 'alice']]);
    await unlock(key_id, PASSPHRASE);
  });

  it('wants a GUN for the roles of one collection', async () => {
    const { key_id } = await generate();
    await expect(home.agent.relabelKey({ key_id, role: 'snapshot', gun: '' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'a key of role snapshot needs a GUN',
    });
  });
});

describe('calls on tokens, where none is configured', () => {
  it('say so', async () => {
    expect(await home.agent.listTokens()).toEqual({ tokens: [] });
    const none = { code: 'TOKEN_NOT_PRESENT', message: 'no token is configured' };
    await expect(home.agent.changePin({ serial: '', secret: 'pin' })).rejects.toMatchObject(none);
    await expect(home.agent.unblockPin({})).rejects.toMatchObject(none);
    await expect(home.agent.initialiseToken({ serial: '', label: 'x' })).rejects.toMatchObject(none);
    const { key_id } = await generate();
    await expect(home.agent.attestKey(key_id)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });
});
