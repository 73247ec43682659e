/** What is to be signed, shared by software keys and the backends' port. */
import type { SignatureHash } from './algorithms.ts';

/** A message is hashed by the key's algorithm; a digest is for callers that hash for themselves. */
export type SignInput =
  | { readonly message: Uint8Array }
  | { readonly digest: Uint8Array; readonly hash: SignatureHash };
