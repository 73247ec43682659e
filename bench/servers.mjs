/** Signet and notary-signer with like configurations: TLS without client certificates, as h2load has none, and few logs. */
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../scripts/setup.mjs';
import { freePort, startServer } from './processes.mjs';

const run = promisify(execFile);

/**
 * @typedef {object} Server
 * @property {string} name Heads its column.
 * @property {number} pid
 * @property {number} port On 127.0.0.1.
 * @property {number} readyMs From the start to the first accepted connection.
 * @property {string} [socket] The agent's, for Signet.
 * @property {() => Promise<void>} stop
 */

/**
 * Makes a self-signed certificate in `directory`.
 *
 * @returns {Promise<{ certFile: string, keyFile: string }>}
 */
export async function makeCertificate(directory) {
  const certFile = join(directory, 'server.crt');
  const keyFile = join(directory, 'server.key');
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  await run('openssl', ['req', '-x509', '-sha256', '-days', '90', ...key, ...names, '-out', certFile]);
  return { certFile, keyFile };
}

/** @returns {Promise<boolean>} Whether the real notary-signer is installed. */
export async function hasNotarySigner() {
  try {
    await run('notary-signer', ['-version']);
    return true;
  } catch (error) {
    if (error.code === 'ENOENT') return false;
    throw error;
  }
}

/** Its variable is set for every server. */
const ALIAS = 'bench';
const PASSPHRASE = { NOTARY_SIGNER_BENCH: 'a passphrase for the benchmark' };

/**
 * @param {object} options
 * @param {string} options.directory Its own.
 * @param {{ certFile: string, keyFile: string }} options.certificate
 * @param {{ backend: string, db_url?: string }} [options.storage] By default keys in memory: its fastest home.
 * @returns {Promise<Server>}
 */
export async function startNotarySigner({ directory, certificate, storage = { backend: 'memory' } }) {
  const port = await freePort();
  const configuration = { ...common(port, certificate), storage: { ...storage, default_alias: ALIAS } };
  const file = await writeConfiguration(directory, configuration);
  const name = 'notary-signer';
  const server = await startServer({ name, command: name, args: ['-config', file], env: PASSPHRASE, port });
  return { name, port, ...server };
}

/**
 * Signet. A sealed key stays open in memory after its first use.
 *
 * @param {object} options
 * @param {string} options.directory Its own: configuration, home, agent's socket.
 * @param {{ backend: string, path?: string, db_url?: string }} options.storage
 * @param {{ certFile: string, keyFile: string }} options.certificate
 * @param {number} [options.workers]
 * @param {string} [options.name] By default tells the number of workers.
 * @param {object} [options.more] Further sections of the configuration.
 * @param {Record<string, string>} [options.env] In addition to HOME and the passphrase.
 * @returns {Promise<Server>}
 */
export async function startSignet({ directory, storage, certificate, workers = 1, name, more = {}, env = {} }) {
  const port = await freePort();
  const socket = join(directory, 'run', 'agent.sock');
  const file = await writeConfiguration(directory, {
    ...common(port, certificate),
    agent: { socket },
    storage: { ...storage, default_alias: ALIAS },
    workers,
    ...more,
  });
  name ??= `signet, ${workers} worker${workers === 1 ? '' : 's'}`;
  const server = await startServer({
    name,
    command: process.execPath,
    args: [join(ROOT, 'bin', 'signetd'), '-config', file],
    env: { HOME: directory, ...PASSPHRASE, ...env },
    port,
  });
  return { name, port, socket, ...server };
}

/** Runs `signetd -migrate`: makes the table and the indexes that are missing. `directory` as for `startSignet`. */
export async function migrate({ directory, storage }) {
  const file = await writeConfiguration(directory, { storage: { ...storage, default_alias: ALIAS } });
  const env = { PATH: process.env.PATH, HOME: directory, ...PASSPHRASE };
  await run(process.execPath, [join(ROOT, 'bin', 'signetd'), '-config', file, '-migrate'], { env });
}

function common(port, { certFile, keyFile }) {
  return {
    server: { grpc_addr: `127.0.0.1:${port}`, tls_cert_file: certFile, tls_key_file: keyFile },
    logging: { level: 'error' },
  };
}

async function writeConfiguration(directory, configuration) {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const file = join(directory, 'signer.json');
  await writeFile(file, JSON.stringify(configuration));
  return file;
}
