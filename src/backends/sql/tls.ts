/** The PEM files of a TLS requirement, read for one connection. */
import { readFile } from 'node:fs/promises';
import { SignetError } from '../../errors.ts';
import { systemCaFile } from '../../locations.ts';
import type { TlsRequirement } from './data-source-name.ts';

export interface TlsMaterial {
  /** Undefined: those that come with Node. */
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/**
 * @remarks Without a file of its own a requirement means the system's certificates, as for Go, not those that come with
 *   Node: that is where a company puts its own authority.
 * @throws {SignetError} CONFIGURATION
 */
export async function readTlsMaterial(tls: TlsRequirement, location: string): Promise<TlsMaterial> {
  const caFile = tls.verify === 'nothing' ? undefined : (tls.caFile ?? systemCaFile(process.env));
  const read = async (path: string): Promise<Buffer> => {
    try {
      return await readFile(path);
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? 'unknown';
      throw new SignetError('CONFIGURATION', `${location}: cannot read ${path} (${code})`, { cause });
    }
  };
  return {
    ...(caFile === undefined ? {} : { ca: await read(caFile) }),
    ...(tls.certificate === undefined
      ? {}
      : { cert: await read(tls.certificate.certFile), key: await read(tls.certificate.keyFile) }),
  };
}
