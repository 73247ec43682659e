/** Several servers, tried in order. */
import type { SignetError } from '../../errors.ts';
import type { Endpoint } from './data-source-name.ts';

/**
 * @param timeoutMs Of all attempts together, as long as a caller waits: what is left of it is shared by the servers that
 *   are left, so that one that swallows every byte does not use up the time of its stand-in.
 * @param connect Ends within the time it is given; rejects with a `SignetError`.
 * @throws {SignetError} What the first server said, if none was better: a later stand-in often says less.
 */
export async function connectToFirst<Connection>(
  endpoints: readonly [Endpoint, ...Endpoint[]],
  timeoutMs: number,
  connect: (endpoint: Endpoint, timeoutMs: number) => Promise<Connection>,
): Promise<Connection> {
  const giveUpAt = performance.now() + timeoutMs;
  let first: SignetError | undefined;
  for (const [index, endpoint] of endpoints.entries()) {
    const share = (giveUpAt - performance.now()) / (endpoints.length - index);
    try {
      return await connect(endpoint, Math.max(1, Math.ceil(share)));
    } catch (error) {
      first ??= error as SignetError;
    }
  }
  throw first;
}
