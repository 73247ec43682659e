/** The systemd units under deploy/, in the eyes of systemd. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runProgram } from '../support/processes.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** Tenths, of 10: systemd calls up to 2 "OK" for a service with network. */
const MOST_EXPOSED = 20;

let directory: TemporaryDirectory;
let service: string;
let socket: string;
beforeAll(async () => {
  directory = await temporaryDirectory();
  [service, socket] = (await Promise.all(['signetd.service', 'signetd.socket'].map(copyUnit))) as [string, string];
});
afterAll(() => directory[Symbol.asyncDispose]());

/** With the program where it is here: systemd looks whether it can be executed. */
async function copyUnit(name: string): Promise<string> {
  const text = await readFile(join(ROOT, 'deploy', name), 'utf8');
  const path = join(directory.path, name);
  await writeFile(path, text.replace('/opt/signet/bin/signetd', join(ROOT, 'bin', 'signetd')));
  return path;
}

const analyze = (...args: string[]) =>
  runProgram('systemd-analyze', args, { env: { PATH: process.env['PATH'] ?? '', HOME: directory.path } });

it('are valid', async () => {
  const { ending, stderr } = await analyze('verify', '--man=no', service, socket);
  expect({ ending, stderr }).toEqual({ ending: 0, stderr: '' });
});

it('expose little', async () => {
  const { ending, stdout } = await analyze(
    'security',
    '--offline=true',
    '--no-pager',
    `--threshold=${MOST_EXPOSED}`,
    service,
  );
  expect(ending, stdout).toBe(0);
  expect(stdout).toContain('Overall exposure level');
});
