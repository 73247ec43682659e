/**
 * `npm test`: installs and builds what is missing, then runs vitest over every project. Arguments after `--` go to vitest.
 *
 * The last line of the output counts the tests. A system program that the integration tests need and that cannot be
 * installed here ends the run before it starts: nothing is skipped silently. With CI=true a skipped test is a failure.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ensureBuilt,
  ensureDebianPackages,
  ensureInstalled,
  ensureNativeDrivers,
  ROOT,
  runScript,
  SetupError,
  TEST_PACKAGES,
} from './setup.mjs';

/** Projects that need nothing but Node. */
const PURE_PROJECTS = new Set(['unit', 'conformance']);

await runScript(async () => {
  const args = process.argv.slice(2);
  await ensureInstalled();
  await ensureBuilt();
  if (needsSystemPrograms(args)) {
    await requireSystemPrograms();
    await ensureNativeDrivers();
  }

  const directory = await mkdtemp(join(tmpdir(), 'signet-test-report-'));
  try {
    const reportFile = join(directory, 'report.json');
    const vitestCode = await runVitest([
      ...args,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${reportFile}`,
    ]);
    const counts = countTests(JSON.parse(await readFile(reportFile, 'utf8').catch(() => '{}')));
    return report(counts, vitestCode);
  } finally {
    await rm(directory, { recursive: true });
  }
});

function needsSystemPrograms(args) {
  const projects = args.flatMap((arg, index) => {
    if (arg === '--project') return [args[index + 1]];
    return arg.startsWith('--project=') ? [arg.slice('--project='.length)] : [];
  });
  return projects.length === 0 || projects.some((project) => !PURE_PROJECTS.has(project));
}

async function requireSystemPrograms() {
  const result = await ensureDebianPackages(TEST_PACKAGES);
  if (result === undefined) return;
  throw new SetupError(
    `the tests need Debian packages that are not installed: ${result.missing.join(', ')}. Install them with\n` +
      `  ${result.command}\nor run the tests that need only Node: npm test -- --project unit --project conformance`,
  );
}

function runVitest(args) {
  const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  const child = spawn(process.execPath, [vitest, 'run', ...args], { cwd: ROOT, stdio: 'inherit' });
  // A terminal signals the whole foreground group; a signal to this process alone must reach vitest too.
  const forward = (signal) => child.kill(signal);
  process.on('SIGTERM', forward).on('SIGINT', () => {});
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 1));
  });
}

/**
 * @returns Undefined when vitest ended without a report. A test file that could not be loaded or set up counts as one
 *   failure; its tests are skipped, but that needs no explanation of its own.
 */
function countTests({ testResults }) {
  if (testResults === undefined) return undefined;
  const counts = { passed: 0, failed: 0, skipped: 0, unexplained: [] };
  for (const file of testResults) {
    const failed = file.assertionResults.filter((test) => test.status === 'failed');
    const passed = file.assertionResults.filter((test) => test.status === 'passed');
    const skipped = file.assertionResults.filter((test) => !failed.includes(test) && !passed.includes(test));
    const isBroken = file.status === 'failed' && failed.length === 0;
    counts.passed += passed.length;
    counts.failed += failed.length + (isBroken ? 1 : 0);
    counts.skipped += skipped.length;
    if (!isBroken) counts.unexplained.push(...skipped.map((test) => test.fullName));
  }
  return counts;
}

/** Prints the verdict, the counts last. @returns The exit code. */
function report(counts, vitestCode) {
  if (counts === undefined) {
    console.log(`vitest ended with code ${vitestCode} and without a report`);
    console.log('0 passed, 1 failed');
    return vitestCode || 1;
  }
  const { passed, failed, skipped, unexplained } = counts;
  const isCi = process.env.CI === 'true';
  if (isCi && unexplained.length > 0) {
    console.log(`in CI every test must run, and these were skipped:\n  ${unexplained.join('\n  ')}`);
  }
  if (vitestCode !== 0 && failed === 0) {
    console.log(`no test failed, but vitest ended with code ${vitestCode} (see above)`);
  }
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return vitestCode || (failed > 0 || (isCi && skipped > 0) ? 1 : 0);
}
