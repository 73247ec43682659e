/** `SignetError` → what a client sees: status code, fixed text, and our code in the trailer. */
import { Metadata, type StatusObject } from '@grpc/grpc-js';
import { type ErrorCode, GRPC_STATUS, GRPC_STATUS_OF, SignetError } from '../errors.ts';
import { DETAILS_TRAILER, encodeErrorInfo } from '../rpc/error-info.ts';

/** What remote clients are told. Never internal text: messages of errors name files and hosts. */
const PUBLIC_TEXT: Readonly<Record<ErrorCode, string>> = {
  INVALID_ARGUMENT: 'invalid argument',
  KEY_NOT_FOUND: 'key not found',
  KEY_EXISTS: 'key exists',
  UNSUPPORTED: 'not supported',
  PASSPHRASE_REQUIRED: 'the passphrase of the key is not available to the signer',
  PASSPHRASE_INCORRECT: 'the passphrase that the signer has does not open the key',
  PIN_REQUIRED: 'the token needs a PIN',
  PIN_INCORRECT: 'the token refused the PIN',
  PIN_LOCKED: 'the PIN of the token is locked',
  UNAUTHENTICATED: 'the caller is not authenticated',
  PERMISSION_DENIED: 'the caller may not use this key',
  TOKEN_NOT_PRESENT: 'the token is not present',
  TOKEN_BUSY: 'the token is busy',
  TOKEN_FULL: 'the token is full',
  TOUCH_TIMEOUT: 'the token was not touched in time',
  UNAVAILABLE: 'the key storage is not available',
  OVERLOADED: 'too many calls',
  DEADLINE_EXCEEDED: 'the call took too long',
  INTEGRITY: 'the stored key is damaged',
  METADATA_REJECTED: 'the metadata was rejected',
  CONFIGURATION: 'the signer is not configured for this',
  CANCELLED: 'the call was cancelled',
  INTERNAL: 'internal error',
};

/** Text that came from the client is echoed up to here. */
const MAX_ECHO = 256;

export type Status = Partial<StatusObject> & { readonly code: number; readonly details: string };

/** Anything thrown, as an error of ours. */
export function toSignetError(error: unknown): SignetError {
  return error instanceof SignetError ? error : new SignetError('INTERNAL', 'unexpected error', { cause: error });
}

/** What a remote client may read of an error. A complaint about its own argument is its to read. */
export function publicText(error: SignetError): string {
  return error.code === 'INVALID_ARGUMENT' ? error.message : PUBLIC_TEXT[error.code];
}

/**
 * @param text What the client reads; undefined takes the fixed text of the code.
 * @param grpcCode Where Notary's contract wants another code than our table.
 */
export function statusOf(error: SignetError, text?: string, grpcCode?: number): Status {
  const code = grpcCode ?? GRPC_STATUS[GRPC_STATUS_OF[error.code]];
  const details = (text ?? publicText(error)).toWellFormed();
  const metadata = new Metadata();
  metadata.set(
    DETAILS_TRAILER,
    encodeErrorInfo(code, details, { code: error.code, hint: undefined, retriesLeft: undefined }),
  );
  return { code, details, metadata };
}

/** For the agent's own user, who may read the daemon's log anyway: the whole message, the hint, the tries left. */
export function fullStatusOf(error: SignetError): Status {
  const code = GRPC_STATUS[GRPC_STATUS_OF[error.code]];
  const metadata = new Metadata();
  const { code: reason, hint, retriesLeft } = error;
  // grpc-js gives no answer at all where `encodeURI` refuses the text: half a character, cut or sent by the client.
  const details = error.message.toWellFormed();
  metadata.set(DETAILS_TRAILER, encodeErrorInfo(code, details, { code: reason, hint, retriesLeft }));
  return { code, details, metadata };
}

/** A client's own text made fit for a status message: bounded, and without what `encodeURI` refuses. */
export function echo(text: string): string {
  const shown = text.length > MAX_ECHO ? `${text.slice(0, MAX_ECHO)}…` : text;
  return shown.toWellFormed();
}
