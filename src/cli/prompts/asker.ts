/** One question to a person: on the terminal, else by pinentry. Keeps why there was no answer. */
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import { printNote } from '../output.ts';
import { ProgressDisplay } from './progress.ts';
import { Terminal } from './terminal.ts';

export interface AskerOptions {
  /** Who asks, as `signet key sign`. */
  readonly program: string;
  /** False: nobody may be asked. */
  readonly mayAsk: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

export interface SecretQuestion {
  /** With the colon and blank at its end. */
  readonly prompt: string;
  /** Why it is asked again. */
  readonly error?: string | undefined;
  /** Why a person has to be asked at all. */
  readonly reason?: string | undefined;
  /** What is asked for, as errors name it: `the passphrase of root key with ID 14b1bcd`. */
  readonly what: string;
  /** What else would give it, as imperative sentences. */
  readonly remedies: readonly string[];
}

/** Carriage return and "erase in line" (ECMA-48 EL). */
const ERASE_LINE = '\r\u001b[K';

export interface Login {
  readonly username: string;
  readonly password: string;
}

export class Asker implements Disposable {
  readonly #options: AskerOptions;
  readonly #progress = new ProgressDisplay('keys');
  /** Undefined until it is looked for; null if there is none. */
  #terminal: Terminal | null | undefined;
  /** Why the last question went without an answer. */
  refusal: SignetError | undefined;
  /** Of the question that is being asked for the agent: aborts when the answer is not wanted any more. */
  unwanted: AbortSignal | undefined;

  constructor(options: AskerOptions) {
    this.#options = options;
  }

  /**
   * @returns What was typed, which the caller disposes of; undefined without an answer: then `refusal` says why.
   * @throws {SignetError} CANCELLED, UNAVAILABLE for a pinentry that fails
   */
  async secret(question: SecretQuestion): Promise<Secret | undefined> {
    const { program, env, mayAsk } = this.#options;
    const { prompt, error, reason, what } = question;
    const before = [reason, error].filter((text) => text !== undefined);
    this.endProgress();
    const terminal = mayAsk ? this.#terminalOrNone() : undefined;
    if (terminal !== undefined) {
      const lines = [...before, `[${program}] ${prompt}`];
      const answer = await terminal.readSecret(lines.join('\n'), this.#signal);
      if (answer === undefined) this.refusal = new SignetError('CANCELLED', `nothing was typed for ${what}`);
      return answer;
    }
    const { askPinentry, pinentryProgram } = await import('./pinentry.ts');
    const pinentry = mayAsk ? pinentryProgram(env) : undefined;
    if (pinentry === undefined) {
      this.refusal = nobody(question);
      return undefined;
    }
    const description = `${program} asks: ${prompt.replace(/: $/, '')}`;
    const answer = await askPinentry(
      pinentry,
      { description, prompt: 'Secret:', error: before.join('\n') || undefined },
      env,
      this.#signal,
    );
    if (answer === undefined) this.refusal = new SignetError('CANCELLED', `the window for ${what} was closed`);
    return answer;
  }

  /** Text for the person, where one is at a terminal. */
  tell(text: string): void {
    if (this.#options.mayAsk) this.#terminalOrNone()?.write(`${text}\n`);
  }

  /** A line that goes when the result is disposed of; without a terminal, a line on stderr that stays. */
  notice(text: string): Disposable {
    this.endProgress();
    const terminal = this.#terminalOrNone();
    if (terminal === undefined) {
      printNote(text);
      return { [Symbol.dispose]: () => undefined };
    }
    terminal.write(text);
    return { [Symbol.dispose]: () => terminal.write(ERASE_LINE) };
  }

  /**
   * Has a word typed before something is destroyed.
   *
   * @param flag The option that confirms without a person.
   * @throws {SignetError} INVALID_ARGUMENT if nobody can be asked, CANCELLED if another word was typed
   */
  async confirm(question: string, word: string, flag: string): Promise<void> {
    const terminal = this.#options.mayAsk ? this.#terminalOrNone() : undefined;
    if (terminal === undefined) {
      throw new SignetError('INVALID_ARGUMENT', 'this needs a confirmation, and there is no terminal to ask on', {
        hint: `to go ahead without being asked, add ${flag}`,
      });
    }
    const answer = await terminal.readAnswer(`${question}\nType "${word}" to go ahead: `, this.#options.signal);
    if (answer?.trim() === word) return;
    throw new SignetError('CANCELLED', 'aborted, nothing was changed');
  }

  /** Name and password for a server, shown and hidden. @returns Undefined if nobody can be asked, or answers */
  async login(server: string): Promise<Login | undefined> {
    const terminal = this.#options.mayAsk ? this.#terminalOrNone() : undefined;
    const username = await terminal?.readAnswer(`Log in to ${server}\nEnter username: `, this.#options.signal);
    if (terminal === undefined || !username) return undefined;
    using password = await terminal.readSecret('Enter password: ', this.#options.signal);
    return password && { username, password: Buffer.from(password.bytes()).toString('utf8') };
  }

  /** @param total 0 when it is not known. */
  progress(done: number, total: number): void {
    this.#progress.show(done, total);
  }

  /** Takes the progress from the screen. */
  endProgress(): void {
    this.#progress[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.endProgress();
    this.#terminal?.[Symbol.dispose]();
    this.#terminal = null;
  }

  get #signal(): AbortSignal {
    const { signal } = this.#options;
    return this.unwanted === undefined ? signal : AbortSignal.any([signal, this.unwanted]);
  }

  #terminalOrNone(): Terminal | undefined {
    this.#terminal ??= Terminal.open() ?? null;
    return this.#terminal ?? undefined;
  }
}

function nobody({ what, remedies, reason }: SecretQuestion): SignetError {
  const code = / PIN\b| PUK\b| management key\b/.test(what) ? 'PIN_REQUIRED' : 'PASSPHRASE_REQUIRED';
  const all = [...remedies, 'run it on a terminal'];
  const ways = all.length === 1 ? all.join('') : `${all.slice(0, -1).join(', ')}, or ${all.at(-1) ?? ''}`;
  const hint = reason === undefined ? ways : `${reason}; or ${ways}`;
  return new SignetError(code, `${what} is needed and nobody can be asked for it`, { hint });
}
