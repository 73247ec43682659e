import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect } from 'vitest';
import { type Config, loadConfig } from '../../../src/daemon/config.ts';

const vector = (name: string) => fileURLToPath(new URL(`../../vectors/tls/${name}`, import.meta.url));

export const TLS = { tls_cert_file: vector('server.crt'), tls_key_file: vector('server.key') };
export const SERVER = { grpc_addr: '127.0.0.1:7899', ...TLS, client_ca_file: vector('ca.crt') };
/** What a notary-signer file looks like. */
export const DROP_IN = { server: SERVER, storage: { backend: 'memory' } };
export const ENV = { HOME: '/home/ann', XDG_RUNTIME_DIR: '/run/user/1' };

interface Given {
  readonly name?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly debug?: boolean;
}

/** An empty directory for each test of the calling file, removed afterwards. */
export function configDirectory() {
  let dir = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'signet-config-'));
  });
  afterEach(async () => {
    await rm(dir, { recursive: true });
  });
  return {
    path: (...names: string[]) => join(dir, ...names),
    /** Writes a file, objects as JSON, and loads it by its name relative to the directory. */
    load: async (content: unknown, { name = 'signer.json', env = ENV, debug = false }: Given = {}): Promise<Config> => {
      const text = typeof content === 'string' || Buffer.isBuffer(content) ? content : JSON.stringify(content);
      await writeFile(join(dir, name), text);
      return await loadConfig({ file: name, debug, env, cwd: dir });
    },
    loadNone: (env: NodeJS.ProcessEnv = ENV, debug = false): Promise<Config> =>
      loadConfig({ file: undefined, debug, env, cwd: dir }),
  };
}

export const refusal = (message: string, hint?: string) =>
  expect.objectContaining({ code: 'CONFIGURATION', message, hint: hint ?? expect.stringMatching(/./) });
