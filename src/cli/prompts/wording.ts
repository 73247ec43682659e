/** What prompts say. The words of notary's prompts are kept, because scripts wait for them. */
import type { QuestionMessage, TokenMessage } from '../../rpc/messages.ts';
import { printable } from '../output.ts';

/** A key as prompts name it; `key_id` is '' while there is none yet. */
export type KeyName = Pick<QuestionMessage, 'key_id' | 'role' | 'gun'>;

/** Characters of a key ID that notary shows. */
const SHOWN_ID_CHARACTERS = 7;

/** `targets key with ID d158dfc (example.com/app)`. */
export function keyText({ key_id, role, gun }: KeyName): string {
  const parts = [role, 'key', ...(key_id === '' ? [] : ['with ID', key_id.slice(0, SHOWN_ID_CHARACTERS)])];
  const name = parts.filter((part) => part !== '').join(' ');
  return printable(gun === '' ? name : `${name} (${gun})`);
}

/** `YubiKey 5 (serial 1234567)`. */
export function tokenText({ label, backend, serial }: TokenMessage): string {
  const name = label === '' ? `${backend} token` : label;
  return printable(serial === '' ? name : `${name} (serial ${serial})`);
}

/** Before a passphrase for a new root key is chosen. */
export const ROOT_NOTICE: string = [
  'You are about to choose the passphrase of a root key, the most sensitive key of your signing system: let a password',
  'manager make a long one and keep it. Keep a backup of the key too. Without the passphrase nobody can recover the key.',
].join('\n');

export const TOO_SHORT =
  'Passphrase is too short. Please use a password manager to generate and store a good random passphrase.';
export const NO_MATCH = 'Passphrases do not match. Please retry.';
export const INCORRECT = 'Passphrase incorrect. Please retry.';

/** Which secret of a token, as people call it. */
const PIN_NAMES: Readonly<Record<string, string>> = {
  pin: 'PIN',
  'so-pin': 'SO PIN',
  puk: 'PUK',
  'management-key': 'management key',
};

/** `new so-pin` → `new SO PIN`. */
export function pinName(kind: string): string {
  const isNew = kind.startsWith('new ');
  const secret = isNew ? kind.slice('new '.length) : kind;
  return `${isNew ? 'new ' : ''}${PIN_NAMES[secret] ?? secret}`;
}

export function triesText(triesLeft: number): string {
  if (triesLeft < 0) return '';
  return triesLeft === 1 ? ', LAST TRY before it is locked' : `, ${triesLeft} tries left`;
}
