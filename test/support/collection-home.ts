/** A person who publishes with signet and notary on one trust directory, to the real notary-server. */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type CommandLineHome, commandLineHome } from './cli.ts';
import { type NotaryClient, type NotaryServer, type Signer, startNotarySigner } from './notary.ts';
import { type ProgramResult, runProgram } from './processes.ts';
import { Resources } from './resources.ts';
import { startStack } from './stack.ts';

/** For both programs. */
export const COLLECTION_PASSPHRASES: Readonly<Record<string, string>> = {
  NOTARY_ROOT_PASSPHRASE: 'root-passphrase',
  NOTARY_TARGETS_PASSPHRASE: 'targets-passphrase',
  NOTARY_SNAPSHOT_PASSPHRASE: 'snapshot-passphrase',
  NOTARY_DELEGATION_PASSPHRASE: 'delegation-passphrase',
  DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE: 'root-passphrase',
  DOCKER_CONTENT_TRUST_REPOSITORY_PASSPHRASE: 'targets-passphrase',
};

export interface CollectionHome extends AsyncDisposable {
  /** HOME, and the working directory. */
  readonly path: string;
  readonly trustDir: string;
  readonly server: NotaryServer;
  /** PEM of the server's authority. */
  readonly caFile: string;
  readonly commandLine: CommandLineHome;
  signet(...args: string[]): Promise<ProgramResult>;
  /** The real notary on the same trust directory. */
  notary(...args: string[]): Promise<ProgramResult>;
  /** The real docker, with `DOCKER_CONTENT_TRUST_SERVER`. */
  docker(...args: string[]): Promise<ProgramResult>;
  /** The same with `DOCKER_CONTENT_TRUST`. */
  trustedDocker(...args: string[]): Promise<ProgramResult>;
  /** Somebody else, with a trust directory of their own. */
  reader(name: string): Promise<NotaryClient>;
}

export interface CollectionHomeOptions {
  /** Of the daemon that signet starts. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** In addition to passphrases. */
  readonly env?: Readonly<Record<string, string>>;
}

export async function collectionHome(options: CollectionHomeOptions = {}): Promise<CollectionHome> {
  const resources = new Resources();
  try {
    const stack = resources.use(await startStack<Signer>((directory, tls) => startNotarySigner(directory, tls)));
    const commandLine = resources.use(await commandLineHome());
    const { path } = commandLine;
    const trustDir = join(path, '.docker', 'trust');
    const host = new URL(stack.server.url).host;
    const { caFile } = stack;
    await mkdir(join(path, '.docker', 'tls', host), { recursive: true, mode: 0o700 });
    await copyFile(caFile, join(path, '.docker', 'tls', host, 'ca.crt'));
    await mkdir(join(path, '.notary'), { mode: 0o700 });
    const config = { trust_dir: trustDir, remote_server: { url: stack.server.url, root_ca: caFile } };
    await writeFile(join(path, '.notary', 'config.json'), JSON.stringify(config));
    if (options.config !== undefined) {
      await mkdir(join(path, '.signet'), { mode: 0o700 });
      await writeFile(join(path, '.signet', 'signetd.json'), JSON.stringify(options.config));
    }
    const variables = { ...COLLECTION_PASSPHRASES, ...options.env };
    const env = { ...commandLine.env, ...variables };
    const forDocker = { DOCKER_CONTENT_TRUST_SERVER: stack.server.url };
    const real = (command: string, args: readonly string[], extra: Readonly<Record<string, string>> = {}) =>
      runProgram('setsid', ['--wait', command, ...args], { cwd: path, env: { ...env, ...extra } });
    return {
      path,
      trustDir,
      server: stack.server,
      caFile,
      commandLine,
      signet: (...args) => commandLine.signet(args, { env: variables }),
      notary: (...args) => real('notary', args),
      docker: (...args) => real('docker', args, forDocker),
      trustedDocker: (...args) => real('docker', args, { ...forDocker, DOCKER_CONTENT_TRUST: '1' }),
      reader: (name) => stack.client(name),
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  } catch (error) {
    await resources[Symbol.asyncDispose]();
    throw error;
  }
}
