/** The TLS listener's certificate, key and client CA: read and checked as one, at start and on SIGHUP. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { SignetError } from '../errors.ts';
import { readBoundedFile } from './config/bounded-file.ts';
import type { ServerConfig } from './config/model.ts';

export interface TlsMaterial {
  /** PEM, as in the file: the daemon's certificate first, then its intermediates. */
  readonly cert: Buffer;
  /** PEM, not encrypted. Never for a log. */
  readonly key: Buffer;
  /** PEM. Every certificate in it is a trust anchor, self-signed or not, as in Go. */
  readonly clientCa: Buffer | undefined;
  /** For the log, one line each. */
  readonly warnings: readonly string[];
}

/** What this module needs of a `ServerConfig`. */
export type TlsFiles = Pick<ServerConfig, 'tlsCertFile' | 'tlsKeyFile' | 'clientCaFile'>;

const EXPIRES_SOON_MS = 30 * 24 * 3_600_000;
const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;
// PKCS#8 (RFC 5958 §3 in PEM), and OpenSSL's older form with an RFC 1421 header.
const ENCRYPTED_KEY = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

/**
 * Reads the three files and refuses what a listener could not serve: unreadable, unparsable, encrypted or expired
 * material, or a key that is not the certificate's. Chains and names are not checked; that is the clients' business.
 *
 * @param now The clock.
 * @throws {SignetError} CONFIGURATION; the message names the configuration key and the file
 */
export async function loadTlsMaterial(files: TlsFiles, now = new Date()): Promise<TlsMaterial> {
  const cert = await readBoundedFile(files.tlsCertFile, 'server.tls_cert_file', failure);
  const key = await readBoundedFile(files.tlsKeyFile, 'server.tls_key_file', failure);
  const certificates = parseCertificates(cert, `server.tls_cert_file ${files.tlsCertFile}`);
  const privateKey = parsePrivateKey(key, files.tlsKeyFile);
  const warnings = checkValidity(certificates, files.tlsCertFile, now);
  if (!certificates[0].checkPrivateKey(privateKey)) {
    const problem = `server.tls_key_file ${files.tlsKeyFile} is not the key of server.tls_cert_file ${files.tlsCertFile}`;
    throw failure(problem, 'name the key that belongs to the first certificate of the file');
  }
  const { clientCaFile } = files;
  const clientCa = clientCaFile === undefined ? undefined : await readClientCa(clientCaFile, now, warnings);
  tryContext(cert, key, files);
  return { cert, key, clientCa, warnings };
}

/** At least one certificate, in the file's order. Blocks of other kinds are skipped, as Go does. */
function parseCertificates(pem: Buffer, what: string): [X509Certificate, ...X509Certificate[]] {
  const blocks = pem.toString('latin1').match(CERTIFICATE_BLOCK) ?? [];
  const [first, ...others] = blocks.map((block, index) => {
    try {
      return new X509Certificate(block);
    } catch (cause) {
      const problem = `certificate ${index + 1} of ${what} cannot be parsed`;
      throw failure(problem, 'replace the file with an intact copy', cause);
    }
  });
  if (first !== undefined) return [first, ...others];
  throw failure(`${what} holds no certificate`, 'name a PEM file with "BEGIN CERTIFICATE" in it');
}

function parsePrivateKey(pem: Buffer, path: string): KeyObject {
  const what = `server.tls_key_file ${path}`;
  if (ENCRYPTED_KEY.test(pem.toString('latin1'))) {
    const remedy =
      'decrypt it with "openssl pkey -in FILE -out NEWFILE" and let only the daemon\'s user read the result';
    throw failure(`${what} is encrypted`, remedy);
  }
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw failure(`${what} holds no private key that can be parsed`, 'name a PEM file with the key', cause);
  }
}

/** @returns The warnings. @throws {SignetError} CONFIGURATION if the daemon's own certificate has expired */
function checkValidity(
  certificates: readonly [X509Certificate, ...X509Certificate[]],
  path: string,
  now: Date,
): string[] {
  const what = `server.tls_cert_file ${path}`;
  const [leaf, ...intermediates] = certificates;
  if (new Date(leaf.validTo) < now) {
    throw failure(`${what} expired on ${isoDay(leaf.validTo)}`, 'renew the certificate');
  }
  const warnings: string[] = [];
  if (new Date(leaf.validFrom) > now) warnings.push(`${what} is not valid before ${isoDay(leaf.validFrom)}`);
  if (new Date(leaf.validTo).getTime() - now.getTime() < EXPIRES_SOON_MS) {
    warnings.push(`${what} expires on ${isoDay(leaf.validTo)}`);
  }
  for (const [index, { validTo }] of intermediates.entries()) {
    if (new Date(validTo) < now) warnings.push(`certificate ${index + 2} of ${what} expired on ${isoDay(validTo)}`);
  }
  return warnings;
}

/** An expired anchor is a warning: others in the file may be good, and clients of the expired one are refused anyway. */
async function readClientCa(path: string, now: Date, warnings: string[]): Promise<Buffer> {
  const pem = await readBoundedFile(path, 'server.client_ca_file', failure);
  const what = `server.client_ca_file ${path}`;
  for (const [index, { validTo }] of parseCertificates(pem, what).entries()) {
    if (new Date(validTo) >= now) continue;
    warnings.push(`certificate ${index + 1} of ${what} expired on ${isoDay(validTo)}: its clients are refused`);
  }
  return pem;
}

/** What only OpenSSL's own loader finds, such as a key too weak for its security level. */
function tryContext(cert: Buffer, key: Buffer, files: TlsFiles): void {
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    const problem = `OpenSSL refuses server.tls_cert_file ${files.tlsCertFile} with server.tls_key_file ${files.tlsKeyFile}`;
    throw failure(problem, 'make a new key and certificate of a current kind', cause);
  }
}

/** From OpenSSL's `Nov 23 07:21:33 2026 GMT` (Node 20 has no `validToDate`). */
function isoDay(text: string): string {
  return new Date(text).toISOString().slice(0, 10);
}

function failure(problem: string, hint: string, cause?: unknown): SignetError {
  return new SignetError('CONFIGURATION', `unable to set up TLS: ${problem}`, { hint, cause });
}
