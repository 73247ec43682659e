/** Which home a new key goes to, where the caller says more than `placement` does. */
import type { KeyBackend, KeyRequest } from '../backends/backend.ts';
import { SignetError } from '../errors.ts';

/** Absent members leave it to `placement`. */
export interface Target {
  /** Name of a backend, or `storage`. */
  readonly backend?: string | undefined;
  /** Serial number of a token. */
  readonly serial?: string | undefined;
  /** Refuse any home that is not a token. */
  readonly requireHardware?: boolean | undefined;
}

/** A home that is a device. */
export function isToken(home: KeyBackend): boolean {
  return home.token !== undefined;
}

/**
 * Leaves the homes that the target allows.
 *
 * @throws {SignetError} TOKEN_NOT_PRESENT if no token has that serial number, or hardware is required and none of the homes
 *   is a token
 */
export async function narrow(
  homes: readonly KeyBackend[],
  { serial, requireHardware = false }: Target,
  role: string,
): Promise<readonly KeyBackend[]> {
  if (serial !== undefined) return [await withSerial(homes, serial)];
  if (!requireHardware) return homes;
  const tokens = homes.filter(isToken);
  if (tokens.length > 0) return tokens;
  const names = homes.map(({ name }) => name).join(', ') || 'none';
  throw new SignetError('TOKEN_NOT_PRESENT', `no token is configured for keys of role "${role}", only: ${names}`, {
    hint: 'add one to "tokens", and its backend to "placement"',
  });
}

/**
 * @param label Of the token, where others may have the same serial number.
 * @throws {SignetError} TOKEN_NOT_PRESENT, INVALID_ARGUMENT if several tokens answer to that, or why the only token that
 *   could be the one cannot be asked
 */
export async function withSerial(homes: readonly KeyBackend[], serial: string, label?: string): Promise<KeyBackend> {
  const found: string[] = [];
  const matches: KeyBackend[] = [];
  let failure: unknown;
  for (const home of homes) {
    try {
      const status = await home.token?.status();
      if (status === undefined) continue;
      const { identity } = status;
      if (identity.serial === serial && (label === undefined || identity.label === label)) matches.push(home);
      found.push(identity.serial);
    } catch (error) {
      failure ??= error;
    }
  }
  const [match, ...others] = matches;
  if (others.length > 0) {
    // Never the first of them: what is asked for may erase it.
    const what = `${matches.length} configured tokens have the serial number ${JSON.stringify(serial)}`;
    throw new SignetError('INVALID_ARGUMENT', what, {
      hint: 'give its label too where the command takes one, or configure only one of them',
    });
  }
  if (match !== undefined) return match;
  if (found.length === 0 && failure !== undefined) throw failure;
  throw new SignetError('TOKEN_NOT_PRESENT', `no configured token has the serial number ${JSON.stringify(serial)}`, {
    hint: found.length === 0 ? 'add the token to "tokens"' : `those that answer are: ${found.join(', ')}`,
  });
}

/** What is asked for must be possible there: a request that is half granted is a surprise. @throws {SignetError} UNSUPPORTED */
export function checkFits(home: KeyBackend, { device, passphrase }: Pick<KeyRequest, 'device' | 'passphrase'>): void {
  if (device !== undefined && !isToken(home)) {
    throw new SignetError('UNSUPPORTED', `${home.location} is no token: it has no slots and no PIN or touch policies`, {
      hint: 'leave them out, or name a token',
    });
  }
  if (passphrase !== undefined && home.passphrases === undefined) {
    throw new SignetError('UNSUPPORTED', `keys in ${home.location} have no passphrase of their own`, {
      hint: 'leave the passphrase out',
    });
  }
}
