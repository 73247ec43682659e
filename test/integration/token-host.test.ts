/** Token hosts over a real module that die, hang and lose their token; and the daemon that stays out of it. */
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { SignContext } from '../../src/backends/backend.ts';
import { AgentClient } from '../../src/client/agent-client.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { SignetError } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { startProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { SOFTHSM_MODULE, type SoftHsm, softHsm, tokenUri } from '../support/softhsm.ts';

const SIGNETD = fileURLToPath(new URL('../../bin/signetd', import.meta.url));
const CONTEXT: SignContext = { caller: 'test' };
const OWNER = { role: 'timestamp', gun: 'example.com/a' };

let resources: Resources;
let hsm: SoftHsm;

beforeEach(async () => {
  resources = new Resources();
  hsm = resources.use(await softHsm());
  await hsm.createToken('ci');
});
afterEach(() => resources[Symbol.asyncDispose]());

/** For a host that hangs; any other may take as long as it does. */
const SHORT_MS = 5000;

async function openWithKey(operationTimeoutMs = 60_000) {
  const backend = await hsm.open(tokenUri('ci'), { pinFile: await hsm.pinFile(), operationTimeoutMs });
  resources.use(backend);
  const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
  const message = Buffer.from('to be signed');
  return {
    backend,
    key,
    /** @returns Whether the signature is good; a failure as its error. */
    sign: () =>
      backend.sign(key.keyId, { message }, CONTEXT).then(
        (signature) => verifySignature(key.publicKey, message, signature),
        (error: unknown) => {
          if (error instanceof SignetError) return error;
          throw error;
        },
      ),
  };
}

const codeOf = (outcome: boolean | SignetError) => (outcome instanceof SignetError ? outcome.code : outcome);

describe('a token host', () => {
  it('killed during signatures is replaced: callers are answered or told UNAVAILABLE, and the next call works', async () => {
    const { backend, sign } = await openWithKey();
    for (let round = 0; round < 3; round++) {
      const pid = backend.hostPid ?? 0;
      const signing = Array.from({ length: 500 }, sign);
      await Promise.race(signing);
      process.kill(pid, 'SIGKILL');
      const outcomes = (await Promise.all(signing)).map(codeOf);
      expect(outcomes.filter((outcome) => outcome !== true && outcome !== 'UNAVAILABLE')).toEqual([]);
      expect(outcomes).toContain('UNAVAILABLE');
      // The first end is mended at once; if they follow each other, after a short while.
      await waitFor('the next signature', async () => (await sign()) === true);
      expect(backend.hostPid).not.toBe(pid);
    }
  });

  it('that hangs is replaced at its deadline', async () => {
    const { backend, sign } = await openWithKey(SHORT_MS);
    const pid = backend.hostPid ?? 0;
    process.kill(pid, 'SIGSTOP');
    const outcomes = await Promise.all([sign(), sign(), sign()]);
    expect(outcomes.map(codeOf)).toEqual(['UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE']);
    expect(await sign()).toBe(true);
    expect(backend.hostPid).not.toBe(pid);
    expect(() => process.kill(pid, 0)).toThrow('ESRCH');
  });

  it('that loses its token says so, and finds the token and its keys when it is back', async () => {
    const { backend, key, sign } = await openWithKey();
    const [token = ''] = await hsm.tokenDirectories();
    await rename(token, join(hsm.directory, 'away'));
    expect(codeOf(await sign())).toBe('TOKEN_NOT_PRESENT');
    await waitFor('the loss to be known', async () => {
      const health = await backend.health();
      return !health.ready && health.reason === 'no token matches pkcs11:token=ci';
    });
    const found = await backend.find(key.keyId).catch((error: unknown) => error);
    expect(found).toMatchObject({ code: 'TOKEN_NOT_PRESENT' }); // not "no such key"
    await rename(join(hsm.directory, 'away'), token);
    await waitFor('the token to be found again', async () => (await backend.health()).ready);
    expect(await backend.find(key.keyId)).toEqual(key);
    expect(await sign()).toBe(true);
  });

  it('signs with one token while another one hangs', async () => {
    const { backend: stuck, sign: signStuck } = await openWithKey(SHORT_MS);
    await hsm.createToken('other');
    const other = await hsm.open(tokenUri('other'), { pinFile: await hsm.pinFile() });
    resources.use(other);
    const key = await other.generator.generate({ algorithm: 'ed25519', ...OWNER }, CONTEXT);
    process.kill(stuck.hostPid ?? 0, 'SIGSTOP');
    const late = signStuck();
    const message = Buffer.from('meanwhile');
    for (let i = 0; i < 20; i++) await other.sign(key.keyId, { message }, CONTEXT);
    expect(codeOf(await late)).toBe('UNAVAILABLE');
  });

  it('does not try a wrong PIN of a pin-source again', async () => {
    const backend = await hsm.open(tokenUri('ci'), { pinFile: await hsm.pinFile('000000') });
    resources.use(backend);
    const generate = () =>
      backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT).catch((error: unknown) => error);
    for (let i = 0; i < 5; i++) {
      expect(await generate()).toMatchObject({
        code: 'PIN_INCORRECT',
        message: expect.stringMatching(/ was refused and is not tried again$/),
      });
    }
    expect(await backend.health()).toMatchObject({ ready: false });
  });

  it('refuses a module that is none', async () => {
    const modulePath = join(hsm.directory, 'module.so');
    await writeFile(modulePath, 'not a library');
    await expect(hsm.open({ token: 'ci', modulePath })).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: `the PKCS#11 module ${modulePath} cannot be loaded: it is not a shared library`,
    });
  });

  it('refuses two tokens of one label', async () => {
    await hsm.createToken('ci');
    await expect(hsm.open(tokenUri('ci'))).rejects.toMatchObject({
      code: 'CONFIGURATION',
      message: '2 tokens match pkcs11:token=ci',
    });
  });
});

/** What /proc tells of a process that only root may look into, and `EACCES` to anybody else. */
async function readProtected(path: string): Promise<string> {
  return await readFile(path, 'latin1').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EACCES') return error.code;
    throw error;
  });
}

const childrenOf = (pid: number) => readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');

describe('signetd with a token', () => {
  /** @param command What runs the program that follows it. */
  async function start(command: readonly string[] = []) {
    const pinFile = await hsm.pinFile();
    const socket = join(hsm.directory, 'run', 's');
    const home = join(hsm.directory, 'home');
    await mkdir(home, { recursive: true, mode: 0o700 });
    const configFile = join(hsm.directory, 'signetd.json');
    const uri = `pkcs11:token=ci?module-path=${SOFTHSM_MODULE}&pin-source=file:${pinFile}`;
    const config = {
      storage: { backend: 'file', path: join(hsm.directory, 'keys') },
      agent: { socket },
      tokens: [{ uri }],
      placement: { timestamp: ['pkcs11'] },
      metrics: { http_addr: '127.0.0.1:0' },
    };
    await writeFile(configFile, JSON.stringify(config));
    // -debug: else nobody may look into the process.
    const [first = '', ...args] = [...command, SIGNETD, '-debug', '-config', configFile];
    const env = { ...hsm.env, HOME: home };
    const program = resources.use(await startProgram(first, args, { env }, { output: /"msg":"ready"/ }));
    const agent = new AgentClient(socket);
    resources.use({ [Symbol.asyncDispose]: async () => agent[Symbol.dispose]() });
    return { program, agent, socket };
  }

  it('makes and uses keys on it, and never loads the module or its bindings itself', async () => {
    const { program, agent } = await start();
    const key = await agent.generateKey({ algorithm: 'ecdsa', ...OWNER });
    expect(key).toMatchObject({ ...OWNER, backend: 'pkcs11', needs_pin: true });
    const { signature } = await agent.sign({ key_id: key.key_id, input: 'message', message: Buffer.from('x') });
    expect(signature.length).toBe(64);

    const maps = await readFile(`/proc/${program.pid}/maps`, 'utf8');
    expect(maps).toMatch(/\/node(js)?$/m); // it can be seen what the process has loaded
    expect(maps).not.toMatch(/softhsm|pkcs11/);
    const children = await childrenOf(program.pid);
    const [host = ''] = children.trim().split(' ');
    expect(await readProtected(`/proc/${host}/maps`)).toMatch(/libsofthsm2\.so|^EACCES$/);
    const pin = '135792468';
    const commandLine = await readFile(`/proc/${host}/cmdline`, 'utf8');
    expect(commandLine).toContain('pkcs11/host.js');
    expect(commandLine).not.toContain(pin);
    const environment = await readProtected(`/proc/${host}/environ`);
    expect(environment).toMatch(/SOFTHSM2_CONF|^EACCES$/);
    expect(environment).not.toContain(pin);
    expect(program.stderr).not.toContain(pin);
  });

  it('starts without the token, serves files meanwhile, and finds it when it comes', async () => {
    const [token = ''] = await hsm.tokenDirectories();
    await rename(token, join(hsm.directory, 'away'));
    const { program, agent } = await start();
    const file = await agent.generateKey({ algorithm: 'ecdsa', role: 'snapshot', gun: '' });
    expect(
      (await agent.sign({ key_id: file.key_id, input: 'message', message: Buffer.from('x') })).signature.length,
    ).toBe(64);
    await expect(agent.generateKey({ algorithm: 'ecdsa', ...OWNER })).rejects.toMatchObject({
      code: 'TOKEN_NOT_PRESENT',
    });
    expect(program.stderr).toContain('no token matches pkcs11:token=ci');
    await rename(join(hsm.directory, 'away'), token);
    await waitFor('the log to say so', () => /"backend":"pkcs11".*"msg":"backend is up"/.test(program.stderr));
    expect(await agent.generateKey({ algorithm: 'ecdsa', ...OWNER })).toMatchObject({ backend: 'pkcs11' });
  });

  it('goes on while too many files are open for a new token host', async () => {
    const { program, agent, socket } = await start(['bash', '-c', 'ulimit -n 64; exec "$0" "$@"']);
    const { key_id } = await agent.generateKey({ algorithm: 'ecdsa', ...OWNER });
    const sign = () => agent.sign({ key_id, input: 'message', message: Buffer.from('x') });
    const [host = ''] = (await childrenOf(program.pid)).trim().split(' ');
    const connections = Array.from({ length: 100 }, () => connect(socket).on('error', () => undefined));
    const open = async () => (await readdir(`/proc/${program.pid}/fd`)).length;
    await waitFor('the limit to be reached', async () => (await open()) >= 63);
    process.kill(Number(host), 'SIGKILL');
    await waitFor('the next host to be refused', () =>
      sign().then(
        () => false,
        ({ code, message }: SignetError) =>
          code === 'UNAVAILABLE' && message.includes('no process can be started: too many files are open'),
      ),
    );
    for (const connection of connections) connection.destroy();
    await waitFor('the next signature', () =>
      sign().then(
        ({ signature }) => signature.length === 64,
        () => false,
      ),
    );
  });

  it('leaves no token host behind, however it ends', async () => {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const { program } = await start();
      const children = (await childrenOf(program.pid)).trim().split(' ');
      expect(children).toHaveLength(1);
      program.kill(signal);
      await program.ended;
      await waitFor('the token host to end', () => {
        try {
          process.kill(Number(children[0]), 0);
          return false;
        } catch {
          return true;
        }
      });
    }
  });
});
