/** One run of a command: its arguments and options, and the world around it. */
import type { CommandSpec } from './command.ts';
import type { AgentSession } from './session.ts';

export type OptionValues = Readonly<Record<string, string | boolean | readonly (string | boolean)[] | undefined>>;

export interface World {
  readonly env: NodeJS.ProcessEnv;
  /** Aborts on Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** The running daemon, started if there is none; see `session.ts`. */
  readonly session: AgentSession;
  /** The whole table. */
  readonly commands: readonly CommandSpec[];
}

export class Invocation {
  readonly args: readonly string[];
  readonly world: World;
  readonly #values: OptionValues;

  constructor(args: readonly string[], values: OptionValues, world: World) {
    this.args = args;
    this.#values = values;
    this.world = world;
  }

  /** @returns '' for an argument that is optional and not there. */
  argument(index: number): string {
    return this.args[index] ?? '';
  }

  text(option: string): string | undefined {
    const value = this.#values[option];
    return typeof value === 'string' ? value : undefined;
  }

  flag(option: string): boolean {
    return this.#values[option] === true;
  }

  /** Values of an option that may be given several times; commas separate too, as for notary. */
  texts(option: string): readonly string[] {
    const value = this.#values[option];
    if (!Array.isArray(value)) return [];
    return value
      .flatMap((item: unknown) => (typeof item === 'string' ? item.split(',') : []))
      .filter((item) => item !== '');
  }

  get json(): boolean {
    return this.flag('json');
  }
}
