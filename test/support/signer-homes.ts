/** Where signetd keeps the keys that it makes for notary-server: in files, or on a token. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { SignerTls } from './notary.ts';
import { type Signetd, startSignetd } from './signetd.ts';
import { SOFTHSM_MODULE, softHsm, tokenUri } from './softhsm.ts';

/** One key that the signer made, as root.json names it. */
export interface ServerKey {
  readonly keyId: string;
  readonly role: string;
  readonly gun: string;
}

export interface SignerHome extends AsyncDisposable {
  startSigner(directory: string, tls: SignerTls): Promise<Signetd>;
  /** The keys that are there after the signer has ended. Asserts that they are protected as this home protects keys. */
  heldKeys(signer: Signetd): Promise<readonly ServerKey[]>;
}

/** notary-signer's usual place: encrypted files. */
export async function fileHome(): Promise<SignerHome> {
  return {
    startSigner: startSignetd,
    heldKeys: async ({ storagePath }) =>
      Promise.all(
        (await keyFiles(storagePath)).map(async (file) => {
          const pem = await readFile(file, 'utf8');
          expect((await stat(file)).mode & 0o777).toBe(0o600);
          expect(pem).toMatch(/^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/);
          const header = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(pem)?.[1] ?? '';
          return { keyId: file.slice(-'.key'.length - 64, -'.key'.length), role: header('role'), gun: header('gun') };
        }),
      ),
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/** An HSM-backed signer: a SoftHSM token for the roles that a server signs. */
export async function tokenHome(): Promise<SignerHome> {
  const hsm = await softHsm();
  await hsm.createToken('notary');
  const pinFile = await hsm.pinFile();
  const uri = `pkcs11:token=notary?module-path=${SOFTHSM_MODULE}&pin-source=file:${pinFile}`;
  return {
    startSigner: (directory, tls) =>
      startSignetd(directory, tls, {
        config: { tokens: [{ uri, hosts: 2 }], placement: { timestamp: ['pkcs11'], snapshot: ['pkcs11'] } },
        env: { ...hsm.env },
      }),
    heldKeys: async ({ storagePath }) => {
      expect(await keyFiles(storagePath)).toEqual([]);
      // Nothing but the token is needed to find them: it is opened by somebody else.
      const token = await hsm.open(tokenUri('notary'), { pinFile });
      try {
        const keys: ServerKey[] = [];
        for await (const { keyId, role, gun } of token.list()) keys.push({ keyId, role, gun });
        return keys;
      } finally {
        await token[Symbol.asyncDispose]();
      }
    },
    [Symbol.asyncDispose]: () => hsm[Symbol.asyncDispose](),
  };
}

async function keyFiles(directory: string): Promise<string[]> {
  const names = await readdir(directory, { recursive: true });
  return names.filter((name) => name.endsWith('.key')).map((name) => join(directory, name));
}
