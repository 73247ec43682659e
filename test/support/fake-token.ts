/** The backend over a token host that misbehaves on demand. */
import { generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Pkcs11Backend, type Pkcs11Options } from '../../src/backends/pkcs11/pkcs11-backend.ts';
import { temporaryDirectory } from './temp.ts';

const ENTRY = fileURLToPath(new URL('fake-token-host.mjs', import.meta.url));
export const FAKE_PIN = '246813579';
/** The one message that the fake host can sign. */
export const AGREED = { message: Buffer.from('agreed') };

export interface FakePlan {
  readonly flags?: number;
  /** Labels; an empty one for a token that is blank. */
  readonly tokens?: readonly string[];
  /** Descriptions of further slots. */
  readonly emptySlots?: readonly string[] | 'no list';
  /** How the host answers a signature: a name in fake-token-host.mjs, else honestly. */
  readonly sign?: string;
  readonly load?: string;
  readonly login?: 'exit';
  readonly delayMs?: number;
  /** How long the token takes to list its keys. */
  readonly keysDelayMs?: number;
  /** More of what the token lists, around its one good key. */
  readonly keysBefore?: readonly object[];
  readonly keysAfter?: readonly object[];
}

export interface FakeToken extends AsyncDisposable {
  readonly directory: string;
  /** Holds from the next request on. */
  plan(plan: FakePlan): Promise<void>;
  /** A line for each login, listing, new key, signature and change of PINs or of the whole token that the host began. */
  log(): Promise<readonly string[]>;
  pinFile(pin?: string): Promise<string>;
  open(options?: Partial<Pkcs11Options>): Promise<Pkcs11Backend>;
}

export async function fakeToken(): Promise<FakeToken> {
  const temporary = await temporaryDirectory();
  const file = join(temporary.path, 'plan.json');
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { format: 'der', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
  });
  const backends: Pkcs11Backend[] = [];
  let pinFiles = 0;
  const fake: FakeToken = {
    directory: temporary.path,
    plan: (plan) => writeFile(file, JSON.stringify({ pin: FAKE_PIN, pkcs8: privateKey.toString('base64'), ...plan })),
    log: async () => (await readFile(`${file}.log`, 'utf8').catch(() => '')).split('\n').filter((line) => line !== ''),
    pinFile: async (pin = FAKE_PIN) => {
      const path = join(temporary.path, `pin-${pinFiles++}`);
      await writeFile(path, `${pin}\n`, { mode: 0o600 });
      return path;
    },
    open: async (options = {}) => {
      const backend = await Pkcs11Backend.open({
        uri: { token: 'fake', modulePath: '/nowhere/fake.so' },
        pinFile: undefined,
        operationTimeoutMs: 60_000,
        env: { FAKE_HOST: file },
        entry: ENTRY,
        onEvent: () => undefined,
        onUnreadable: () => undefined,
        ...options,
      });
      backends.push(backend);
      return backend;
    },
    [Symbol.asyncDispose]: async () => {
      for (const backend of backends) await backend[Symbol.asyncDispose]();
      await temporary[Symbol.asyncDispose]();
    },
  };
  await fake.plan({});
  return fake;
}
