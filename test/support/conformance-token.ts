/** A PKCS#11 token as the conformance suite wants its subjects. */
import type { KeyBackend } from '../../src/backends/backend.ts';
import type { OpenBackend } from '../conformance/subject.ts';

/** @param pin Of the token. @param end Runs after the backend is closed. */
export async function openForSuite(
  open: () => Promise<KeyBackend>,
  pin: string,
  end: () => Promise<void> = async () => undefined,
): Promise<OpenBackend> {
  let backend = await open();
  return {
    backend,
    passphrase: pin,
    reopen: async () => {
      await backend[Symbol.asyncDispose]();
      backend = await open();
      return backend;
    },
    [Symbol.asyncDispose]: async () => {
      await backend[Symbol.asyncDispose]();
      await end();
    },
  };
}
