/** Which PKCS#11 modules are on this machine, and which of them work. Each is loaded in a process of its own. */
import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { SignetError } from '../../errors.ts';
import { spawned } from '../spawned.ts';
import { list, record, text } from './answer-shapes.ts';
import { moduleEnvironment } from './child-environment.ts';
import { type Frame, FrameReader, parseReply } from './host-protocol.ts';
import type { ModuleInventory, SlotInventory, TokenInventory } from './module-inventory.ts';

export type { ModuleInventory, SlotInventory, TokenInventory } from './module-inventory.ts';

export interface ProbeOptions {
  /** Where the module finds its own configuration. */
  readonly env: NodeJS.ProcessEnv;
  readonly timeoutMs: number;
  /** The program to run; by default `probe-host.js` beside this file. */
  readonly entry?: string | undefined;
}

/** What became of it: `inventory`, or the reason why there is none. */
export type ProbeResult =
  | { readonly path: string; readonly inventory: ModuleInventory }
  | { readonly path: string; readonly error: SignetError };

const OUTPUT_INDEX = 3;
const PIN_TRIES = ['all', 'some used', 'one left', 'locked'] as const satisfies readonly TokenInventory['pinTries'][];
const MAX_SLOTS = 1024;
const MAX_MECHANISMS = 4096;

/** Loads a module, looks and lets go. Spends no PIN try, changes nothing, never throws, ends within the time. */
export async function probeModule(path: string, options: ProbeOptions): Promise<ProbeResult> {
  try {
    return { path, inventory: await probe(path, options) };
  } catch (error) {
    const normal =
      error instanceof SignetError ? error : new SignetError('INTERNAL', 'the probe failed', { cause: error });
    return { path, error: normal };
  }
}

async function probe(path: string, { env, timeoutMs, entry }: ProbeOptions): Promise<ModuleInventory> {
  const program = entry ?? fileURLToPath(new URL('./probe-host.js', import.meta.url));
  // Output is dropped: modules write traces.
  const child = spawned(
    spawn(process.execPath, [program, path], {
      env: moduleEnvironment(env),
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    }),
  );
  const frames: Frame[] = [];
  const failure = (problem: string, cause?: unknown) =>
    new SignetError('UNAVAILABLE', `the PKCS#11 module ${path} ${problem}`, { cause });
  return new Promise<ModuleInventory>((resolve, reject) => {
    const fail = (error: unknown) => {
      reject(error);
      child.kill('SIGKILL');
    };
    const timer = setTimeout(() => fail(failure(`does not answer within ${timeoutMs} ms`)), timeoutMs);
    const reader = new FrameReader();
    const output = child.stdio[OUTPUT_INDEX] as Readable;
    output.on('data', (chunk: Buffer) => {
      try {
        frames.push(...reader.push(chunk));
      } catch (error) {
        fail(error);
      }
    });
    output.on('error', () => undefined); // 'close' follows
    child.on('error', (cause) => fail(failure('cannot be tried', cause)));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const [frame] = frames;
      if (frame === undefined)
        return fail(failure(`ends the process that loads it (${signal ?? `exit code ${code}`})`));
      try {
        resolve(inventoryOf(frame));
      } catch (error) {
        fail(error);
      }
      return undefined;
    });
  });
}

function inventoryOf({ header }: Frame): ModuleInventory {
  const reply = parseReply(header);
  if (!reply.ok) {
    const { code, message, hint } = reply;
    throw new SignetError(code, message, hint === undefined ? {} : { hint });
  }
  const { manufacturer, description, libraryVersion, cryptokiVersion, profile, slots, problem } = record(reply.value);
  return {
    manufacturer: text(manufacturer),
    description: text(description),
    libraryVersion: text(libraryVersion),
    cryptokiVersion: text(cryptokiVersion),
    profile: text(profile),
    slots: list(slots, MAX_SLOTS).map(slotOf),
    problem: problem === undefined ? undefined : text(problem),
  };
}

function slotOf(value: unknown): SlotInventory {
  const { description, isRemovable, token } = record(value);
  return {
    description: text(description),
    isRemovable: isRemovable === true,
    token: token === undefined ? undefined : tokenOf(token),
  };
}

function tokenOf(value: unknown): TokenInventory {
  const { label, manufacturer, model, serial, isInitialised, needsLogin, isPinSet, pinTries, mechanisms } =
    record(value);
  return {
    label: text(label),
    manufacturer: text(manufacturer),
    model: text(model),
    serial: text(serial),
    isInitialised: isInitialised === true,
    needsLogin: needsLogin === true,
    isPinSet: isPinSet === true,
    pinTries: PIN_TRIES.find((known) => known === pinTries) ?? 'all',
    mechanisms: list(mechanisms, MAX_MECHANISMS).map(text),
  };
}
