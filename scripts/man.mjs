/** Writes man/ from the table of commands. A test checks that it is up to date. */
import { mkdir, readdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureBuilt, ROOT, runScript } from './setup.mjs';

await runScript(async () => {
  await ensureBuilt();
  const { manPages } = await import('../dist/cli/man.js');
  const { COMMANDS } = await import('../dist/cli/table/commands.js');
  const { VERSION } = await import('../dist/version.js');
  const directory = join(ROOT, 'man');
  await mkdir(directory, { recursive: true });
  const pages = manPages(COMMANDS, VERSION);
  for (const name of await readdir(directory)) if (!pages.has(name)) await unlink(join(directory, name));
  for (const [name, page] of pages) await writeFile(join(directory, name), page);
  console.log(`wrote ${pages.size} pages to ${directory}`);
});
