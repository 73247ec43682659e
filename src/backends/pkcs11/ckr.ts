/**
 * Return values of PKCS#11 → our errors. The one normaliser of this folder.
 *
 * Goes by number: the bindings name only what v2.40 knew, and some of their calls throw a plain
 * `Error('CKR_X:n')` without a code.
 */
import { type ErrorCode, SignetError, type SignetErrorOptions } from '../../errors.ts';
import { CKR, type CkrName } from './constants.ts';

/** Whatever is not listed is INTERNAL: a bug of ours or a value that we do not know. */
const CODES: Partial<Record<CkrName, ErrorCode>> = {
  HOST_MEMORY: 'UNAVAILABLE',
  SLOT_ID_INVALID: 'TOKEN_NOT_PRESENT',
  GENERAL_ERROR: 'UNAVAILABLE',
  FUNCTION_FAILED: 'UNAVAILABLE',
  DATA_INVALID: 'INVALID_ARGUMENT',
  DATA_LEN_RANGE: 'INVALID_ARGUMENT',
  DEVICE_ERROR: 'UNAVAILABLE',
  DEVICE_MEMORY: 'TOKEN_FULL',
  DEVICE_REMOVED: 'TOKEN_NOT_PRESENT',
  FUNCTION_CANCELED: 'CANCELLED',
  FUNCTION_NOT_SUPPORTED: 'UNSUPPORTED',
  ACTION_PROHIBITED: 'UNSUPPORTED',
  ATTRIBUTE_TYPE_INVALID: 'UNSUPPORTED',
  ATTRIBUTE_VALUE_INVALID: 'UNSUPPORTED',
  KEY_HANDLE_INVALID: 'KEY_NOT_FOUND',
  KEY_SIZE_RANGE: 'UNSUPPORTED',
  KEY_TYPE_INCONSISTENT: 'UNSUPPORTED',
  KEY_FUNCTION_NOT_PERMITTED: 'UNSUPPORTED',
  MECHANISM_INVALID: 'UNSUPPORTED',
  MECHANISM_PARAM_INVALID: 'UNSUPPORTED',
  OBJECT_HANDLE_INVALID: 'KEY_NOT_FOUND',
  PIN_INCORRECT: 'PIN_INCORRECT',
  PIN_INVALID: 'PIN_INCORRECT',
  PIN_LEN_RANGE: 'PIN_INCORRECT',
  PIN_EXPIRED: 'PIN_REQUIRED',
  PIN_LOCKED: 'PIN_LOCKED',
  SESSION_CLOSED: 'UNAVAILABLE',
  SESSION_COUNT: 'TOKEN_BUSY',
  SESSION_HANDLE_INVALID: 'UNAVAILABLE',
  SESSION_READ_ONLY: 'UNSUPPORTED',
  TOKEN_NOT_PRESENT: 'TOKEN_NOT_PRESENT',
  TOKEN_NOT_RECOGNIZED: 'TOKEN_NOT_PRESENT',
  TOKEN_WRITE_PROTECTED: 'UNSUPPORTED',
  USER_NOT_LOGGED_IN: 'PIN_REQUIRED',
  USER_PIN_NOT_INITIALIZED: 'CONFIGURATION',
  USER_ANOTHER_ALREADY_LOGGED_IN: 'TOKEN_BUSY',
  DOMAIN_PARAMS_INVALID: 'UNSUPPORTED',
  CURVE_NOT_SUPPORTED: 'UNSUPPORTED',
  CRYPTOKI_NOT_INITIALIZED: 'UNAVAILABLE',
};

/** What helps against a PIN that is locked, by whose it is. */
export const PIN_LOCKED_HINT = {
  user: 'set a new one with the SO PIN or PUK: signet token unblock',
  so: 'only the maker of the token can say what is to be done about that',
} as const;

const HINTS: Partial<Record<CkrName, string>> = {
  PIN_INCORRECT: 'the PIN is wrong',
  PIN_INVALID: 'the PIN has characters that the token does not take',
  PIN_LEN_RANGE: 'the PIN is shorter or longer than the token takes',
  USER_PIN_NOT_INITIALIZED: 'set a user PIN on the token',
  PIN_EXPIRED: 'change the PIN of the token: signet token change-pin',
  PIN_LOCKED: PIN_LOCKED_HINT.user,
  SESSION_READ_ONLY: 'the token is write-protected',
  TOKEN_WRITE_PROTECTED: 'the token is write-protected',
};

/** Of the security officer's PIN, where that is another remedy. */
const SO_PIN_HINTS: Partial<Record<CkrName, string>> = {
  PIN_INCORRECT: 'the SO PIN is wrong',
  PIN_INVALID: 'the SO PIN has characters that the token does not take',
  PIN_LEN_RANGE: 'the SO PIN is shorter or longer than the token takes',
  PIN_LOCKED: PIN_LOCKED_HINT.so,
};

const NAMES: ReadonlyMap<number, CkrName> = new Map(
  Object.entries(CKR).map(([name, value]) => [value, name as CkrName]),
);

/** CKR_VENDOR_DEFINED, PKCS#11 v3.0 §3.6. */
const VENDOR_DEFINED = 0x80000000;

/** `CKR_DEVICE_ERROR`; `CKR_VENDOR_DEFINED+0x12`; `CKR_0x1f0` for a value that we do not know. */
export function ckrName(ckr: number): string {
  const name = NAMES.get(ckr);
  if (name !== undefined) return `CKR_${name}`;
  if (ckr >= VENDOR_DEFINED) return `CKR_VENDOR_DEFINED+0x${(ckr - VENDOR_DEFINED).toString(16)}`;
  return `CKR_0x${ckr.toString(16)}`;
}

/** The return value that an error of the bindings stands for; undefined if it stands for none. */
export function ckrOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || error instanceof SignetError) return undefined;
  const { code } = error as { readonly code?: unknown };
  if (typeof code === 'number' && Number.isSafeInteger(code) && code > 0) return code;
  const match = /\bCKR_\w+:(\d{1,10})\b/.exec(error.message);
  return match === null ? undefined : Number(match[1]);
}

/** @param what What was being done, as `cannot sign on pkcs11:token=ci`; the name of the value is appended. */
export function fromCkr(ckr: number, what: string, options: SignetErrorOptions = {}): SignetError {
  const name = NAMES.get(ckr);
  const code = name === undefined ? undefined : CODES[name];
  const hint = name === undefined ? undefined : HINTS[name];
  return new SignetError(code ?? 'INTERNAL', `${what} (${ckrName(ckr)})`, {
    ...(hint === undefined ? {} : { hint }),
    ...options,
  });
}

/** Normalises anything that a call into the bindings threw. A `SignetError` passes through unchanged. */
export function fromPkcs11Error(error: unknown, what: string, options: SignetErrorOptions = {}): SignetError {
  if (error instanceof SignetError) return error;
  const ckr = ckrOf(error);
  return ckr === undefined
    ? new SignetError('INTERNAL', what, { ...options, cause: error })
    : fromCkr(ckr, what, { ...options, cause: error });
}

/** As `fromPkcs11Error`, of a call that was given the security officer's PIN. */
export function fromSoPinError(error: unknown, what: string, options: SignetErrorOptions = {}): SignetError {
  const name = NAMES.get(ckrOf(error) ?? -1);
  const hint = name === undefined ? undefined : SO_PIN_HINTS[name];
  return fromPkcs11Error(error, what, { ...(hint === undefined ? {} : { hint }), ...options });
}
