/** The headers of Notary's key files: outside of the encryption, so they can be rewritten without the passphrase. */
import { formatPem, type PemBlock } from '../../crypto/pem.ts';
import { SignetError } from '../../errors.ts';
import type { KeyInfo } from '../backend.ts';
import type { KeyFile } from './key-directory.ts';

type Owner = Pick<KeyInfo, 'role' | 'gun'>;

/** Roles whose keys belong to one collection: notary refuses to import them without a GUN. */
const ROLES_WITH_GUN: ReadonlySet<string> = new Set(['targets', 'snapshot', 'timestamp']);

/**
 * The file with another role and GUN; everything else stays as it is.
 *
 * @param place Legacy: its path tells a role and a GUN too, which show where the headers have none.
 * @throws {SignetError} INVALID_ARGUMENT, UNSUPPORTED
 */
export function relabelled(file: KeyFile, owner: Owner, place: { readonly isLegacy: boolean }): string {
  if (ROLES_WITH_GUN.has(owner.role) && owner.gun === '') {
    throw new SignetError('INVALID_ARGUMENT', `a key of role ${owner.role} needs a GUN`, {
      hint: 'name the collection it belongs to',
    });
  }
  if (place.isLegacy && (owner.role === '' || (owner.gun === '' && file.gun !== ''))) {
    throw new SignetError('UNSUPPORTED', `the path of ${file.path} says whose the key is`, {
      hint: `move it to ${file.keyId}.key in the directory "private", or name both role and GUN`,
    });
  }
  return formatPem({ ...file.pem.block, headers: withOwner(file.pem.block, owner) });
}

/** A sealed block with the header `path`, without which `notary key import` skips it. */
export function exported(block: PemBlock, file: KeyFile): string {
  return formatPem({ ...block, headers: withOwner(block, file).set('path', file.keyId) });
}

function withOwner({ headers }: PemBlock, owner: Owner): Map<string, string> {
  const others = [...headers].filter(([name]) => name !== 'role' && name !== 'gun');
  const own = Object.entries({ role: owner.role, gun: owner.gun }).filter(([, value]) => value !== '');
  return new Map([...others, ...own]);
}
