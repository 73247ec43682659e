/** The key that a collection is to be rooted in, and its certificate for that collection. */
import { certificatePem } from '../crypto/certificate.ts';
import { buildRootCertificate } from '../crypto/root-certificate.ts';
import { SignetError } from '../errors.ts';
import type { AgentKey, GenerateKeyRequest } from '../rpc/messages.ts';
import { rootLeafBundle } from '../tuf/certificate-bundle.ts';
import { parseRootCertificates } from '../tuf/public-key-file.ts';
import { canonicalKeyId, type TufKey } from '../tuf/tuf-key.ts';
import type { SigningKey, SigningKeys } from './signing-keys.ts';

export interface RootKeyChoice {
  /** An existing key; otherwise one is looked for, and made if there is none. */
  readonly keyId?: string | undefined;
  /** PEM of a certificate that was made elsewhere, with its chain; its key must be here. */
  readonly certificate?: Uint8Array | undefined;
  /** Only a key on a token will do. */
  readonly requireHardware: boolean;
  /** Where and how a key is made. */
  readonly generate: Omit<GenerateKeyRequest, 'role' | 'gun' | 'require_hardware'>;
}

/** A root key of a collection: the key, and the certificate by which root.json names it. */
export interface RootKey {
  readonly key: SigningKey;
  readonly certificate: TufKey;
  /** False: it was there. */
  readonly isNew: boolean;
}

/**
 * Finds or makes the root key, and has it sign its certificate for the GUN.
 *
 * @throws {SignetError} KEY_NOT_FOUND, INVALID_ARGUMENT for a certificate that clients would refuse, or where several keys
 *   could be meant; TOKEN_NOT_PRESENT if none is on a token and one must be
 */
export async function chooseRootKey(
  gun: string,
  choice: RootKeyChoice,
  keys: SigningKeys,
  now: Date,
): Promise<RootKey> {
  if (choice.certificate !== undefined) return await certified(gun, choice.certificate, choice, keys, now);
  const existing = await existingRootKey(choice, keys);
  const key = existing === undefined ? await makeRootKey(choice, keys) : await keys.open(requireHome(existing, choice));
  return { key, certificate: await certificateFor(gun, key, keys, now), isNew: existing === undefined };
}

/** Makes a root key, whatever others there are. */
export async function makeRootKey(
  { generate, requireHardware }: Pick<RootKeyChoice, 'generate' | 'requireHardware'>,
  keys: SigningKeys,
): Promise<SigningKey> {
  return await keys.generate({ ...generate, role: 'root', gun: '', require_hardware: requireHardware });
}

/** Self-signed by the key itself. @throws {SignetError} UNSUPPORTED for Ed25519, INVALID_ARGUMENT for short RSA keys */
export async function certificateFor(gun: string, key: SigningKey, keys: SigningKeys, now: Date): Promise<TufKey> {
  const { publicKey } = key;
  const certificate = await buildRootCertificate({ gun, publicKey, notBefore: now }, keys.signerOf(key));
  const bytes = Buffer.from(certificatePem(certificate));
  return requireUsable({ algorithm: `${publicKey.algorithm}-x509`, bytes }, gun);
}

async function certified(
  gun: string,
  pem: Uint8Array,
  choice: RootKeyChoice,
  keys: SigningKeys,
  now: Date,
): Promise<RootKey> {
  const certificate = requireUsable(parseRootCertificates(pem, now), gun);
  const keyId = canonicalKeyId(certificate);
  if (choice.keyId !== undefined && choice.keyId !== keyId) {
    throw new SignetError('INVALID_ARGUMENT', `the certificate is for key ${keyId}, not for ${choice.keyId}`);
  }
  const info = await keys.find(keyId);
  if (info === undefined) {
    throw new SignetError('KEY_NOT_FOUND', `the private key of the certificate, ${keyId}, is not here`, {
      hint: 'import it with signet key import --role root, or configure its token',
    });
  }
  return { key: await keys.open(requireHome(info, choice)), certificate, isNew: false };
}

/** Keys on tokens come first. */
async function existingRootKey({ keyId, requireHardware }: RootKeyChoice, keys: SigningKeys) {
  const all = await keys.withRole('root');
  if (keyId !== undefined) {
    const found = all.find((key) => key.key_id === keyId);
    if (found !== undefined) return found;
    throw new SignetError('KEY_NOT_FOUND', `no root key ${keyId}`, { hint: 'signet key list shows the root keys' });
  }
  const onTokens = all.filter(isOnToken);
  const candidates = onTokens.length > 0 || requireHardware ? onTokens : all;
  const ids = new Set(candidates.map(({ key_id }) => key_id));
  if (ids.size <= 1) return candidates[0];
  throw new SignetError('INVALID_ARGUMENT', `there are ${ids.size} root keys that could be meant`, {
    hint: `name one with --root-key: ${[...ids].slice(0, 5).join(', ')}`,
  });
}

/** Whether a key is in hardware, or in what stands for it. */
export function isOnToken({ backend }: AgentKey): boolean {
  return backend === 'pkcs11' || backend === 'yubikey';
}

/** @throws {SignetError} TOKEN_NOT_PRESENT for a key that is not on a token, where one must be */
export function requireHome(info: AgentKey, { requireHardware }: Pick<RootKeyChoice, 'requireHardware'>): AgentKey {
  if (!requireHardware || isOnToken(info)) return info;
  throw new SignetError(
    'TOKEN_NOT_PRESENT',
    `${info.role} key ${info.key_id} is in ${info.location}, which is no token`,
  );
}

function requireUsable(key: TufKey, gun: string): TufKey {
  if (rootLeafBundle(key.bytes, gun) !== undefined) return key;
  throw new SignetError('INVALID_ARGUMENT', `clients will not take this certificate for ${gun}`, {
    hint: `its CN must be ${gun}, it must not be a CA, and an RSA key must have 2048 bits or more`,
  });
}
