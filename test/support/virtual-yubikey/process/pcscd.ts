/** The real pcscd over the virtual readers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
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
const START_TIMEOUT_MS = 10_000;
const POLL_MS = 5;
const KEPT_OUTPUT = 4000;

export class Pcscd {
  readonly #directory: string;
  #child: ChildProcess | undefined;

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
    const child = spawn('pcscd', ['--foreground', '--error', '--config', join(this.#directory, FILES.readers)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output = (output + text).slice(-KEPT_OUTPUT);
      });
    }
    await once(child, 'spawn');
    const giveUpAt = Date.now() + START_TIMEOUT_MS;
    while (!(await this.#isListening())) {
      if (child.exitCode !== null) throw new Error(`pcscd ended with ${child.exitCode}: ${output}`);
      if (Date.now() > giveUpAt) throw new Error(`pcscd did not come up: ${output}`);
      await delay(POLL_MS);
    }
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
