/** Persons who can be asked, for tests. */
import type { Interaction } from '../../src/backends/backend.ts';

/** Nobody is there: every question is declined. Spread it and replace what a test asks. */
export const NOBODY: Interaction = {
  passphrase: async () => undefined,
  newPassphrase: async () => undefined,
  pin: async () => undefined,
  touch: () => ({ [Symbol.dispose]: () => undefined }),
};
