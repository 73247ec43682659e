/** The PEM files of a TLS requirement, read for one connection. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { SignetError } from '../../errors.ts';
import type { TlsRequirement } from './data-source-name.ts';

export interface TlsMaterial {
  /** Undefined: those that come with Node. */
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

/** Where Linux distributions keep the certificates they trust, in the order in which Go looks. */
const SYSTEM_CA_FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/**
 * @remarks Without a file of its own a requirement means the system's certificates, as for Go, not those that come with
 *   Node: that is where a company puts its own authority. `SSL_CERT_FILE` moves them, as for Go and OpenSSL.
 * @throws {SignetError} CONFIGURATION
 */
export async function readTlsMaterial(tls: TlsRequirement, location: string): Promise<TlsMaterial> {
  const caFile = tls.verify === 'nothing' ? undefined : (tls.caFile ?? systemCaFile());
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

function systemCaFile(): string | undefined {
  return process.env['SSL_CERT_FILE'] || SYSTEM_CA_FILES.find((path) => existsSync(path));
}
