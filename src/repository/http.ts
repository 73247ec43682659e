/** Bounded HTTP requests: how much may come, how long it may take, and where a redirect may lead. */
import { addAbortListener } from 'node:events';
import { type IncomingHttpHeaders, Agent as PlainAgent, request as plainRequest, type RequestOptions } from 'node:http';
import { type AgentOptions, Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { SignetError } from '../errors.ts';
import { connectionProblem } from './connection-problem.ts';
import { proxyAddress, TunnelAgent } from './proxy.ts';

/** As Notary's client: TLS 1.2 or later, and the system's authorities unless others are named. */
export interface TlsOptions {
  /** PEM. */
  readonly ca?: readonly string[] | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** The server may show any certificate. */
  readonly skipVerify?: boolean | undefined;
}

export interface HttpLimits {
  /** Without a byte of traffic, milliseconds. */
  readonly silenceMs: number;
  /** For a whole request, milliseconds: a server that sends a byte now and then does not keep us. */
  readonly totalMs: number;
}

const LIMITS: HttpLimits = { silenceMs: 30_000, totalMs: 5 * 60_000 };
const MAX_REDIRECTS = 3;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 307, 308]);

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Longest body of an answer. */
  readonly maxBytes: number;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** @returns The proxy for a URL; undefined where it is reached directly. */
export type ProxyChoice = (url: URL) => URL | undefined;

export class HttpClient implements Disposable {
  readonly #signal: AbortSignal;
  readonly #limits: HttpLimits;
  readonly #plain = new PlainAgent({ keepAlive: true });
  readonly #tls: TlsAgent;
  readonly #tlsOptions: AgentOptions;
  readonly #tunnels = new Map<string, TunnelAgent>();
  readonly #proxyFor: ProxyChoice;

  constructor(
    tls: TlsOptions,
    signal: AbortSignal,
    limits: HttpLimits = LIMITS,
    proxyFor: ProxyChoice = () => undefined,
  ) {
    this.#signal = signal;
    this.#limits = limits;
    this.#proxyFor = proxyFor;
    const { ca, cert, key, skipVerify = false } = tls;
    this.#tlsOptions = {
      keepAlive: true,
      minVersion: 'TLSv1.2',
      rejectUnauthorized: !skipVerify,
      ...(ca !== undefined && { ca: [...ca] }),
      ...(cert !== undefined && { cert }),
      ...(key !== undefined && { key }),
    };
    this.#tls = new TlsAgent(this.#tlsOptions);
  }

  /**
   * Follows redirects of GET to the same server only: credentials and trust are for that one.
   *
   * @throws {SignetError} UNAVAILABLE if no whole answer comes, METADATA_REJECTED if it is too large, CANCELLED,
   *   CONFIGURATION for a URL that is none of HTTP
   */
  async send(request: HttpRequest): Promise<HttpResponse> {
    let { url } = request;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const response = await this.#exchange({ ...request, url });
      const { location } = response.headers;
      if (!REDIRECTS.has(response.status) || location === undefined || request.method !== 'GET') return response;
      const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
      if (next?.origin !== url.origin) {
        throw new SignetError('METADATA_REJECTED', `${url.origin} redirects to another server`, {
          hint: 'name that server, if it is the right one',
        });
      }
      url = next;
    }
    throw new SignetError('UNAVAILABLE', `${url.origin} redirects in circles`);
  }

  #exchange({ method, url, headers = {}, body, maxBytes }: HttpRequest): Promise<HttpResponse> {
    if (url.protocol !== 'https:' && url.protocol !== 'http:') {
      throw new SignetError(
        'CONFIGURATION',
        `trust server url has to be in the form of http(s)://URL:PORT. Got: ${url.href}`,
      );
    }
    const isTls = url.protocol === 'https:';
    const route = this.#route(url);
    const { silenceMs, totalMs } = this.#limits;
    const late = AbortSignal.timeout(totalMs);
    const signal = AbortSignal.any([this.#signal, late]);
    return new Promise<HttpResponse>((resolve, reject) => {
      const fail = (error: unknown) => reject(this.#failure(error, url, late));
      // Not as the reason of `destroy`: an answer that is complete gives its socket back, where nobody takes errors.
      const giveUp = (error: SignetError) => {
        fail(error);
        outgoing.destroy();
      };
      const options = {
        method,
        ...route,
        headers: {
          'user-agent': 'signet',
          'accept-encoding': 'identity',
          ...headers,
          ...route.headers,
          ...(body !== undefined && { 'content-length': String(body.byteLength) }),
        },
        timeout: silenceMs,
        signal,
      };
      const outgoing = (isTls ? tlsRequest : plainRequest)(url, options, (incoming) => {
        const chunks: Buffer[] = [];
        let length = 0;
        incoming.on('data', (chunk: Buffer) => {
          length += chunk.byteLength;
          if (length <= maxBytes) chunks.push(chunk);
          else giveUp(tooLarge(url, maxBytes));
        });
        incoming.on('error', fail);
        incoming.on('end', () => {
          const { statusCode: status = 0, headers: received } = incoming;
          resolve({ status, headers: received, body: Buffer.concat(chunks) });
        });
      });
      // Node tells a request that waits for its tunnel only when that is there.
      const aborted = addAbortListener(signal, () => fail(signal.reason));
      outgoing.on('close', () => aborted[Symbol.dispose]());
      outgoing.on('timeout', () => giveUp(silent(url, silenceMs)));
      outgoing.on('error', fail);
      outgoing.end(body);
    });
  }

  /** Options of a request: plain ones are given to a proxy whole, TLS goes through it. */
  #route(url: URL): RequestOptions & { readonly headers?: Readonly<Record<string, string>> } {
    const proxy = this.#proxyFor(url);
    if (url.protocol === 'http:') {
      if (proxy === undefined) return { agent: this.#plain };
      const { host, port, headers } = proxyAddress(proxy);
      // Node takes `hostname` before `host`, and has it from the URL.
      return {
        agent: this.#plain,
        hostname: host,
        port,
        path: `${url.origin}${url.pathname}${url.search}`,
        headers: { host: url.host, ...headers },
      };
    }
    if (proxy === undefined) return { agent: this.#tls };
    const tunnel = this.#tunnels.get(proxy.href) ?? new TunnelAgent(proxy, this.#tlsOptions, this.#limits.silenceMs);
    this.#tunnels.set(proxy.href, tunnel);
    return { agent: tunnel };
  }

  #failure(error: unknown, url: URL, late: AbortSignal): SignetError {
    if (error instanceof SignetError) return error;
    if (this.#signal.aborted) return new SignetError('CANCELLED', 'cancelled', { cause: error });
    if (late.aborted) return silent(url, this.#limits.totalMs);
    return connectionError(error, url);
  }

  [Symbol.dispose](): void {
    this.#plain.destroy();
    this.#tls.destroy();
    for (const tunnel of this.#tunnels.values()) tunnel.destroy();
  }
}

function tooLarge(url: URL, maxBytes: number): SignetError {
  return new SignetError('METADATA_REJECTED', `${url.origin} sends more than ${maxBytes} bytes`);
}

function silent(url: URL, ms: number): SignetError {
  return new SignetError('UNAVAILABLE', `could not reach ${url.origin}: no whole answer within ${ms} ms`);
}

function connectionError(error: unknown, url: URL): SignetError {
  const code = String((error as NodeJS.ErrnoException).code ?? 'unknown error');
  const { isUnknownAuthority, reason } = connectionProblem(code);
  const hint = isUnknownAuthority
    ? `name its CA with --tlscacert, or put it into ~/.docker/tls/${url.host}`
    : 'check the URL of the trust server, and the network';
  return new SignetError('UNAVAILABLE', `could not reach ${url.origin}: ${reason ?? 'it failed'} (${code})`, {
    hint,
    cause: error,
  });
}
