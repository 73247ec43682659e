/** Programs on a terminal: a person who types, in tests. Needs python3, whose standard library has pseudo-terminals. */
import { fileURLToPath } from 'node:url';
import { runProgram } from './processes.ts';

const DRIVER = fileURLToPath(new URL('./terminal.py', import.meta.url));

/** What to wait for, and what to type then; null only waits. */
export type Turn = readonly [pattern: string, answer: string | { readonly signal: NodeJS.Signals } | null];

export interface TerminalResult {
  /** All that the terminal showed, with `\r\n`. */
  readonly output: string;
  readonly ending: number | NodeJS.Signals;
  /** Whether the terminal shows what is typed, at the end. */
  readonly echo: boolean;
}

/** @throws {Error} The program ended without having shown one of the patterns */
export async function runOnTerminal(
  argv: readonly string[],
  options: { readonly env: Readonly<Record<string, string>>; readonly cwd: string },
  dialogue: readonly Turn[],
): Promise<TerminalResult> {
  const input = JSON.stringify({ argv, ...options, dialogue });
  const { stdout, stderr } = await runProgram('python3', [DRIVER], { env: options.env, input });
  if (stdout === '') throw new Error(`the terminal driver failed: ${stderr}`);
  const { unmatched, ...result } = JSON.parse(stdout) as TerminalResult & { unmatched: string | null };
  if (unmatched !== null) throw new Error(`${argv.join(' ')} never showed ${unmatched}; it showed:\n${result.output}`);
  return result;
}
