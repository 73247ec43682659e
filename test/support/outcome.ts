/** What a call came to, for one comparison of everything that callers see. */
import { SignetError } from '../../src/errors.ts';

/** @returns Code, message and what else the error says; `value` if there was none. @throws Anything that is no SignetError */
export async function outcomeOf(promise: Promise<unknown>): Promise<Readonly<Record<string, unknown>>> {
  try {
    return { value: await promise };
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    const { code, message, hint, retriesLeft } = error;
    return {
      code,
      message,
      ...(hint === undefined ? {} : { hint }),
      ...(retriesLeft === undefined ? {} : { retriesLeft }),
    };
  }
}
