/** An NSS database in a directory of its own: softokn, a module with habits that no other one has. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MULTIARCH, type OpenToken, opener, type Pkcs11Home, writePinFile } from './pkcs11-home.ts';
import { runProgram } from './processes.ts';
import { temporaryDirectory } from './temp.ts';

export const NSS_MODULE = `${MULTIARCH}/libsoftokn3.so`;
export const NSS_TOKEN = { token: 'NSS Certificate DB' } as const;
const NSS_PIN = '135792468';

export interface Nss extends Pkcs11Home, AsyncDisposable {
  readonly pin: string;
  readonly libraryParameters: string;
  pinFile(pin?: string): Promise<string>;
  /** With the parameters unless others are given. */
  readonly open: OpenToken;
}

export interface NssOptions {
  /** Of the token; all of them have the same serial number. */
  readonly label?: string;
  /** False for a token that wants no login. */
  readonly hasPin?: boolean;
}

/** @returns A new, empty database. */
export async function nss({ label = NSS_TOKEN.token, hasPin = true }: NssOptions = {}): Promise<Nss> {
  const temporary = await temporaryDirectory();
  const directory = temporary.path;
  const database = join(directory, 'db');
  await mkdir(database);
  const passwordFile = join(directory, 'password');
  await writeFile(passwordFile, `${NSS_PIN}\n`, { mode: 0o600 });
  const env = { PATH: process.env['PATH'] ?? '' };
  const args = ['-N', '-d', `sql:${database}`, ...(hasPin ? ['-f', passwordFile] : ['--empty-password'])];
  const { ending, stderr } = await runProgram('certutil', args, { env });
  if (ending !== 0) throw new Error(`certutil failed: ${stderr}`);
  const configuration = `configdir='sql:${database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags=`;
  const libraryParameters = `${configuration} dbTokenDescription='${label}'`;
  const open = opener({ modulePath: NSS_MODULE, env });
  return {
    directory,
    modulePath: NSS_MODULE,
    env,
    pin: NSS_PIN,
    libraryParameters,
    pinFile: (pin = NSS_PIN) => writePinFile(directory, pin),
    open: (token, options) => open(token, { libraryParameters, ...options }),
    [Symbol.asyncDispose]: () => temporary[Symbol.asyncDispose](),
  };
}
