/**
 * The one path every signature takes: find the key, is this caller allowed, is this content allowed, sign, record.
 *
 * Rules about callers and content will be `checks`; adding one changes no caller of this file.
 */
import { hash } from 'node:crypto';
import type { SignContext } from '../backends/backend.ts';
import { derivedContext } from '../backends/derived-context.ts';
import type { KeyAlgorithm } from '../crypto/algorithms.ts';
import type { KeyId } from '../crypto/key-id.ts';
import type { SignInput } from '../crypto/sign-input.ts';
import { type ErrorCode, SignetError } from '../errors.ts';
import type { Keyring, LocatedKey } from '../keyring/keyring.ts';

/** What is written down about a signature, granted or refused. Never the content. */
export interface SignRecord {
  readonly caller: string;
  readonly keyId: KeyId;
  /** Absent when the key was not found. */
  readonly located: LocatedKey | undefined;
  readonly algorithm: KeyAlgorithm | undefined;
  readonly outcome: 'ok' | ErrorCode;
  readonly error: SignetError | undefined;
  /** Whole time in the daemon, milliseconds. */
  readonly durationMs: number;
  /** Of which waiting for the backend, milliseconds. */
  readonly queueMs: number;
  readonly contentBytes: number;
  /** Hex SHA-256 of the message, or the digest the caller brought. Computed only when asked for. */
  readonly contentDigest: () => string;
}

export interface SignResult {
  readonly signature: Uint8Array;
  readonly algorithm: KeyAlgorithm;
}

export class SignService {
  readonly #keyring: Keyring;
  readonly #record: (record: SignRecord) => void;

  constructor(keyring: Keyring, record: (record: SignRecord) => void) {
    this.#keyring = keyring;
    this.#record = record;
  }

  /** @throws {SignetError} as `KeyBackend.sign` */
  async sign(keyId: KeyId, input: SignInput, context: SignContext): Promise<SignResult> {
    const startedAt = performance.now();
    let startedSigningAt = startedAt;
    let located: LocatedKey | undefined;
    let algorithm: KeyAlgorithm | undefined;
    let failure: SignetError | undefined;
    try {
      located = await this.#keyring.locate(keyId);
      algorithm = (await this.#keyring.publicKey(located, context)).algorithm;
      const onStart = () => {
        startedSigningAt = performance.now();
      };
      const signature = await located.backend.sign(keyId, input, derivedContext(context, { onStart }));
      return { signature, algorithm };
    } catch (error) {
      failure = error instanceof SignetError ? error : new SignetError('INTERNAL', 'signing failed', { cause: error });
      throw failure;
    } finally {
      this.#record({
        caller: context.caller,
        keyId,
        located,
        algorithm,
        outcome: failure?.code ?? 'ok',
        error: failure,
        durationMs: performance.now() - startedAt,
        queueMs: startedSigningAt - startedAt,
        contentBytes: ('message' in input ? input.message : input.digest).byteLength,
        contentDigest: () => contentDigest(input),
      });
    }
  }
}

function contentDigest(input: SignInput): string {
  if ('message' in input) return hash('sha256', input.message, 'hex');
  return `${input.hash}:${Buffer.from(input.digest).toString('hex')}`;
}
