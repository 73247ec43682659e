/**
 * What a token thought of the PINs that no person typed: three wrong tries block a card, so that a content which was
 * refused is never tried again, by nobody and for no reason, nor after a restart.
 *
 * Kept in a small file that is written before each try, because the daemon may not live to see its outcome. Nothing in it
 * follows from a PIN: it names the content by its source (pin-source.ts). From then until the outcome is written, no other
 * process tries one: daemons that start together spend one try of a wrong PIN, not one each.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { fromNodeError, SignetError } from '../../errors.ts';
import { createDirectory, readBoundedFile, replaceFileDurably } from '../durable-file.ts';
import { lockForProcess } from '../process-lock.ts';
import type { TokenIdentity } from '../token-facts.ts';
import type { PinSource, SourcedPin } from './pin-source.ts';

const MAX_STATE_BYTES = 64 * 1024;
const VERSION = 1;
/** How long another process's try is waited for: others wait for whoever opens the token; milliseconds. */
const PATIENCE_MS = 10_000;
/** Tries without an answer: one, or two for a content that the token has taken before. */
const MAX_UNANSWERED = { unknown: 1, accepted: 2 } as const;

interface SourceState {
  readonly identity: string;
  readonly accepted: boolean;
  readonly refused: boolean;
  readonly unanswered: number;
}

/** What a source has now: a fingerprint for this process, and a name for the file. */
interface Content {
  readonly print: string;
  readonly identity: string;
}

/** One try. Exactly one of the outcomes must be told: until then, other processes wait. */
export interface PinTry {
  accepted(): Promise<void>;
  refused(): Promise<void>;
  /** The PIN was not given to the token after all. */
  notTried(): Promise<void>;
  /** Nobody knows whether the token was given the PIN. */
  unanswered(): Promise<void>;
}

export class PinMemory {
  /** Undefined: nothing outlives this process. */
  readonly #file: string | undefined;
  readonly #token: TokenIdentity;
  readonly #patienceMs: number;
  /** Where there is no file. */
  #inMemory = new Map<string, SourceState>();
  /** So that what is remembered of a PIN is worth nothing outside this process. */
  readonly #key = randomBytes(32);
  /** Contents that this process saw refused. */
  readonly #refused = new Set<string>();
  /** The content that the token took last, and tries of it since without an answer. */
  #taken: { readonly print: string; unanswered: number } | undefined;

  constructor(directory: string | undefined, token: TokenIdentity, patienceMs = PATIENCE_MS) {
    this.#token = token;
    this.#patienceMs = patienceMs;
    if (directory === undefined) return;
    const name = createHash('sha256')
      .update(JSON.stringify([token.label, token.serial]))
      .digest('hex');
    this.#file = join(directory, `token-${name.slice(0, 16)}.json`);
  }

  /**
   * Writes down that a PIN is about to be tried.
   *
   * @param isAllowed Unless this process saw the content accepted: runs when no other process can try one any more; what it
   *   throws ends this try before it is begun.
   * @throws {SignetError} PIN_INCORRECT if this content was refused before; PIN_REQUIRED if it was tried without an answer,
   *   or the source has another by now; TOKEN_BUSY if another process is still trying one; CONFIGURATION, INTEGRITY if the
   *   file cannot be written or read: then no try is made either
   */
  async begin(source: PinSource, { pin, identity }: SourcedPin, isAllowed?: () => Promise<void>): Promise<PinTry> {
    const content = { print: this.#printOf(pin.bytes()), identity };
    const again = this.#beginAgain(source, content);
    if (again !== undefined) return again;
    const lock = await this.#lock();
    try {
      const meanwhile = this.#beginAgain(source, content); // the lock may have been waited for
      if (meanwhile === undefined) return await this.#beginLocked(source, content, lock, isAllowed);
      await lock[Symbol.asyncDispose]();
      return meanwhile;
    } catch (error) {
      await lock[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Whether this is the content that the token took last, in this process. */
  hasTaken({ pin }: SourcedPin): boolean {
    return this.#taken?.print === this.#printOf(pin.bytes());
  }

  /** What the token took before may be outdated: the next try is one as any other. */
  doubt(): void {
    this.#taken = undefined;
  }

  /** A person's PIN was taken: the token counts from the beginning, and whatever was in doubt may be tried once more. */
  async clear(): Promise<void> {
    if (this.#file === undefined || (await this.#readAll()).size === 0) return;
    await using _ = await this.#lock();
    await this.#writeAll(new Map());
  }

  /** The content is known to be outdated. */
  async outdated(source: PinSource, { pin, identity }: SourcedPin): Promise<void> {
    await this.#noteRefusal(source, { print: this.#printOf(pin.bytes()), identity });
  }

  /**
   * A content that this process saw accepted needs no file: at most it is wrong now, and that is written down.
   *
   * @returns Undefined if it did not. @throws {SignetError} PIN_INCORRECT, PIN_REQUIRED
   */
  #beginAgain(source: PinSource, content: Content): PinTry | undefined {
    if (this.#refused.has(content.print)) throw this.#notAgain(source, 'refused');
    const taken = this.#taken;
    if (taken?.print !== content.print) return undefined;
    if (taken.unanswered >= MAX_UNANSWERED.accepted) throw this.#notAgain(source, 'unanswered');
    taken.unanswered++;
    return {
      accepted: async () => {
        taken.unanswered = 0;
      },
      refused: () => this.#noteRefusal(source, content),
      notTried: async () => {
        taken.unanswered--;
      },
      unanswered: async () => undefined,
    };
  }

  /** @param lock The try's; disposed of with its outcome. */
  async #beginLocked(
    source: PinSource,
    content: Content,
    lock: AsyncDisposable,
    isAllowed?: () => Promise<void>,
  ): Promise<PinTry> {
    // The process that had the lock may have seen it refused, and its source forget it.
    if (!(await this.#isStillThere(source, content))) throw this.#changed(source);
    const { print, identity } = content;
    const known = await this.#read(source);
    const state: SourceState =
      known?.identity === identity ? known : { identity, accepted: false, refused: false, unanswered: 0 };
    if (state.refused) throw this.#notAgain(source, 'refused');
    if (state.unanswered >= MAX_UNANSWERED[state.accepted ? 'accepted' : 'unknown']) {
      throw this.#notAgain(source, 'unanswered');
    }
    await isAllowed?.();
    await this.#write(source, { ...state, unanswered: state.unanswered + 1 });
    const withLock = async (write: () => Promise<void>) => {
      await using _ = lock;
      await write();
    };
    return {
      accepted: () => {
        this.#taken = { print, unanswered: 0 };
        return withLock(() => this.#write(source, { identity, accepted: true, refused: false, unanswered: 0 }));
      },
      refused: async () => {
        await withLock(() => this.#writeRefusal(source, content));
        await this.#tellSource(source, content);
      },
      notTried: () => withLock(() => this.#write(source, state)),
      unanswered: async () => lock[Symbol.asyncDispose](),
    };
  }

  async #noteRefusal(source: PinSource, content: Content): Promise<void> {
    this.#refused.add(content.print); // at once, also while the lock is waited for
    {
      await using _ = await this.#lock();
      await this.#writeRefusal(source, content);
    }
    await this.#tellSource(source, content);
  }

  async #writeRefusal(source: PinSource, { print, identity }: Content): Promise<void> {
    this.#refused.add(print);
    this.#taken = undefined;
    await this.#write(source, { identity, accepted: false, refused: true, unanswered: 0 });
  }

  /** Without the lock while the source forgets the content, which may take long. */
  async #tellSource(source: PinSource, { identity }: Content): Promise<void> {
    const isGone = (await source.refused?.()) ?? false;
    if (!isGone) return;
    await using _ = await this.#lock();
    const now = await this.#read(source);
    // What it has from now on is another content.
    if (now?.identity === identity && now.refused) await this.#write(source, undefined);
  }

  async #isStillThere(source: PinSource, { print, identity }: Content): Promise<boolean> {
    const now = await source.read();
    try {
      return now?.identity === identity && this.#printOf(now.pin.bytes()) === print;
    } finally {
      now?.pin.dispose();
    }
  }

  /** @throws {SignetError} TOKEN_BUSY, CONFIGURATION */
  async #lock(): Promise<AsyncDisposable> {
    const file = this.#file;
    if (file === undefined) return { [Symbol.asyncDispose]: async () => undefined };
    const path = `${file}.lock`;
    const stillLocked = (who: string) =>
      new SignetError('TOKEN_BUSY', `${who} is still trying a PIN of token ${this.#token.label}`, {
        hint: `try again later; if no signetd runs, remove ${path}`,
      });
    return await lockForProcess(path, { patienceMs: this.#patienceMs, stillLocked }).catch((error: unknown) => {
      if (error instanceof SignetError && error.code === 'TOKEN_BUSY') throw error;
      throw unusable(error, `cannot write ${path}`);
    });
  }

  #changed({ name, remedy: hint }: PinSource): SignetError {
    return new SignetError('PIN_REQUIRED', `the PIN of ${name} was changed or removed just now`, { hint });
  }

  #notAgain(source: PinSource, why: 'refused' | 'unanswered'): SignetError {
    const { name, remedy: hint } = source;
    const orRemove = this.#file === undefined ? '' : `, or remove ${this.#file}`;
    return why === 'refused'
      ? new SignetError('PIN_INCORRECT', `the PIN of ${name} was refused and is not tried again`, { hint })
      : new SignetError('PIN_REQUIRED', `the PIN of ${name} was tried without an answer and is not tried again`, {
          hint: `see how many tries the token has left, then unlock one of the keys by hand${orRemove}`,
        });
  }

  async #read(source: PinSource): Promise<SourceState | undefined> {
    return (await this.#readAll()).get(source.name);
  }

  async #readAll(): Promise<Map<string, SourceState>> {
    if (this.#file === undefined) return this.#inMemory;
    const content = await readBoundedFile(this.#file, MAX_STATE_BYTES).catch((error: unknown) => {
      throw unusable(error, `cannot read ${this.#file}`);
    });
    return content === undefined ? new Map() : parseState(content, this.#file);
  }

  async #write(source: PinSource, state: SourceState | undefined): Promise<void> {
    const all = await this.#readAll();
    if (state === undefined) all.delete(source.name);
    else all.set(source.name, state);
    await this.#writeAll(all);
  }

  async #writeAll(all: Map<string, SourceState>): Promise<void> {
    if (this.#file === undefined) {
      this.#inMemory = all;
      return;
    }
    const { label, serial } = this.#token;
    const state = { version: VERSION, token: { label, serial }, sources: Object.fromEntries(all) };
    try {
      await createDirectory(dirname(this.#file), 0o700);
      await replaceFileDurably(this.#file, `${JSON.stringify(state, undefined, 2)}\n`, async () => true);
    } catch (error) {
      throw unusable(error, `cannot write ${this.#file}`);
    }
  }

  #printOf(pin: Uint8Array): string {
    return createHmac('sha256', this.#key).update(pin).digest('hex');
  }
}

function unusable(error: unknown, what: string): SignetError {
  const { message } = fromNodeError(error, what);
  return new SignetError('CONFIGURATION', message, {
    hint: 'without that file a wrong PIN could be tried at each start: make its directory writable',
    cause: error,
  });
}

/** @throws {SignetError} INTEGRITY for anything that we did not write */
function parseState(content: Buffer, file: string): Map<string, SourceState> {
  const damaged = (cause?: unknown) =>
    new SignetError('INTEGRITY', `${file} is damaged`, {
      hint: 'see how many PIN tries the token has left, then remove it',
      cause,
    });
  let document: unknown;
  try {
    document = JSON.parse(content.toString('utf8'));
  } catch (cause) {
    throw damaged(cause);
  }
  const { version, sources } = (document ?? {}) as { readonly version?: unknown; readonly sources?: unknown };
  if (version !== VERSION || typeof sources !== 'object' || sources === null) throw damaged();
  const states = Object.entries(sources).map(([name, state]): [string, SourceState] => {
    const { identity, accepted, refused, unanswered } = (state ?? {}) as Record<string, unknown>;
    if (
      typeof identity !== 'string' ||
      typeof accepted !== 'boolean' ||
      typeof refused !== 'boolean' ||
      !(typeof unanswered === 'number' && Number.isSafeInteger(unanswered) && unanswered >= 0)
    ) {
      throw damaged();
    }
    return [name, { identity, accepted, refused, unanswered }];
  });
  return new Map(states);
}
