/** Who we are to a trust server: NOTARY_AUTH, else what `docker login` knows of the registry. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SignetError } from '../errors.ts';
import type { Credentials } from './authorization.ts';
import { DOCKER_VARIABLE } from './server-choice.ts';

/** Docker's name for Docker Hub in its configuration. */
const HUB = 'https://index.docker.io/v1/';
const HELPER_NAME = /^[\w.-]{1,64}$/;
const MAX_HELPER_BYTES = 64 * 1024;
const HELPER_MS = 30_000;

/** The trust server that Docker asks about Docker Hub. */
const HUB_SERVER = 'notary.docker.io';

/**
 * What `docker login` knows is for the registry: only the trust server that Docker itself would ask is told.
 *
 * @param server The trust server.
 * @returns Undefined if nobody said
 * @throws {SignetError} CONFIGURATION for a NOTARY_AUTH that is not base64 of `user:password`
 */
export async function configuredCredentials(
  gun: string,
  server: URL,
  env: NodeJS.ProcessEnv,
): Promise<Credentials | undefined> {
  const variable = env['NOTARY_AUTH'];
  if (!variable) return isDockersServer(gun, server, env) ? await dockersCredentials(gun, env) : undefined;
  const credentials = decoded(variable);
  if (credentials !== undefined) return credentials;
  throw new SignetError('CONFIGURATION', 'NOTARY_AUTH is not base64 of user:password');
}

/** The server that Docker's variable names, else the one at the registry's host and port. By TLS only. */
function isDockersServer(gun: string, server: URL, env: NodeJS.ProcessEnv): boolean {
  if (server.protocol !== 'https:') return false;
  const [host = ''] = gun.split('/');
  const registry = `https://${host === 'docker.io' ? HUB_SERVER : host}`;
  return [env[DOCKER_VARIABLE] ?? '', registry].some(
    (text) => URL.canParse(text) && new URL(text).origin === server.origin,
  );
}

function decoded(base64: string): Credentials | undefined {
  const text = Buffer.from(base64, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon <= 0 ? undefined : { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

type Json = Readonly<Record<string, unknown>>;

function record(value: unknown): Json {
  return typeof value === 'object' && value !== null ? (value as Json) : {};
}

async function dockersCredentials(gun: string, env: NodeJS.ProcessEnv): Promise<Credentials | undefined> {
  const [host = ''] = gun.split('/');
  const registry = host === 'docker.io' ? HUB : host;
  const path = join(env['DOCKER_CONFIG'] || join(env['HOME'] ?? '', '.docker'), 'config.json');
  const config = await readFile(path, 'utf8')
    .then((text) => record(JSON.parse(text)))
    .catch((): Json => ({})); // no such file, or not Docker's
  const helper = record(config['credHelpers'])[registry] ?? config['credsStore'];
  if (typeof helper === 'string' && HELPER_NAME.test(helper)) return await askHelper(helper, registry, env);
  const { auth } = record(record(config['auths'])[registry]);
  return typeof auth === 'string' ? decoded(auth) : undefined;
}

/** `docker-credential-<name> get`: the registry on stdin, JSON on stdout. A helper that knows nothing fails. */
async function askHelper(name: string, registry: string, env: NodeJS.ProcessEnv): Promise<Credentials | undefined> {
  const child = spawn(`docker-credential-${name}`, ['get'], {
    env,
    stdio: ['pipe', 'pipe', 'ignore'],
    timeout: HELPER_MS,
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (output.length < MAX_HELPER_BYTES) output += text;
  });
  child.stdin.on('error', () => undefined).end(registry);
  const isDone = await new Promise<boolean>((resolve) => {
    child.on('error', () => resolve(false)).on('close', (code) => resolve(code === 0));
  });
  if (!isDone) return undefined;
  try {
    const { Username: username, Secret: password } = record(JSON.parse(output));
    return typeof username === 'string' && typeof password === 'string' ? { username, password } : undefined;
  } catch {
    return undefined; // not what helpers say
  }
}
