/** Signatures: Signet with one worker and with one per core, beside notary-signer, in turns. */
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { LOADS, loadRows, measureSign } from './load.mjs';
import { memory } from './processes.mjs';
import { startNotarySigner, startSignet } from './servers.mjs';
import { SignerClient } from './signer-client.mjs';

/** Long enough for V8 to compile what is hot. */
const WARM_UP_SECONDS = 2;

/**
 * @param {object} options
 * @param {string} options.directory A temporary one.
 * @param {{ certFile: string, keyFile: string }} options.certificate
 * @param {boolean} options.withNotarySigner
 * @param {number} options.rounds
 * @param {number} options.seconds Per measurement.
 * @param {(text: string) => void} options.progress
 */
export async function benchSign({ directory, certificate, withNotarySigner, rounds, seconds, progress }) {
  const targets = [];
  try {
    for (const start of starters({ directory, certificate, withNotarySigner })) {
      const server = await start();
      targets.push(server);
      Object.assign(server, await prepare(server, certificate, directory, targets.length));
    }
    for (const target of targets) await measureSign(target, LOADS.at(-1), WARM_UP_SECONDS);
    const results = targets.map(({ name }) => ({ name, loads: LOADS.map(() => []), memory: undefined }));
    for (let round = 0; round < rounds; round++) {
      progress(`signatures: round ${round + 1} of ${rounds}`);
      for (const [which, load] of LOADS.entries()) {
        for (const [index, target] of targets.entries()) {
          results[index].loads[which].push(await measureSign(target, load, seconds));
        }
      }
    }
    for (const [index, { pid }] of targets.entries()) results[index].memory = memory(pid);
    return results;
  } finally {
    for (const { stop } of targets) await stop();
  }
}

/** Rows for `formatTable`. The first column's server is what the others are compared with. */
export function signRows(results) {
  const ofMemory = [
    ['resident memory', 'residentMiB'],
    ['its peak', 'peakMiB'],
  ].map(([label, field]) => ({ label, unit: 'MiB', series: results.map((result) => [result.memory[field]]) }));
  return [...loadRows(LOADS, results), ...ofMemory];
}

function* starters({ directory, certificate, withNotarySigner }) {
  if (withNotarySigner) yield () => startNotarySigner({ directory: join(directory, 'notary-signer'), certificate });
  for (const workers of new Set([1, availableParallelism()])) {
    yield async () => {
      const own = join(directory, `signet-${workers}`);
      const keyDirectory = join(own, 'private');
      await mkdir(keyDirectory, { recursive: true, mode: 0o700 });
      return startSignet({ directory: own, storage: { backend: 'file', path: keyDirectory }, certificate, workers });
    };
  }
}

/** Makes a key, checks a signature of it, and stores the request for h2load. */
async function prepare({ port }, { certFile }, directory, number) {
  const client = await SignerClient.connect({ port, certFile });
  try {
    const { frame, responseBytes } = await client.signAndVerify(await client.createKey());
    const frameFile = join(directory, `sign-${number}.bin`);
    await writeFile(frameFile, frame);
    return { frameFiles: [frameFile], responseBytes, directory };
  } finally {
    client.close();
  }
}
