/** The completion script in a real bash. */
import { dirname } from 'node:path';
import { type CommandLineHome, SIGNET } from './cli.ts';
import { runProgram } from './processes.ts';

const SCRIPT = `
  source <(signet completion bash)
  compopt() { :; }
  COMP_WORDS=("$@")
  COMP_CWORD=$(($# - 1))
  _signet
  printf '%s\\n' "\${COMPREPLY[@]}"`;

/**
 * Completes as the tab key does.
 *
 * @param words After `signet`, as bash takes them apart: `:` and `=` are words.
 * @returns What takes the place of the last word.
 */
export async function completeInBash(home: CommandLineHome, words: readonly string[]): Promise<readonly string[]> {
  const env = { ...home.env, PATH: `${dirname(SIGNET)}:${home.env['PATH']}` };
  const result = await runProgram('bash', ['-c', SCRIPT, 'bash', 'signet', ...words], { env, cwd: home.path });
  if (result.ending !== 0 || result.stderr !== '') throw new Error(`bash failed: ${result.stderr}`);
  return result.stdout.trimEnd().split('\n');
}
