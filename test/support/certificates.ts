/** A test PKI made by the openssl program, valid for the loopback address. */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runProgram } from './processes.ts';

const SUBJECT_ALT_NAME = 'DNS:localhost,IP:127.0.0.1,IP:::1';

type KeyType = 'ec' | 'rsa';

/** PEM files of one certificate. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

export interface LeafOptions {
  /** RFC 5280 §4.2.1.12; without any, the extension is left out. */
  readonly extendedKeyUsage: readonly ('serverAuth' | 'clientAuth')[];
  /** From now; negative for a certificate that has expired. */
  readonly validDays?: number;
  /** EC P-256 by default. */
  readonly keyType?: KeyType;
  /** A DNS name beside those of loopback. */
  readonly dnsName?: string;
}

export interface Authority extends Certificate {
  /** Issues a certificate with subject `CN=<name>` into the authority's directory. */
  issue(name: string, options: LeafOptions): Promise<Certificate>;
  /** Issues the certificate of an authority below this one. */
  intermediate(name: string): Promise<Authority>;
}

/** Makes a self-signed authority with subject `CN=<name>`; its files and those of its leaves go to `directory`. */
export async function createAuthority(directory: string, name: string): Promise<Authority> {
  const files = filesOf(directory, name);
  await openssl([
    ...['req', '-x509', ...newKey(files.keyFile, 'ec'), '-subj', `/O=Signet test/CN=${name}`, '-days', '30'],
    ...['-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    ...['-out', files.certFile],
  ]);
  return authority(directory, files);
}

/** Writes several PEM files one after the other into `path`. @returns `path` */
export async function writeBundle(path: string, certFiles: readonly string[]): Promise<string> {
  const parts = await Promise.all(certFiles.map((file) => readFile(file, 'utf8')));
  await writeFile(path, parts.join(''));
  return path;
}

function authority(directory: string, files: Certificate): Authority {
  return {
    ...files,
    issue: (name, { extendedKeyUsage, validDays = 30, keyType = 'ec', dnsName }) =>
      issue(directory, files, { name, validDays, keyType }, [
        `subjectAltName=${SUBJECT_ALT_NAME}${dnsName === undefined ? '' : `,DNS:${dnsName}`}`,
        'basicConstraints=critical,CA:FALSE',
        'keyUsage=critical,digitalSignature',
        ...(extendedKeyUsage.length > 0 ? [`extendedKeyUsage=${extendedKeyUsage.join(',')}`] : []),
      ]),
    intermediate: async (name) => {
      const extensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'];
      return authority(directory, await issue(directory, files, { name, validDays: 30, keyType: 'ec' }, extensions));
    },
  };
}

async function issue(
  directory: string,
  issuer: Certificate,
  { name, validDays, keyType }: { name: string; validDays: number; keyType: KeyType },
  extensions: readonly string[],
): Promise<Certificate> {
  const files = filesOf(directory, name);
  const request = join(directory, `${name}.csr`);
  const extensionFile = join(directory, `${name}.ext`);
  await writeFile(extensionFile, `${extensions.join('\n')}\n`);
  await openssl([
    'req',
    '-new',
    ...newKey(files.keyFile, keyType),
    '-subj',
    `/O=Signet test/CN=${name}`,
    '-out',
    request,
  ]);
  await openssl([
    ...['x509', '-req', '-in', request, '-CA', issuer.certFile, '-CAkey', issuer.keyFile],
    ...['-set_serial', `0x01${randomBytes(15).toString('hex')}`], // no file that concurrent calls would share
    ...['-days', String(validDays), '-extfile', extensionFile, '-out', files.certFile],
  ]);
  return files;
}

function filesOf(directory: string, name: string): Certificate {
  return { certFile: join(directory, `${name}.crt`), keyFile: join(directory, `${name}.key`) };
}

function newKey(keyFile: string, keyType: KeyType): string[] {
  const algorithm = keyType === 'rsa' ? ['rsa:2048'] : ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  return ['-newkey', ...algorithm, '-noenc', '-sha256', '-keyout', keyFile];
}

/** Runs `openssl <args>`. @throws {Error} It failed; the message holds what it printed. */
export async function openssl(args: readonly string[]): Promise<void> {
  const { ending, stderr } = await runProgram('openssl', args, { env: { PATH: process.env['PATH'] ?? '' } });
  if (ending !== 0) throw new Error(`openssl ${args[0]} failed (${ending}): ${stderr}`);
}
