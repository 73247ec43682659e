/** A finger that tests command. */
import type { TouchSensor } from '../card/state.ts';

/**
 * What happens when the card asks for a touch:
 * - `auto`: it is touched at once;
 * - `late`: it is touched after `afterMs`;
 * - `wait`: it waits for `touch()`, up to the sensor's time-out;
 * - `deny`: it gives up at once.
 */
export type TouchMode =
  | { readonly mode: 'auto' | 'wait' | 'deny' }
  | { readonly mode: 'late'; readonly afterMs: number };

/** How long a YubiKey blinks. */
const DEFAULT_TIMEOUT_MS = 15_000;

export class CommandedTouch implements TouchSensor {
  mode: TouchMode = { mode: 'auto' };
  timeoutMs = DEFAULT_TIMEOUT_MS;
  #finish: ((isTouched: boolean) => void) | undefined;

  /** True while the card blinks. */
  get isAwaited(): boolean {
    return this.#finish !== undefined;
  }

  async touched(): Promise<boolean> {
    switch (this.mode.mode) {
      case 'auto':
        return true;
      case 'deny':
        return false;
      case 'wait':
        return await this.#wait(this.timeoutMs, undefined);
      case 'late':
        return await this.#wait(this.timeoutMs, this.mode.afterMs);
    }
  }

  /** Touches the card. @returns False if it was not waiting: the touch does nothing. */
  touch(): boolean {
    return this.#end(true);
  }

  /** Ends the waiting without a touch, as a card that loses its power does. */
  abandon(): void {
    this.#end(false);
  }

  #end(isTouched: boolean): boolean {
    const finish = this.#finish;
    finish?.(isTouched);
    return finish !== undefined;
  }

  #wait(timeoutMs: number, touchAfterMs: number | undefined): Promise<boolean> {
    return new Promise((resolve) => {
      const timers = [setTimeout(() => this.#end(false), timeoutMs)];
      if (touchAfterMs !== undefined) timers.push(setTimeout(() => this.#end(true), touchAfterMs));
      this.#finish = (isTouched) => {
        this.#finish = undefined;
        for (const timer of timers) clearTimeout(timer);
        resolve(isTouched);
      };
    });
  }
}
