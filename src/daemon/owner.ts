/** Role and GUN as clients send them: written into key files and tables, so checked before they get there. */
import { SignetError } from '../errors.ts';

/** Columns of notary-signer's table: varchar(255). */
const MAX_CHARACTERS = 255;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

export interface Owner {
  readonly role: string;
  readonly gun: string;
}

/**
 * Any text is a role or GUN, also the empty one, as for notary-signer; but a line break would forge a PEM header.
 *
 * @throws {SignetError} INVALID_ARGUMENT
 */
export function checkOwner({ role, gun }: Owner): Owner {
  for (const [name, value] of Object.entries({ role, gun })) {
    if (value.length > MAX_CHARACTERS) {
      throw new SignetError('INVALID_ARGUMENT', `${name} is longer than ${MAX_CHARACTERS} characters`);
    }
    if (CONTROL_CHARACTER.test(value) || !value.isWellFormed()) {
      throw new SignetError('INVALID_ARGUMENT', `${name} has a control character`);
    }
    if (value !== value.trim()) throw new SignetError('INVALID_ARGUMENT', `${name} begins or ends with white space`);
  }
  return { role, gun };
}
