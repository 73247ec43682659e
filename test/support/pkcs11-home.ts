/** What the tests of every PKCS#11 module share: opening a token with the host as built, and files with PINs. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Pkcs11Backend, type Pkcs11Options } from '../../src/backends/pkcs11/pkcs11-backend.ts';
import type { Pkcs11Uri } from '../../src/backends/pkcs11/uri.ts';

/** The sources run in vitest; a child process needs them compiled. */
export const HOST_ENTRY = fileURLToPath(new URL('../../dist/backends/pkcs11/host.js', import.meta.url));

/** Debian's multiarch directory of this machine. */
export const MULTIARCH = `/usr/lib/${{ x64: 'x86_64', arm64: 'aarch64' }[process.arch as string] ?? process.arch}-linux-gnu`;

export interface Pkcs11Home {
  readonly directory: string;
  readonly modulePath: string;
  /** The module's environment. */
  readonly env: Readonly<Record<string, string>>;
}

export type OpenToken = (token: Pkcs11Uri, options?: Partial<Pkcs11Options>) => Promise<Pkcs11Backend>;

/** @returns Opens tokens of one home; what cannot be read on them is an error. */
export function opener({ modulePath, env }: Pick<Pkcs11Home, 'modulePath' | 'env'>): OpenToken {
  return (token, options = {}) =>
    Pkcs11Backend.open({
      uri: { modulePath, ...token },
      pinFile: undefined,
      operationTimeoutMs: 60_000,
      env,
      entry: HOST_ENTRY,
      onEvent: () => undefined,
      onUnreadable: (what, error) => {
        throw new Error(`unreadable: ${what}`, { cause: error });
      },
      ...options,
    });
}

let pinFiles = 0;

/** A file of mode 0600 with a PIN. */
export async function writePinFile(directory: string, pin: string): Promise<string> {
  const path = join(directory, `pin-${pinFiles++}`);
  await writeFile(path, `${pin}\n`, { mode: 0o600 });
  return path;
}
