/** Trusted collections: signet beside notary, against one notary-server; few targets, and very many. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LocalCollection } from '../dist/repository/collection.js';
import { fileMetaOf } from '../dist/tuf/file-meta.js';
import { ROOT } from '../scripts/setup.mjs';
import { freePort, memory, startServer } from './processes.mjs';

const FEW = 'example.com/bench/few';
const MANY = 'example.com/bench/many';
export const FEW_TARGETS = 10;
export const MANY_TARGETS = 10_000;
const CONTENT = Buffer.from('hello\n');
const POLL_MS = 5;

const PASSPHRASES = {
  NOTARY_ROOT_PASSPHRASE: 'a passphrase for the benchmark',
  NOTARY_TARGETS_PASSPHRASE: 'a passphrase for the benchmark',
  NOTARY_SNAPSHOT_PASSPHRASE: 'a passphrase for the benchmark',
  NOTARY_SIGNER_AGENT_IDLE_TIMEOUT: '5m',
};

/**
 * @param {object} options
 * @param {string} options.directory A temporary one.
 * @param {{ certFile: string, keyFile: string }} options.certificate
 * @param {number} options.rounds
 * @param {(text: string) => void} options.progress
 */
export async function benchCollection({ directory, certificate, rounds, progress }) {
  const server = await startNotaryServer(directory, certificate);
  const home = join(directory, 'collections');
  await mkdir(home, { recursive: true });
  const config = join(home, 'client.json');
  await writeFile(config, JSON.stringify({ remote_server: { url: server.url, root_ca: certificate.certFile } }));
  const hello = join(home, 'hello');
  await writeFile(hello, CONTENT);
  const env = { PATH: process.env.PATH, HOME: home, ...PASSPHRASES };
  const trustDir = join(home, 'trust');
  const signet = [process.execPath, join(ROOT, 'bin', 'signet')];
  const run = (command, args, own = trustDir) => measure([...command, '-c', config, '-d', own, ...args], env);
  const programs = [['notary'], signet];
  const results = { publish: [[], []], list: [[], []], listMany: [[], []], verify: [[], []], node: [] };
  try {
    progress('collections: a first one');
    for (const gun of [FEW, MANY]) await run(signet, ['init', '-p', gun]);
    await stage(trustDir, FEW, FEW_TARGETS);
    await run(signet, ['publish', FEW]);
    for (let round = 0; round < rounds; round++) {
      progress(`collections: round ${round + 1} of ${rounds}`);
      results.node.push((await measure([process.execPath, '-e', '0'], env)).ms);
      for (const [index, program] of programs.entries()) {
        await stage(trustDir, MANY, MANY_TARGETS);
        results.publish[index].push(await run(program, ['publish', MANY]));
        results.list[index].push(await run(program, ['list', FEW]));
        results.verify[index].push(await run(program, ['verify', '-q', '-i', hello, FEW, 'v1']));
        // As somebody who has never seen it.
        const reader = join(home, `reader-${index}`);
        results.listMany[index].push(await run(program, ['list', MANY], reader));
        await rm(reader, { recursive: true });
      }
    }
  } finally {
    await measure([...signet, 'daemon', 'stop'], env).catch(() => undefined);
    await server.stop();
  }
  return results;
}

/** Rows for `formatTable`: notary and signet. */
export function collectionRows({ publish, list, listMany, verify }) {
  const few = FEW_TARGETS.toLocaleString('en');
  const many = MANY_TARGETS.toLocaleString('en');
  return [
    [`list ${few} targets`, list],
    [`verify one of ${few} targets`, verify],
    [`list ${many} targets, nothing kept`, listMany],
    [`publish ${many} targets`, publish],
  ].flatMap(([label, runs]) => [
    { label, unit: 'ms', series: runs.map((program) => program.map(({ ms }) => ms)) },
    {
      label: '  its peak of memory',
      unit: 'MiB',
      series: runs.map((program) => program.map(({ peakMiB }) => peakMiB)),
    },
  ]);
}

/** Rows for `formatTable`: what Node itself takes. */
export function nodeRows({ node }) {
  return [{ label: 'whole run', unit: 'ms', series: [node] }];
}

/** With keys of its own, so that no signer is measured. */
async function startNotaryServer(directory, { certFile, keyFile }) {
  const port = await freePort();
  const file = join(directory, 'notary-server.json');
  await writeFile(
    file,
    JSON.stringify({
      server: { http_addr: `127.0.0.1:${port}`, tls_cert_file: certFile, tls_key_file: keyFile },
      trust_service: { type: 'local' },
      logging: { level: 'error' },
      storage: { backend: 'memory' },
    }),
  );
  const name = 'notary-server';
  const server = await startServer({ name, command: name, args: ['-config', file], env: {}, port });
  return { ...server, url: `https://127.0.0.1:${port}` };
}

/** What as many calls of `add` would leave. */
async function stage(trustDir, gun, count) {
  const { signal } = new AbortController();
  const local = new LocalCollection({ gun, trustDir, signal, warn: () => undefined });
  const meta = fileMetaOf(CONTENT);
  await local.changelist.add(
    Array.from({ length: count }, (_, index) => ({ type: 'add-target', role: 'targets', name: `v${index}`, meta })),
  );
}

/** Runs a program to its end. @returns {Promise<{ ms: number, peakMiB: number }>} @throws {Error} It failed. */
async function measure([command, ...args], env) {
  const startedAt = performance.now();
  const child = spawn(command, args, { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  let peakMiB = 0;
  const poll = setInterval(() => {
    try {
      peakMiB = Math.max(peakMiB, memory(child.pid).peakMiB || 0); // none of one that is ending
    } catch {
      // it has ended
    }
  }, POLL_MS);
  const [code] = await once(child, 'close');
  clearInterval(poll);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${stderr}`);
  return { ms: performance.now() - startedAt, peakMiB };
}
