/** The trust server: whether it answers, its certificate, and the clock, which metadata and certificates depend on. */
import { request } from 'node:https';
import { isIP } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { SignetError } from '../../errors.ts';
import { defaultClientConfig, readClientConfig } from '../../repository/client-config.ts';
import { connectionProblem } from '../../repository/connection-problem.ts';
import { type NamedServer, namedServer, tlsOptions } from '../../repository/server-choice.ts';
import { type Finding, findings } from './finding.ts';

const found = findings('trust server');
const ofClock = findings('clock');
const TIMEOUT_MS = 5000;
const DAY_MS = 24 * 60 * 60 * 1000;
/** A certificate that ends sooner is worth a word. */
const EXPIRY_NOTICE_MS = 30 * DAY_MS;
/** Certificates and timestamps have times to the second, and networks are slow. */
const MAX_SKEW_MS = 60_000;

interface TrustServer {
  readonly url: string;
  /** Where the URL comes from. */
  readonly origin: string;
  /** PEM; undefined: those that come with Node. */
  readonly ca: readonly string[] | undefined;
}

/** Looks at the server that commands would ask. @param url Of the command line. */
export async function checkNamedTrustServer(
  url: string | undefined,
  env: NodeJS.ProcessEnv,
): Promise<readonly Finding[]> {
  try {
    const config = await readClientConfig(undefined, env);
    const flags = { server: url };
    const named = namedServer(flags, config, env);
    if (named === undefined || !URL.canParse(named.text)) return await checkTrustServer(named && withoutTls(named));
    const { ca } = await tlsOptions(new URL(named.text), flags, config, env);
    return await checkTrustServer({ ...withoutTls(named), ca });
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    return [found.problem(error.message, error.hint ?? `edit ${defaultClientConfig(env) ?? "notary's configuration"}`)];
  }
}

function withoutTls({ text, origin }: NamedServer): TrustServer {
  return { url: text, origin, ca: undefined };
}

async function checkTrustServer(server: TrustServer | undefined): Promise<readonly Finding[]> {
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

function unreachable({ url, origin }: TrustServer, { code = '' }: NodeJS.ErrnoException): Finding {
  const { isUnknownAuthority, reason } = connectionProblem(code);
  if (isUnknownAuthority) {
    const { host } = new URL(url);
    return found.problem(
      `the certificate of ${url} is signed by an unknown authority`,
      `cp CA.crt ~/.docker/tls/${host}/, or set remote_server.root_ca for notary`,
    );
  }
  const what = reason ?? `it cannot be reached (${code || 'unknown error'})`;
  return found.problem(`${url} (${origin}): ${what}`, `check the URL and the network: curl -v ${url}/v2/`);
}
