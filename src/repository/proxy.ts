/** Proxies as programs in Go are told of them (golang.org/x/net/http/httpproxy), because notary and docker are. */
import { type ClientRequest, request as plainRequest } from 'node:http';
import { type RequestOptions, Agent as TlsAgent } from 'node:https';
import { BlockList, isIP, isIPv6, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { SignetError } from '../errors.ts';

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/**
 * The proxy for a URL: `HTTPS_PROXY` or `HTTP_PROXY` by its scheme, or the same in lower case. Loopback and what `NO_PROXY`
 * lists are reached directly.
 *
 * @throws {SignetError} CONFIGURATION for a proxy that is not reached by HTTP
 */
export function proxyFor(url: URL, env: NodeJS.ProcessEnv): URL | undefined {
  const name = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const text = variable(env, name);
  if (text === '' || isDirect(url, variable(env, 'NO_PROXY'))) return undefined;
  const withScheme = text.includes('://') ? text : `http://${text}`;
  const proxy = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (proxy?.protocol === 'http:' && isDecodable(proxy.username) && isDecodable(proxy.password)) return proxy;
  // The value is not shown: it may have a password.
  throw new SignetError('CONFIGURATION', `${name} is not the address of an HTTP proxy`, {
    hint: 'write it as http://HOST:PORT',
  });
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function variable(env: NodeJS.ProcessEnv, name: string): string {
  return (env[name] || env[name.toLowerCase()] || '').trim();
}

function isDirect(url: URL, noProxy: string): boolean {
  const host = hostOf(url).toLowerCase();
  const port = portOf(url, url.protocol === 'https:' ? 443 : 80);
  if (isLoopback(url)) return true;
  return noProxy.split(',').some((entry) => covers(entry.trim().toLowerCase(), host, port));
}

/** Whether a request stays on this machine. */
export function isLoopback(url: URL): boolean {
  const host = hostOf(url).toLowerCase();
  return host === 'localhost' || isIn(LOOPBACK, host);
}

/** `*`, an address or a range of them, or a domain; `.domain` and `*.domain` are what is below it only. */
function covers(entry: string, host: string, port: number): boolean {
  if (entry === '' || entry === '*') return entry === '*';
  const [, address = '', prefix] = /^([^/]+)\/(\d{1,3})$/.exec(entry) ?? [];
  if (prefix !== undefined) return isInRange(address, Number(prefix), host);
  if (isIP(entry) !== 0) return isInRange(entry, isIPv6(entry) ? 128 : 32, host);
  const [, name = '', entryPort] = /^(.*?)(?::(\d+))?$/.exec(entry) ?? [];
  if (entryPort !== undefined && Number(entryPort) !== port) return false;
  const bare = name.replace(/^\[(.*)\]$/, '$1');
  if (isIP(bare) !== 0) return isInRange(bare, isIPv6(bare) ? 128 : 32, host);
  const domain = bare.replace(/^\*\./, '.');
  return domain.startsWith('.') ? host.endsWith(domain) : host === domain || host.endsWith(`.${domain}`);
}

function isInRange(address: string, prefix: number, host: string): boolean {
  if (isIP(address) === 0 || prefix > (isIPv6(address) ? 128 : 32)) return false;
  const range = new BlockList();
  range.addSubnet(address, prefix, isIPv6(address) ? 'ipv6' : 'ipv4');
  return isIn(range, host);
}

function isIn(list: BlockList, host: string): boolean {
  return isIP(host) !== 0 && list.check(host, isIPv6(host) ? 'ipv6' : 'ipv4');
}

/** Without the brackets of IPv6. */
function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}

function portOf({ port }: URL, standard: number): number {
  return port === '' ? standard : Number(port);
}

/** Where a request goes that a proxy passes on, and what the proxy is told about us. */
export function proxyAddress(proxy: URL): {
  readonly host: string;
  readonly port: number;
  readonly headers: Readonly<Record<string, string>>;
} {
  const { username, password } = proxy;
  const login = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64');
  return {
    host: hostOf(proxy),
    port: portOf(proxy, 80),
    headers: username === '' && password === '' ? {} : { 'proxy-authorization': `Basic ${login}` },
  };
}

/** Keeps connections to TLS servers behind a proxy. TLS is with the server: the proxy sees its name only. */
export class TunnelAgent extends TlsAgent {
  readonly #proxy: URL;
  readonly #silenceMs: number;
  readonly #pending = new Set<ClientRequest>();

  constructor(proxy: URL, tls: ConstructorParameters<typeof TlsAgent>[0], silenceMs: number) {
    super(tls);
    this.#proxy = proxy;
    this.#silenceMs = silenceMs;
  }

  /** Node calls this for a connection; it may answer later. */
  override createConnection(
    options: RequestOptions,
    answer: (error: Error | null, stream: Duplex) => void = () => {},
  ): undefined {
    const { host, port, headers } = proxyAddress(this.#proxy);
    const name = options.host ?? '';
    const target = `${isIPv6(name) ? `[${name}]` : name}:${options.port}`;
    const fail = (reason: string, cause?: unknown) =>
      answer(
        new SignetError('UNAVAILABLE', `could not reach ${target} through the proxy ${host}:${port}: ${reason}`, {
          hint: 'check HTTPS_PROXY, or name the server in NO_PROXY',
          cause,
        }),
        new Socket(), // not looked at
      );
    const request = plainRequest({
      ...{ method: 'CONNECT', host, port, path: target, agent: false, timeout: this.#silenceMs },
      headers: { host: target, 'user-agent': 'signet', ...headers },
    });
    this.#pending.add(request);
    request.on('close', () => this.#pending.delete(request));
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message, error));
    request.on('connect', ({ statusCode = 0 }, socket: Duplex, head: Buffer) => {
      this.#pending.delete(request);
      if (statusCode !== 200 || head.byteLength > 0) {
        socket.destroy();
        fail(statusCode === 200 ? 'it sends what nobody asked for' : `it answers with status ${statusCode}`);
        return;
      }
      answer(null, connectTls({ ...(options as ConnectionOptions), socket }));
    });
    request.end();
    return undefined;
  }

  override destroy(): void {
    for (const request of this.#pending) request.destroy();
    super.destroy();
  }
}
