/** The benchmarks, one table each. Nothing is asserted: machines are noisy, and only the ratios of one run mean something. */
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { temporaryDirectory } from './processes.mjs';
import { formatTable } from './report.mjs';
import { hasNotarySigner, makeCertificate } from './servers.mjs';
import { benchSign, signRows } from './sign.mjs';
import { benchStart, FEW_KEYS, MANY_KEYS, startRows, toolRows } from './start.mjs';

/**
 * @param {object} options
 * @param {number} options.rounds
 * @param {number} options.seconds
 * @param {'sign' | 'start'} [options.only]
 * @param {string} [options.json] File for the values of every round.
 */
export async function bench({ rounds, seconds, only, json }) {
  const directory = temporaryDirectory();
  const certificate = await makeCertificate(directory);
  const results = { node: process.version, cores: availableParallelism(), rounds, seconds };
  const progress = (text) => process.stderr.write(`bench: ${text}\n`);
  if (only !== 'start') {
    const withNotarySigner = await hasNotarySigner();
    if (!withNotarySigner) progress('notary-signer is not installed (Debian package notary): nothing to compare with');
    results.sign = await benchSign({ directory, certificate, withNotarySigner, rounds, seconds, progress });
    const columns = results.sign.map(({ name }) => name);
    console.log(
      formatTable(
        `P-256 signatures, ${results.cores} cores; rounds: ${rounds}, medians`,
        columns,
        signRows(results.sign),
      ),
    );
  }
  if (only !== 'sign') {
    results.start = await benchStart({ directory, certificate, rounds, progress });
    const columns = [FEW_KEYS, MANY_KEYS].map((count) => `${count.toLocaleString('en')} keys`);
    console.log(formatTable('signetd with encrypted key files', columns, startRows(results.start)));
    console.log(
      formatTable('The tool against a running daemon', ['node -e 0', 'signet key list'], toolRows(results.start)),
    );
  }
  if (json !== undefined) await writeFile(json, `${JSON.stringify(results, undefined, 2)}\n`);
}
