/** Status words (ISO/IEC 7816-4 §5.1.3, NIST SP 800-73-4 Part 2 §3) and how a command is refused with one. */

/** By the names that ISO/IEC 7816-4 and Yubico's libraries use. */
export const STATUS_WORD = {
  SUCCESS: 0x9000,
  WRONG_LENGTH: 0x6700,
  SECURITY_STATUS_NOT_SATISFIED: 0x6982,
  AUTHENTICATION_METHOD_BLOCKED: 0x6983,
  CONDITIONS_NOT_SATISFIED: 0x6985,
  WRONG_DATA: 0x6a80,
  FILE_NOT_FOUND: 0x6a82,
  NOT_ENOUGH_MEMORY: 0x6a84,
  WRONG_PARAMETERS: 0x6a86,
  REFERENCE_DATA_NOT_FOUND: 0x6a88,
  INSTRUCTION_NOT_SUPPORTED: 0x6d00,
  CLASS_NOT_SUPPORTED: 0x6e00,
} as const;

export type StatusWordName = keyof typeof STATUS_WORD;

/** The card answers with this status word and no data. */
export class CommandRefused extends Error {
  override readonly name = 'CommandRefused';
  readonly statusWord: number;

  constructor(statusWord: number) {
    super(`the card answers ${statusWord.toString(16)}`);
    this.statusWord = statusWord;
  }
}

/** @throws {CommandRefused} always */
export function refuse(reason: StatusWordName): never {
  throw new CommandRefused(STATUS_WORD[reason]);
}

/** `63Cx`: a PIN or PUK was wrong. @param retriesLeft 0 to 15 */
export function retriesLeft(retriesLeft: number): number {
  return 0x63c0 | retriesLeft;
}
