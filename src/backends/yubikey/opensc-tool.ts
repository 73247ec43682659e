/**
 * Sends commands to a card with OpenSC's opensc-tool, beside Yubico's library: without selecting anything, resetting nothing,
 * so that who is logged in stays so.
 */
import { SignetError } from '../../errors.ts';
import { runTool } from './run-tool.ts';

const TOOL = 'opensc-tool';

/** What the card answered to one command. */
export interface CardAnswer {
  /** SW1 and SW2 as one number; 0x9000 for success. */
  readonly statusWord: number;
  readonly data: Buffer;
}

export interface CardRequest {
  /** PC/SC's name of the reader. */
  readonly reader: string;
  /** APDUs in hex, upper case. Hold nothing secret. */
  readonly commands: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Milliseconds, for all of them. */
  readonly timeoutMs: number;
}

/**
 * @returns One answer for each command, of one card.
 * @throws {SignetError} UNSUPPORTED without the tool; UNAVAILABLE if it fails, takes too long or says what it should not
 */
export async function sendToCard(request: CardRequest): Promise<readonly CardAnswer[]> {
  const { reader, commands, env, timeoutMs } = request;
  const { exitCode, stdout } = await runTool(TOOL, {
    // The driver `default` asks the card nothing by itself.
    args: ['--reader', reader, '--card-driver', 'default', ...commands.flatMap((command) => ['--send-apdu', command])],
    // A configuration may have it reset cards and trace what it does.
    env: { ...env, OPENSC_CONF: '/dev/null' },
    timeoutMs,
    remedy: 'install it: it is in the package opensc',
  });
  const answers = exitCode === 0 ? parseAnswers(stdout, commands) : undefined;
  if (answers !== undefined) return answers;
  throw new SignetError('UNAVAILABLE', `${TOOL} ${exitCode === null ? 'was given no answer in time' : 'failed'}`);
}

/** A line of the tool's dump holds so many bytes. */
const LINE_BYTES = 16;
/** `XX ` for each byte; below the first line the columns are filled with spaces. */
const HEX_COLUMNS = 3 * LINE_BYTES;

/**
 * Reads what opensc-tool prints.
 *
 * @param commands The ones that it was told to send.
 * @returns Undefined unless it is exactly one well-formed answer for each of them.
 */
export function parseAnswers(output: string, commands: readonly string[]): readonly CardAnswer[] | undefined {
  const [before, ...parts] = output.split(/^Sending: /m);
  if (before !== '' || parts.length !== commands.length) return undefined;
  const answers: CardAnswer[] = [];
  for (const [index, part] of parts.entries()) {
    const answer = parseAnswer(part, commands[index] ?? '');
    if (answer === undefined) return undefined;
    answers.push(answer);
  }
  return answers;
}

function parseAnswer(part: string, command: string): CardAnswer | undefined {
  const [echo = '', received = '', ...dump] = part.replace(/\n$/, '').split('\n');
  if (echo.replaceAll(' ', '') !== command) return undefined;
  const words = /^Received \(SW1=0x([0-9A-F]{2}), SW2=0x([0-9A-F]{2})\)(:?)$/.exec(received);
  if (words === null || (words[3] === ':') !== dump.length > 0) return undefined;
  const lines = dump.map((line, index) => bytesOfLine(line, dump.length === 1, index === dump.length - 1));
  const whole = lines.filter((line) => line !== undefined);
  if (whole.length !== lines.length) return undefined;
  return { statusWord: Number.parseInt(`${words[1]}${words[2]}`, 16), data: Buffer.concat(whole) };
}

/** Bytes in hex, then the same as characters, which may look like more of them: the length tells how many there are. */
function bytesOfLine(line: string, isOnly: boolean, isLast: boolean): Buffer | undefined {
  const count = isOnly ? line.length / 4 : line.length - HEX_COLUMNS;
  if (!Number.isInteger(count) || count < 1 || count > LINE_BYTES || (!isLast && count < LINE_BYTES)) return undefined;
  const digits = line.slice(0, 3 * count);
  const isFilled = isOnly || line.slice(3 * count, HEX_COLUMNS).trim() === '';
  return isFilled && /^(?:[0-9A-F]{2} )+$/.test(digits) ? Buffer.from(digits.replaceAll(' ', ''), 'hex') : undefined;
}
