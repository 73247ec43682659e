/** A passphrase window, by pinentry's Assuan protocol, for processes without a terminal. */
import { spawn } from 'node:child_process';
import { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';

/** GPG_ERR_SOURCE_PINENTRY << 24 | GPG_ERR_CANCELED, libgpg-error. */
const CANCELLED_CODE = '83886179';
/** Assuan lines have at most 1000 bytes. */
const MAX_BUFFERED_BYTES = 4096;
const LINE_FEED = 0x0a;

export interface PinentryQuestion {
  readonly description: string;
  readonly prompt: string;
  /** Why it is asked again. */
  readonly error?: string | undefined;
  /** Ask twice, with this prompt for the second time. */
  readonly repeat?: string | undefined;
}

/** The program to ask, where windows can open; undefined elsewhere. */
export function pinentryProgram(env: NodeJS.ProcessEnv): string | undefined {
  const chosen = env['SIGNET_PINENTRY'];
  if (chosen) return chosen;
  return env['DISPLAY'] || env['WAYLAND_DISPLAY'] ? 'pinentry' : undefined;
}

/**
 * Asks.
 *
 * @returns What was typed, which the caller disposes of; undefined if the person closed the window
 * @throws {SignetError} UNAVAILABLE if the program is missing or fails, CANCELLED when `signal` aborts
 */
export async function askPinentry(
  program: string,
  question: PinentryQuestion,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<Secret | undefined> {
  if (signal.aborted) throw new SignetError('CANCELLED', 'cancelled');
  const child = spawn(program, [], { stdio: ['pipe', 'pipe', 'ignore'], env });
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  child.stdin.on('error', () => undefined); // it has ended: the answer will say so
  const failed = new Promise<never>((_, reject) => {
    child.once('error', (cause: NodeJS.ErrnoException) => {
      reject(new SignetError('UNAVAILABLE', `cannot run ${program} (${cause.code ?? 'unknown error'})`, { cause }));
    });
  });
  try {
    return await Promise.race([
      converse(new Assuan(child.stdout), (line) => child.stdin.write(`${line}\n`), question, program),
      failed,
    ]);
  } catch (error) {
    if (signal.aborted) throw new SignetError('CANCELLED', 'cancelled', { cause: error });
    throw error;
  } finally {
    signal.removeEventListener('abort', stop);
    child.stdin.end('BYE\n');
  }
}

async function converse(
  assuan: Assuan,
  send: (line: string) => void,
  question: PinentryQuestion,
  program: string,
): Promise<Secret | undefined> {
  const { description, prompt, error, repeat } = question;
  const settings = [
    'SETTITLE signet',
    `SETDESC ${percentEncode(description)}`,
    `SETPROMPT ${percentEncode(prompt)}`,
    ...(error === undefined ? [] : [`SETERROR ${percentEncode(error)}`]),
    ...(repeat === undefined ? [] : [`SETREPEAT ${percentEncode(repeat)}`]),
  ];
  await assuan.answer(program); // the greeting
  for (const setting of settings) {
    send(setting);
    const { ok } = await assuan.answer(program);
    // SETREPEAT is missing in old ones: then it is asked for once.
    if (!ok && !setting.startsWith('SETREPEAT')) throw refused(program);
  }
  send('GETPIN');
  const { ok, data, code } = await assuan.answer(program);
  if (ok) return data ?? Secret.fromText('');
  if (code === CANCELLED_CODE) return undefined;
  throw refused(program);
}

function refused(program: string): SignetError {
  return new SignetError('UNAVAILABLE', `${program} cannot ask here`);
}

/** Percent-encoding of the Assuan protocol. */
function percentEncode(text: string): string {
  return text.replace(/[%\r\n]/g, (character) => encodeURIComponent(character));
}

interface Answer {
  readonly ok: boolean;
  readonly data: Secret | undefined;
  /** Of an ERR line. */
  readonly code: string;
}

/** Reads answers: any number of `D`, `S` and `#` lines, then `OK` or `ERR`. */
class Assuan {
  readonly #chunks: AsyncIterator<Buffer>;
  #buffer: Buffer = Buffer.alloc(0);

  constructor(stream: AsyncIterable<Buffer>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async answer(program: string): Promise<Answer> {
    let data: Secret | undefined;
    for (;;) {
      const line = await this.#line(program);
      const word = line.toString('latin1', 0, 4).split(' ')[0];
      if (word === 'D') data = new Secret(percentDecode(line.subarray(2)));
      if (word === 'OK') return { ok: true, data, code: '' };
      if (word === 'ERR') {
        data?.dispose();
        return { ok: false, data: undefined, code: line.toString('latin1').split(' ')[1] ?? '' };
      }
      line.fill(0);
    }
  }

  async #line(program: string): Promise<Buffer> {
    for (;;) {
      const end = this.#buffer.indexOf(LINE_FEED);
      if (end >= 0) {
        const line = Buffer.alloc(end, this.#buffer.subarray(0, end));
        const rest = Buffer.from(this.#buffer.subarray(end + 1));
        this.#buffer.fill(0);
        this.#buffer = rest;
        return line;
      }
      const next = await this.#chunks.next();
      if (next.done || this.#buffer.length > MAX_BUFFERED_BYTES) throw refused(program);
      const joined = Buffer.concat([this.#buffer, next.value]);
      this.#buffer.fill(0);
      next.value.fill(0);
      this.#buffer = joined;
    }
  }
}

/** `%41` → `A`, on bytes. */
function percentDecode(line: Buffer): Buffer {
  const bytes = Buffer.alloc(line.length);
  let length = 0;
  for (let index = 0; index < line.length; index++) {
    const byte = line[index] ?? 0;
    const isEscape = byte === 0x25 && index + 2 < line.length;
    bytes[length++] = isEscape ? Number.parseInt(line.toString('latin1', index + 1, index + 3), 16) : byte;
    if (isEscape) index += 2;
  }
  const exact = Buffer.alloc(length, bytes.subarray(0, length));
  bytes.fill(0);
  return exact;
}
