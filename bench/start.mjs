/** Starts and look-ups with few and with very many key files, and the start of the command-line tool. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { link, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { AgentClient } from '../dist/client/agent-client.js';
import { ROOT } from '../scripts/setup.mjs';
import { memory } from './processes.mjs';
import { startSignet } from './servers.mjs';
import { withSigner } from './signer-client.mjs';
import { median } from './statistics.mjs';

const run = promisify(execFile);

export const FEW_KEYS = 100;
export const MANY_KEYS = 100_000;
/** Keys that can sign; the other files are these under other names, which a look-up cannot tell. */
const REAL_KEYS = 10;
/** Links to one file: ext4 allows 65 000. */
const LINKS_PER_FILE = 10_000;
const LINKS_AT_ONCE = 64;
const LOOK_UPS = 1000;

/**
 * @param {object} options
 * @param {string} options.directory A temporary one.
 * @param {{ certFile: string, keyFile: string }} options.certificate
 * @param {number} options.rounds
 * @param {(text: string) => void} options.progress
 */
export async function benchStart({ directory, certificate, rounds, progress }) {
  progress(`starts: making ${MANY_KEYS} key files`);
  const homes = [];
  for (const count of [FEW_KEYS, MANY_KEYS]) homes.push(await makeHome(directory, certificate, count));
  const homesResults = homes.map(({ count }) => ({ keys: count, starts: [] }));
  const tool = { node: [], keyList: [] };
  for (let round = 0; round < rounds; round++) {
    progress(`starts: round ${round + 1} of ${rounds}`);
    for (const [index, home] of homes.entries()) homesResults[index].starts.push(await measureStart(home, certificate));
    await measureTool(homes[0], certificate, tool);
  }
  return { homes: homesResults, tool };
}

/** Rows for `formatTable`, with one column per number of keys. */
export function startRows({ homes }) {
  return [
    ['start to ready', 'readyMs', 'ms'],
    ['first signature, key sealed', 'firstSignMs', 'ms'],
    ['look-up of a key, median', 'lookUpUs', 'µs'],
    ['resident memory', 'residentMiB', 'MiB'],
    ['its peak', 'peakMiB', 'MiB'],
  ].map(([label, field, unit]) => ({
    label,
    unit,
    series: homes.map(({ starts }) => starts.map((one) => one[field])),
  }));
}

/** Rows for `formatTable`: `node -e 0` and `signet key list`. */
export function toolRows({ tool }) {
  return [{ label: 'whole run', unit: 'ms', series: [tool.node, tool.keyList] }];
}

/** A key directory with `count` files, and what is needed to start Signet on it. */
async function makeHome(directory, certificate, count) {
  const own = join(directory, `keys-${count}`);
  const keyDirectory = join(own, 'private');
  await mkdir(keyDirectory, { recursive: true, mode: 0o700 });
  const home = { count, directory: own, storage: { backend: 'file', path: keyDirectory } };
  const keys = await withSignet(home, certificate, ({ client }) => createKeys(client, REAL_KEYS));
  const [sealed] = await readdir(keyDirectory);
  const pem = await readFile(join(keyDirectory, sealed));
  const names = [];
  for (let made = REAL_KEYS; made < count; ) {
    const original = join(keyDirectory, keyFileName());
    await writeFile(original, pem, { mode: 0o600 });
    made++;
    for (let links = 0; links < LINKS_PER_FILE && made < count; ) {
      const batch = Array.from({ length: Math.min(LINKS_AT_ONCE, count - made) }, keyFileName);
      await Promise.all(batch.map((name) => link(original, join(keyDirectory, name))));
      names.push(...batch);
      links += batch.length;
      made += batch.length;
    }
  }
  return { ...home, keys, keyIds: sample(names, LOOK_UPS).map((name) => name.slice(0, -'.key'.length)) };
}

async function createKeys(client, count) {
  const keys = [];
  for (let made = 0; made < count; made++) keys.push(await client.createKey());
  return keys;
}

async function measureStart(home, certificate) {
  return withSignet(home, certificate, async ({ server, client }) => {
    const [key] = home.keys;
    const before = performance.now();
    await client.signAndVerify(key);
    const firstSignMs = performance.now() - before;
    const lookUpUs = await measureLookUps(server.socket, home.keyIds);
    return { readyMs: server.readyMs, firstSignMs, lookUpUs, ...memory(server.pid) };
  });
}

async function measureLookUps(socket, keyIds) {
  const agent = new AgentClient(socket);
  try {
    const times = [];
    for (const keyId of keyIds) {
      const before = performance.now();
      await agent.findKey(keyId);
      times.push((performance.now() - before) * 1000);
    }
    return median(times);
  } finally {
    agent[Symbol.dispose]();
  }
}

/** Adds one run of each program to `tool`, in milliseconds. */
async function measureTool(home, certificate, tool) {
  await withSignet(home, certificate, async ({ server }) => {
    const list = [join(ROOT, 'bin', 'signet'), '--socket', server.socket, 'key', 'list'];
    tool.node.push(await timeNode(['-e', '0']));
    tool.keyList.push(await timeNode(list));
  });
}

async function timeNode(args) {
  const before = performance.now();
  await run(process.execPath, args);
  return performance.now() - before;
}

function withSignet(home, certificate, use) {
  const start = () => startSignet({ ...home, certificate, workers: 1 });
  return withSigner(start, certificate, (client, server) => use({ server, client }));
}

function keyFileName() {
  return `${randomBytes(32).toString('hex')}.key`;
}

/** `count` elements at even distances, again from the start if there are fewer. */
function sample(values, count) {
  return Array.from({ length: count }, (_, index) => values[Math.floor((index * values.length) / count)]);
}
