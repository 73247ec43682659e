/** PKCS#11 modules on this machine: which of them load, and what they see. Each is tried in a process of its own. */
import { type ModuleInventory, probeModule } from '../../backends/pkcs11/probe.ts';
import { wellKnownModules } from '../../backends/pkcs11/well-known-modules.ts';
import { type Finding, findings } from './finding.ts';

const found = findings('PKCS#11 modules');
/** Modules that look for networked tokens take their time. */
const TIMEOUT_MS = 10_000;

export async function checkModules(env: NodeJS.ProcessEnv): Promise<readonly Finding[]> {
  const modules = await wellKnownModules();
  if (modules.length === 0) return [found.note('no PKCS#11 module is installed where they usually are')];
  return await Promise.all(
    modules.map(async ({ name, path }) => {
      const result = await probeModule(path, { env, timeoutMs: TIMEOUT_MS });
      if ('inventory' in result) return ofModule(name, path, result.inventory);
      // It may wait for a device that this machine has not: who configures it is told by the daemon.
      return found.note(`PKCS#11 module ${name} cannot be used: ${result.error.message}`);
    }),
  );
}

function ofModule(name: string, path: string, { slots, problem }: ModuleInventory): Finding {
  const loads = `PKCS#11 module ${name} loads (${path})`;
  if (problem !== undefined) return found.note(`${loads}, but ${problem}`);
  const tokens = slots.flatMap(({ token }) => token ?? []).filter(({ isInitialised }) => isInitialised);
  if (tokens.length === 0) return found.ok(`${loads}, and sees no token`);
  const names = tokens.map(({ label, serial, pinTries }) => `"${label}" (serial ${serial}${TRIES[pinTries]})`);
  return found.ok(`${loads}, and sees ${names.join(', ')}`);
}

/** As the token's flags tell, which spends no try. */
const TRIES = {
  all: '',
  'some used': ', a wrong PIN was tried',
  'one left': ', ONE PIN try left',
  locked: ', PIN locked',
} as const;
