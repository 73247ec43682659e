/** The load: nghttp2's h2load, which takes less processor time than any client of ours and is the same for every server. */
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cpuSeconds } from './processes.mjs';
import { percentile } from './statistics.mjs';

const run = promisify(execFile);

/**
 * @typedef {{ connections: number, streams: number, keys?: number, perSecond?: number }} Load Streams are per connection,
 *   connections per key (1 by default); the product is in flight. `perSecond`: signatures with each key, as many as
 *   possible by default.
 * @typedef {{ perSecond: number, p50Us: number, p99Us: number, cpuUs: number }} Measurement `cpuUs`: the server's
 *   processor time per signature.
 * @typedef {{ endedAtUs: number, latencyUs: number }} Answer `endedAtUs` is since 1970.
 * @typedef {{ pid: number, port: number, frameFiles: readonly string[], responseBytes: number, directory: string }} Target
 *   One request per key; all answers have the same length.
 */

/** The whole load on one connection, and then on more, so that several workers have something to do. */
export const LOADS = [
  { connections: 1, streams: 1 },
  { connections: 2, streams: 8 },
  { connections: 4, streams: 16 },
];

/** What is shown of a load: a label, a field of `Measurement`, its unit. */
const MEASURES = [
  ['throughput', 'perSecond', '/s'],
  ['p50', 'p50Us', 'µs'],
  ['p99', 'p99Us', 'µs'],
  ['CPU per signature', 'cpuUs', 'µs'],
];

/**
 * Rows for `formatTable`.
 *
 * @param {readonly Load[]} loads
 * @param {readonly { loads: readonly (readonly Measurement[])[] }[]} results Per server, per load, per round.
 */
export function loadRows(loads, results) {
  return loads.flatMap(({ connections, streams, keys = 1 }, which) =>
    MEASURES.map(([label, field, unit]) => ({
      label: `${connections * streams * keys} in flight${keys === 1 ? '' : `, ${keys} keys`}: ${label}`,
      unit,
      series: results.map(({ loads }) => loads[which].map((measurement) => measurement[field])),
    })),
  );
}

/**
 * Sends the same Sign request again and again; with several keys, one for each.
 *
 * @param {Target} target
 * @param {Load} load
 * @param {number} seconds
 * @returns {Promise<Measurement>}
 * @throws {Error} A call failed, or an answer was no signature.
 */
export async function measureSign(target, load, seconds) {
  const cpuBefore = cpuSeconds(target.pid);
  const answers = await sendSign(target, load, seconds);
  const cpu = cpuSeconds(target.pid) - cpuBefore;
  return { ...latencies(answers), perSecond: answers.length / seconds, cpuUs: (cpu / answers.length) * 1e6 };
}

/** @param {readonly Answer[]} answers @returns {{ p50Us: number, p99Us: number }} */
export function latencies(answers) {
  const sorted = answers.map(({ latencyUs }) => latencyUs).sort((a, b) => a - b);
  return { p50Us: percentile(sorted, 0.5), p99Us: percentile(sorted, 0.99) };
}

/**
 * As `measureSign`.
 *
 * @returns {Promise<Answer[]>}
 */
export async function sendSign({ port, frameFiles, responseBytes, directory }, load, seconds) {
  const { connections, streams, keys = 1, perSecond } = load;
  const pace = perSecond === undefined ? [] : [`--rps=${perSecond / connections}`];
  const ofKeys = await Promise.all(
    frameFiles.slice(0, keys).map(async (frameFile, key) => {
      const log = join(directory, `h2load-${key}.tsv`);
      await rm(log, { force: true }); // h2load appends
      const { stdout } = await run('h2load', [
        ...['-c', connections, '-m', streams, '-D', seconds, '-d', frameFile].map(String),
        ...['-H', 'content-type: application/grpc', '-H', 'te: trailers', `--log-file=${log}`, ...pace],
        `https://127.0.0.1:${port}/proto.Signer/Sign`,
      ]);
      const answers = readAnswers(await readFile(log, 'utf8'));
      check(stdout, { answers: answers.length, inFlight: connections * streams, responseBytes });
      return answers;
    }),
  );
  return ofKeys.flat();
}

/** @returns {Answer[]} Columns of the log: start in microseconds since 1970, HTTP status, microseconds to the end. */
function readAnswers(text) {
  const rows = text.split('\n').filter((line) => line !== '');
  return rows.map((row) => {
    const [startedAtUs, , latencyUs] = row.split('\t').map(Number);
    return { endedAtUs: startedAtUs + latencyUs, latencyUs };
  });
}

/** gRPC reports errors in trailers, with HTTP status 200 and no data: the amount of data tells that there were none. */
function check(summary, { answers, inFlight, responseBytes }) {
  const counts = /(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(summary);
  const data = /\((\d+)\) data/.exec(summary);
  if (counts === null || data === null) throw new Error(`h2load's summary has an unknown form:\n${summary}`);
  const [succeeded, ...bad] = counts.slice(1).map(Number);
  // Answers that were cut off when the time was over have data, too.
  const missing = answers * responseBytes - Number(data[1]);
  const sound = answers > 0 && succeeded === answers && bad.every((count) => count === 0);
  if (!sound || missing > 0 || -missing > inFlight * responseBytes) {
    throw new Error(`not every answer was a signature of ${responseBytes} bytes:\n${summary}`);
  }
}
