/** What a backend for one kind of device adds to the one for any PKCS#11 token. */
import type { Secret } from '../../crypto/secret.ts';
import type { ImportRequest, KeyInfo, KeyRequest } from '../backend.ts';
import type { BoundContext } from '../same-token.ts';
import type { ExtraAttribute, KeyFacts } from './host-protocol.ts';
import type { AttachedToken, TokenConnection } from './token-connection.ts';
import type { TokenLogin } from './token-login.ts';

export interface TokenHooks {
  /** Reads what `describe` needs, after each listing of the token's keys. @throws {SignetError} */
  prepare?(token: AttachedToken, keys: readonly KeyFacts[]): Promise<void>;
  /** Completes what the token tells about a key: role and GUN, slot, policies. @returns Undefined: not a key to use. */
  describe?(info: KeyInfo, facts: KeyFacts): KeyInfo | undefined;
  /** Of the mechanisms that the module tells, those that this very device has. */
  mechanismsOf?(token: Pick<AttachedToken, 'facts' | 'mechanisms'>): AttachedToken['mechanisms'];
  /** What the device tells beside its flags, asked without spending a try: before a person is asked, and for a status. */
  retryCounters?(token: AttachedToken): Promise<RetryCounters>;
  /**
   * The security officer's PIN (PIV's management key), where the profile says `writesAs: 'so'`. The caller disposes of it.
   *
   * @throws {SignetError} PIN_REQUIRED
   */
  writerPin?(context: BoundContext, access: TokenAccess): Promise<Secret>;
  /**
   * Where a new key goes and how it is guarded. Without it, `KeyRequest.device` is refused.
   *
   * @throws {SignetError} KEY_EXISTS, TOKEN_FULL, UNSUPPORTED
   */
  place?(request: KeyRequest, token: AttachedToken): Promise<KeyPlace>;
  /** As `place`, for a key that was made elsewhere. */
  importPlace?(request: ImportRequest, token: AttachedToken): Promise<KeyPlace>;
}

/** Tries that are left; undefined what is not known. */
export interface RetryCounters {
  readonly pinTriesLeft: number | undefined;
  readonly pukTriesLeft: number | undefined;
  /** For people: what could not be found out and why, what the counters are for that nobody chose. */
  readonly warnings: readonly string[];
}

/** The way to the token, for hooks that ask it. */
export interface TokenAccess {
  readonly connection: TokenConnection;
  readonly login: TokenLogin;
}

export interface KeyPlace {
  /** CKA_ID; undefined: Notary's key ID. */
  readonly ckaId?: Uint8Array | undefined;
  /** More attributes of the private half. */
  readonly extra?: readonly ExtraAttribute[] | undefined;
}
