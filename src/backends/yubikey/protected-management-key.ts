/** Management keys that the YubiKey keeps itself, readable with the PIN, as ykman's `--protect` leaves them. */
import { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { TokenAccess } from '../pkcs11/hooks.ts';
import { settle } from '../pkcs11/pin-outcome.ts';
import type { BoundContext } from '../same-token.ts';
import { readObjectWithTool } from './piv-tool.ts';
import { findValue } from './short-tlv.ts';

/** Yubico's own data object; 80 { 81: flags, … }. */
const ADMIN_DATA = '5fff00';
/** NIST SP 800-73-4 "Printed Information", which wants the PIN; 88 { 89: key }. */
const PROTECTED_DATA = '5fc109';
const IS_PROTECTED = 0x02;

/**
 * @returns Hex digits; undefined if the YubiKey keeps none, or yubico-piv-tool, which reads it, is not installed.
 * @throws {SignetError} PIN_REQUIRED, PIN_INCORRECT, TOKEN_NOT_PRESENT, UNAVAILABLE
 */
export async function readProtectedKey(
  context: BoundContext,
  { connection, login }: TokenAccess,
  env: NodeJS.ProcessEnv,
): Promise<Secret | undefined> {
  const { facts: token } = await connection.attach(context.token);
  const read = (id: string, pin?: Secret) => readObjectWithTool(id, { token, env }, pin);
  const admin = await read(ADMIN_DATA).catch((error: unknown) => {
    if (error instanceof SignetError && error.code === 'UNSUPPORTED') return undefined; // the person may have it
    throw error;
  });
  const flags = admin && findValue(findValue(admin, 0x80), 0x81)?.[0];
  if (flags === undefined || (flags & IS_PROTECTED) === 0) return undefined;
  const { pin, outcome } = await login.pinForOperation(context, undefined, undefined);
  try {
    const data = await read(PROTECTED_DATA, pin);
    await outcome.accepted();
    const key = findValue(findValue(data, 0x88), 0x89);
    return key && Secret.fromText(key.toString('hex'));
  } catch (error) {
    await settle(outcome, error);
    throw error;
  } finally {
    pin.dispose();
  }
}
