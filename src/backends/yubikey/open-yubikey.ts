/** Configuration → a YubiKey backend: its library and the files that the configuration names. */
import { type AttestationAuthorities, readAttestationAuthorities } from '../../crypto/attestation-authorities.ts';
import { fromNodeError, SignetError } from '../../errors.ts';
import { readBoundedFile } from '../durable-file.ts';
import type { YubikeyTokenOptions } from '../open.ts';
import { findYubicoLibrary } from './library.ts';
import { YubikeyBackend, type YubikeyOptions } from './yubikey-backend.ts';

/** Many times what an operator's certificates take. */
const MAX_ROOTS_BYTES = 1024 * 1024;

/** @throws {SignetError} CONFIGURATION; a YubiKey that is not there is no failure */
export async function openYubikey(
  { modulePath, attestationRoots, ...options }: YubikeyTokenOptions,
  context: Omit<YubikeyOptions, keyof YubikeyTokenOptions | 'authorities'>,
): Promise<YubikeyBackend> {
  return await YubikeyBackend.open({
    ...options,
    ...context,
    modulePath: modulePath ?? (await findYubicoLibrary()),
    authorities: attestationRoots === undefined ? undefined : await readAuthorities(attestationRoots),
  });
}

async function readAuthorities(path: string): Promise<AttestationAuthorities> {
  const what = `attestation_roots ${path}`;
  const content = await readBoundedFile(path, MAX_ROOTS_BYTES).catch((error: unknown) => {
    const { message } = fromNodeError(error, `${what} cannot be read`);
    throw new SignetError('CONFIGURATION', message, { cause: error });
  });
  if (content === undefined) throw new SignetError('CONFIGURATION', `${what} does not exist`);
  try {
    return readAttestationAuthorities(content);
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    throw new SignetError('CONFIGURATION', `${what}: ${error.message}`, { ...hint, cause: error });
  }
}
