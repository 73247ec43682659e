/**
 * Whom a command can ask: what the command line and the environment give, else the terminal, else pinentry.
 *
 * A secret that did not come from a person is tried once. What a person types wrong may be typed again, as often as
 * notary allows for passphrases, and as often as the token and the daemon allow for PINs.
 */
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import { passphraseVariables } from '../../passphrase-variables.ts';
import type { QuestionMessage, TokenMessage, TouchMessage } from '../../rpc/messages.ts';
import { printNote } from '../output.ts';
import { ProgressDisplay } from './progress.ts';
import type { FoundSecret, SecretSources } from './sources.ts';
import { MIN_PASSPHRASE_BYTES, strengthOf, trimmedLength } from './strength.ts';
import { Terminal } from './terminal.ts';
import * as words from './wording.ts';

/** Prompts for an existing passphrase, and for a new one, before notary gives up. */
const MAX_PASSPHRASE_TRIES = 4;
const MAX_NEW_PASSPHRASE_TRIES = 12;

export interface PersonOptions {
  readonly sources: SecretSources;
  /** Who asks, as `signet key sign`. */
  readonly program: string;
  /** False: nobody may be asked. */
  readonly mayAsk: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
}

interface AskedPassphrase {
  readonly what: string;
  readonly count: number;
}

interface SecretPrompt {
  readonly text: string;
  /** Why it is asked again. */
  readonly error?: string | undefined;
}

export class Person implements Disposable {
  readonly #options: PersonOptions;
  readonly #progress: ProgressDisplay;
  /** Undefined until it is looked for; null if there is none. */
  #terminal: Terminal | null | undefined;
  /** Passphrases that were typed, by role: notary too asks once per role. */
  readonly #typed = new Map<string, Secret>();
  #refusal: SignetError | undefined;
  #offered: Secret | undefined;
  /** The last existing passphrase that a person was asked for. */
  #asked: AskedPassphrase | undefined;
  /** Of the question that is being asked for the agent. */
  #unwanted: AbortSignal | undefined;

  constructor(options: PersonOptions) {
    this.#options = options;
    this.#progress = new ProgressDisplay('done');
  }

  /** Why the last question went without an answer. */
  get refusal(): SignetError | undefined {
    return this.#refusal;
  }

  /** What the user should read when a call that asked has failed: why there was no answer, or that none fitted. */
  explain(error: unknown): unknown {
    if (this.#refusal !== undefined) return this.#refusal;
    const isWrong = error instanceof SignetError && error.code === 'PASSPHRASE_INCORRECT';
    return isWrong && this.#asked !== undefined ? noneFits(this.#asked) : error;
  }

  /**
   * Answers one of the agent's questions.
   *
   * @param signal Aborts when the answer is not wanted any more.
   * @returns Undefined to decline, and then `refusal` says why; the caller disposes of the answer.
   */
  async answer(question: QuestionMessage, signal: AbortSignal): Promise<Secret | undefined> {
    this.#unwanted = signal;
    try {
      return await this.#answerTo(question);
    } catch (error) {
      this.#refusal =
        error instanceof SignetError ? error : new SignetError('INTERNAL', String(error), { cause: error });
      return undefined;
    } finally {
      this.#unwanted = undefined;
    }
  }

  async #answerTo(question: QuestionMessage): Promise<Secret | undefined> {
    switch (question.kind) {
      case 'passphrase':
        return await this.passphrase(question, question.attempt);
      case 'new passphrase':
        return await this.newPassphrase(question);
      case 'archive passphrase':
        return await this.archivePassphrase(question.attempt);
      case 'new archive passphrase':
        return await this.newArchivePassphrase();
      default:
        return question.kind.startsWith('new ') ? await this.#newPin(question) : await this.#pin(question);
    }
  }

  /** What new keys are sealed under without asking; undefined ends that. The caller keeps owning it. */
  offerNewPassphrase(passphrase: Secret | undefined): void {
    this.#offered = passphrase;
  }

  /**
   * For an existing key.
   *
   * @param attempt 0 for the first question about this key.
   * @param file Stands before the key's name where it is one in a file.
   */
  async passphrase(key: words.KeyName, attempt: number, file = ''): Promise<Secret | undefined> {
    const found = await this.#options.sources.passphrase(key.role);
    const what = `${file}${words.keyText(key)}`;
    if (found !== undefined) return this.#once(found, attempt, what);
    const typed = this.#typed.get(key.role);
    if (attempt === 0 && typed !== undefined) return typed.clone();
    const answer = await this.#existing(what, attempt, passphraseVariables(key.role)[0]);
    if (answer !== undefined) this.#remember(key.role, answer);
    return answer;
  }

  /** For a new key, or for a key that gets another one. */
  async newPassphrase(key: words.KeyName): Promise<Secret | undefined> {
    if (this.#offered !== undefined) return this.#offered.clone();
    const found = await this.#options.sources.passphrase(key.role);
    if (found !== undefined) return found.secret;
    if (key.role === 'root') this.#terminalOrNone()?.write(`${words.ROOT_NOTICE}\n`);
    return await this.chosenPassphrase(`new ${words.keyText(key)}`, passphraseVariables(key.role)[0]);
  }

  async archivePassphrase(attempt: number): Promise<Secret | undefined> {
    const found = await this.#options.sources.namedPassphrase();
    if (found !== undefined) return this.#once(found, attempt, 'the archive');
    return await this.#existing('the archive', attempt, undefined);
  }

  async newArchivePassphrase(): Promise<Secret | undefined> {
    const found = await this.#options.sources.namedPassphrase();
    if (found === undefined) return await this.chosenPassphrase('new archive', undefined);
    if (trimmedLength(found.secret.bytes()) >= MIN_PASSPHRASE_BYTES) return found.secret;
    found.secret.dispose();
    throw new SignetError('INVALID_ARGUMENT', `the passphrase from ${found.origin} is too short for an archive`, {
      hint: `it needs ${MIN_PASSPHRASE_BYTES} bytes or more`,
    });
  }

  /** Asks twice, until both are the same and long enough. */
  async chosenPassphrase(what: string, variable: string | undefined): Promise<Secret | undefined> {
    let error: string | undefined;
    for (let attempt = 0; attempt < MAX_NEW_PASSPHRASE_TRIES; attempt++) {
      using first = await this.#ask(
        { text: `Enter passphrase for ${what}: `, error },
        `a passphrase for the ${what}`,
        variable,
      );
      if (first === undefined) return undefined;
      error = words.TOO_SHORT;
      if (trimmedLength(first.bytes()) < MIN_PASSPHRASE_BYTES) continue;
      const strength = strengthOf(first.bytes());
      if (strength !== 'good') this.#terminalOrNone()?.write(`Strength: ${strength}. Five random words are better.\n`);
      using second = await this.#ask(
        { text: `Repeat passphrase for ${what}: ` },
        `a passphrase for the ${what}`,
        variable,
      );
      if (second === undefined) return undefined;
      if (Buffer.compare(first.bytes(), second.bytes()) === 0) return first.clone();
      error = words.NO_MATCH;
    }
    this.#refusal = new SignetError('PASSPHRASE_REQUIRED', 'maximum number of passphrase attempts exceeded');
    return undefined;
  }

  /** Tells that a token waits. The notice goes when the result is disposed of. */
  touch({ token, ...key }: TouchMessage): Disposable {
    const notice = `Touch ${token === null ? 'the token' : words.tokenText(token)} to use the ${words.keyText(key)}`;
    const terminal = this.#terminalOrNone();
    if (terminal === undefined) {
      printNote(notice);
      return { [Symbol.dispose]: () => undefined };
    }
    terminal.write(notice);
    return { [Symbol.dispose]: () => terminal.write('\r\u001b[K') };
  }

  /** @param total 0 when it is not known. */
  progress(done: number, total: number): void {
    this.#progress.show(done, total);
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

  /** Name and password for a server. @returns Undefined if nobody can be asked, or answers */
  async login(server: string): Promise<{ readonly username: string; readonly password: string } | undefined> {
    const terminal = this.#options.mayAsk ? this.#terminalOrNone() : undefined;
    const { signal } = this.#options;
    const username = await terminal?.readAnswer(`Log in to ${server}.\nEnter username: `, signal);
    if (terminal === undefined || !username) return undefined;
    using password = await terminal.readSecret('Enter password: ', signal);
    return password && { username, password: Buffer.from(password.bytes()).toString('utf8') };
  }

  [Symbol.dispose](): void {
    this.#progress[Symbol.dispose]();
    this.#terminal?.[Symbol.dispose]();
    this.#terminal = null;
    for (const secret of this.#typed.values()) secret.dispose();
    this.#options.sources[Symbol.dispose]();
  }

  #remember(role: string, secret: Secret): void {
    this.#typed.get(role)?.dispose();
    this.#typed.set(role, secret.clone());
  }

  /** What came from a file or variable and was wrong will be wrong again. */
  #once({ secret, origin }: FoundSecret, attempt: number, what: string): Secret | undefined {
    if (attempt === 0) return secret;
    secret.dispose();
    this.#refusal = new SignetError('PASSPHRASE_INCORRECT', `the passphrase from ${origin} does not open ${what}`);
    return undefined;
  }

  async #existing(what: string, attempt: number, variable: string | undefined): Promise<Secret | undefined> {
    if (attempt >= MAX_PASSPHRASE_TRIES) {
      this.#refusal = noneFits({ what, count: attempt });
      return undefined;
    }
    this.#asked = { what, count: attempt + 1 };
    const error = attempt === 0 ? undefined : words.INCORRECT;
    return await this.#ask({ text: `Enter passphrase for ${what}: `, error }, `the passphrase of ${what}`, variable);
  }

  async #pin(question: QuestionMessage): Promise<Secret | undefined> {
    const { what, prompt } = pinTexts(question);
    const isLast = question.tries_left === 1;
    const found = question.kind === 'pin' ? await this.#options.sources.pin() : undefined;
    if (found === undefined) return await this.#ask({ text: prompt }, what, undefined);
    if (question.attempt === 0 && !isLast) return found.secret;
    found.secret.dispose();
    this.#refusal = isLast
      ? new SignetError('PIN_REQUIRED', `${what} has one try left, which is not spent unattended`, {
          hint: 'type the PIN on a terminal',
        })
      : new SignetError('PIN_INCORRECT', `the PIN from ${found.origin} is not ${what}`);
    return undefined;
  }

  async #newPin(question: QuestionMessage): Promise<Secret | undefined> {
    const { what, prompt } = pinTexts(question);
    let error: string | undefined;
    for (let attempt = 0; attempt < MAX_PASSPHRASE_TRIES; attempt++) {
      using first = await this.#ask({ text: prompt, error }, what, undefined);
      if (first === undefined) return undefined;
      using second = await this.#ask({ text: prompt.replace(/^Enter/, 'Repeat') }, what, undefined);
      if (second === undefined) return undefined;
      if (Buffer.compare(first.bytes(), second.bytes()) === 0) return first.clone();
      error = 'They do not match. Please retry.';
    }
    return undefined;
  }

  /** @param what For the error where nobody can be asked. */
  async #ask({ text, error }: SecretPrompt, what: string, variable: string | undefined): Promise<Secret | undefined> {
    const { program, env, mayAsk } = this.#options;
    const signal = this.#signal;
    this.#progress[Symbol.dispose]();
    const terminal = mayAsk ? this.#terminalOrNone() : undefined;
    if (terminal !== undefined) {
      const answer = await terminal.readSecret(
        `${error === undefined ? '' : `${error}\n`}[${program}] ${text}`,
        signal,
      );
      if (answer === undefined) this.#refusal = new SignetError('CANCELLED', `nothing was typed for ${what}`);
      return answer;
    }
    const { askPinentry, pinentryProgram } = await import('./pinentry.ts');
    const pinentry = mayAsk ? pinentryProgram(env) : undefined;
    if (pinentry !== undefined) {
      const description = `${program} asks: ${text.replace(/: $/, '')}`;
      const answer = await askPinentry(pinentry, { description, prompt: 'Secret:', error }, env, signal);
      if (answer === undefined) this.#refusal = new SignetError('CANCELLED', `the window for ${what} was closed`);
      return answer;
    }
    const isPin = / PIN| PUK|management key/.test(what);
    const alternatives = [
      ...(variable === undefined ? [] : [`set ${variable}`]),
      isPin ? 'use --pin-file or --pin-fd' : 'use --passphrase-file or --passphrase-fd',
      'run it on a terminal',
    ];
    this.#refusal = new SignetError(
      isPin ? 'PIN_REQUIRED' : 'PASSPHRASE_REQUIRED',
      `${what} is needed and nobody can be asked for it`,
      { hint: `${alternatives.slice(0, -1).join(', ')}, or ${alternatives.at(-1) ?? ''}` },
    );
    return undefined;
  }

  get #signal(): AbortSignal {
    const { signal } = this.#options;
    return this.#unwanted === undefined ? signal : AbortSignal.any([signal, this.#unwanted]);
  }

  #terminalOrNone(): Terminal | undefined {
    this.#terminal ??= Terminal.open() ?? null;
    return this.#terminal ?? undefined;
  }
}

function noneFits({ what, count }: AskedPassphrase): SignetError {
  return new SignetError('PASSPHRASE_INCORRECT', `no passphrase of ${count} opens ${what}`);
}

function pinTexts(question: QuestionMessage): { readonly what: string; readonly prompt: string } {
  const token: TokenMessage = question.token ?? { backend: '', label: '', serial: '' };
  const secret = words.pinName(question.kind);
  const purpose = question.key_id === '' ? '' : ` for the ${words.keyText(question)}`;
  return {
    what: `the ${secret} of ${words.tokenText(token)}`,
    prompt: `Enter the ${secret} of ${words.tokenText(token)}${purpose}${words.triesText(question.tries_left)}: `,
  };
}
