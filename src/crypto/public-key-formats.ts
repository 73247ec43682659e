/** Public keys as other programs want them. */
import { SignetError } from '../errors.ts';
import { toPublicJwk } from './jwk.ts';
import { notaryKeyJson } from './key-id.ts';
import { formatPem } from './pem.ts';
import { type PublicKey, toSpki } from './public-key.ts';
import { publicKeyParts } from './public-key-parts.ts';

/** `notary` is the key object of TUF metadata. All but `der` are text and end in a line feed. */
export type PublicKeyFormat = 'pem' | 'der' | 'jwk' | 'openssh' | 'notary';

/**
 * @param options.role Becomes the header `role` of PEM, as in files by `docker trust key generate`.
 * @param options.comment Ends the line of OpenSSH.
 * @throws {SignetError} UNSUPPORTED for a key that the format does not know (P-224 in `jwk` and `openssh`);
 *   INVALID_ARGUMENT for a malformed key, a role or a comment that the format cannot hold
 */
export function formatPublicKey(
  key: PublicKey,
  format: PublicKeyFormat,
  { role = '', comment = '' }: { readonly role?: string; readonly comment?: string } = {},
): Buffer {
  switch (format) {
    case 'pem':
      return Buffer.from(formatPem({ type: 'PUBLIC KEY', headers: role === '' ? {} : { role }, bytes: toSpki(key) }));
    case 'der':
      return toSpki(key);
    case 'jwk':
      return Buffer.from(`${JSON.stringify(toPublicJwk(key))}\n`);
    case 'openssh':
      return Buffer.from(`${openSshLine(key, comment)}\n`);
    case 'notary':
      return Buffer.from(`${notaryKeyJson(key)}\n`);
  }
}

/** RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4. */
function openSshLine(key: PublicKey, comment: string): string {
  if (/\p{Cc}/u.test(comment)) throw new SignetError('INVALID_ARGUMENT', 'the comment has a control character');
  const [type, ...fields] = openSshFields(key);
  const blob = Buffer.concat([Buffer.from(type), ...fields].flatMap((field) => [uint32(field.byteLength), field]));
  return [type, blob.toString('base64'), ...(comment === '' ? [] : [comment])].join(' ');
}

function openSshFields(key: PublicKey): readonly [type: string, ...fields: Uint8Array[]] {
  const parts = publicKeyParts(key);
  switch (parts.kind) {
    case 'ed25519':
      return ['ssh-ed25519', parts.bytes];
    case 'rsa':
      return ['ssh-rsa', mpint(parts.exponent), mpint(parts.modulus)];
    case 'ec': {
      if (parts.curve.name === 'P-224') throw new SignetError('UNSUPPORTED', 'P-224 keys have no OpenSSH form');
      const curve = `nistp${parts.curve.name.slice(2)}`;
      return [`ecdsa-sha2-${curve}`, Buffer.from(curve), Buffer.concat([Buffer.of(4), parts.x, parts.y])];
    }
  }
}

function uint32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}

/** RFC 4251 §5: a set high bit would be a sign. */
function mpint(magnitude: Uint8Array): Uint8Array {
  return (magnitude[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), magnitude]) : magnitude;
}
