/** The trust server: whether it answers, its certificate, and the clock, which metadata and certificates depend on. */
import { readdir, readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { isIP } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { rootCertificates, type TLSSocket } from 'node:tls';
import { type Finding, findings } from './finding.ts';

const found = findings('trust server');
const ofClock = findings('clock');
const TIMEOUT_MS = 5000;
const DAY_MS = 24 * 60 * 60 * 1000;
/** A certificate that ends sooner is worth a word. */
const EXPIRY_NOTICE_MS = 30 * DAY_MS;
/** Certificates and timestamps have times to the second, and networks are slow. */
const MAX_SKEW_MS = 60_000;

export interface TrustServer {
  readonly url: string;
  /** Where the URL comes from. */
  readonly origin: string;
  /** PEM; undefined: the system's. */
  readonly ca: readonly string[] | undefined;
}

/** @param url Of the command line. @returns Undefined if none is named anywhere */
export async function findTrustServer(
  url: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<TrustServer | undefined> {
  const docker = url ?? env['DOCKER_CONTENT_TRUST_SERVER'];
  if (docker) {
    const origin = url === undefined ? 'DOCKER_CONTENT_TRUST_SERVER' : '--server';
    return { url: docker, origin, ca: await dockersAuthorities(docker, env) };
  }
  const file = join(env['HOME'] ?? '', '.notary', 'config.json');
  try {
    const { remote_server: server } = JSON.parse(await readFile(file, 'utf8')) as {
      remote_server?: { url?: unknown; root_ca?: unknown };
    };
    if (typeof server?.url !== 'string') return undefined;
    const ca =
      typeof server.root_ca === 'string' ? [await readFile(resolve(dirname(file), server.root_ca), 'utf8')] : undefined;
    return { url: server.url, origin: file, ca };
  } catch {
    return undefined; // no such file, or not notary's
  }
}

/** Every `*.crt` of `~/.docker/tls/<host:port>`, beside the public ones. */
async function dockersAuthorities(url: string, env: NodeJS.ProcessEnv): Promise<readonly string[] | undefined> {
  if (!URL.canParse(url)) return undefined;
  const directory = join(env['DOCKER_CONFIG'] ?? join(env['HOME'] ?? '', '.docker'), 'tls', new URL(url).host);
  const names = await readdir(directory).catch(() => []);
  const own = await Promise.all(
    names.filter((name) => name.endsWith('.crt')).map((name) => readFile(join(directory, name), 'utf8')),
  );
  return own.length === 0 ? undefined : [...rootCertificates, ...own];
}

export async function checkTrustServer(server: TrustServer | undefined): Promise<readonly Finding[]> {
  if (server === undefined)
    return [found.note('no trust server is named (DOCKER_CONTENT_TRUST_SERVER, ~/.notary/config.json)')];
  const { url, origin } = server;
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:') {
    return [
      found.problem(
        `the trust server "${url}" of ${origin} is not an https URL`,
        `write it as https://HOST:PORT in ${origin}`,
      ),
    ];
  }
  try {
    const { status, certificateEnd, date } = await ask(server);
    return [
      found.ok(`${url} (${origin}) answers with status ${status}`),
      checkCertificate(url, certificateEnd),
      ...(Number.isNaN(date) ? [] : [checkClock(date, url)]),
    ];
  } catch (error) {
    return [unreachable(server, error as NodeJS.ErrnoException)];
  }
}

interface Answer {
  readonly status: number;
  readonly certificateEnd: number;
  /** NaN without a Date header. */
  readonly date: number;
}

function ask({ url, ca }: TrustServer): Promise<Answer> {
  const target = new URL('v2/', url.endsWith('/') ? url : `${url}/`);
  return new Promise((resolve, reject) => {
    const servername = isIP(target.hostname) === 0 ? { servername: target.hostname } : {};
    const call = request(
      target,
      { ...servername, ...(ca && { ca: [...ca] }), agent: false, timeout: TIMEOUT_MS },
      (response) => {
        const certificateEnd = Date.parse((response.socket as TLSSocket).getPeerCertificate().valid_to);
        resolve({ status: response.statusCode ?? 0, certificateEnd, date: Date.parse(response.headers.date ?? '') });
        response.destroy();
      },
    );
    call.on('timeout', () => call.destroy(Object.assign(new Error('timeout'), { code: 'ETIMEDOUT' })));
    call.on('error', reject);
    call.end();
  });
}

function checkCertificate(url: string, end: number): Finding {
  const days = Math.floor((end - Date.now()) / DAY_MS);
  if (end - Date.now() > EXPIRY_NOTICE_MS) return found.ok(`its certificate is valid for ${days} days`);
  return found.warning(`the certificate of ${url} ends in ${days} days`, 'ask whoever runs the server to renew it');
}

function checkClock(serverMs: number, url: string): Finding {
  const skewMs = Date.now() - serverMs;
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  if (Math.abs(skewMs) <= MAX_SKEW_MS) return ofClock.ok(`the clock agrees with ${url}`);
  const direction = skewMs > 0 ? 'ahead of' : 'behind';
  return ofClock.problem(`the clock is ${seconds} s ${direction} that of ${url}`, 'sudo timedatectl set-ntp true');
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ENOTFOUND: 'its name is unknown',
  ETIMEDOUT: 'it does not answer in time',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
};
/** OpenSSL's words for a chain that ends nowhere we know. */
const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

function unreachable({ url, origin }: TrustServer, { code = '' }: NodeJS.ErrnoException): Finding {
  if (UNKNOWN_AUTHORITY.has(code)) {
    const { host } = new URL(url);
    return found.problem(
      `the certificate of ${url} is signed by an unknown authority`,
      `cp CA.crt ~/.docker/tls/${host}/, or set remote_server.root_ca for notary`,
    );
  }
  const reason = REASONS[code] ?? `it cannot be reached (${code || 'unknown error'})`;
  return found.problem(`${url} (${origin}): ${reason}`, `check the URL and the network: curl -v ${url}/v2/`);
}
