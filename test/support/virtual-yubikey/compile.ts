/** Turns the simulator into what plain Node runs: it must not depend on the test runner that started it. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runProgram } from '../processes.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const COMPILER = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
const ENTRY = join('test', 'support', 'virtual-yubikey', 'process', 'main');

/**
 * Compiles the simulator and what it imports into a directory.
 *
 * @param directory Absolute; is made.
 * @returns The path of the program.
 * @throws {Error} with what the compiler said
 */
export async function compileSimulator(directory: string): Promise<string> {
  await mkdir(directory);
  await writeFile(join(directory, 'package.json'), JSON.stringify({ type: 'module' }));
  await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  const project = join(directory, 'tsconfig.json');
  const compilerOptions = {
    rootDir: ROOT,
    outDir: directory,
    types: [], // the types are checked with all other tests; here they are only left out
    noCheck: true,
    declaration: false,
  };
  const files = [join(ROOT, `${ENTRY}.ts`)];
  await writeFile(
    project,
    JSON.stringify({ extends: join(ROOT, 'tsconfig.json'), compilerOptions, files, include: [] }),
  );
  const { ending, stdout, stderr } = await runProgram(process.execPath, [COMPILER, '--project', project], { env: {} });
  if (ending !== 0) throw new Error(`cannot compile the virtual YubiKey: ${stdout}${stderr}`);
  return join(directory, `${ENTRY}.js`);
}
