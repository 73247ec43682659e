/** How far a long task is: a bar on a terminal, a line now and then elsewhere. */

/** Where it is shown; stderr, but for tests. */
export interface ProgressStream {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** How often a line is written where nobody watches, milliseconds. */
const LINE_MS = 10_000;
const BAR_WIDTH = 30;

export class Progress {
  readonly #what: string;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  #lastLine: number;
  #isShown = false;

  /**
   * @param what What is counted, as `keys re-wrapped`.
   * @param now Milliseconds of a clock that nobody sets.
   */
  constructor(what: string, stream: ProgressStream = process.stderr, now: () => number = () => performance.now()) {
    this.#what = what;
    this.#stream = stream;
    this.#now = now;
    this.#lastLine = now();
  }

  /** @param total Undefined if it is not known: then there is no bar. */
  show(done: number, total: number | undefined): void {
    const count = total === undefined ? `${done}` : `${done} of ${total}`;
    if (this.#stream.isTTY) {
      const filled = total === undefined ? 0 : Math.floor((BAR_WIDTH * done) / Math.max(total, done, 1));
      const bar = total === undefined ? '' : `[${'#'.repeat(filled)}${'-'.repeat(BAR_WIDTH - filled)}] `;
      this.#stream.write(`\r${bar}${count} ${this.#what}`);
      this.#isShown = true;
    } else if (this.#now() - this.#lastLine >= LINE_MS) {
      this.#lastLine = this.#now();
      this.#stream.write(`${count} ${this.#what}\n`);
    }
  }

  /** Leaves the bar's line. */
  end(): void {
    if (this.#isShown) this.#stream.write('\n');
  }
}
