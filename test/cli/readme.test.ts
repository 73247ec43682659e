/** The README's five-minute walk, block by block as it stands there, with another directory and free ports. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../support/ports.ts';
import { type RunningProgram, runProgram, startProgram } from '../support/processes.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEMO = '/tmp/signet-demo';

describe("README's walk with the real notary-server", () => {
  let directory: TemporaryDirectory;
  let blocks: { readonly kind: string; readonly text: string }[];
  const running: RunningProgram[] = [];
  const ports = { signer: 0, server: 0 };

  beforeAll(async () => {
    directory = await temporaryDirectory();
    ports.signer = await freePort();
    ports.server = await freePort();
    const readme = await readFile(join(ROOT, 'README.md'), 'utf8');
    blocks = [...readme.matchAll(/^```sh (setup|terminal|client|maintainer)\n(.*?)^```$/gms)].map(
      ([, kind = '', text = '']) => ({
        kind,
        text: text.replaceAll(DEMO, join(directory.path, 'demo')),
      }),
    );
  });
  afterAll(async () => {
    for (const program of running.reverse()) await program.stop();
    // The one that signet started by itself.
    expect(await runProgram('bin/signet', ['daemon', 'stop'], options())).toMatchObject({ ending: 0 });
    await directory[Symbol.asyncDispose]();
  });

  const options = () => ({
    cwd: ROOT,
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: directory.path,
      SIGNER_PORT: String(ports.signer),
      SERVER_PORT: String(ports.server),
    },
  });
  const texts = (kind: string) => blocks.filter((block) => block.kind === kind).map((block) => block.text);

  it('has a set-up, two servers and two clients', () => {
    expect(blocks.map(({ kind }) => kind)).toEqual(['setup', 'terminal', 'terminal', 'client', 'maintainer']);
  });

  it('sets up', async () => {
    const [setup = ''] = texts('setup');
    expect(await runProgram('sh', ['-euc', setup], options())).toMatchObject({ ending: 0 });
  });

  it('starts Signet with npm, which says on one screen what runs', async () => {
    const [signet = ''] = texts('terminal');
    // `exec`: the test must be able to stop what it started.
    const program = await startProgram('sh', ['-euc', `exec ${signet}`], options(), {
      port: ports.signer,
      output: /Stop with Ctrl-C/,
      timeoutMs: 60_000,
    });
    running.push(program);
    expect(program.stdout).toContain(`127.0.0.1:${ports.signer}  (gRPC with TLS, for notary-server)`);
    expect(program.stdout).toContain(`${join(directory.path, 'demo', 'keys')}  (file backend, up)`);
    expect(program.stdout.split('\n').length).toBeLessThan(24);
  });

  it('starts the real notary-server', async () => {
    const [, server = ''] = texts('terminal');
    running.push(await startProgram('sh', ['-euc', `exec ${server}`], options(), { port: ports.server }));
  });

  it("runs the real client's commands, and the last one lists the target", async () => {
    const [client = ''] = texts('client');
    const result = await runProgram('sh', ['-euc', client], options());
    expect(result).toMatchObject({ ending: 0 });
    expect(result.stdout).toMatch(/^v1 +[0-9a-f]{64} +\d+ +targets/m);
    const keys = await readdir(join(directory.path, 'demo', 'keys'));
    expect(keys.filter((name) => name.endsWith('.key'))).toHaveLength(2);
    expect(running[0]?.stderr).toMatch(/"role":"timestamp","gun":"example.com\/team\/app".*"msg":"signed"/);
  });

  it("runs signet's commands in the same terminal, and both programs list the same", async () => {
    const [client = ''] = texts('client');
    const [maintainer = ''] = texts('maintainer');
    const [exported = ''] = client.split('\n');
    const { ending, stdout, stderr } = await runProgram('sh', ['-euc', `${exported}\n${maintainer}`], options());
    expect({ ending, stderr }).toMatchObject({ ending: 0, stderr: expect.stringContaining('new targets key') });
    const [, bySignet, byNotary] = stdout.split(/^(?=NAME )/m);
    expect(bySignet).toMatch(/^v1 +[0-9a-f]{64} +\d+ +targets/m);
    expect(byNotary).toBe(bySignet);
  });
});
