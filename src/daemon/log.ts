/**
 * The log: one JSON object a line on stderr (or logfmt), with the field names of notary-signer: `level`, `msg`, `time`.
 *
 * Never given to it: PINs, passphrases, key bytes, signed content. Errors go through `describeError`, which knows what
 * may be told at which level.
 */
import { fstatSync, writeSync } from 'node:fs';
import { type DestinationStream, destination, type Logger, pino } from 'pino';
import { SignetError } from '../errors.ts';
import type { LogLevel } from './config.ts';

export type { Logger } from 'pino';

/** Bytes gathered before a write, when the log is not being watched by a person. */
const BUFFER_BYTES = 4096;
/** How long a line may wait in the buffer, milliseconds. */
const FLUSH_MS = 200;
/** Lines that wait for a reader who has stopped reading; beyond this they are lost, and counted. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** How long the end waits for such a reader, milliseconds. */
const LAST_FLUSH_MS = 1000;

export interface LogHandle {
  readonly logger: Logger;
  readonly level: LogLevel;
  setLevel(level: LogLevel): void;
  /** Writes out what is buffered. @returns False if nobody reads, within a second */
  flush(): Promise<boolean>;
}

export function createLog(options: { readonly level: LogLevel; readonly format: 'json' | 'logfmt' }): LogHandle {
  const minLength = fstatSync(2).isFIFO() ? BUFFER_BYTES : 0;
  const stderr = destination({ dest: 2, sync: false, minLength, maxLength: MAX_WAITING_BYTES });
  let lost = 0;
  stderr.on('drop', () => lost++);
  stderr.on('drain', () => {
    if (lost === 0) return;
    const lines = lost;
    lost = 0;
    logger.warn({ lines }, 'log lines lost: nobody read them');
  });
  const timer = setInterval(() => stderr.flush(), FLUSH_MS);
  timer.unref();
  const sink: DestinationStream =
    options.format === 'json' ? stderr : { write: (line) => stderr.write(`${toLogfmt(JSON.parse(line) as object)}\n`) };
  let level = options.level;
  const logger = pino(
    {
      level: pinoLevel(level),
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label === 'warn' ? 'warning' : label }) },
    },
    sink,
  );
  return {
    logger,
    get level() {
      return level;
    },
    setLevel: (next) => {
      level = next;
      logger.level = pinoLevel(next);
    },
    // Not `flushSync`: where nobody reads, it blocks for ever.
    flush: () =>
      new Promise((resolve) => {
        const late = setTimeout(() => resolve(false), LAST_FLUSH_MS);
        stderr.flush(() => {
          clearTimeout(late);
          resolve(true);
        });
      }),
  };
}

/** pino has no `panic`; nothing of ours is logged at that level, so it is silence. */
function pinoLevel(level: LogLevel): string {
  return level === 'panic' ? 'silent' : level;
}

/**
 * Lets through so many lines a second; the next one after that tells how many were left out.
 *
 * @param now Milliseconds; a parameter for tests.
 */
export function atMost(
  perSecond: number,
  write: (fields: object, text: string) => void,
  now: () => number = () => performance.now(),
): (fields: object, text: string) => void {
  let second = Number.NEGATIVE_INFINITY;
  let written = 0;
  let omitted = 0;
  return (fields, text) => {
    if (now() - second >= 1000) {
      second = now();
      written = 0;
    }
    if (written >= perSecond) {
      omitted++;
      return;
    }
    written++;
    write(omitted === 0 ? fields : { ...fields, omitted }, text);
    omitted = 0;
  };
}

/** One line before there is a logger, or when there will be none: start-up errors, as notary-signer writes them. */
export function writeFatal(message: string, hint?: string): void {
  const line = { level: 'fatal', msg: message, ...(hint !== undefined && { hint }), time: new Date().toISOString() };
  writeSync(2, `${JSON.stringify(line)}\n`);
}

/** Fields of an error for the log. The chain of causes is for whoever set the level to debug. */
export function describeError(error: unknown, log: Logger): Record<string, unknown> {
  const fields: Record<string, unknown> =
    error instanceof SignetError
      ? { code: error.code, error: error.message, ...(error.hint !== undefined && { hint: error.hint }) }
      : { code: 'INTERNAL', error: error instanceof Error ? error.name : typeof error };
  if (log.isLevelEnabled('debug')) {
    const causes: string[] = [];
    for (let cause = error; cause instanceof Error && causes.length < 5; cause = cause.cause) {
      causes.push(cause.stack ?? cause.message);
    }
    fields['causes'] = causes;
  }
  return fields;
}

function toLogfmt(record: object): string {
  return Object.entries(record)
    .map(([name, value]) => {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      return `${name}=${/^[\w.:/+@-]+$/.test(text) ? text : JSON.stringify(text)}`;
    })
    .join(' ');
}
