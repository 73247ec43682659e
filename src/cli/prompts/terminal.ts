/** The terminal itself (`/dev/tty`), so that prompts work while stdin and stdout are data. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';

const DEVICE = '/dev/tty';
/** Longer lines are no passphrase; the daemon takes no more. */
const MAX_LINE_BYTES = 1024;

/** Keys of a terminal in raw mode (ECMA-48 control functions, and DEL). */
const KEY = {
  interrupt: 0x03, // Ctrl-C
  endOfInput: 0x04, // Ctrl-D
  backspace: 0x08,
  lineFeed: 0x0a,
  carriageReturn: 0x0d,
  killLine: 0x15, // Ctrl-U
  suspend: 0x1a, // Ctrl-Z
  delete: 0x7f,
} as const;

export class Terminal implements Disposable {
  readonly #fd: number;
  /** Typed or pasted beyond the end of a line: belongs to the next question. */
  #ahead: Buffer = Buffer.alloc(0);

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** @returns Undefined if this process has no terminal. */
  static open(): Terminal | undefined {
    try {
      return new Terminal(openSync(DEVICE, 'w'));
    } catch {
      return undefined; // ENXIO without a controlling terminal, EACCES, ENOENT: nobody can be asked here
    }
  }

  write(text: string): void {
    writeSync(this.#fd, text);
  }

  /**
   * Asks for a line, without showing what is typed.
   *
   * @returns The line as bytes, which the caller disposes of; undefined if the person pressed Ctrl-D.
   * @throws {SignetError} CANCELLED on Ctrl-C and when `signal` aborts; the terminal is as it was before
   */
  async readSecret(prompt: string, signal: AbortSignal): Promise<Secret | undefined> {
    return await this.#readLine(prompt, signal, 'hidden');
  }

  /** As `readSecret`, but what is typed is shown. */
  async readAnswer(prompt: string, signal: AbortSignal): Promise<string | undefined> {
    using line = await this.#readLine(prompt, signal, 'shown');
    return line === undefined ? undefined : Buffer.from(line.bytes()).toString('utf8');
  }

  async #readLine(prompt: string, signal: AbortSignal, echo: 'hidden' | 'shown'): Promise<Secret | undefined> {
    if (signal.aborted) throw cancelled();
    const input = new ReadStream(openSync(DEVICE, 'r'));
    const editor = new LineEditor(echo === 'shown' ? (text) => this.write(text) : () => undefined);
    try {
      input.setRawMode(true);
      this.write(prompt);
      const outcome = await new Promise<'line' | 'end' | 'interrupt'>((resolve) => {
        const take = (chunk: Buffer) => {
          for (const [index, byte] of chunk.entries()) {
            const event = editor.type(byte);
            if (event === 'suspend') {
              editor.clear();
              suspend(input, () => this.write(prompt));
            }
            if (event === undefined || event === 'suspend') continue;
            this.#ahead = Buffer.concat([chunk.subarray(index + 1)]);
            chunk.fill(0);
            resolve(event);
            return;
          }
          chunk.fill(0);
        };
        signal.addEventListener('abort', () => resolve('interrupt'), { once: true });
        input.on('error', () => resolve('end')).on('end', () => resolve('end'));
        const ahead = this.#ahead;
        this.#ahead = Buffer.alloc(0);
        take(ahead);
        input.on('data', take);
      });
      this.write('\n');
      if (outcome === 'interrupt') throw cancelled();
      return outcome === 'line' ? editor.line() : undefined;
    } finally {
      editor.dispose();
      if (!input.destroyed) input.setRawMode(false);
      input.destroy();
    }
  }

  [Symbol.dispose](): void {
    this.#ahead.fill(0);
    closeSync(this.#fd);
  }
}

/** Gives the terminal back to the shell, and takes it again when the shell brings us back. */
function suspend(input: ReadStream, resumed: () => void): void {
  input.setRawMode(false);
  process.once('SIGCONT', () => {
    input.setRawMode(true);
    resumed();
  });
  process.kill(process.pid, 'SIGTSTP');
}

function cancelled(): SignetError {
  return new SignetError('CANCELLED', 'cancelled');
}

/** A line as it is typed. Bytes only: a string could not be zeroed. */
class LineEditor {
  readonly #bytes = Buffer.alloc(MAX_LINE_BYTES);
  readonly #echo: (text: string) => void;
  #length = 0;

  constructor(echo: (text: string) => void) {
    this.#echo = echo;
  }

  /** @returns What the byte brought to an end, if anything. */
  type(byte: number): 'line' | 'end' | 'interrupt' | 'suspend' | undefined {
    switch (byte) {
      case KEY.lineFeed:
      case KEY.carriageReturn:
        return 'line';
      case KEY.interrupt:
        return 'interrupt';
      case KEY.suspend:
        return 'suspend';
      case KEY.endOfInput:
        return this.#length === 0 ? 'end' : 'line';
      case KEY.backspace:
      case KEY.delete:
        this.#removeCharacter();
        return undefined;
      case KEY.killLine:
        this.clear();
        return undefined;
      default:
        this.#append(byte);
        return undefined;
    }
  }

  line(): Secret {
    return new Secret(Buffer.alloc(this.#length, this.#bytes.subarray(0, this.#length)));
  }

  /** Takes back the whole line. */
  clear(): void {
    while (this.#length > 0) this.#removeCharacter();
  }

  dispose(): void {
    this.#bytes.fill(0);
  }

  #append(byte: number): void {
    if (this.#length === MAX_LINE_BYTES || byte < 0x20) return;
    this.#bytes[this.#length++] = byte;
    if (byte < 0x80) this.#echo(String.fromCharCode(byte));
  }

  /** A whole UTF-8 character: its continuation bytes (10xxxxxx) and the byte before them. */
  #removeCharacter(): void {
    if (this.#length === 0) return;
    let byte: number;
    do {
      byte = this.#bytes[--this.#length] ?? 0;
      this.#bytes[this.#length] = 0;
    } while ((byte & 0xc0) === 0x80 && this.#length > 0);
    this.#echo('\b \b');
  }
}
