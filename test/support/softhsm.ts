/** SoftHSM2 tokens in a directory of their own, and the token host as built. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Pkcs11Uri, parsePkcs11Uri } from '../../src/backends/pkcs11/uri.ts';
import { type OpenToken, opener, writePinFile } from './pkcs11-home.ts';
import { runProgram } from './processes.ts';
import { temporaryDirectory } from './temp.ts';

export const SOFTHSM_MODULE = '/usr/lib/softhsm/libsofthsm2.so';
export const TEST_PIN = '135792468';
export const SO_PIN = '97531864';

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
  readonly open: OpenToken;
}

/** @param parent Where its directory is made; by default with all temporary ones. */
export async function softHsm(parent?: string): Promise<SoftHsm> {
  const temporary = await temporaryDirectory(parent);
  const directory = temporary.path;
  const tokens = join(directory, 'tokens');
  const configuration = join(directory, 'softhsm2.conf');
  await mkdir(tokens);
  await writeFile(configuration, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  const env = { PATH: process.env['PATH'] ?? '', SOFTHSM2_CONF: configuration };
  return {
    directory,
    env,
    tokenDirectories: async () => (await readdir(tokens)).map((name) => join(tokens, name)),
    createToken: async (label) => {
      const args = ['--init-token', '--free', '--label', label, '--pin', TEST_PIN, '--so-pin', SO_PIN];
      const { ending, stderr } = await runProgram('softhsm2-util', args, { env });
      if (ending !== 0) throw new Error(`softhsm2-util failed: ${stderr}`);
    },
    pinFile: (pin = TEST_PIN) => writePinFile(directory, pin),
    open: opener({ modulePath: SOFTHSM_MODULE, env }),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}

/** @returns The parsed URI of a token by its label. */
export function tokenUri(label: string): Pkcs11Uri {
  return parsePkcs11Uri(`pkcs11:token=${encodeURIComponent(label)}`);
}
