/** Command and response APDUs (ISO/IEC 7816-4 §5.1), short and extended, with command chaining and GET RESPONSE. */
import { CommandRefused, refuse, STATUS_WORD } from './status-word.ts';

export interface CommandApdu {
  readonly cla: number;
  readonly ins: number;
  readonly p1: number;
  readonly p2: number;
  /** Of the whole chain, if the command came in parts. */
  readonly data: Buffer;
  /** Ne: the most the response may hold; the default of 256 also if Le is missing, as YubiKeys do. */
  readonly expectedLength: number;
}

/** What follows a command: data and 9000. A command that fails throws `CommandRefused` instead. */
export type Execute = (command: CommandApdu) => Promise<Uint8Array>;

/** ISO/IEC 7816-4 §5.4.1: bit 5 of CLA says that more of the same command follows. */
const CHAINING = 0x10;
const GET_RESPONSE = 0xc0;
/** More than any PIV command carries: an object of 3 KiB with its tags, or an RSA 4096 key. */
const MAX_CHAINED_BYTES = 0x2000;
const MAX_SHORT_RESPONSE = 256;

/** True for every part of a chained command but the last. */
export function isChained(apdu: Buffer): boolean {
  return ((apdu[0] ?? 0) & CHAINING) !== 0;
}

/** Collects chained commands before their execution and hands out long responses in parts. */
export class ApduChannel {
  readonly #execute: Execute;
  /** The parts so far, and the header they share. */
  #chain: { readonly header: string; readonly parts: Buffer } | undefined;
  #unread: Uint8Array = new Uint8Array();

  constructor(execute: Execute) {
    this.#execute = execute;
  }

  /** Forgets a half-received command and a half-read response. */
  reset(): void {
    this.#chain = undefined;
    this.#unread = new Uint8Array();
  }

  /** @returns Data and status word. @throws Only what `execute` throws other than CommandRefused. */
  async transmit(apdu: Buffer): Promise<Buffer> {
    try {
      return await this.#answer(parseCommandApdu(apdu));
    } catch (error) {
      if (!(error instanceof CommandRefused)) throw error;
      this.#chain = undefined;
      return statusWordOctets(error.statusWord);
    }
  }

  async #answer(command: CommandApdu): Promise<Buffer> {
    if (command.ins === GET_RESPONSE) return this.#nextPart(command.expectedLength);
    this.#unread = new Uint8Array();
    const whole = this.#join(command);
    if (whole === undefined) return statusWordOctets(STATUS_WORD.SUCCESS);
    this.#unread = await this.#execute(whole);
    return this.#nextPart(command.expectedLength);
  }

  #join(command: CommandApdu): CommandApdu | undefined {
    const header = `${command.ins} ${command.p1} ${command.p2}`;
    const before = this.#chain?.header === header ? this.#chain.parts : Buffer.alloc(0);
    const parts = before.length === 0 ? command.data : Buffer.concat([before, command.data]);
    if (parts.length > MAX_CHAINED_BYTES) refuse('WRONG_LENGTH');
    this.#chain = (command.cla & CHAINING) === 0 ? undefined : { header, parts };
    return this.#chain === undefined ? { ...command, data: parts } : undefined;
  }

  #nextPart(expectedLength: number): Buffer {
    const part = this.#unread.subarray(0, expectedLength);
    this.#unread = this.#unread.subarray(part.length);
    const rest = this.#unread.length;
    // 61xx: xx more octets can be read; 00 for 256 and more.
    const statusWord = rest === 0 ? STATUS_WORD.SUCCESS : 0x6100 | (rest < MAX_SHORT_RESPONSE ? rest : 0);
    return Buffer.concat([part, statusWordOctets(statusWord)]);
  }
}

/** ISO/IEC 7816-4 §5.1, all seven cases. @throws {CommandRefused} 6700 */
export function parseCommandApdu(apdu: Buffer): CommandApdu {
  const [cla, ins, p1, p2, lc] = apdu;
  if (cla === undefined || ins === undefined || p1 === undefined || p2 === undefined) refuse('WRONG_LENGTH');
  const header = { cla, ins, p1, p2 };
  if (lc === undefined) return { ...header, data: Buffer.alloc(0), expectedLength: MAX_SHORT_RESPONSE };
  if (lc === 0 && apdu.length > 5) return { ...header, ...parseExtended(apdu.subarray(5)) };
  if (apdu.length === 5) return { ...header, data: Buffer.alloc(0), expectedLength: lc || MAX_SHORT_RESPONSE };
  const data = apdu.subarray(5, 5 + lc);
  const le = apdu.subarray(5 + lc);
  if (data.length < lc || le.length > 1) refuse('WRONG_LENGTH');
  return { ...header, data, expectedLength: le[0] || MAX_SHORT_RESPONSE };
}

/** @param body What follows the zero octet that announces extended lengths. */
function parseExtended(body: Buffer): Pick<CommandApdu, 'data' | 'expectedLength'> {
  if (body.length < 2) refuse('WRONG_LENGTH');
  if (body.length === 2) return { data: Buffer.alloc(0), expectedLength: body.readUInt16BE() || 0x1_0000 };
  const lc = body.readUInt16BE();
  const data = body.subarray(2, 2 + lc);
  const le = body.subarray(2 + lc);
  if (data.length < lc || (le.length !== 0 && le.length !== 2)) refuse('WRONG_LENGTH');
  return { data, expectedLength: (le.length === 2 && le.readUInt16BE()) || 0x1_0000 };
}

function statusWordOctets(statusWord: number): Buffer {
  return Buffer.of(statusWord >> 8, statusWord & 0xff);
}
