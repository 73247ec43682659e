/** A trust server that is reached through a proxy, both on loopback: the proxy leads every name there. */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { HttpClient } from '../../../src/repository/http.ts';
import { proxyFor } from '../../../src/repository/proxy.ts';
import { createAuthority } from '../../support/certificates.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

describe('the proxy for a URL', () => {
  const chosen = (url: string, env: NodeJS.ProcessEnv) => proxyFor(new URL(url), env)?.href;
  const HTTPS = 'https://trust.example.com:4443';

  it('is that of its scheme, and the capital variable comes first', () => {
    const env = { HTTPS_PROXY: 'http://one:1', https_proxy: 'http://two:2', http_proxy: 'three:3' };
    expect(chosen(HTTPS, env)).toBe('http://one:1/');
    expect(chosen('http://trust.example.com', env)).toBe('http://three:3/');
    expect(chosen(HTTPS, { https_proxy: 'http://two:2' })).toBe('http://two:2/');
    expect(chosen(HTTPS, { HTTP_PROXY: 'http://three:3' })).toBeUndefined();
  });

  it.each(['localhost', '127.0.0.1', '127.9.9.9', '[::1]'])('is none for %s', (host) => {
    expect(chosen(`https://${host}:4443`, { HTTPS_PROXY: 'http://one:1' })).toBeUndefined();
  });

  it.each([
    ['*', 'a.example.com', true],
    ['example.com', 'example.com', true],
    ['example.com', 'a.example.com', true],
    ['example.com', 'notexample.com', false],
    ['other.test, Example.COM', 'a.example.com', true],
    ['.example.com', 'example.com', false],
    ['.example.com', 'a.example.com', true],
    ['*.example.com', 'a.example.com', true],
    ['example.com:4443', 'example.com', true],
    ['example.com:443', 'example.com', false],
    ['192.0.2.0/24', '192.0.2.7', true],
    ['192.0.2.0/24', '192.0.3.7', false],
    ['192.0.2.7', '192.0.2.7', true],
    ['192.0.2.7:443', '192.0.2.7', false],
    ['2001:db8::/32', '[2001:db8::1]', true],
    ['[2001:db8::1]:4443', '[2001:db8::1]', true],
    ['192.0.2.0/99, ,:4443', '192.0.2.7', false],
  ])('NO_PROXY %j and %s: reached directly is %s', (noProxy, host, isDirect) => {
    const proxy = chosen(`https://${host}:4443`, { HTTPS_PROXY: 'http://one:1', no_proxy: noProxy });
    expect(proxy).toBe(isDirect ? undefined : 'http://one:1/');
  });

  it.each(['socks5://u:secret@p:1', 'https://p:1', 'http://', 'http://u:%ff@p:1'])('cannot be %s', (value) => {
    expect(() => chosen(HTTPS, { HTTPS_PROXY: value })).toThrow(
      expect.objectContaining({
        code: 'CONFIGURATION',
        message: 'HTTPS_PROXY is not the address of an HTTP proxy',
      }),
    );
  });
});

describe('a request through a proxy', () => {
  const proxyUrl = () => `http://user:p%40ss@127.0.0.1:${portOf(proxy)}`;
  const portOf = (server: Server) => (server.address() as AddressInfo).port;
  let directory: TemporaryDirectory;
  let ca: string;
  let tlsServer: Server;
  let proxy: Server;
  let client: HttpClient;
  /** What the proxy was asked for. */
  let asked: { readonly url?: string | undefined; readonly headers: IncomingHttpHeaders }[];
  let refusal: string | undefined;

  beforeAll(async () => {
    directory = await temporaryDirectory();
    const authority = await createAuthority(directory.path, 'ca');
    ca = await readFile(authority.certFile, 'utf8');
    const leaf = await authority.issue('leaf', { extendedKeyUsage: ['serverAuth'], dnsName: 'trust.example.com' });
    const [cert, key] = await Promise.all([readFile(leaf.certFile), readFile(leaf.keyFile)]);
    tlsServer = createTlsServer({ cert, key }, (request, response) => response.end(`for ${request.headers.host}`));
    await once(tlsServer.listen(0, '127.0.0.1'), 'listening');
  });
  afterAll(async () => {
    tlsServer.closeAllConnections();
    await once(tlsServer.close(), 'close');
    await directory[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    asked = [];
    refusal = undefined;
    proxy = createServer((request, response) => {
      asked.push(request);
      response.end('plain');
    });
    proxy.on('connect', (request, socket: Duplex) => {
      asked.push(request);
      socket.on('error', () => {});
      if (refusal !== undefined) {
        socket.end(refusal);
        return;
      }
      const onward = connect(portOf(tlsServer), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        onward.pipe(socket).pipe(onward);
      });
      onward.on('error', () => socket.destroy());
    });
    await once(proxy.listen(0, '127.0.0.1'), 'listening');
    const env = { HTTPS_PROXY: proxyUrl(), HTTP_PROXY: proxyUrl() };
    client = new HttpClient({ ca: [ca] }, new AbortController().signal, undefined, (url) => proxyFor(url, env));
  });
  afterEach(async () => {
    client[Symbol.dispose]();
    proxy.closeAllConnections();
    await once(proxy.close(), 'close');
  });

  const get = (url: string) => client.send({ method: 'GET', url: new URL(url), maxBytes: 1000 });
  const login = `Basic ${Buffer.from('user:p@ss').toString('base64')}`;

  it('has TLS with the server itself, over one connection', async () => {
    for (const path of ['/a', '/b']) {
      const { status, body } = await get(`https://trust.example.com:4443${path}`);
      expect([status, body.toString()]).toEqual([200, 'for trust.example.com:4443']);
    }
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatchObject({ url: 'trust.example.com:4443', headers: { 'proxy-authorization': login } });
  });

  it('trusts no server with a certificate for another name', async () => {
    await expect(get('https://other.example.com')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('its certificate is for another name (ERR_TLS_CERT_ALTNAME_INVALID)'),
    });
    expect(asked[0]?.url).toBe('other.example.com:443');
  });

  it('without TLS names the server to the proxy', async () => {
    expect((await get('http://trust.example.com/a?b=c')).body.toString()).toBe('plain');
    expect(asked[0]).toMatchObject({
      url: 'http://trust.example.com/a?b=c',
      headers: { host: 'trust.example.com', 'proxy-authorization': login },
    });
  });

  it.each([
    ['HTTP/1.1 407 No\r\n\r\n', 'it answers with status 407'],
    ['HTTP/1.1 200 OK\r\n\r\nhello', 'it sends what nobody asked for'],
    ['nonsense\r\n\r\n', 'HPE_INVALID_CONSTANT'],
    ['', 'ECONNRESET'],
  ])('that is answered with %j says so, and never the password', async (answer, reason) => {
    refusal = answer;
    await expect(get('https://trust.example.com')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `could not reach trust.example.com:443 through the proxy 127.0.0.1:${portOf(proxy)}: ${reason}`,
      hint: 'check HTTPS_PROXY, or name the server in NO_PROXY',
    });
  });

  it('does not wait for a proxy that says nothing, or after it is cancelled', async () => {
    proxy.removeAllListeners('connect').on('connect', (_request, socket: Duplex) => {
      socket
        .on('error', () => {})
        .on('end', () => socket.destroy())
        .resume();
    });
    const cancel = new AbortController();
    const connected = once(proxy, 'connect');
    const url = new URL('https://trust.example.com');
    const request = { method: 'GET', url, maxBytes: 1000 } as const;
    const through = (silenceMs: number) =>
      new HttpClient({ ca: [ca] }, cancel.signal, { silenceMs, totalMs: 60_000 }, () => new URL(proxyUrl()));
    using impatient = through(50);
    await expect(impatient.send(request)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/^could not reach .*: no .*answer/),
    });
    using patient = through(60_000);
    const cancelled = expect(patient.send(request)).rejects.toMatchObject({ code: 'CANCELLED' });
    await connected;
    cancel.abort();
    await cancelled;
  });

  it('never goes to a proxy for loopback', async () => {
    expect((await get(`https://127.0.0.1:${portOf(tlsServer)}`)).status).toBe(200);
    expect(asked).toEqual([]);
  });
});
