/** A command's way to a trusted collection: its folder, its server, and its keys. */
import { resolve } from 'node:path';
import type { CallOptions } from '../client/agent-client.ts';
import { SignetError } from '../errors.ts';
import { defaultTrustDir } from '../locations.ts';
import { type ClientConfig, readClientConfig } from '../repository/client-config.ts';
import type { Collection } from '../repository/collection.ts';
import { LocalCollection } from '../repository/collection.ts';
import type { SigningKeys } from '../repository/signing-keys.ts';
import type { Invocation } from './invocation.ts';
import { printNote, writeStatus } from './output.ts';

/** A collection of a command line, without its server. */
export interface OpenLocal {
  readonly local: LocalCollection;
  readonly config: ClientConfig;
  /** What the agent is told; undefined: what the daemon is configured for. */
  readonly trustDir: string | undefined;
}

/** The first argument is the GUN. @throws {SignetError} INVALID_ARGUMENT, CONFIGURATION */
export async function openLocal(invocation: Invocation): Promise<OpenLocal> {
  const { env, signal, session } = invocation.world;
  const config = await readClientConfig(invocation.text('config'), env);
  const isNamed = invocation.text('trust-dir') !== undefined;
  const trustDir = isNamed ? session.trustDir : (config.trustDir ?? session.trustDir);
  const local = new LocalCollection({
    gun: invocation.argument(0),
    trustDir: trustDir ?? resolve(defaultTrustDir(env)),
    signal,
    warn: printNote,
  });
  return { local, config, trustDir };
}

/** A collection with its server. Disposing closes connections. */
export interface OpenCollection extends OpenLocal, Disposable {
  readonly collection: Collection;
}

/** @throws {SignetError} INVALID_ARGUMENT, CONFIGURATION */
export async function openCollection(invocation: Invocation): Promise<OpenCollection> {
  const opened = await openLocal(invocation);
  const { env, signal, session } = invocation.world;
  const [{ chooseServer }, { HttpClient }, { proxyFor }, { TrustServer }, { configuredCredentials }] =
    await Promise.all([
      import('../repository/server-choice.ts'),
      import('../repository/http.ts'),
      import('../repository/proxy.ts'),
      import('../repository/trust-server.ts'),
      import('../repository/credentials.ts'),
    ]);
  const flags = {
    server: invocation.text('server'),
    tlsCaCert: invocation.text('tlscacert'),
    tlsCert: invocation.text('tlscert'),
    tlsKey: invocation.text('tlskey'),
    isConfigNamed: invocation.text('config') !== undefined,
  };
  const { url, tls } = await chooseServer(flags, opened.config, env);
  if (tls.skipVerify) printNote(`warning: ${url.origin} may show any certificate, because of skipTLSVerify`);
  const http = new HttpClient(tls, signal, undefined, (to) => proxyFor(to, env));
  const { gun } = opened.local;
  const credentials = async () =>
    (await configuredCredentials(gun, url, env)) ?? (await (await session.person()).login(url.host));
  const server = new TrustServer({ url, gun, http, credentials });
  const { pinning, maxExpiryDays } = opened.config;
  const collection = { local: opened.local, server, pinning, maxExpiryDays, now: new Date() };
  return { ...opened, collection, [Symbol.dispose]: () => http[Symbol.dispose]() };
}

/** Does what needs private keys, while questions about them are answered. */
export async function withKeys<T>(
  invocation: Invocation,
  trustDir: string | undefined,
  work: (keys: SigningKeys) => Promise<T>,
): Promise<T> {
  const { SigningKeys } = await import('../repository/signing-keys.ts');
  return await invocation.world.session.asking(
    async (agent, call: CallOptions) => await work(new SigningKeys(agent, { ...call, trustDir })),
  );
}

/**
 * Has a person say yes. A line on the standard input does too, as for notary, where that is no terminal.
 *
 * @throws {SignetError} CANCELLED for any other answer
 */
export async function requireYes(invocation: Invocation, question: string): Promise<void> {
  if (invocation.flag('yes')) return;
  if (process.stdin.isTTY || invocation.flag('no-input')) {
    await (await invocation.world.session.person()).confirm(question, 'yes', '--yes');
    return;
  }
  const { readInput } = await import('./files.ts');
  writeStatus(`${question} (yes/no)\n`);
  const answer = await readInput('-', 1024, invocation.world.signal);
  if (/^\s*y(es)?\s*$/i.test(answer.toString('utf8').split('\n')[0] ?? '')) return;
  throw new SignetError('CANCELLED', 'aborted, nothing was changed', {
    hint: 'to go ahead without being asked, add --yes',
  });
}
