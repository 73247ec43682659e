/** Programs whose reader has gone: `signet key list | head`, and a daemon whose terminal is closed. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AgentDaemon, startAgentDaemon } from '../support/agent-daemon.ts';
import { waitFor } from '../support/conditions.ts';
import { writeKeyFile } from '../support/key-files.ts';
import { runProgram, startProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { temporaryDirectory } from '../support/temp.ts';

const bin = (name: string) => fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));
const PATH = process.env['PATH'] ?? '';

const resources = new Resources();
let directory: string;
let daemon: AgentDaemon;

beforeAll(async () => {
  directory = resources.use(await temporaryDirectory()).path;
  daemon = resources.use(await startAgentDaemon(directory));
});
afterAll(() => resources[Symbol.asyncDispose]());

describe('signet', () => {
  it('ends quietly when the reader of its output has seen enough', async () => {
    // More than a pipe holds, so that the end of the listing meets a closed pipe.
    const { key } = await writeKeyFile(daemon.storagePath);
    const other = (number: number) => `${number.toString(16).padStart(64, '0')}.key`;
    for (let number = 0; number < 600; number++) await writeKeyFile(daemon.storagePath, { key, name: other(number) });
    const command = '"$0" --socket "$1" key list | head -n 1';
    const args = ['-c', command, bin('signet'), daemon.socket];
    const { ending, stdout, stderr } = await runProgram('sh', args, { env: { PATH } });
    expect({ ending, stderr }).toEqual({ ending: 0, stderr: '' });
    expect(stdout).toMatch(/^ROLE +GUN +KEY ID +NEEDS +LAST USED +LOCATION\n$/);
  });
});

describe('signetd', () => {
  it('goes on signing when nobody reads its answers to signals', async () => {
    await daemon.program.stop();
    const command = '"$0" --config "$1" | true';
    const args = ['-c', command, bin('signetd'), join(directory, 'signetd.json')];
    const env = { PATH, HOME: daemon.home };
    const shell = resources.use(await startProgram('sh', args, { env }, { output: /"msg":"ready"/ }));
    const pid = Number(/"pid":(\d+)/.exec(shell.stderr)?.[1]);
    const agent = daemon.agent();
    try {
      for (const [signal, level] of [
        ['SIGUSR2', 'warn'],
        ['SIGUSR2', 'error'],
        ['SIGUSR1', 'warn'],
      ] as const) {
        process.kill(pid, signal);
        await waitFor(`level ${level}`, async () => (await agent.status()).log_level === level);
      }
      expect((await agent.status()).pid).toBe(pid);
    } finally {
      process.kill(pid, 'SIGTERM');
      await shell.ended;
    }
  });
});
