import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Interaction, PassphraseSource } from '../../../../src/backends/backend.ts';
import { FileBackend } from '../../../../src/backends/file/file-backend.ts';
import { openKeyPem, readKeyPem } from '../../../../src/crypto/key-pem.ts';
import { parsePem } from '../../../../src/crypto/pem.ts';
import { Secret } from '../../../../src/crypto/secret.ts';
import { NOBODY } from '../../../support/interaction.ts';
import { keyFileText, listedPassphrases, writeKeyFile } from '../../../support/key-files.ts';
import { Resources } from '../../../support/resources.ts';
import { temporaryDirectory } from '../../../support/temp.ts';

const OLD = 'the old one';
const NEW = 'the new one';
const OWNER = { role: 'targets', gun: 'registry.example.com/team/app' };
const MESSAGE = { message: Buffer.from('x') };

let resources: Resources;
let path: string;
beforeEach(async () => {
  resources = new Resources();
  path = resources.use(await temporaryDirectory()).path;
});
afterEach(() => resources[Symbol.asyncDispose]());

async function open(passphrases: PassphraseSource = { ...listedPassphrases([OLD]), kdfIterations: 2048 }) {
  return resources.use(await FileBackend.open({ path, passphrases, unlocked: { max: 10, ttlMs: 60_000 } }));
}

async function opens(file: string, passphrase: string): Promise<string> {
  using secret = Secret.fromText(passphrase);
  using key = await openKeyPem(readKeyPem(await readFile(file)), secret);
  return key.keyId;
}

function choosing(newPassphrase: () => Promise<string | undefined>): { caller: string; interaction: Interaction } {
  const interaction: Interaction = {
    ...NOBODY,
    newPassphrase: async () => {
      const text = await newPassphrase();
      return text === undefined ? undefined : Secret.fromText(text);
    },
  };
  return { caller: 'test', interaction };
}

describe('another passphrase', () => {
  it('seals every format as notary reads it, and keeps role and GUN', async () => {
    const backend = await open();
    const plain = await writeKeyFile(path, { ...OWNER });
    const sealed = await writeKeyFile(path, { ...OWNER, passphrase: OLD });
    for (const { key, path: file } of [plain, sealed]) {
      using passphrase = Secret.fromText(NEW);
      await backend.passphrases.changePassphrase(key.keyId, passphrase, { caller: 'test' });
      expect(await opens(file, NEW)).toBe(key.keyId);
      expect(parsePem(await readFile(file))?.type).toBe('ENCRYPTED PRIVATE KEY');
      expect(readKeyPem(await readFile(file))).toMatchObject(OWNER);
    }
    expect(await readdir(path)).toHaveLength(2);
  });

  it('is not written over what another program wrote meanwhile', async () => {
    const backend = await open();
    const { key, path: file } = await writeKeyFile(path, { ...OWNER, passphrase: OLD });
    const theirs = await keyFileText(key, { ...OWNER, passphrase: 'theirs' });
    const change = backend.passphrases.changePassphrase(
      key.keyId,
      undefined,
      choosing(async () => {
        await rm(file);
        await writeFile(file, theirs);
        return NEW;
      }),
    );
    await expect(change).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `another program changed ${file} meanwhile`,
      hint: 'try again',
    });
    expect(await readFile(file, 'utf8')).toBe(theirs);
  });

  it('does not bring back a key that was removed meanwhile', async () => {
    const backend = await open();
    const { key, path: file } = await writeKeyFile(path, { ...OWNER, passphrase: OLD });
    const removing = choosing(async () => {
      await rm(file);
      return NEW;
    });
    const change = backend.passphrases.changePassphrase(key.keyId, undefined, removing);
    await expect(change).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(await readdir(path)).toEqual([]);
  });

  it('of several that are chosen at once, one wins whole', async () => {
    const backend = await open();
    const { key, path: file } = await writeKeyFile(path, { ...OWNER, passphrase: OLD });
    const texts = Array.from({ length: 8 }, (_, index) => `passphrase ${index}`);
    const results = await Promise.allSettled(
      texts.map((text) =>
        backend.passphrases.changePassphrase(
          key.keyId,
          undefined,
          choosing(async () => text),
        ),
      ),
    );
    const won = texts.filter((_, index) => results[index]?.status === 'fulfilled');
    expect(won).toHaveLength(1);
    expect(await opens(file, won[0] ?? '')).toBe(key.keyId);
    expect(await readdir(path)).toHaveLength(1);
  });

  it('does not make a key its own that its file only claims to be', async () => {
    const backend = await open();
    const { key } = await writeKeyFile(path, { passphrase: OLD, name: `${'a'.repeat(64)}.key` });
    expect(key.keyId).not.toBe('a'.repeat(64));
    using passphrase = Secret.fromText(NEW);
    const keyId = 'a'.repeat(64) as typeof key.keyId;
    const change = backend.passphrases.changePassphrase(keyId, passphrase, { caller: 'test' });
    await expect(change).rejects.toMatchObject({ code: 'INTEGRITY' });
  });
});

describe('another role and GUN', () => {
  it('leave everything else of the file as it is, legacy encryption included', async () => {
    const backend = await open();
    const { key, path: file } = await writeKeyFile(path, { ...OWNER, passphrase: OLD });
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('role: targets', 'note: mine\nrole: targets'));
    await backend.relabeller.relabel(key.keyId, { role: 'root', gun: '' }, { caller: 'test' });
    const { headers, bytes } = parsePem(await readFile(file)) ?? { headers: new Map(), bytes: undefined };
    expect([...headers]).toEqual([
      ['note', 'mine'],
      ['role', 'root'],
    ]);
    expect(bytes).toEqual(parsePem(Buffer.from(text))?.bytes);
    await backend.sign(key.keyId, MESSAGE, { caller: 'test' });
  });

  it('cannot hide what the path of an old layout says', async () => {
    const old = join(path, 'tuf_keys', 'registry.example.com', 'app');
    await mkdir(old, { recursive: true, mode: 0o700 });
    const { key, path: file } = await writeKeyFile(old, { passphrase: OLD });
    const backend = await open();
    const relabel = (role: string, gun: string) =>
      backend.relabeller.relabel(key.keyId, { role, gun }, { caller: 'test' });
    await expect(relabel('alice', '')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(await relabel('targets', 'other')).toMatchObject({ role: 'targets', gun: 'other', location: file });
  });
});

describe('a remembered passphrase', () => {
  const remembering = (text: string) => {
    const forgotten: string[] = [];
    const source: PassphraseSource = {
      ...listedPassphrases([]),
      remembered: async () => Secret.fromText(text),
      forget: async (keyId) => void forgotten.push(keyId),
    };
    return { source, forgotten };
  };

  it('opens its key', async () => {
    const { source, forgotten } = remembering(OLD);
    const { key } = await writeKeyFile(path, { passphrase: OLD });
    await (await open(source)).sign(key.keyId, MESSAGE, { caller: 'test' });
    expect(forgotten).toEqual([]);
  });

  it('that does not is forgotten, and the person is asked', async () => {
    const { source, forgotten } = remembering(NEW);
    const { key } = await writeKeyFile(path, { passphrase: OLD });
    const interaction = { ...NOBODY, passphrase: async () => Secret.fromText(OLD) };
    await (await open(source)).sign(key.keyId, MESSAGE, { caller: 'test', interaction });
    expect(forgotten).toEqual([key.keyId]);
  });
});
