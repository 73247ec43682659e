/** The load: nghttp2's h2load, which takes less processor time than any client of ours and is the same for every server. */
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cpuSeconds } from './processes.mjs';
import { percentile } from './statistics.mjs';

const run = promisify(execFile);

/**
 * @typedef {{ connections: number, streams: number }} Load Streams are per connection; their product is in flight.
 * @typedef {{ perSecond: number, p50Us: number, p99Us: number, cpuUs: number }} Measurement `cpuUs`: the server's
 *   processor time per signature.
 */

/** The whole load on one connection, and then on more, so that several workers have something to do. */
export const LOADS = [
  { connections: 1, streams: 1 },
  { connections: 2, streams: 8 },
  { connections: 4, streams: 16 },
];

/**
 * Sends the same Sign request again and again.
 *
 * @param {{ pid: number, port: number, frameFile: string, responseBytes: number, directory: string }} target
 * @param {Load} load
 * @param {number} seconds
 * @returns {Promise<Measurement>}
 * @throws {Error} A call failed, or an answer was no signature.
 */
export async function measureSign(
  { pid, port, frameFile, responseBytes, directory },
  { connections, streams },
  seconds,
) {
  const log = join(directory, 'h2load.tsv');
  await rm(log, { force: true }); // h2load appends
  const cpuBefore = cpuSeconds(pid);
  const { stdout } = await run('h2load', [
    ...['-c', connections, '-m', streams, '-D', seconds, '-d', frameFile].map(String),
    ...['-H', 'content-type: application/grpc', '-H', 'te: trailers', `--log-file=${log}`],
    `https://127.0.0.1:${port}/proto.Signer/Sign`,
  ]);
  const cpu = cpuSeconds(pid) - cpuBefore;
  const latencies = readLatencies(await readFile(log, 'utf8'));
  check(stdout, { answers: latencies.length, inFlight: connections * streams, responseBytes });
  return {
    perSecond: latencies.length / seconds,
    p50Us: percentile(latencies, 0.5),
    p99Us: percentile(latencies, 0.99),
    cpuUs: (cpu / latencies.length) * 1e6,
  };
}

/** @returns {number[]} Microseconds, ascending. Columns of the log: start, HTTP status, microseconds to the end. */
function readLatencies(text) {
  const rows = text.split('\n').filter((line) => line !== '');
  return rows.map((row) => Number(row.split('\t')[2])).sort((a, b) => a - b);
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
