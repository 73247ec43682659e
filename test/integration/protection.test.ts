/** What other processes of the daemon's own user can learn from the system about its memory: nothing (SECURITY.md). */
import { chown, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RunningProgram, startProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { temporaryDirectory } from '../support/temp.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));
/** nobody, or whoever: not root, whom the system never keeps out. */
const UNPRIVILEGED = 65_534;

let resources: Resources;
let directory: string;

beforeEach(async () => {
  resources = new Resources();
  directory = resources.use(await temporaryDirectory()).path;
});
afterEach(() => resources[Symbol.asyncDispose]());

/** Runs a command as a user other than root, whoever runs the tests, with `directory` as its HOME. */
async function startUnprivileged(command: readonly string[], readiness: object): Promise<RunningProgram> {
  const env = { PATH: process.env['PATH'] ?? '', HOME: directory };
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(directory, UNPRIVILEGED, UNPRIVILEGED);
  const become = isRoot
    ? ['setpriv', `--reuid=${UNPRIVILEGED}`, `--regid=${UNPRIVILEGED}`, '--clear-groups', '--']
    : [];
  const [program = '', ...args] = [...become, ...command];
  return resources.use(await startProgram(program, args, { cwd: directory, env }, readiness));
}

/** Who owns the window into a process's memory: root if the system keeps its own user out (proc(5), ptrace(2)). */
async function memoryOwner({ pid }: RunningProgram): Promise<number> {
  return (await stat(`/proc/${pid}/mem`)).uid;
}

describe.runIf(process.platform === 'linux')('the memory of signetd', () => {
  it('goes into no core file, and its own user cannot read it', async () => {
    const configFile = join(directory, 'signetd.json');
    const sections = { storage: { backend: 'memory' }, agent: { socket: join(directory, 'run', 's') } };
    await writeFile(configFile, JSON.stringify(sections));
    const daemon = await startUnprivileged([SIGNETD, '-config', configFile], { output: /"msg":"ready"/ });
    expect(await readFile(`/proc/${daemon.pid}/limits`, 'utf8')).toMatch(/^Max core file size +0 +0 /m);
    expect(await readFile(`/proc/${daemon.pid}/status`, 'utf8')).not.toMatch(/^Uid:\t0\t/m);
    expect(await memoryOwner(daemon)).toBe(0);
  });

  it('is kept apart by signetd, not by the system: that of another program is open to its user', async () => {
    const other = await startUnprivileged(['sh', '-c', 'echo ready; exec sleep 60'], { output: /ready/ });
    expect(await memoryOwner(other)).not.toBe(0);
  });
});
