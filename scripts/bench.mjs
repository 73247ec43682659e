/** `npm run bench`: Signet beside the real notary-signer (docs/performance.md). */
import { parseArgs } from 'node:util';
import { ensureBuilt, ensureDebianPackages, ensureInstalled, runScript, SetupError } from './setup.mjs';

const USAGE = `usage: npm run bench -- [--rounds N] [--seconds S] [--only sign|start] [--json FILE]

  --rounds N    how often everything is measured, in turns; medians are shown (default 5)
  --seconds S   how long one measurement of signatures takes (default 2)
  --only PART   sign: signatures beside notary-signer; start: starts with 100 000 keys
  --json FILE   write the values of every round
`;

/** The load client, and what makes the certificate. */
const PACKAGES = [
  { name: 'nghttp2-client', commands: ['h2load'] },
  { name: 'openssl', commands: ['openssl'] },
];

await runScript(async () => {
  const options = parse(process.argv.slice(2));
  if (options.help) {
    process.stdout.write(USAGE);
    return;
  }
  if (process.platform !== 'linux') throw new SetupError('the benchmarks read /proc, so they run on Linux only');
  await ensureInstalled();
  await ensureBuilt();
  const absent = await ensureDebianPackages(PACKAGES);
  if (absent !== undefined) throw new SetupError(`the benchmarks need ${absent.missing.join(', ')}: ${absent.command}`);
  const { bench } = await import('../bench/main.mjs');
  await bench(options);
});

function parse(args) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        rounds: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '2' },
        only: { type: 'string' },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (![undefined, 'sign', 'start'].includes(values.only)) throw new Error('--only takes sign or start');
    const [rounds, seconds] = [count(values.rounds, '--rounds'), count(values.seconds, '--seconds')];
    return { ...values, rounds, seconds };
  } catch (error) {
    throw new SetupError(`${error.message}\n${USAGE}`);
  }
}

function count(text, option) {
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new Error(`${option} takes a number from 1 to 999`);
}
