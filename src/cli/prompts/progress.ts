/** Long work on stderr: a bar on a terminal, now and then a line otherwise. */
import { isatty } from 'node:tty';
import { printNote, writeStatus } from '../output.ts';

const BAR_CHARACTERS = 30;
/** Between two drawings, milliseconds. */
const DRAW_INTERVAL_MS = 100;
const LINE_INTERVAL_MS = 5000;
/** Carriage return and "erase in line" (ECMA-48 EL). */
const ERASE_LINE = '\r\u001b[K';

export class ProgressDisplay implements Disposable {
  readonly #what: string;
  readonly #isTerminal = isatty(2);
  #lastDrawing = performance.now();
  #isDrawn = false;

  /** @param what What is counted, as `keys exported`. */
  constructor(what: string) {
    this.#what = what;
  }

  /** @param total 0 when it is not known. */
  show(done: number, total: number): void {
    if (total === 1) return; // nothing to count
    const now = performance.now();
    const interval = this.#isTerminal ? DRAW_INTERVAL_MS : LINE_INTERVAL_MS;
    if (now - this.#lastDrawing < interval) return;
    this.#lastDrawing = now;
    const count = total === 0 ? `${done} ${this.#what}` : `${done} of ${total} ${this.#what}`;
    if (!this.#isTerminal) {
      printNote(count);
      return;
    }
    this.#isDrawn = true;
    writeStatus(`${ERASE_LINE}${total === 0 ? '' : `${bar(done, total)} `}${count}`);
  }

  /** Takes the bar away. */
  [Symbol.dispose](): void {
    if (this.#isDrawn) writeStatus(ERASE_LINE);
    this.#isDrawn = false;
  }
}

function bar(done: number, total: number): string {
  const filled = Math.min(BAR_CHARACTERS, Math.round((done / total) * BAR_CHARACTERS));
  return `[${'#'.repeat(filled)}${' '.repeat(BAR_CHARACTERS - filled)}]`;
}
