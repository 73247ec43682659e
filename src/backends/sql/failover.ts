/** Several servers, tried in order. */
import type { SignetError } from '../../errors.ts';
import type { Endpoint } from './data-source-name.ts';

/**
 * @param connect Rejects with a `SignetError`.
 * @throws {SignetError} What the first server said, if none was better: a later stand-in often says less.
 */
export async function connectToFirst<Connection>(
  endpoints: readonly [Endpoint, ...Endpoint[]],
  connect: (endpoint: Endpoint) => Promise<Connection>,
): Promise<Connection> {
  let first: SignetError | undefined;
  for (const endpoint of endpoints) {
    try {
      return await connect(endpoint);
    } catch (error) {
      first ??= error as SignetError;
    }
  }
  throw first;
}
