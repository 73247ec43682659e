/** Runs one job per key at a time; who asks meanwhile shares its result. */
export class SingleFlight<Key, Result> {
  readonly #running = new Map<Key, Promise<Result>>();

  run(key: Key, job: () => Promise<Result>): Promise<Result> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const started = job().finally(() => this.#running.delete(key));
    this.#running.set(key, started);
    return started;
  }

  /** Waits for the job of a key, if there is one, whatever comes of it. */
  async idle(key: Key): Promise<void> {
    await this.#running.get(key)?.catch(() => undefined);
  }
}
