/**
 * The one error type of Signet and its two tables: error code → gRPC status code, error code → exit code.
 *
 * A code that is missing from a table does not compile. Foreign errors (Node, grpc-js, SQL drivers, PKCS#11 modules)
 * become a `SignetError` in one normaliser per library; the original stays in `cause`, which is for the log only.
 */

/** Closed list of what can go wrong. Names are part of the API (`google.rpc.ErrorInfo.reason` and `--json`). */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'KEY_NOT_FOUND'
  | 'KEY_EXISTS'
  | 'UNSUPPORTED'
  | 'PASSPHRASE_REQUIRED'
  | 'PASSPHRASE_INCORRECT'
  | 'PIN_REQUIRED'
  | 'PIN_INCORRECT'
  | 'PIN_LOCKED'
  | 'UNAUTHENTICATED'
  | 'PERMISSION_DENIED'
  | 'TOKEN_NOT_PRESENT'
  | 'TOKEN_BUSY'
  | 'TOKEN_FULL'
  | 'TOUCH_TIMEOUT'
  | 'UNAVAILABLE'
  | 'OVERLOADED'
  | 'DEADLINE_EXCEEDED'
  | 'INTEGRITY'
  | 'METADATA_REJECTED'
  | 'CONFIGURATION'
  | 'CANCELLED'
  | 'INTERNAL';

export interface SignetErrorOptions {
  /** The remedy, as an imperative sentence without a full stop. */
  readonly hint?: string;
  /** Tries that the token has left of what was refused or is locked: PIN, PUK or SO PIN. Undefined where it did not say. */
  readonly retriesLeft?: number;
  /** The foreign error. Goes to the log at debug level, never to a client. */
  readonly cause?: unknown;
}

/** Messages are lower case, without a full stop, and name the thing. They never hold secrets or signed content. */
export class SignetError extends Error {
  override readonly name = 'SignetError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly retriesLeft: number | undefined;

  constructor(code: ErrorCode, message: string, options: SignetErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.retriesLeft = options.retriesLeft;
  }
}

/** gRPC status codes by number, https://github.com/grpc/grpc/blob/master/doc/statuscodes.md. */
export const GRPC_STATUS = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

export type GrpcStatusName = keyof typeof GRPC_STATUS;

/** Only UNAVAILABLE may be retried by a machine; nothing that involves a PIN maps to it. */
export const GRPC_STATUS_OF = {
  INVALID_ARGUMENT: 'INVALID_ARGUMENT',
  KEY_NOT_FOUND: 'NOT_FOUND',
  KEY_EXISTS: 'ALREADY_EXISTS',
  UNSUPPORTED: 'UNIMPLEMENTED',
  PASSPHRASE_REQUIRED: 'FAILED_PRECONDITION',
  PASSPHRASE_INCORRECT: 'FAILED_PRECONDITION',
  PIN_REQUIRED: 'FAILED_PRECONDITION',
  PIN_INCORRECT: 'UNAUTHENTICATED',
  PIN_LOCKED: 'FAILED_PRECONDITION',
  UNAUTHENTICATED: 'UNAUTHENTICATED',
  PERMISSION_DENIED: 'PERMISSION_DENIED',
  TOKEN_NOT_PRESENT: 'FAILED_PRECONDITION',
  TOKEN_BUSY: 'UNAVAILABLE',
  TOKEN_FULL: 'RESOURCE_EXHAUSTED',
  TOUCH_TIMEOUT: 'ABORTED',
  UNAVAILABLE: 'UNAVAILABLE',
  OVERLOADED: 'RESOURCE_EXHAUSTED',
  DEADLINE_EXCEEDED: 'DEADLINE_EXCEEDED',
  INTEGRITY: 'DATA_LOSS',
  METADATA_REJECTED: 'FAILED_PRECONDITION',
  CONFIGURATION: 'FAILED_PRECONDITION',
  CANCELLED: 'CANCELLED',
  INTERNAL: 'INTERNAL',
} as const satisfies Record<ErrorCode, GrpcStatusName>;

export const EXIT_CODE_OF = {
  INVALID_ARGUMENT: 2,
  KEY_NOT_FOUND: 3,
  KEY_EXISTS: 3,
  UNSUPPORTED: 1,
  PASSPHRASE_REQUIRED: 4,
  PASSPHRASE_INCORRECT: 4,
  PIN_REQUIRED: 4,
  PIN_INCORRECT: 4,
  PIN_LOCKED: 4,
  UNAUTHENTICATED: 4,
  PERMISSION_DENIED: 4,
  TOKEN_NOT_PRESENT: 5,
  TOKEN_BUSY: 5,
  TOKEN_FULL: 5,
  TOUCH_TIMEOUT: 5,
  UNAVAILABLE: 5,
  OVERLOADED: 5,
  DEADLINE_EXCEEDED: 5,
  INTEGRITY: 6,
  METADATA_REJECTED: 6,
  CONFIGURATION: 1,
  CANCELLED: 130,
  INTERNAL: 1,
} as const satisfies Record<ErrorCode, number>;

/** True for a name that a peer sent as `reason` and that is one of ours. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(EXIT_CODE_OF, text);
}

/**
 * What a POSIX error number means to us. Anything unlisted is UNAVAILABLE: a disk that does not answer as expected is
 * a failed backend, never a missing key.
 */
const CODE_OF_ERRNO: Readonly<Record<string, ErrorCode>> = {
  ABORT_ERR: 'CANCELLED',
};

/**
 * Normalises anything thrown by Node's own modules. A `SignetError` passes through unchanged.
 *
 * @param what What was being done, as `cannot read /path`; the errno name is appended.
 */
export function fromNodeError(error: unknown, what: string): SignetError {
  if (error instanceof SignetError) return error;
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (typeof code !== 'string') return new SignetError('INTERNAL', what, { cause: error });
  return new SignetError(CODE_OF_ERRNO[code] ?? 'UNAVAILABLE', `${what} (${code})`, { cause: error });
}
