/**
 * Role and GUN in a key's CKA_LABEL, so that an index of the token can always be rebuilt from the token:
 * `signet:ROLE:GUN`, with `%`, `:` and control characters of both percent-encoded.
 *
 * Any other label belongs to a key that another program made; such keys have neither.
 */
import { SignetError } from '../../errors.ts';

const PREFIX = 'signet:';
/** Bytes. Role and GUN have at most 255 characters each; this holds them unless most need three bytes and escapes. */
export const MAX_LABEL_BYTES = 1024;

export interface Owner {
  readonly role: string;
  readonly gun: string;
}

/** @throws {SignetError} INVALID_ARGUMENT if the label would be longer than tokens are asked to hold */
export function formatLabel({ role, gun }: Owner): Buffer {
  const label = Buffer.from(`${PREFIX}${escapeField(role)}:${escapeField(gun)}`);
  if (label.length <= MAX_LABEL_BYTES) return label;
  throw new SignetError('INVALID_ARGUMENT', `role and GUN do not fit into a label of ${MAX_LABEL_BYTES} bytes`);
}

/** Whether a text has the form of a label of ours. */
export function isLabel(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** @returns Empty role and GUN for a label that is not ours, damaged or too long. */
export function parseLabel(label: Uint8Array): Owner {
  const none = { role: '', gun: '' };
  if (label.byteLength > MAX_LABEL_BYTES) return none;
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(label);
    if (!isLabel(text)) return none;
    const [role, gun, ...rest] = text.slice(PREFIX.length).split(':');
    if (role === undefined || gun === undefined || rest.length > 0) return none;
    return { role: decodeURIComponent(role), gun: decodeURIComponent(gun) };
  } catch {
    return none;
  }
}

function escapeField(field: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return field.replace(/[%:\u0000-\u001f\u007f]/g, (character) => {
    return `%${character.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`;
  });
}
