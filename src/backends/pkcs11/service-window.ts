/** How many requests a token host is given at one time, by how fast it answers. */

/** Work ahead of a host, milliseconds: enough that it does not wait for us while our event loop is busy. */
const AHEAD_MS = 3;
const MAX_REQUESTS = 64;
/** Of a moving average. */
const WEIGHT = 1 / 16;

/**
 * A slow token gets one request at a time, so that the next one is chosen as late as possible: by whose turn it is, and
 * whether its caller still waits. A fast one gets as many as it works off in a few milliseconds.
 */
export class ServiceWindow {
  #averageMs: number | undefined;

  /** At least 1; 1 until something is known. */
  get size(): number {
    if (this.#averageMs === undefined) return 1;
    return Math.max(1, Math.min(MAX_REQUESTS, Math.floor(AHEAD_MS / this.#averageMs)));
  }

  /** @param tookMs Of one request, from when nothing was before it. Answers that come together may take 0. */
  observe(tookMs: number): void {
    this.#averageMs = this.#averageMs === undefined ? tookMs : this.#averageMs + (tookMs - this.#averageMs) * WEIGHT;
  }
}
