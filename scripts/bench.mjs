/** `npm run bench`: Signet beside the real notary-signer (docs/performance.md). */
import { parseArgs } from 'node:util';
import {
  ensureBuilt,
  ensureDebianPackages,
  ensureInstalled,
  ensureNativeDrivers,
  runScript,
  SetupError,
  TEST_PACKAGES,
} from './setup.mjs';

const USAGE = `usage: npm run bench -- [--rounds N] [--seconds S] [--only PART] [--full] [--json FILE]

  --rounds N    how often everything is measured, in turns; medians are shown (default 5; sql: 3)
  --seconds S   how long one measurement of signatures takes (default 2; sql: 1)
  --only PART   sign: signatures beside notary-signer; start: starts with 100 000 keys; without it, both
                token: signatures on SoftHSM and on a slow token, fairness, recovery
                sql: signatures, keys used once and many rows on MariaDB and PostgreSQL, beside notary-signer
  --full        sql: 10 000 keys used once and 1 000 000 rows, rather than 2 000 and 100 000
  --json FILE   write the values of every round
`;

/** The load client, and what makes the certificate. */
const PACKAGES = [
  { name: 'nghttp2-client', commands: ['h2load'] },
  { name: 'openssl', commands: ['openssl'] },
];

/** What some parts need besides. */
const MORE_PACKAGES = {
  sql: TEST_PACKAGES.filter(({ name }) => /^(mariadb-.*|postgresql)$/.test(name)),
  token: TEST_PACKAGES.filter(({ name }) => ['softhsm2', 'g++'].includes(name)),
};

await runScript(async () => {
  const options = parse(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(USAGE);
    return;
  }
  if (process.platform !== 'linux') throw new SetupError('the benchmarks read /proc, so they run on Linux only');
  await ensureInstalled();
  await ensureBuilt();
  const absent = await ensureDebianPackages([...PACKAGES, ...(MORE_PACKAGES[options.only] ?? [])]);
  if (absent !== undefined) throw new SetupError(`the benchmarks need ${absent.missing.join(', ')}: ${absent.command}`);
  if (options.only === 'token') await ensureNativeDrivers();
  const { bench } = await import('../bench/main.mjs');
  await bench(options);
});

function parse(args) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        only: { type: 'string' },
        full: { type: 'boolean', default: false },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    const { only } = values;
    if (![undefined, 'sign', 'start', 'sql', 'token'].includes(only)) {
      throw new Error('--only takes sign, start, sql or token');
    }
    const [rounds, seconds] = only === 'sql' ? ['3', '1'] : ['5', '2'];
    return {
      ...values,
      rounds: count(values.rounds ?? rounds, '--rounds'),
      seconds: count(values.seconds ?? seconds, '--seconds'),
    };
  } catch (error) {
    throw new SetupError(`${error.message}\n${USAGE}`);
  }
}

function count(text, option) {
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new Error(`${option} takes a number from 1 to 999`);
}
