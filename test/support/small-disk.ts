/**
 * A file system of a few pages, which is full soon: memory, mounted in namespaces that only the programs that are run
 * through it are in. Needs a Linux that lets its user make user namespaces (`unshare -Ur true` tells).
 */
import { mkdir } from 'node:fs/promises';
import { type ProgramOptions, type ProgramResult, runProgram, startProgram } from './processes.ts';

export interface SmallDisk extends AsyncDisposable {
  /** Runs a program that sees the disk. Its working directory is `/`. */
  run(command: string, args: readonly string[], options: Pick<ProgramOptions, 'env'>): Promise<ProgramResult>;
  /** Takes all the space that is left, until `free`. */
  fill(): Promise<void>;
  free(): Promise<void>;
  /** From now on, nothing can be written. */
  makeReadOnly(): Promise<void>;
}

/** @param path Where it is mounted; made if it is not there. */
export async function startSmallDisk(path: string): Promise<SmallDisk> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const env = { PATH: process.env['PATH'] ?? '' };
  const mount = 'mount -t tmpfs -o size=64k,mode=700 tmpfs "$0" && echo mounted && exec sleep infinity';
  const args = ['--user', '--map-root-user', '--mount', 'sh', '-c', mount, path];
  const holder = await startProgram('unshare', args, { env }, { output: /mounted/ });
  const namespaces = ['--user', '--mount', '--preserve-credentials', `--target=${holder.pid}`];
  const run = (command: string, args: readonly string[], options: Pick<ProgramOptions, 'env'>) =>
    runProgram('nsenter', [...namespaces, command, ...args], options);
  const shell = async (script: string) => {
    const { ending, stderr } = await run('sh', ['-c', script, path], { env });
    if (ending !== 0) throw new Error(`${script}: ${stderr}`);
  };
  return {
    run,
    fill: () => shell('! head -c 1000000 /dev/zero > "$0/filler"'),
    free: () => shell('rm "$0/filler"'),
    makeReadOnly: () => shell('mount -o remount,ro "$0"'),
    [Symbol.asyncDispose]: () => holder[Symbol.asyncDispose](),
  };
}
