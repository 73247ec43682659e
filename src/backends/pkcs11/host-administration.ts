/** What is done to a token as a whole: its PINs, and making it anew. */
import { SignetError } from '../../errors.ts';
import { ckrOf, fromSoPinError } from './ckr.ts';
import { CKR, CKU } from './constants.ts';
import type { Cryptoki, Handle } from './cryptoki.ts';
import type { TokenFacts } from './host-protocol.ts';
import type { TokenSession } from './token-session.ts';

/** Changes the PIN of the user or of the security officer, or what PIV's PUK may change. One try of the old one. */
export function changePin(session: TokenSession, user: 'user' | 'so' | 'puk', oldPin: Buffer, newPin: Buffer): void {
  const { cryptoki } = session;
  const set = (handle: Handle) => {
    try {
      cryptoki.setPin(handle, oldPin, newPin);
    } catch (error) {
      // The token's flags say nothing about a PUK.
      throw user === 'puk'
        ? error
        : session.pinFailure(error, user === 'so' ? 'changing the SO PIN' : 'changing the PIN', user);
    }
  };
  if (user === 'user') session.checkPinLength(oldPin);
  try {
    if (user === 'so') session.asSecurityOfficer(oldPin, set);
    else set(session.handle);
  } catch (error) {
    // PKCS#11 §5.6.6 wants nobody to be logged in for this; NSS does. It has looked at no PIN yet.
    if (user !== 'user' || session.isLoggedIn || pkcs11Code(error) !== CKR.USER_NOT_LOGGED_IN) throw error;
    session.login(oldPin);
    try {
      set(session.handle);
    } finally {
      session.logout();
    }
  }
}

/** Of what `pinFailure` made of a module's answer. */
function pkcs11Code(error: unknown): number | undefined {
  return ckrOf(error instanceof SignetError ? error.cause : error);
}

/** Sets the user's PIN, also one that is locked. One try of the security officer's PIN. */
export function setUserPin(session: TokenSession, soPin: Buffer, newPin: Buffer): void {
  session.asSecurityOfficer(soPin, (handle) => {
    try {
      session.cryptoki.initPin(handle, newPin);
    } catch (error) {
      throw session.pinFailure(error, 'setting the PIN');
    }
  });
}

/**
 * Erases a token and gives it a label and a PIN. No session of this process may be open on it.
 *
 * @throws {SignetError} TOKEN_NOT_PRESENT, PIN_INCORRECT, and what the module says
 */
export function initialiseToken(
  cryptoki: Cryptoki,
  wanted: Pick<TokenFacts, 'slotId' | 'serial' | 'label'>,
  newLabel: string,
  { soPin, pin }: { readonly soPin: Buffer; readonly pin: Buffer },
): void {
  const slot = cryptoki.slots().find((candidate) => {
    const { slotId, serial, label } = cryptoki.tokenFacts(candidate);
    return slotId === wanted.slotId && serial === wanted.serial && label === wanted.label;
  });
  if (slot === undefined) throw new SignetError('TOKEN_NOT_PRESENT', `the token "${wanted.label}" has left its slot`);
  cryptoki.closeAllSessions(slot);
  try {
    cryptoki.initToken(slot, soPin, newLabel);
  } catch (error) {
    throw fromSoPinError(error, `initialising token "${wanted.label}" failed`);
  }
  const session = cryptoki.openSession(slot);
  cryptoki.login(session, CKU.SO, soPin);
  try {
    cryptoki.initPin(session, pin);
  } finally {
    cryptoki.logout(session);
    cryptoki.closeSession(session);
  }
}
