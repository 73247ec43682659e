/** Globally unique names of trusted collections, as folders and as parts of URLs. */
import { join } from 'node:path';
import { SignetError } from '../errors.ts';

/** notary-server keeps GUNs in a column of 255 characters. */
const MAX_LENGTH = 255;
/** Of a URL that notary-server would take for one of its own, and what it takes for a pattern. */
const ROUTE = '_trust';
/** Folders of a collection, beside which those of longer names are kept. */
const FOLDERS: ReadonlySet<string> = new Set(['metadata', 'changelist']);

/**
 * Checks a name before it becomes a path: Notary's own client does not, and writes outside its trust directory.
 *
 * @throws {SignetError} INVALID_ARGUMENT
 */
export function checkGun(gun: string): string {
  const problem = problemOf(gun);
  if (problem === undefined) return gun;
  const shown = JSON.stringify(gun.slice(0, 80)).replace(/\p{Cc}|\p{Cf}/gu, '?');
  throw new SignetError('INVALID_ARGUMENT', `${shown} is not the name of a collection: ${problem}`, {
    hint: 'a GUN is like registry.example.com/team/app',
  });
}

function problemOf(gun: string): string | undefined {
  if (gun === '') return 'it is empty';
  if (gun.length > MAX_LENGTH) return `it has more than ${MAX_LENGTH} characters`;
  if (!gun.isWellFormed() || /[\p{Cc}\\*]/u.test(gun)) return 'it has a character that no server takes';
  const segments = gun.split('/');
  if (segments.includes('')) return 'it has an empty part';
  if (segments.some((segment) => segment === '.' || segment === '..')) return 'it leaves the trust directory';
  if (segments.includes(ROUTE)) return `it has a part ${ROUTE}`;
  const folder = segments.slice(1).find((segment) => FOLDERS.has(segment.toLowerCase()));
  if (folder !== undefined) return `its part ${folder} is the name of a folder that a collection has`;
  return undefined;
}

/** `<trust>/tuf/<gun>`. @param gun Checked. */
export function collectionDirectory(trustDir: string, gun: string): string {
  return join(trustDir, 'tuf', ...gun.split('/'));
}

/** The name in the path of a URL. @param gun Checked. */
export function gunPath(gun: string): string {
  return gun.split('/').map(encodeSegment).join('/');
}

/** A port keeps its colon, as other clients send it (RFC 3986 §3.3 allows it). */
function encodeSegment(segment: string): string {
  return encodeURIComponent(segment).replaceAll('%3A', ':');
}
