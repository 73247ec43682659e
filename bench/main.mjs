/** The benchmarks, one table each. Nothing is asserted: machines are noisy, and only the ratios of one run mean something. */
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { temporaryDirectory } from './processes.mjs';
import { formatTable } from './report.mjs';
import { hasNotarySigner, makeCertificate } from './servers.mjs';
import { benchSign, signRows } from './sign.mjs';
import { benchSql } from './sql.mjs';
import { benchStart, FEW_KEYS, MANY_KEYS, startRows, toolRows } from './start.mjs';
import { benchToken } from './token.mjs';

/**
 * @param {object} options
 * @param {number} options.rounds
 * @param {number} options.seconds
 * @param {boolean} options.full
 * @param {'sign' | 'start' | 'sql' | 'token'} [options.only]
 * @param {string} [options.json] File for the values of every round.
 */
export async function bench({ rounds, seconds, full, only, json }) {
  const directory = temporaryDirectory();
  const certificate = await makeCertificate(directory);
  const results = { node: process.version, cores: availableParallelism(), rounds, seconds };
  const progress = (text) => process.stderr.write(`bench: ${text}\n`);
  const compares = only !== 'start' && only !== 'token';
  const withNotarySigner = compares && (await hasNotarySigner());
  if (compares && !withNotarySigner) {
    progress('notary-signer is not installed (Debian package notary): nothing to compare with');
  }
  if (only === undefined || only === 'sign') {
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
  if (only === undefined || only === 'start') {
    results.start = await benchStart({ directory, certificate, rounds, progress });
    const columns = [FEW_KEYS, MANY_KEYS].map((count) => `${count.toLocaleString('en')} keys`);
    console.log(formatTable('signetd with encrypted key files', columns, startRows(results.start)));
    console.log(
      formatTable('The tool against a running daemon', ['node -e 0', 'signet key list'], toolRows(results.start)),
    );
  }
  if (only === 'sql') {
    results.sql = await benchSql({ directory, certificate, withNotarySigner, rounds, seconds, full, progress });
    for (const { title, columns, rows } of results.sql.flatMap(({ tables }) => tables)) {
      console.log(formatTable(title, columns, rows));
    }
  }
  if (only === 'token') {
    results.token = await benchToken({ directory, certificate, rounds, seconds, progress });
    for (const { title, columns, rows } of results.token.tables) console.log(formatTable(title, columns, rows));
  }
  if (json !== undefined) await writeFile(json, `${JSON.stringify(results, undefined, 2)}\n`);
}
