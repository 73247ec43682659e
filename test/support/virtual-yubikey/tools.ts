/** Yubico's and OpenSC's command-line programs, run against virtual YubiKeys. */
import { type ProgramResult, runProgram } from '../processes.ts';
import { YKCS11_MODULE } from './library.ts';
import type { VirtualYubikeys } from './virtual-yubikeys.ts';

/** Found by the dynamic linker. */
export const OPENSC_MODULE = 'opensc-pkcs11.so';

export interface CardTools {
  /** Runs a program that must succeed. @returns What it printed, both streams @throws {Error} with that if it fails */
  run(command: string, ...args: readonly string[]): Promise<string>;
  /** Runs a program that must fail. @returns What it printed, both streams @throws {Error} if it succeeds */
  runFailing(command: string, ...args: readonly string[]): Promise<string>;
  /** `yubico-piv-tool`, one argument per word; it must succeed. */
  pivTool(words: string, ...moreArgs: readonly string[]): Promise<string>;
  /** As `pivTool`, but it must fail. */
  pivToolFailing(words: string): Promise<string>;
  /** `pkcs11-tool` over libykcs11; it must succeed. */
  pkcs11Tool(words: string, ...moreArgs: readonly string[]): Promise<string>;
}

/** @param env More than the virtual YubiKeys' own. */
export function cardTools(yubikeys: VirtualYubikeys, env: Readonly<Record<string, string>> = {}): CardTools {
  const execute = async (command: string, args: readonly string[], isExpected: (result: ProgramResult) => boolean) => {
    const result = await runProgram(command, args, { env: { ...yubikeys.env, ...env } });
    const output = result.stdout + result.stderr;
    if (isExpected(result)) return output;
    throw new Error(`${command} ${args.join(' ')} ended with ${result.ending}: ${output}`);
  };
  const run: CardTools['run'] = (command, ...args) => execute(command, args, ({ ending }) => ending === 0);
  // A crash is no refusal.
  const runFailing: CardTools['run'] = (command, ...args) =>
    execute(command, args, ({ ending }) => ending !== 0 && typeof ending === 'number');
  return {
    run,
    runFailing,
    pivTool: (words, ...more) => run('yubico-piv-tool', ...words.split(' '), ...more),
    pivToolFailing: (words) => runFailing('yubico-piv-tool', ...words.split(' ')),
    pkcs11Tool: (words, ...more) => run('pkcs11-tool', '--module', YKCS11_MODULE, ...words.split(' '), ...more),
  };
}
