import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { runTool } from '../../../../src/backends/yubikey/run-tool.ts';
import { temporaryDirectory } from '../../../support/temp.ts';

it('is not waited for beyond its time, also where a program that it started keeps its output open', async () => {
  await using directory = await temporaryDirectory();
  const [tool, pidFile] = [join(directory.path, 'tool'), join(directory.path, 'pid')];
  await writeFile(tool, `#!/bin/sh\nsleep 600 &\necho $! > ${pidFile}\necho begun\nwait\n`);
  await chmod(tool, 0o755);
  const run = runTool(tool, { args: [], env: process.env, timeoutMs: 2000, remedy: '' });
  expect(await run).toEqual({ exitCode: null, stdout: 'begun\n', stderr: '' });
  const pid = Number(await readFile(pidFile, 'utf8'));
  expect(process.kill(pid)).toBe(true); // it lived on
});

it('is not listened to beyond what one of them may say', async () => {
  const args = ['-e', 'process.stdout.write("x".repeat(10_000_000))'];
  const { exitCode, stdout } = await runTool(process.execPath, {
    args,
    env: process.env,
    timeoutMs: 60_000,
    remedy: '',
  });
  expect([exitCode, stdout.length]).toEqual([0, 64 * 1024]);
});
