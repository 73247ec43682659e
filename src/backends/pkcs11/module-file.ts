/** A look at a module's file before it is loaded: the linker's own messages say little. In processes that load modules only. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { endianness } from 'node:os';
import { fromNodeError, SignetError } from '../../errors.ts';

/** ELF-64 header: e_ident, e_type, e_machine (System V ABI, chapter 4). */
const HEADER_BYTES = 20;
const MAGIC = Buffer.from('7f454c46', 'hex');
const EI_CLASS = 4;
const EI_DATA = 5;
const E_TYPE = 16;
const E_MACHINE = 18;
const ET_DYN = 3;
/** Of what the linker says. */
const MAX_SAID_CHARACTERS = 300;

/** e_machine → Node's name (`process.arch`); the numbers are the System V ABI's. */
const MACHINES: ReadonlyMap<number, string> = new Map([
  [3, 'ia32'],
  [8, 'mips'],
  [20, 'ppc'],
  [21, 'ppc64'],
  [22, 's390x'],
  [40, 'arm'],
  [62, 'x64'],
  [183, 'arm64'],
  [243, 'riscv64'],
  [258, 'loong64'],
]);

/**
 * Checks that a file may be a module for this machine. On systems other than Linux only that it is a file.
 *
 * @throws {SignetError} CONFIGURATION: missing, a directory, not a library, for another machine
 */
export function checkModuleFile(path: string): void {
  const stats = readable(path, () => statSync(path));
  if (stats.isDirectory()) throw unusable(path, 'it is a directory');
  if (!stats.isFile()) throw unusable(path, 'it is not a file');
  if (process.platform !== 'linux') return;
  const header = readHeader(path);
  if (header === undefined || !header.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw unusable(path, 'it is not a shared library');
  }
  const isLittle = header[EI_DATA] === 1;
  const number = (offset: number) => (isLittle ? header.readUInt16LE(offset) : header.readUInt16BE(offset));
  const machine = machineOf(number(E_MACHINE), header[EI_CLASS] === 1);
  if (machine !== process.arch || isLittle !== (endianness() === 'LE')) {
    throw unusable(path, `it is for ${machine}, and this machine is ${process.arch}`);
  }
  if (number(E_TYPE) !== ET_DYN) throw unusable(path, 'it is not a shared library');
}

/**
 * Why the linker did not take a file that `checkModuleFile` did.
 *
 * @param cause As the bindings throw it, with what dlopen or dlsym said.
 */
export function notLoaded(path: string, cause: unknown): SignetError {
  const said = cause instanceof Error ? cause.message : '';
  if (/undefined symbol: C_GetFunctionList\b/.test(said)) return unusable(path, 'it is no PKCS#11 module', cause);
  const missing = /^([\w.+-]{1,128}): cannot open shared object file/.exec(said)?.[1];
  if (missing !== undefined) {
    return new SignetError('CONFIGURATION', `the PKCS#11 module ${path} cannot be loaded: it needs ${missing}`, {
      hint: 'install the package with that library',
      cause,
    });
  }
  const shown = said.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_SAID_CHARACTERS);
  return unusable(path, shown === '' ? 'the linker does not say why' : shown, cause);
}

function machineOf(machine: number, is32Bit: boolean): string {
  const name = MACHINES.get(machine) ?? `machine type ${machine}`;
  return is32Bit && name === 'x64' ? 'x32' : name;
}

function readHeader(path: string): Buffer | undefined {
  return readable(path, () => {
    const file = openSync(path, 'r');
    try {
      const header = Buffer.alloc(HEADER_BYTES);
      return readSync(file, header, 0, HEADER_BYTES, 0) < HEADER_BYTES ? undefined : header;
    } finally {
      closeSync(file);
    }
  });
}

function readable<T>(path: string, look: () => T): T {
  try {
    return look();
  } catch (error) {
    throw unusable(path, fromNodeError(error, 'it cannot be read').message, error);
  }
}

function unusable(path: string, problem: string, cause?: unknown): SignetError {
  return new SignetError('CONFIGURATION', `the PKCS#11 module ${path} cannot be loaded: ${problem}`, {
    hint: 'name a library for this machine in module-path',
    cause,
  });
}
