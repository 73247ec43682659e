/** Why a trust server could not be reached, by the code of the system or of OpenSSL. */

/** OpenSSL's codes for a chain that leads to nobody we trust. */
const UNKNOWN_AUTHORITY: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** What the commonest failures mean. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the connection broke',
  ENOTFOUND: 'its name is unknown',
  ETIMEDOUT: 'it does not answer in time',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
};

export interface ConnectionProblem {
  /** Whether its CA has to be named. */
  readonly isUnknownAuthority: boolean;
  /** In people's words; undefined for a code that is not in the table. */
  readonly reason: string | undefined;
}

export function connectionProblem(code: string): ConnectionProblem {
  const isUnknownAuthority = UNKNOWN_AUTHORITY.has(code);
  const reason = isUnknownAuthority ? 'its certificate is signed by an unknown authority' : REASONS[code];
  return { isUnknownAuthority, reason };
}
