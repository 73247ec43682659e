/** A call whose request is a stream: sent as fast as the daemon takes it, ended when either side fails. */
import type { ClientWritableStream, requestCallback } from '@grpc/grpc-js';
import { SignetError } from '../errors.ts';

export interface SendOptions {
  readonly signal: AbortSignal | undefined;
  /** Without a sign of life from either side. */
  readonly timeoutMs: number;
  /** Makes errors of the connection ours. */
  readonly normalise: (error: unknown) => Error;
}

/**
 * @param open Makes the call.
 * @throws {SignetError} as the daemon answers, CANCELLED, DEADLINE_EXCEEDED; or what reading `items` throws
 */
export async function sendStream<Item, Response>(
  open: (callback: requestCallback<Response>) => ClientWritableStream<Item>,
  items: AsyncIterable<Item>,
  { signal, timeoutMs, normalise }: SendOptions,
): Promise<Response> {
  if (signal?.aborted) throw new SignetError('CANCELLED', 'the call was cancelled');
  let settle: requestCallback<Response> = () => undefined;
  const answer = new Promise<Response>((resolve, reject) => {
    settle = (error, response) => (error === null ? resolve(response as Response) : reject(error));
  });
  const call = open((error, response) => settle(error, response));
  const answered = answer.then(
    () => true,
    () => true,
  );
  const cancel = () => call.cancel();
  let isSilent = false;
  const silence = setTimeout(() => {
    isSilent = true;
    cancel();
  }, timeoutMs);
  signal?.addEventListener('abort', cancel, { once: true });
  let failure: { readonly error: unknown } | undefined;
  const send = async () => {
    for await (const item of items) {
      silence.refresh();
      const isAnswered = call.write(item) ? false : await Promise.race([drained(call), answered]);
      if (isAnswered) return; // answered before the end: refused
    }
    call.end();
  };
  send().catch((error: unknown) => {
    failure = { error };
    cancel();
  });
  try {
    return await answer;
  } catch (error) {
    if (failure !== undefined) throw failure.error;
    if (isSilent)
      throw new SignetError('DEADLINE_EXCEEDED', `signetd was silent for ${timeoutMs} ms`, { cause: error });
    throw normalise(error);
  } finally {
    clearTimeout(silence);
    signal?.removeEventListener('abort', cancel);
  }
}

function drained(call: NodeJS.EventEmitter): Promise<false> {
  return new Promise((resolve) => {
    call.once('drain', () => resolve(false));
  });
}
