/** Starts, look-ups and new keys with few and with very many rows. */
import { join } from 'node:path';
import { memory } from './processes.mjs';
import { migrate, startNotarySigner, startSignet } from './servers.mjs';
import { withSigner } from './signer-client.mjs';
import { median } from './statistics.mjs';

const ROWS = 100_000;
const ROWS_FULL = 1_000_000;
/** Rows of one statement. */
const BATCH = 50_000;
/** Keys that can sign; the other rows are the first of them under other key IDs, as if long in use. */
const REAL_KEYS = 200;
const NEW_KEYS = 20;
const INDEXES = ['signet_pending', 'signet_alias'];

/** @typedef {{ readyMs: number, lookUpUs: number, newKeyUs: number, pendingKeyUs: number, residentMiB: number }} Start */

/**
 * @param {object} options As for `benchSql`, and
 * @param {import('./databases.mjs').Database} options.database An empty one.
 * @returns {Promise<{ name: string, starts: Start[] }[]>} Per case, per start.
 */
export async function benchRows({ directory, certificate, withNotarySigner, database, rounds, full, progress }) {
  const count = full ? ROWS_FULL : ROWS;
  const { storage } = database;
  const signet = () => startSignet({ directory: join(directory, 'rows'), storage, certificate, workers: 1 });
  const notarySigner = () => startNotarySigner({ directory: join(directory, 'rows-notary'), certificate, storage });
  const makeIndexes = () => migrate({ directory: join(directory, 'rows-migrate'), storage });
  await makeIndexes();
  const keyIds = await withSigner(signet, certificate, async (client) => {
    const keys = [];
    while (keys.length < REAL_KEYS) keys.push(await client.createKey(`localhost/few-${keys.length}`));
    return keys.map(({ keyId }) => keyId);
  });
  const cases = [];
  const measure = async (name, start) => {
    progress(`starts: ${name}`);
    const starts = [];
    for (let round = 0; round < rounds; round++)
      starts.push(await measureStart(start, certificate, keyIds, name + round));
    cases.push({ name, starts });
  };
  const rows = count.toLocaleString('en');
  await measure(`signet, ${REAL_KEYS} rows`, signet);
  progress(`making ${rows} rows`);
  await makeRows(database, count);
  await measure(`signet, ${rows} rows`, signet);
  for (const index of INDEXES) await database.run(dropIndex(storage.backend, index));
  await measure('the same without indexes', signet);
  if (withNotarySigner) await measure('notary-signer, the same', notarySigner);
  const before = performance.now();
  await makeIndexes();
  progress(`signetd -migrate took ${((performance.now() - before) / 1000).toFixed(1)} s to make the indexes`);
  return cases;
}

/** Rows for `formatTable`, with one column per case. */
export function rowsRows(cases) {
  return [
    ['start to ready', 'readyMs', 'ms'],
    ['look-up of a key, median', 'lookUpUs', 'µs'],
    ['new key, median', 'newKeyUs', 'µs'],
    ['pending key given again, median', 'pendingKeyUs', 'µs'],
    ['resident memory', 'residentMiB', 'MiB'],
  ].map(([label, field, unit]) => ({
    label,
    unit,
    series: cases.map(({ starts }) => starts.map((one) => one[field])),
  }));
}

/** Repeats the first row: two roles for each GUN, all used. Key IDs are as long and as scattered as real ones. */
async function makeRows({ storage, run }, count) {
  const isMysql = storage.backend === 'mysql';
  const concat = (...parts) => (isMysql ? `CONCAT(${parts.join(', ')})` : parts.join(' || '));
  const keyId = isMysql ? 'SHA2(n, 256)' : "encode(sha256(n::text::bytea), 'hex')";
  const pair = isMysql ? 'n DIV 2' : '(n / 2)::text';
  for (let first = 1; first <= count; first += BATCH) {
    const last = Math.min(first + BATCH - 1, count);
    const series = isMysql ? `(SELECT seq AS n FROM seq_${first}_to_${last})` : `generate_series(${first}, ${last})`;
    await run(
      `INSERT INTO private_keys (created_at, updated_at, key_id, encryption_alg, keywrap_alg, algorithm,
         passphrase_alias, public, private, gun, role, last_used)
       SELECT created_at, updated_at, ${keyId}, encryption_alg, keywrap_alg, algorithm, passphrase_alias, public, private,
         ${concat("'localhost/app-'", pair)}, CASE WHEN n % 2 = 0 THEN 'timestamp' ELSE 'snapshot' END, created_at
       FROM (SELECT * FROM private_keys ORDER BY id LIMIT 1) AS one CROSS JOIN ${series} AS ${isMysql ? 'numbers' : 'n'};`,
    );
  }
  await run(isMysql ? 'ANALYZE TABLE private_keys;' : 'ANALYZE private_keys;');
}

function dropIndex(backend, index) {
  return backend === 'mysql' ? `DROP INDEX ${index} ON private_keys;` : `DROP INDEX ${index};`;
}

/** @returns {Promise<Start>} */
async function measureStart(start, certificate, keyIds, label) {
  return withSigner(start, certificate, async (client, server) => {
    const gun = (index) => `localhost/${label.replace(/\W+/g, '-')}-${index}`;
    const guns = Array.from({ length: NEW_KEYS }, (_, index) => gun(index));
    return {
      readyMs: server.readyMs,
      lookUpUs: await medianTime(keyIds, (keyId) => client.findKey(keyId)),
      newKeyUs: await medianTime(guns, (gun) => client.createKey(gun)),
      pendingKeyUs: await medianTime(guns, (gun) => client.createKey(gun)),
      residentMiB: memory(server.pid).residentMiB,
    };
  });
}

/** @returns {Promise<number>} Microseconds. */
async function medianTime(inputs, work) {
  const times = [];
  for (const input of inputs) {
    const before = performance.now();
    await work(input);
    times.push((performance.now() - before) * 1000);
  }
  return median(times);
}
