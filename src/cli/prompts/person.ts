/**
 * Whom a command can ask: what the command line and the environment give, else the terminal, else pinentry.
 *
 * A passphrase that did not come from a person is tried once. What a person types wrong may be typed again, as often as
 * notary allows.
 */
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import { passphraseVariables } from '../../passphrase-variables.ts';
import type { QuestionMessage, TouchMessage } from '../../rpc/messages.ts';
import { Asker, type AskerOptions, type Login } from './asker.ts';
import { PinAnswers } from './pins.ts';
import type { FoundSecret, SecretSources } from './sources.ts';
import { MIN_PASSPHRASE_BYTES, strengthOf, trimmedLength } from './strength.ts';
import * as words from './wording.ts';

/** Prompts for an existing passphrase, and for a new one, before notary gives up. */
const MAX_PASSPHRASE_TRIES = 4;
const MAX_NEW_PASSPHRASE_TRIES = 12;

const FROM_FILE = 'use --passphrase-file or --passphrase-fd';

interface AskedPassphrase {
  readonly what: string;
  readonly count: number;
}

export class Person implements Disposable {
  readonly #asker: Asker;
  readonly #pins: PinAnswers;
  readonly #sources: SecretSources;
  /** Passphrases that were typed, by role: notary too asks once per role. */
  readonly #typed = new Map<string, Secret>();
  #newPassphrase: Secret | 'person' | undefined;
  /** The last existing passphrase that a person was asked for. */
  #asked: AskedPassphrase | undefined;

  constructor({ sources, ...options }: AskerOptions & { readonly sources: SecretSources }) {
    this.#asker = new Asker(options);
    this.#sources = sources;
    this.#pins = new PinAnswers(this.#asker, sources);
  }

  /** Why the last question went without an answer. */
  get refusal(): SignetError | undefined {
    return this.#asker.refusal;
  }

  /** What the user should read when a call that asked has failed: why there was no answer, or that none fitted. */
  explain(error: unknown): unknown {
    if (this.refusal !== undefined) return this.refusal;
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
    this.#asker.unwanted = signal;
    try {
      return await this.#answerTo(question);
    } catch (error) {
      // A question that is withdrawn was not refused: what the call ends with tells more.
      if (!signal.aborted) {
        this.#asker.refusal =
          error instanceof SignetError ? error : new SignetError('INTERNAL', String(error), { cause: error });
      }
      return undefined;
    } finally {
      this.#asker.unwanted = undefined;
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
        return await this.#pins.answer(question);
    }
  }

  /**
   * What the next new passphrases are.
   *
   * @param source A passphrase, which the caller keeps owning; `person`: not even from a file or variable, which hold the
   *   one that the key has now; undefined: as usual.
   */
  setNewPassphrase(source: Secret | 'person' | undefined): void {
    this.#newPassphrase = source;
  }

  /**
   * For an existing key.
   *
   * @param attempt 0 for the first question about this key.
   * @param file Stands before the key's name where it is one in a file.
   */
  async passphrase(key: words.KeyName, attempt: number, file = ''): Promise<Secret | undefined> {
    const found = await this.#sources.passphrase(key.role);
    const what = `${file}${words.keyText(key)}`;
    if (found !== undefined) return this.#once(found, attempt, what);
    const typed = this.#typed.get(key.role);
    if (attempt === 0 && typed !== undefined) return typed.clone();
    const answer = await this.#existing(what, attempt, remediesFor(key.role));
    if (answer !== undefined) this.#remember(key.role, answer);
    return answer;
  }

  /** For a new key, or for a key that gets another one. */
  async newPassphrase(key: words.KeyName): Promise<Secret | undefined> {
    const source = this.#newPassphrase;
    if (source !== undefined && source !== 'person') return source.clone();
    const found = source === 'person' ? undefined : await this.#sources.passphrase(key.role);
    if (found !== undefined) return found.secret;
    if (key.role === 'root') this.#asker.tell(words.ROOT_NOTICE);
    const remedies = source === 'person' ? ['use --new-passphrase-file'] : remediesFor(key.role);
    return await this.#chosenPassphrase(`new ${words.keyText(key)}`, remedies);
  }

  async archivePassphrase(attempt: number): Promise<Secret | undefined> {
    const found = await this.#sources.namedPassphrase();
    if (found !== undefined) return this.#once(found, attempt, 'the archive');
    return await this.#existing('the archive', attempt, [FROM_FILE]);
  }

  /** @throws {SignetError} INVALID_ARGUMENT for one from a file that is too short */
  async newArchivePassphrase(): Promise<Secret | undefined> {
    const found = await this.#sources.namedPassphrase();
    if (found === undefined) return await this.#chosenPassphrase('new archive', [FROM_FILE]);
    if (trimmedLength(found.secret.bytes()) >= MIN_PASSPHRASE_BYTES) return found.secret;
    found.secret.dispose();
    throw new SignetError('INVALID_ARGUMENT', `the passphrase from ${found.origin} is too short for an archive`, {
      hint: `it needs ${MIN_PASSPHRASE_BYTES} bytes or more`,
    });
  }

  /** Tells that a token waits. The notice goes when the result is disposed of. */
  touch({ token, ...key }: TouchMessage): Disposable {
    const device = token === null ? 'the token' : words.tokenText(token);
    return this.#asker.notice(`Touch ${device} to use the ${words.keyText(key)}`);
  }

  /** @see Asker.confirm */
  async confirm(question: string, word: string, flag: string): Promise<void> {
    await this.#asker.confirm(question, word, flag);
  }

  /** @param total 0 when it is not known. */
  progress(done: number, total: number): void {
    this.#asker.progress(done, total);
  }

  /** A call that could ask has ended. */
  endCall(): void {
    this.#asker.endProgress();
    this.#pins.endCall();
  }

  /** @see Asker.login */
  async login(server: string): Promise<Login | undefined> {
    return await this.#asker.login(server);
  }

  [Symbol.dispose](): void {
    this.#asker[Symbol.dispose]();
    for (const secret of this.#typed.values()) secret.dispose();
    this.#sources[Symbol.dispose]();
  }

  #remember(role: string, secret: Secret): void {
    this.#typed.get(role)?.dispose();
    this.#typed.set(role, secret.clone());
  }

  /** What came from a file or variable and was wrong will be wrong again. */
  #once({ secret, origin }: FoundSecret, attempt: number, what: string): Secret | undefined {
    if (attempt === 0) return secret;
    secret.dispose();
    const message = `the passphrase from ${origin} does not open ${what}`;
    this.#asker.refusal = new SignetError('PASSPHRASE_INCORRECT', message);
    return undefined;
  }

  async #existing(what: string, attempt: number, remedies: readonly string[]): Promise<Secret | undefined> {
    if (attempt >= MAX_PASSPHRASE_TRIES) {
      this.#asker.refusal = noneFits({ what, count: attempt });
      return undefined;
    }
    this.#asked = { what, count: attempt + 1 };
    const error = attempt === 0 ? undefined : words.INCORRECT;
    const prompt = `Enter passphrase for ${what}: `;
    return await this.#asker.secret({ prompt, error, what: `the passphrase of ${what}`, remedies });
  }

  /** Asks twice, until both are the same and long enough. */
  async #chosenPassphrase(subject: string, remedies: readonly string[]): Promise<Secret | undefined> {
    const what = `a passphrase for the ${subject}`;
    let error: string | undefined;
    for (let attempt = 0; attempt < MAX_NEW_PASSPHRASE_TRIES; attempt++) {
      using first = await this.#asker.secret({ prompt: `Enter passphrase for ${subject}: `, error, what, remedies });
      if (first === undefined) return undefined;
      error = words.TOO_SHORT;
      if (trimmedLength(first.bytes()) < MIN_PASSPHRASE_BYTES) continue;
      const strength = strengthOf(first.bytes());
      if (strength !== 'good') this.#asker.tell(`Strength: ${strength}. Five random words are better.`);
      using second = await this.#asker.secret({ prompt: `Repeat passphrase for ${subject}: `, what, remedies });
      if (second === undefined) return undefined;
      if (Buffer.compare(first.bytes(), second.bytes()) === 0) return first.clone();
      error = words.NO_MATCH;
    }
    this.#asker.refusal = new SignetError('PASSPHRASE_REQUIRED', 'maximum number of passphrase attempts exceeded');
    return undefined;
  }
}

function remediesFor(role: string): readonly string[] {
  return [`set ${passphraseVariables(role)[0] ?? ''}`, FROM_FILE];
}

function noneFits({ what, count }: AskedPassphrase): SignetError {
  const subject = count === 1 ? 'the passphrase does not open' : `no passphrase of ${count} opens`;
  return new SignetError('PASSPHRASE_INCORRECT', `${subject} ${what}`);
}
