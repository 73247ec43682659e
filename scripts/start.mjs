/** `npm start`: installs and builds what is missing, then becomes signetd. Arguments after `--` go to the daemon. */
import { join } from 'node:path';
import { ensureBuilt, ensureInstalled, ROOT, runScript } from './setup.mjs';

await runScript(async () => {
  await ensureInstalled();
  await ensureBuilt();
  // In this process rather than in a child: signals, terminal and exit code are the daemon's own, with nothing between.
  const program = join(ROOT, 'bin', 'signetd');
  process.argv = [process.execPath, program, '--welcome', ...process.argv.slice(2)];
  await import(program);
});
