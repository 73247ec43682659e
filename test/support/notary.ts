/** The real Notary programs of Debian's package `notary`: server, signer (as the reference) and client. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { join } from 'node:path';
import type { Certificate } from './certificates.ts';
import { freePort } from './ports.ts';
import { type ProgramResult, type RunningProgram, runProgram, startProgram } from './processes.ts';

const PATH = process.env['PATH'] ?? '';

/** What a signer, notary-signer or signetd, needs for mutual TLS. */
export interface SignerTls {
  readonly certificate: Certificate;
  readonly clientCaFile: string;
}

/** A signer that accepts connections on 127.0.0.1. */
export interface Signer extends AsyncDisposable {
  readonly port: number;
  readonly program: RunningProgram;
}

/** How notary-server reaches its signer. */
export interface SignerAccess {
  readonly port: number;
  /** Anchors for the signer's certificate. */
  readonly caFile: string;
  /** What notary-server shows to the signer. */
  readonly certificate: Certificate;
}

export interface NotaryServer extends AsyncDisposable {
  readonly url: string;
  readonly program: RunningProgram;
  /** Downloads `/v2/<gun>/_trust/tuf/<name>`. @throws {Error} The answer is not 200. */
  metadata(gun: string, name: string): Promise<string>;
  /** Uploads metadata files by role, as one publication. @returns Status and body. */
  publish(
    gun: string,
    files: ReadonlyMap<string, Uint8Array>,
  ): Promise<{ readonly status: number; readonly body: string }>;
  /** Asks `/_notary_server/health`. @returns Status and body. */
  health(): Promise<{ readonly status: number; readonly body: string }>;
}

export interface NotarySignerOptions {
  /** The section `storage`; by default its memory backend. */
  readonly storage?: Readonly<Record<string, unknown>>;
  /** In addition to PATH: the passphrases. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts notary-signer. `directory` receives its configuration. */
export async function startNotarySigner(
  directory: string,
  tls: SignerTls,
  { storage = { backend: 'memory' }, env = {} }: NotarySignerOptions = {},
): Promise<Signer> {
  const port = await freePort();
  const config = join(directory, 'notary-signer.json');
  await writeJson(config, {
    server: {
      grpc_addr: `127.0.0.1:${port}`,
      tls_cert_file: tls.certificate.certFile,
      tls_key_file: tls.certificate.keyFile,
      client_ca_file: tls.clientCaFile,
    },
    logging: { level: 'info' },
    storage,
  });
  const options = { cwd: directory, env: { PATH, ...env } };
  const program = await startProgram('notary-signer', ['-config', config], options, { port });
  return { port, program, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
}

/** Starts notary-server with metadata in memory and a remote trust service. `directory` receives its configuration. */
export async function startNotaryServer(
  directory: string,
  server: { readonly certificate: Certificate; readonly caFile: string },
  signer: SignerAccess,
): Promise<NotaryServer> {
  const port = await freePort();
  const config = join(directory, 'notary-server.json');
  await writeJson(config, {
    server: {
      http_addr: `127.0.0.1:${port}`,
      tls_cert_file: server.certificate.certFile,
      tls_key_file: server.certificate.keyFile,
    },
    trust_service: {
      type: 'remote',
      hostname: '127.0.0.1',
      port: String(signer.port),
      key_algorithm: 'ecdsa',
      tls_ca_file: signer.caFile,
      tls_client_cert: signer.certificate.certFile,
      tls_client_key: signer.certificate.keyFile,
    },
    logging: { level: 'info' },
    storage: { backend: 'memory' },
  });
  const program = await startProgram('notary-server', ['-config', config], { cwd: directory, env: { PATH } }, { port });
  const url = `https://127.0.0.1:${port}`;
  return {
    url,
    program,
    metadata: async (gun, name) => {
      const { status, body } = await download(`${url}/v2/${gun}/_trust/tuf/${name}`, server.caFile);
      if (status !== 200) throw new Error(`notary-server answers ${status} for ${gun} ${name}: ${body}`);
      return body;
    },
    publish: (gun, files) => upload(`${url}/v2/${gun}/_trust/tuf/`, server.caFile, files),
    health: () => download(`${url}/_notary_server/health`, server.caFile),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** The notary client of one person, with a home and a trust directory of its own. */
export interface NotaryClient {
  readonly home: string;
  /** Runs `notary <args>`. @param input What it reads on its standard input. @returns Both streams; may have failed. */
  run(args: readonly string[], input?: string): Promise<ProgramResult>;
  /** Runs `notary <args>`, which must succeed. @returns What it printed, both streams. */
  succeeds(...args: string[]): Promise<string>;
  /** Runs `notary <args>`, which must fail. @returns What it printed, both streams. */
  fails(...args: string[]): Promise<string>;
  /** The cached metadata of a collection as the client last saw it. @param name For example `root`. */
  cached(gun: string, name: string): Promise<unknown>;
}

/** Makes `home` and the client's configuration in it. */
export async function createNotaryClient(home: string, server: { url: string; caFile: string }): Promise<NotaryClient> {
  await mkdir(home, { recursive: true });
  const trustDirectory = join(home, '.notary');
  const config = join(home, 'notary.json');
  await writeJson(config, {
    trust_dir: trustDirectory,
    remote_server: { url: server.url, root_ca: server.caFile },
  });
  const env = {
    PATH,
    HOME: home,
    NOTARY_ROOT_PASSPHRASE: 'root-passphrase',
    NOTARY_TARGETS_PASSPHRASE: 'targets-passphrase',
    NOTARY_SNAPSHOT_PASSPHRASE: 'snapshot-passphrase',
    NOTARY_DELEGATION_PASSPHRASE: 'delegation-passphrase',
  };
  const run = (args: readonly string[], input = '') =>
    runProgram('notary', ['-c', config, ...args], { cwd: home, env, input });
  const expecting = (success: boolean) => {
    return async (...args: string[]) => {
      const { ending, stdout, stderr } = await run(args);
      const output = stdout + stderr;
      if ((ending === 0) === success) return output;
      throw new Error(`notary ${args.join(' ')} ended with ${ending}:\n${output}`);
    };
  };
  return {
    home,
    run,
    succeeds: expecting(true),
    fails: expecting(false),
    cached: async (gun, name) =>
      JSON.parse(await readFile(join(trustDirectory, 'tuf', gun, 'metadata', `${name}.json`), 'utf8')) as unknown,
  };
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, JSON.stringify(value, undefined, 2));
}

async function download(url: string, caFile: string): Promise<{ status: number; body: string }> {
  return await exchange(url, caFile, { method: 'GET' });
}

/** One part per role, as Notary's client sends them. */
async function upload(url: string, caFile: string, files: ReadonlyMap<string, Uint8Array>) {
  const form = new FormData();
  for (const [role, bytes] of files) {
    form.append('files', new Blob([Uint8Array.from(bytes)], { type: 'application/octet-stream' }), role);
  }
  const encoded = new Response(form);
  const type = encoded.headers.get('content-type') ?? '';
  const body = Buffer.from(await encoded.arrayBuffer());
  return await exchange(url, caFile, { method: 'POST', headers: { 'content-type': type }, body });
}

async function exchange(
  url: string,
  caFile: string,
  options: { readonly method: string; readonly headers?: Record<string, string>; readonly body?: Buffer },
): Promise<{ status: number; body: string }> {
  const ca = await readFile(caFile);
  const { method, headers } = options;
  return await new Promise((resolve, reject) => {
    const outgoing = request(url, { ca, agent: false, timeout: 10_000, method, headers }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        body += chunk;
      });
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.once('error', reject);
    });
    outgoing.once('timeout', () => outgoing.destroy(new Error(`no answer from ${url}`)));
    outgoing.once('error', reject);
    outgoing.end(options.body);
  });
}
