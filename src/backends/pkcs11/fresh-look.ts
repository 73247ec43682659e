/** What a token tells to a process that has not seen it before. */
import { SignetError } from '../../errors.ts';
import { ANSWERS, type TokenFacts } from './host-protocol.ts';
import type { TokenConnectionOptions } from './token-connection.ts';
import { TokenHost } from './token-host.ts';

/** Others may be waiting for this one's try; milliseconds. */
const TIMEOUT_MS = 5000;

/**
 * Loads the module in a host of its own, looks and lets go.
 *
 * @returns CK_TOKEN_INFO flags.
 * @throws {SignetError} TOKEN_NOT_PRESENT, UNAVAILABLE
 */
export async function flagsSeenAnew(
  { serial, label }: TokenFacts,
  options: TokenConnectionOptions & { readonly name: string },
): Promise<number> {
  const { name, env, entry, uri, libraryParameters: parameters } = options;
  const operationTimeoutMs = Math.min(options.operationTimeoutMs, TIMEOUT_MS);
  await using host = new TokenHost({ name, operationTimeoutMs, env, entry });
  await host.request({ op: 'load', modulePath: uri.modulePath, parameters }, { parse: ANSWERS.module });
  const { value: tokens } = await host.request({ op: 'tokens', fresh: true }, { parse: ANSWERS.tokens });
  const token = tokens.find((candidate) => candidate.serial === serial && candidate.label === label);
  if (token === undefined) throw new SignetError('TOKEN_NOT_PRESENT', `${name} is not there any more`);
  return token.flags;
}
