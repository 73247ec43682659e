/** Calls back once nothing has happened for a time. */
export class IdleTimer {
  readonly #afterMs: number | undefined;
  readonly #onIdle: () => Promise<boolean>;
  #timer: NodeJS.Timeout | undefined;

  /** @param afterMs Undefined: never. @param onIdle Says whether it was idle indeed; otherwise the time begins anew. */
  constructor(afterMs: number | undefined, onIdle: () => Promise<boolean>) {
    this.#afterMs = afterMs;
    this.#onIdle = onIdle;
  }

  /** Something happened. */
  restart(): void {
    if (this.#afterMs === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#end(), this.#afterMs).unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  async #end(): Promise<void> {
    const wasIdle = await this.#onIdle().catch(() => true); // a host that cannot be let go of has ended
    if (!wasIdle) this.restart();
  }
}
