/** Keys with the touch policy `cached` want no touch for some time after one: then nobody is asked for it. */
import type { KeyId } from '../../crypto/key-id.ts';
import type { KeyInfo, SignContext } from '../backend.ts';
import { withInteraction } from './with-interaction.ts';

/** The YubiKey counts 15 s; a notice that comes a little early is better than one that does not come. */
const CACHED_MS = 14_000;

export class CachedTouch {
  readonly #touchedAt = new Map<KeyId, number>();

  /** @returns A context without the notice where no touch is needed. */
  contextFor(key: KeyInfo | undefined, context: SignContext): SignContext {
    if (key?.device?.touchPolicy !== 'cached') return context;
    const at = this.#touchedAt.get(key.keyId);
    if (at === undefined || performance.now() - at > CACHED_MS) return context;
    return withInteraction(context, { touch: () => ({ [Symbol.dispose]: () => undefined }) });
  }

  /** A signature was made. Within the time it needed no touch, so that the time does not begin anew. */
  noteSigned(keyId: KeyId): void {
    const now = performance.now();
    const at = this.#touchedAt.get(keyId);
    if (at === undefined || now - at > CACHED_MS) this.#touchedAt.set(keyId, now);
  }

  /** The YubiKey was taken out, and has forgotten. */
  forget(): void {
    this.#touchedAt.clear();
  }
}
