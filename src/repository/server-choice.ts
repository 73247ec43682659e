/** Which trust server is asked, and how it is known: flags, notary's configuration, Docker's variable and directories. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { fromNodeError, SignetError } from '../errors.ts';
import { systemCaFile } from '../locations.ts';
import type { ClientConfig } from './client-config.ts';
import type { TlsOptions } from './http.ts';

export interface ServerFlags {
  readonly server?: string | undefined;
  readonly tlsCaCert?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
  /** The configuration was named on the command line: it comes before Docker's variable. */
  readonly isConfigNamed?: boolean;
}

export interface ServerChoice {
  readonly url: URL;
  /** Where the URL comes from, for messages. */
  readonly origin: string;
  readonly tls: TlsOptions;
}

/** Docker's variable for the server. */
export const DOCKER_VARIABLE = 'DOCKER_CONTENT_TRUST_SERVER';

/**
 * @throws {SignetError} CONFIGURATION if no server is named, its URL is none, or a file cannot be read; INVALID_ARGUMENT for a
 *   client certificate without its key
 */
export async function chooseServer(
  flags: ServerFlags,
  config: ClientConfig,
  env: NodeJS.ProcessEnv,
): Promise<ServerChoice> {
  const named = namedServer(flags, config, env);
  if (named === undefined) {
    throw new SignetError('CONFIGURATION', 'no trust server is named', {
      hint: `name it with --server https://HOST:PORT, in ${DOCKER_VARIABLE}, or as remote_server.url in ~/.notary/config.json`,
    });
  }
  const { text, origin } = named;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new SignetError(
      'CONFIGURATION',
      `trust server url has to be in the form of http(s)://URL:PORT. Got: ${text.slice(0, 200)}`,
      { hint: `correct it: ${origin}` },
    );
  }
  if (origin === DOCKER_VARIABLE && url.protocol !== 'https:') {
    throw new SignetError('CONFIGURATION', `valid https URL required for trust server, got ${text.slice(0, 200)}`);
  }
  return { url, origin, tls: await tlsOptions(url, flags, config, env) };
}

/** A server as somebody wrote it. */
export interface NamedServer {
  readonly text: string;
  /** Where it was written, for messages. */
  readonly origin: string;
}

/** @returns Undefined if none is named anywhere. */
export function namedServer(
  { server, isConfigNamed = false }: ServerFlags,
  { url, path = 'remote_server.url' }: ClientConfig,
  env: NodeJS.ProcessEnv,
): NamedServer | undefined {
  if (server !== undefined) return { text: server, origin: '--server' };
  const docker = env[DOCKER_VARIABLE];
  if (docker && !(isConfigNamed && url !== undefined)) return { text: docker, origin: DOCKER_VARIABLE };
  return url === undefined ? undefined : { text: url, origin: path };
}

/** How the server is known, and we to it. @throws {SignetError} CONFIGURATION, INVALID_ARGUMENT */
export async function tlsOptions(
  url: URL,
  flags: ServerFlags,
  config: ClientConfig,
  env: NodeJS.ProcessEnv,
): Promise<TlsOptions> {
  const docker = await dockersFiles(url, env);
  const caFile = flags.tlsCaCert ?? config.rootCa;
  // An authority that is named is the only one; Docker's stand beside those that the system trusts.
  const ca = caFile === undefined ? await trusted(docker.ca, env) : [await readPem(caFile)];
  const named = { cert: flags.tlsCert ?? config.tlsClientCert, key: flags.tlsKey ?? config.tlsClientKey };
  if ((named.cert === undefined) !== (named.key === undefined)) {
    throw new SignetError('INVALID_ARGUMENT', 'either pass both client key and cert, or neither');
  }
  const pair = named.cert === undefined ? docker.pair : named;
  return {
    ca,
    cert: pair.cert && (await readPem(pair.cert)),
    key: pair.key && (await readPem(pair.key)),
    skipVerify: config.skipTlsVerify,
  };
}

/** As for Go: what the system trusts, not what comes with Node. @returns Undefined for the latter */
async function trusted(more: readonly string[], env: NodeJS.ProcessEnv): Promise<readonly string[] | undefined> {
  const system = systemCaFile(env);
  if (system === undefined) return more.length === 0 ? undefined : [...rootCertificates, ...more];
  return [await readPem(system), ...more];
}

/** `~/.docker/tls/<host:port>`: `*.crt` are authorities, `X.cert` with `X.key` is ours. */
async function dockersFiles(url: URL, env: NodeJS.ProcessEnv) {
  const home = env['DOCKER_CONFIG'] || join(env['HOME'] ?? '', '.docker');
  const directory = join(home, 'tls', url.host);
  const names = (await readdir(directory).catch(() => [])).sort();
  const ca = await Promise.all(
    names.filter((name) => name.endsWith('.crt')).map((name) => readPem(join(directory, name))),
  );
  const [cert] = names.filter((name) => name.endsWith('.cert'));
  const key = cert?.replace(/\.cert$/, '.key');
  if (key !== undefined && !names.includes(key)) {
    throw new SignetError('CONFIGURATION', `missing key ${key} for client certificate ${cert ?? ''} in ${directory}`);
  }
  return {
    ca,
    pair: { cert: cert && join(directory, cert), key: key && join(directory, key) },
  };
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new SignetError(
      'CONFIGURATION',
      fromNodeError(error, `unable to configure TLS: cannot read ${path}`).message,
      {
        cause: error,
      },
    );
  }
}
