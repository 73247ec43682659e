import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SignetError } from '../../../src/errors.ts';
import { Authorizer, type Credentials, parseChallenges } from '../../../src/repository/authorization.ts';
import { configuredCredentials } from '../../../src/repository/credentials.ts';
import { HttpClient } from '../../../src/repository/http.ts';
import { Resources } from '../../support/resources.ts';
import { temporaryDirectory } from '../../support/temp.ts';
import { TestTrustServer, testClient } from '../../support/trust-server.ts';

const GUN = 'registry.example.com/team/app';
const ALICE: Credentials = { username: 'alice', password: 'pass:word' };
const BASIC = `Basic ${Buffer.from('alice:pass:word').toString('base64')}`;

let resources: Resources;
let directory: string;
let server: TestTrustServer;
/** What the token server was asked: the scope, and whether credentials came with it. */
let tokens: { readonly scope: string | null; readonly isKnown: boolean }[];

beforeEach(async () => {
  resources = new Resources();
  directory = resources.use(await temporaryDirectory()).path;
  server = resources.use(await TestTrustServer.start());
  server.files.set('root.json', Buffer.from('root'));
  tokens = [];
});
afterEach(() => resources[Symbol.asyncDispose]());

/** A registry's token server, which gives nobody but Alice a token; anybody may read if `isPublic`. */
function demandTokens(isPublic: boolean): void {
  server.answer = (request, response) => {
    const url = new URL(request.url ?? '', server.url);
    const { authorization } = request.headers;
    if (url.pathname === '/token') {
      const isKnown = authorization === BASIC;
      const scope = url.searchParams.get('scope');
      tokens.push({ scope, isKnown });
      if (authorization !== undefined && !isKnown) response.writeHead(401).end();
      else response.writeHead(200).end(JSON.stringify({ token: isKnown ? `alice-${scope?.split(':')[2]}` : 'nobody' }));
      return true;
    }
    const actions = request.method === 'GET' && url.pathname.endsWith('.json') ? 'pull' : 'push,pull';
    const allowed = [`Bearer alice-${actions}`, ...(isPublic && actions === 'pull' ? ['Bearer nobody'] : [])];
    if (authorization !== undefined && allowed.includes(authorization)) return false;
    const challenge = `Bearer realm="${server.url.origin}/token",service="notary",scope="repository:${GUN}:${actions}"`;
    response.writeHead(401, { 'www-authenticate': challenge }).end();
    return true;
  };
}

async function download(credentials?: Credentials): Promise<string> {
  using client = testClient(server.url, {
    gun: GUN,
    trustDir: join(directory, 'trust'),
    now: new Date(),
    ...(credentials && { credentials }),
  });
  const first = await client.collection.server.download('root.json', 100);
  const again = await client.collection.server.download('root.json', 100);
  expect(again).toEqual(first);
  return String(first);
}

describe('a server with a token server', () => {
  it('lets anybody read what is public, with one token for nobody', async () => {
    demandTokens(true);
    expect(await download()).toBe('root');
    expect(tokens).toEqual([{ scope: `repository:${GUN}:pull`, isKnown: false }]);
  });

  it('gets credentials only when a token for nobody does not do', async () => {
    demandTokens(false);
    expect(await download(ALICE)).toBe('root');
    expect(tokens.map(({ isKnown }) => isKnown)).toEqual([false, true]);
  });

  it('refuses who has no credentials, or wrong ones', async () => {
    demandTokens(false);
    const refusal = {
      code: 'UNAUTHENTICATED',
      message: 'you are not authorized to perform this operation: server returned 401.',
    };
    await expect(download()).rejects.toMatchObject(refusal);
    await expect(download({ ...ALICE, password: 'wrong' })).rejects.toMatchObject(refusal);
  });

  it.each(['[]', '{}', '{"token":"a b"}', '{"token":"a\\r\\nx: y"}', 'no'])(
    'that answers %s gives no token',
    async (text) => {
      demandTokens(true);
      const { answer } = server;
      server.answer = (request, response, name) => {
        if (!request.url?.startsWith('/token')) return answer(request, response, name);
        response.writeHead(200).end(text);
        return true;
      };
      await expect(download()).rejects.toMatchObject({
        code: 'METADATA_REJECTED',
        message: expect.stringMatching(/^malformed answer of the token server: /),
      });
    },
  );
});

describe('a server with basic authentication', () => {
  beforeEach(() => {
    server.answer = (request, response) => {
      if (request.headers.authorization === BASIC) return false;
      response.writeHead(401, { 'www-authenticate': 'Basic realm="notary"' }).end();
      return true;
    };
  });

  it('is given name and password when it asks', async () => {
    expect(await download(ALICE)).toBe('root');
    await expect(download()).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
    await expect(download({ ...ALICE, password: 'wrong' })).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  });
});

describe('challenges', () => {
  it('are read as RFC 9110 has them', () => {
    const [bearer, basic] = parseChallenges('bearer Realm="https://a/b, c",scope = "x:y \\"z\\"" , Basic realm=r');
    expect(bearer).toEqual({
      scheme: 'bearer',
      parameters: new Map([
        ['realm', 'https://a/b, c'],
        ['scope', 'x:y "z"'],
      ]),
    });
    expect(basic).toEqual({ scheme: 'basic', parameters: new Map([['realm', 'r']]) });
  });

  it.each(['', '"', '===', ',,,'])('may be nonsense: %j', (header) => {
    expect(parseChallenges(header)).toEqual([]);
  });
});

describe('a server without TLS', () => {
  const plain = new URL('http://trust.example.com');
  const answer = async (header: string, from: URL) => {
    using http = new HttpClient({}, new AbortController().signal);
    let isAsked = false;
    const authorizer = new Authorizer(http, GUN, async () => {
      isAsked = true;
      return ALICE;
    });
    try {
      return await authorizer.answer(header, 'push,pull', from);
    } catch (error) {
      return { code: (error as SignetError).code, message: (error as SignetError).message, isAsked };
    }
  };
  const refusal = {
    code: 'UNAUTHENTICATED',
    message: `${plain.origin} wants a password, and none is sent without TLS`,
  };

  it.each(['Basic realm="x"', 'Bearer realm="https://tokens.example.com/token"'])(
    'gets no password, which is not even asked for: %s',
    async (header) => {
      expect(await answer(header, plain)).toEqual({ ...refusal, isAsked: false });
    },
  );

  it('gets none as a token server of one on this machine', async () => {
    expect(await answer(`Bearer realm="${plain.origin}/token"`, server.url)).toEqual({ ...refusal, isAsked: true });
  });
});

describe('credentials', () => {
  const registry = new URL('https://registry.example.com');
  const env = (more: NodeJS.ProcessEnv = {}) => ({ HOME: directory, PATH: process.env['PATH'], ...more });
  const dockersConfig = async (config: unknown) => {
    await mkdir(join(directory, '.docker'), { recursive: true });
    await writeFile(join(directory, '.docker', 'config.json'), JSON.stringify(config));
  };

  it('come from NOTARY_AUTH', async () => {
    const NOTARY_AUTH = BASIC.slice('Basic '.length);
    expect(await configuredCredentials(GUN, registry, env({ NOTARY_AUTH }))).toEqual(ALICE);
    await expect(configuredCredentials(GUN, registry, env({ NOTARY_AUTH: 'x' }))).rejects.toMatchObject({
      code: 'CONFIGURATION',
    });
  });

  it('are those of docker login for the registry', async () => {
    await dockersConfig({ auths: { 'registry.example.com': { auth: BASIC.slice(6) }, other: { auth: 'eDp5' } } });
    expect(await configuredCredentials(GUN, registry, env())).toEqual(ALICE);
    expect(await configuredCredentials('elsewhere/app', new URL('https://elsewhere'), env())).toBeUndefined();
  });

  it("are asked from Docker's helper for the registry", async () => {
    const helper = join(directory, 'docker-credential-test');
    const script = '#!/bin/sh\nread registry\n[ "$1 $registry" = "get registry.example.com" ] || exit 1\n';
    await writeFile(helper, `${script}echo '{"Username":"alice","Secret":"pass:word"}'\n`, { mode: 0o700 });
    await dockersConfig({ credsStore: 'test' });
    const PATH = `${directory}:${process.env['PATH'] ?? ''}`;
    expect(await configuredCredentials(GUN, registry, env({ PATH }))).toEqual(ALICE);
    expect(await configuredCredentials('elsewhere/app', new URL('https://elsewhere'), env({ PATH }))).toBeUndefined();
  });

  it.each([
    ['https://registry.example.com:443', {}, ALICE],
    ['https://trust.example.com', { DOCKER_CONTENT_TRUST_SERVER: 'https://trust.example.com/' }, ALICE],
    ['https://trust.example.com', {}, undefined],
    ['https://registry.example.com:4443', {}, undefined],
    ['http://registry.example.com', {}, undefined],
    ['http://trust.example.com', { DOCKER_CONTENT_TRUST_SERVER: 'http://trust.example.com' }, undefined],
    ['https://trust.example.com', { DOCKER_CONTENT_TRUST_SERVER: 'https://other.example.com' }, undefined],
  ])('of docker login for the server %s with %j: %j', async (url, more, expected) => {
    await dockersConfig({ auths: { 'registry.example.com': { auth: BASIC.slice(6) } } });
    expect(await configuredCredentials(GUN, new URL(url), env(more))).toEqual(expected);
  });

  it('of Docker Hub are for its trust server', async () => {
    await dockersConfig({ auths: { 'https://index.docker.io/v1/': { auth: BASIC.slice(6) } } });
    const ask = (url: string) => configuredCredentials('docker.io/library/app', new URL(url), env());
    expect(await ask('https://notary.docker.io')).toEqual(ALICE);
    expect(await ask('https://docker.io')).toBeUndefined();
  });

  it('are none where nothing is configured', async () => {
    expect(await configuredCredentials(GUN, registry, env())).toBeUndefined();
  });
});
