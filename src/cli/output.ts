/** stdout is data, stderr is `signet: …`. The only file of the command line that writes to either. */
import { writeSync } from 'node:fs';
import { EXIT_CODE_OF, fromNodeError, type SignetError } from '../errors.ts';

/**
 * Lets a reader close stdout early, as `head` does; data that cannot be written for another reason, as on a full disk, is
 * the end of the command. Call it once, before anything is written.
 */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    const failure = fromNodeError(error, 'cannot write to the standard output');
    printError(failure);
    process.exit(EXIT_CODE_OF[failure.code]);
  });
}

/** Writes data as it is, with a final line break. */
export function printData(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** Writes bytes as they are. */
export function printBytes(bytes: Uint8Array): void {
  process.stdout.write(bytes);
}

export function printJson(value: unknown): void {
  printData(JSON.stringify(value, null, 2));
}

/** Columns padded to their widest cell; the last is not padded. */
export function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = header.map((title, column) =>
    rows.reduce((widest, row) => Math.max(widest, row[column]?.length ?? 0), title.length),
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0))).join('  ');
  printData([header, ...rows].map(line).join('\n'));
}

/** A fact that is no data: on stderr. */
export function printNote(text: string): void {
  process.stderr.write(`signet: ${printable(text)}\n`);
}

export function printError(error: SignetError): void {
  printNote(error.message);
  if (error.retriesLeft !== undefined) printNote(`tries left: ${error.retriesLeft}`);
  if (error.hint !== undefined) printNote(`hint: ${error.hint}`);
}

/** For `--json`: one line on stderr, so that stdout stays data. */
export function printErrorJson(error: SignetError): void {
  const { code, message, hint, retriesLeft } = error;
  process.stderr.write(`${JSON.stringify({ error: { code, message, hint, retriesLeft } })}\n`);
}

/** Progress and notices that come and go: as it is, to stderr, at once. */
export function writeStatus(text: string): void {
  writeSync(2, text);
}

/** Control characters of names that others chose must not reach the terminal. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is replaced
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '?');
}
