/** Modules that are none, are for another machine, crash or hang: what the probe and a token's host say about each. */
import { copyFile, mkdir, open as openFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { probeModule } from '../../src/backends/pkcs11/probe.ts';
import { wellKnownModules } from '../../src/backends/pkcs11/well-known-modules.ts';
import { SignetError } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { type FaultyModule, faultyToken } from '../support/faulty-module.ts';
import { NSS_MODULE } from '../support/nss.ts';
import { runProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { SOFTHSM_MODULE, type SoftHsm, tokenUri } from '../support/softhsm.ts';

const ENTRY = fileURLToPath(new URL('../../dist/backends/pkcs11/probe-host.js', import.meta.url));
/** ELF: e_machine, and the values of the two machines that this one may be. */
const E_MACHINE = 18;
const [EM_X86_64, EM_AARCH64] = [62, 183];

let resources: Resources;
let hsm: SoftHsm;
let module: FaultyModule;

beforeEach(async () => {
  resources = new Resources();
  ({ hsm, module } = await faultyToken(resources));
});
afterEach(() => resources[Symbol.asyncDispose]());

const probe = (path: string, timeoutMs = 10_000) => probeModule(path, { env: module.env, timeoutMs, entry: ENTRY });
const problemOf = async (path: string, timeoutMs?: number) => {
  const result = await probe(path, timeoutMs);
  return 'error' in result ? `${result.error.code} ${result.error.message.replace(path, 'PATH')}` : 'works';
};
const failure = (promise: Promise<unknown>): Promise<SignetError> =>
  promise.then(
    () => {
      throw new Error('expected a failure');
    },
    (error: unknown) => {
      if (error instanceof SignetError) return error;
      throw error;
    },
  );

async function badFiles() {
  const at = (name: string) => join(hsm.directory, name);
  await writeFile(at('text.so'), 'not a library');
  await writeFile(at('empty.so'), '');
  await mkdir(at('directory.so'));
  await copyFile(SOFTHSM_MODULE, at('foreign.so'));
  await using foreign = await openFile(at('foreign.so'), 'r+');
  const [machine, name] = process.arch === 'arm64' ? [EM_X86_64, 'x64'] : [EM_AARCH64, 'arm64'];
  await foreign.write(Buffer.of(machine), 0, 1, E_MACHINE);
  return [
    [at('missing.so'), 'it cannot be read (ENOENT)'],
    [at('text.so'), 'it is not a shared library'],
    [at('empty.so'), 'it is not a shared library'],
    [at('directory.so'), 'it is a directory'],
    [at('foreign.so'), `it is for ${name}, and this machine is ${process.arch}`],
    ['/dev/null', 'it is not a file'],
  ] as const;
}

describe('a file that is no module', () => {
  it('is told as what it is, by the probe and when a token is opened', async () => {
    for (const [modulePath, problem] of await badFiles()) {
      expect(await problemOf(modulePath)).toBe(`CONFIGURATION the PKCS#11 module PATH cannot be loaded: ${problem}`);
      expect(await failure(hsm.open({ token: 'ci', modulePath }))).toMatchObject({
        code: 'CONFIGURATION',
        message: `the PKCS#11 module ${modulePath} cannot be loaded: ${problem}`,
        hint: 'name a library for this machine in module-path',
      });
    }
  });

  it('but a library all the same is refused', async () => {
    const library = `${NSS_MODULE.slice(0, NSS_MODULE.lastIndexOf('/'))}/libssl3.so`;
    expect(await problemOf(library)).toBe(
      'CONFIGURATION the PKCS#11 module PATH cannot be loaded: it is no PKCS#11 module',
    );
    expect(await failure(hsm.open({ token: 'ci', modulePath: library }))).toMatchObject({
      message: `the PKCS#11 module ${library} cannot be loaded: it is no PKCS#11 module`,
    });
  });

  it('but a library that needs another one is told with that one', async () => {
    const [needed, modulePath] = ['libneeded-here.so', 'needs.so'].map((name) => join(hsm.directory, name)) as [
      string,
      string,
    ];
    const source = join(hsm.directory, 'empty.c');
    await writeFile(source, 'int empty;');
    const gcc = (...args: string[]) =>
      runProgram('gcc', ['-shared', ...args], { env: { PATH: process.env['PATH'] ?? '' } });
    expect(await gcc('-o', needed, '-Wl,-soname,libneeded-here.so', source)).toMatchObject({ ending: 0 });
    expect(await gcc('-o', modulePath, source, '-Wl,--no-as-needed', needed)).toMatchObject({ ending: 0 });
    expect(await failure(hsm.open({ token: 'ci', modulePath }))).toMatchObject({
      code: 'CONFIGURATION',
      message: `the PKCS#11 module ${modulePath} cannot be loaded: it needs libneeded-here.so`,
      hint: 'install the package with that library',
    });
  });
});

describe('a module that', () => {
  it.each(['load', 'C_Initialize'] as const)('crashes in %s takes nobody with it', async (call) => {
    await module.misbehave(`${call} crash`);
    expect(await problemOf(module.modulePath)).toBe(
      'UNAVAILABLE the PKCS#11 module PATH ends the process that loads it (SIGABRT)',
    );
    const backend = resources.use(await module.open(tokenUri('ci')));
    expect(await backend.health()).toMatchObject({ ready: false });
    await module.misbehave();
    await waitFor('the token to work', async () => (await backend.health()).ready);
  });

  it('hangs is ended', async () => {
    await module.misbehave('C_Initialize hang');
    expect(await problemOf(module.modulePath, 500)).toBe(
      'UNAVAILABLE the PKCS#11 module PATH does not answer within 500 ms',
    );
  });
});

describe('a module that works', () => {
  it('is described with its slots, tokens and mechanisms', async () => {
    const result = await probe(SOFTHSM_MODULE);
    if ('error' in result) throw result.error;
    expect(result.inventory).toMatchObject({
      manufacturer: 'SoftHSM',
      cryptokiVersion: '2.40',
      profile: 'softhsm',
      problem: undefined,
    });
    const token = result.inventory.slots.find((slot) => slot.token?.label === 'ci')?.token;
    expect(token).toMatchObject({
      manufacturer: 'SoftHSM project',
      serial: expect.stringMatching(/^[0-9a-f]{16}$/),
      isInitialised: true,
      needsLogin: true,
      isPinSet: true,
      pinTries: 'all',
    });
    expect(token?.mechanisms).toEqual(expect.arrayContaining(['ECDSA', 'RSA_PKCS_PSS']));
  });

  it('but wants parameters is tried without a database', async () => {
    const result = await probe(NSS_MODULE);
    expect('inventory' in result && result.inventory.profile).toBe('nss');
  });

  it('is found where distributions put it', async () => {
    const known = await wellKnownModules();
    expect(known.map(({ name }) => name)).toEqual(expect.arrayContaining(['SoftHSM 2', 'NSS softokn', 'OpenSC']));
    expect(new Set(known.map(({ path }) => path)).size).toBe(known.length);
  });
});
