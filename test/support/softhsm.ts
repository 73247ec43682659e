/** SoftHSM2 tokens in a directory of their own, and the token host as built. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Pkcs11Backend, type Pkcs11Options } from '../../src/backends/pkcs11/pkcs11-backend.ts';
import { type Pkcs11Uri, parsePkcs11Uri } from '../../src/backends/pkcs11/uri.ts';
import { runProgram } from './processes.ts';
import { temporaryDirectory } from './temp.ts';

export const SOFTHSM_MODULE = '/usr/lib/softhsm/libsofthsm2.so';
export const TEST_PIN = '135792468';
const SO_PIN = '97531864';
/** The sources run in vitest; a child process needs them compiled. */
export const HOST_ENTRY = fileURLToPath(new URL('../../dist/backends/pkcs11/host.js', import.meta.url));

export interface SoftHsm extends AsyncDisposable {
  readonly directory: string;
  /** For SOFTHSM2_CONF. */
  readonly env: Readonly<Record<string, string>>;
  /** The folders of the tokens, by SoftHSM's own names. */
  tokenDirectories(): Promise<readonly string[]>;
  /** A new token; labels need not be unique. */
  createToken(label: string): Promise<void>;
  /** A file of mode 0600 with a PIN. */
  pinFile(pin?: string): Promise<string>;
  open(token: Pkcs11Uri, options?: Partial<Pkcs11Options>): Promise<Pkcs11Backend>;
}

export async function softHsm(): Promise<SoftHsm> {
  const temporary = await temporaryDirectory();
  const directory = temporary.path;
  const tokens = join(directory, 'tokens');
  const configuration = join(directory, 'softhsm2.conf');
  await mkdir(tokens);
  await writeFile(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  const env = { PATH: process.env['PATH'] ?? '', SOFTHSM2_CONF: configuration };
  let pinFiles = 0;
  return {
    directory,
    env,
    tokenDirectories: async () => (await readdir(tokens)).map((name) => join(tokens, name)),
    createToken: async (label) => {
      const args = ['--init-token', '--free', '--label', label, '--pin', TEST_PIN, '--so-pin', SO_PIN];
      const { ending, stderr } = await runProgram('softhsm2-util', args, { env });
      if (ending !== 0) throw new Error(`softhsm2-util failed: ${stderr}`);
    },
    pinFile: async (pin = TEST_PIN) => {
      const path = join(directory, `pin-${pinFiles++}`);
      await writeFile(path, `${pin}\n`, { mode: 0o600 });
      return path;
    },
    open: (token, options = {}) =>
      Pkcs11Backend.open({
        uri: { modulePath: SOFTHSM_MODULE, ...token },
        pinFile: undefined,
        operationTimeoutMs: 10_000,
        env,
        entry: HOST_ENTRY,
        onEvent: () => undefined,
        onUnreadable: (what, error) => {
          throw new Error(`unreadable: ${what}`, { cause: error });
        },
        ...options,
      }),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

/** @returns The parsed URI of a token by its label. */
export function tokenUri(label: string): Pkcs11Uri {
  return parsePkcs11Uri(`pkcs11:token=${encodeURIComponent(label)}`);
}
