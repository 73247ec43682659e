/** Keys that are used once each after a restart, and what keys in use feel of it. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { latencies, sendSign } from './load.mjs';
import { cpuSeconds } from './processes.mjs';
import { withSigner } from './signer-client.mjs';
import { percentile } from './statistics.mjs';

const COLD_KEYS = 2000;
const COLD_KEYS_FULL = 10_000;
const IN_FLIGHT = 64;
/** Keys in use meanwhile: far from busy, so that what they wait for is the cold ones. */
const WARM_LOAD = { connections: 4, streams: 4, perSecond: 200 };
const WARM_UP_SECONDS = 1;
/** About as long as the cold keys take, so that their p99 is not that of the first moments. */
const WARM_SECONDS = 5;
const WARM_SECONDS_FULL = 20;

/** @typedef {{ perSecond: number, p50Us: number, p99Us: number, cpuUs: number, calmP99Us: number, warmP50Us: number, warmP99Us: number }} Cold */

/**
 * @param {object} options As for `benchSql`, and
 * @param {(() => Promise<import('./servers.mjs').Server>)[]} options.signers
 * @param {import('./databases.mjs').Database} options.database
 * @returns {Promise<{ keys: number, signers: Cold[][] }>} Per signer, per round.
 */
export async function benchCold({ directory, certificate, signers, database, rounds, full, progress }) {
  const count = full ? COLD_KEYS_FULL : COLD_KEYS;
  progress(`making ${count} keys`);
  const [start] = signers.slice(-1);
  const keys = await withSigner(start, certificate, (client) =>
    mapConcurrently(count, (index) => client.createKey(`localhost/cold-${index}`)),
  );
  const results = signers.map(() => []);
  const coldRounds = Math.ceil(rounds / 3); // each takes as long as many measurements of keys in use
  for (let round = 0; round < coldRounds; round++) {
    progress(`keys used once: round ${round + 1} of ${coldRounds}`);
    for (const [index, start] of signers.entries()) {
      await database.run("UPDATE private_keys SET last_used = NULL WHERE gun LIKE 'localhost/cold-%';");
      const measure = (client, server) =>
        measureCold({ client, server, keys, directory, warmSeconds: full ? WARM_SECONDS_FULL : WARM_SECONDS });
      results[index].push(await withSigner(start, certificate, measure));
    }
  }
  return { keys: count, signers: results };
}

/** Rows for `formatTable`. */
export function coldRows({ signers }) {
  return [
    ['64 in flight: throughput', 'perSecond', '/s'],
    ['64 in flight: p50', 'p50Us', 'µs'],
    ['64 in flight: p99', 'p99Us', 'µs'],
    ['CPU per signature', 'cpuUs', 'µs'],
    ['a key in use, alone: p99', 'calmP99Us', 'µs'],
    ['a key in use, meanwhile: p50', 'warmP50Us', 'µs'],
    ['a key in use, meanwhile: p99', 'warmP99Us', 'µs'],
  ].map(([label, field, unit]) => ({
    label,
    unit,
    series: signers.map((measurements) => measurements.map((one) => one[field])),
  }));
}

/** @returns {Promise<Cold>} */
async function measureCold({ client, server, keys: [warmKey, ...coldKeys], directory, warmSeconds }) {
  const { frame, responseBytes } = await client.signAndVerify(warmKey);
  const frameFile = join(directory, 'sign-warm.bin');
  await writeFile(frameFile, frame);
  const target = { ...server, frameFiles: [frameFile], responseBytes, directory };
  await sendSign(target, { ...WARM_LOAD, perSecond: undefined }, WARM_UP_SECONDS);
  const calm = latencies(await sendSign(target, WARM_LOAD, warmSeconds));
  const cpuBefore = cpuSeconds(server.pid);
  const [cold, answers] = await Promise.all([signOnce(client, coldKeys), sendSign(target, WARM_LOAD, warmSeconds)]);
  const cpu = cpuSeconds(server.pid) - cpuBefore;
  const meanwhile = latencies(answers.filter(({ endedAtUs }) => endedAtUs / 1000 < cold.endedAtMs));
  return {
    perSecond: coldKeys.length / cold.seconds,
    p50Us: percentile(cold.sortedUs, 0.5),
    p99Us: percentile(cold.sortedUs, 0.99),
    cpuUs: (cpu / (coldKeys.length + answers.length)) * 1e6,
    calmP99Us: calm.p99Us,
    warmP50Us: meanwhile.p50Us,
    warmP99Us: meanwhile.p99Us,
  };
}

async function signOnce(client, keys) {
  const startedAt = performance.now();
  const times = await mapConcurrently(keys.length, async (index) => {
    const before = performance.now();
    await client.signAndVerify(keys[index]);
    return (performance.now() - before) * 1000;
  });
  const seconds = (performance.now() - startedAt) / 1000;
  return { seconds, endedAtMs: Date.now(), sortedUs: times.sort((a, b) => a - b) };
}

async function mapConcurrently(count, work) {
  const results = new Array(count);
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < count; index = next++) results[index] = await work(index);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return results;
}
