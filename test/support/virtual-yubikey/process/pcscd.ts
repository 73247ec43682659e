/** The real pcscd over the virtual readers. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { waitFor } from '../../conditions.ts';
import { FILES } from '../control-protocol.ts';

/** vpcd's first reader listens here and its second one on the next port. It has no more. */
export const FIRST_READER_PORT = 35963;
export const MAX_READERS = 2;

/** ykcs11 looks at the beginning of the name only. */
const READER = `FRIENDLYNAME "Yubico YubiKey OTP+FIDO+CCID"
DEVICENAME /dev/null:0x${FIRST_READER_PORT.toString(16)}
LIBPATH /usr/lib/pcsc/drivers/serial/libifdvpcd.so
CHANNELID 0x${FIRST_READER_PORT.toString(16)}
`;
const WAIT = { timeoutMs: 15_000, intervalMs: 5 };
const KEPT_OUTPUT_LINES = 50;
/** In pcscd's log; the reader's name ends in its number. */
const NOTICED = /Card (inserted into|Removed From) .* 0(\d)$/;

const execute = promisify(execFile);

export class Pcscd {
  readonly #directory: string;
  #child: ChildProcess | undefined;
  /** What pcscd has noticed of insertions and removals, by reader. */
  readonly #isPresent: boolean[] = [];

  /** @param directory The simulator's own. */
  constructor(directory: string) {
    this.#directory = directory;
    const readers = join(directory, FILES.readers);
    mkdirSync(readers);
    writeFileSync(join(readers, 'virtual-yubikeys'), READER);
  }

  get isRunning(): boolean {
    return this.#child !== undefined;
  }

  /** Resolves when clients can connect. @throws {Error} with the end of its output if it does not come up */
  async start(): Promise<void> {
    if (this.#child !== undefined) return;
    const child = spawn('pcscd', ['--foreground', '--info', '--config', join(this.#directory, FILES.readers)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    const output: string[] = [];
    for (const input of [child.stdout, child.stderr]) {
      createInterface({ input }).on('line', (line) => {
        const [, what, reader] = NOTICED.exec(line) ?? [];
        if (reader !== undefined) this.#isPresent[Number(reader)] = what === 'inserted into';
        output.push(line);
        output.splice(0, output.length - KEPT_OUTPUT_LINES);
      });
    }
    await once(child, 'spawn');
    const isListening = () => {
      if (child.exitCode !== null) throw new Error(`pcscd ended with ${child.exitCode}:\n${output.join('\n')}`);
      return this.#isListening();
    };
    await waitFor('pcscd to listen', isListening, WAIT);
  }

  /**
   * Resolves when pcscd has noticed a card and clients see it. Some can use it earlier; but a card that is out again before
   * pcscd's own look at the reader, every 0.4 s, was never there.
   *
   * @param insert Puts the card in.
   */
  async untilInserted(reader: number, insert: () => void): Promise<void> {
    this.#isPresent[reader] = false;
    insert();
    await waitFor(`pcscd to notice the card in reader ${reader}`, () => this.#isPresent[reader] ?? false, WAIT);
    await this.untilPresent(reader);
  }

  /** Resolves when clients see a card in a reader. @param reader 0 or 1 */
  async untilPresent(reader: number): Promise<void> {
    // opensc-tool asks pcscd what it knows about readers, and does not touch the cards.
    const line = new RegExp(`^${reader} +Yes `, 'm');
    const isPresent = async () => line.test((await execute('opensc-tool', ['--list-readers'])).stdout);
    await waitFor(`clients to see the card in reader ${reader}`, isPresent, WAIT);
  }

  /**
   * Resolves when pcscd has noticed that its reader is empty. Clients may notice earlier, with their next command; but a
   * card that is back before pcscd's own look at the reader, every 0.4 s, is then absent to them for ever.
   *
   * @param remove Takes the card out.
   */
  async untilRemoved(reader: number, remove: () => void): Promise<void> {
    this.#isPresent[reader] = true;
    remove();
    await waitFor(`pcscd to notice the empty reader ${reader}`, () => !this.#isPresent[reader], WAIT);
  }

  /** Resolves when it has ended. */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGTERM');
    await once(child, 'exit');
  }

  #isListening(): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = connect(join(this.#directory, FILES.pcscd, 'pcscd.comm'));
      socket.once('error', () => resolve(false));
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
    });
  }
}
