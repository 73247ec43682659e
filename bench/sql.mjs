/** Signatures with keys in a table: both signers on the same server, with the same keys, in turns. */
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { databaseServers } from './databases.mjs';
import { LOADS, loadRows, measureSign } from './load.mjs';
import { migrate, startNotarySigner, startSignet } from './servers.mjs';
import { SignerClient } from './signer-client.mjs';
import { benchCold, coldRows } from './sql-cold.mjs';
import { benchRows, rowsRows } from './sql-rows.mjs';

const WARM_UP_SECONDS = 2;
const WARM_KEYS = 16;
/** notary-signer writes the row of the key at each signature, so it matters whether it is always the same row. */
const WARM_LOADS = [LOADS.at(0), LOADS.at(-1), { connections: 1, streams: 4, keys: WARM_KEYS }];

/** @typedef {{ title: string, columns: readonly string[], rows: readonly import('./report.mjs').Row[] }} Table */

/**
 * @param {object} options
 * @param {string} options.directory A temporary one.
 * @param {{ certFile: string, keyFile: string }} options.certificate
 * @param {boolean} options.withNotarySigner
 * @param {number} options.rounds
 * @param {number} options.seconds Per measurement.
 * @param {boolean} options.full More cold keys and more rows.
 * @param {(text: string) => void} options.progress
 * @returns {Promise<{ database: string, tables: Table[] }[]>}
 */
export async function benchSql({ directory, ...options }) {
  const results = [];
  for (const startDatabase of await databaseServers()) {
    const server = await startDatabase();
    try {
      const progress = (text) => options.progress(`${server.name}: ${text}`);
      const own = join(directory, server.name.toLowerCase());
      const database = await server.createDatabase();
      const signers = signersOf({ ...options, directory: own, storage: database.storage });
      await migrate({ directory: join(own, 'migrate'), storage: database.storage });
      const warm = await benchWarm({ ...options, progress, directory: own, signers });
      const cold = await benchCold({ ...options, progress, directory: own, signers, database });
      const rows = await benchRows({ ...options, progress, directory: own, database: await server.createDatabase() });
      results.push({ database: server.name, tables: tablesOf(server.name, { warm, cold, rows }) });
    } finally {
      await server.stop();
    }
  }
  return results;
}

function tablesOf(name, { warm, cold, rows }) {
  const columns = warm.map(({ name }) => name);
  return [
    { title: `${name}, keys in use`, columns, rows: loadRows(WARM_LOADS, warm) },
    { title: `${name}, ${cold.keys.toLocaleString('en')} keys used once each`, columns, rows: coldRows(cold) },
    { title: `${name}, many rows`, columns: rows.map(({ name }) => name), rows: rowsRows(rows) },
  ];
}

/** Starts every signer under test. The first column's is what the others are compared with. */
function signersOf({ directory, certificate, withNotarySigner, storage }) {
  const signets = [...new Set([1, availableParallelism()])].map((workers) => () => {
    return startSignet({ directory: join(directory, `signet-${workers}`), storage, certificate, workers });
  });
  if (!withNotarySigner) return signets;
  return [() => startNotarySigner({ directory: join(directory, 'notary-signer'), certificate, storage }), ...signets];
}

async function benchWarm({ directory, certificate, signers, rounds, seconds, progress }) {
  const targets = [];
  try {
    for (const start of signers) targets.push(await start());
    const warm = await prepareWarm(targets, certificate, directory);
    for (const target of targets) await measureSign({ ...target, ...warm }, WARM_LOADS.at(-1), WARM_UP_SECONDS);
    const results = targets.map(({ name }) => ({ name, loads: WARM_LOADS.map(() => []) }));
    for (let round = 0; round < rounds; round++) {
      progress(`keys in use: round ${round + 1} of ${rounds}`);
      for (const [which, load] of WARM_LOADS.entries()) {
        for (const [index, target] of targets.entries()) {
          results[index].loads[which].push(await measureSign({ ...target, ...warm }, load, seconds));
        }
      }
    }
    return results;
  } finally {
    for (const { stop } of targets) await stop();
  }
}

/** Makes keys with the first signer, checks that each signs with them, stores the requests for h2load. */
async function prepareWarm(targets, { certFile }, directory) {
  await mkdir(directory, { recursive: true });
  const keys = [];
  const frameFiles = Array.from({ length: WARM_KEYS }, (_, key) => join(directory, `sign-${key}.bin`));
  let responseBytes = 0;
  for (const { port } of targets) {
    const client = await SignerClient.connect({ port, certFile });
    try {
      while (keys.length < WARM_KEYS) keys.push(await client.createKey(`localhost/warm-${keys.length}`));
      for (const [which, key] of keys.entries()) {
        const signed = await client.signAndVerify(key);
        await writeFile(frameFiles[which], signed.frame);
        responseBytes = signed.responseBytes;
      }
    } finally {
      client.close();
    }
  }
  return { frameFiles, responseBytes, directory };
}
