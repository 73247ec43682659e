/** Virtual YubiKeys behind a real pcscd, for tests: README.md beside this file. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startProgram } from '../processes.ts';
import { Resources } from '../resources.ts';
import { temporaryDirectory } from '../temp.ts';
import { certificatePem } from './card/certificate.ts';
import type { CardSettings } from './card/settings.ts';
import { CardControl } from './card-control.ts';
import { compileSimulator } from './compile.ts';
import { ControlConnection } from './control-client.ts';
import { FILES, type MachineSettings, type UsbDevice } from './control-protocol.ts';
import { MAX_READERS } from './process/pcscd.ts';

export interface VirtualYubikeysOptions {
  /** One or two; by default one with factory settings and serial number 12345678. */
  readonly cards?: readonly CardSettings[];
  /** True for a machine with a USB bus, empty at first, for programs started through `enter`. */
  readonly hasUsb?: boolean;
}

export interface VirtualYubikeys extends AsyncDisposable {
  /** PATH, and where PC/SC clients find pcscd; for programs inside and outside the namespaces. */
  readonly env: Readonly<Record<string, string>>;
  /** A card by its place in the settings. */
  card(index?: number): CardControl;
  /** The certificate that all attestations lead to: a stand-in for Yubico's root. */
  readonly attestationRoot: { readonly der: Buffer; readonly pem: string };
  /** Stops and starts pcscd; both do nothing if that is done already. */
  readonly pcscd: { stop(): Promise<void>; start(): Promise<void> };
  /** Devices, YubiKeys by default, come and go on the bus as udev announces them. Needs `hasUsb`. */
  readonly usb: {
    plug(port?: number, ids?: Omit<UsbDevice, 'port'>): Promise<void>;
    unplug(port?: number): Promise<void>;
  };
  /** What to spawn instead of a program so that it runs inside the namespaces, where it is root and sees the USB bus. */
  enter(command: string, args: readonly string[]): { readonly command: string; readonly args: readonly string[] };
}

const DEFAULT_CARDS: readonly CardSettings[] = [{ serial: 12345678 }];
const START_TIMEOUT_MS = 60_000;
const UNSHARE = ['--user', '--map-root-user', '--net', '--mount', '--pid', '--fork', '--kill-child'];
const NSENTER = ['--user', '--net', '--mount', '--preserve-credentials'];

/**
 * Starts pcscd and the cards in namespaces of their own, and waits until pcscd sees the cards that are inserted.
 *
 * @throws {Error} A program is missing, or the machine does not let this user make namespaces; with what was printed.
 */
export async function startVirtualYubikeys(options: VirtualYubikeysOptions = {}): Promise<VirtualYubikeys> {
  const { cards = DEFAULT_CARDS, hasUsb = false } = options;
  if (cards.length > MAX_READERS) throw new TypeError(`there are ${MAX_READERS} readers for ${cards.length} cards`);
  const PATH = process.env['PATH'] ?? '';
  const resources = new Resources();
  try {
    const { path: directory } = resources.use(await temporaryDirectory());
    const program = await compileSimulator(join(directory, 'program'));
    await writeFile(join(directory, FILES.settings), JSON.stringify({ cards, hasUsb } satisfies MachineSettings));
    const simulator = resources.use(
      await startProgram(
        'unshare',
        [...UNSHARE, process.execPath, program, directory],
        { env: { PATH: `${PATH}:/usr/sbin:/sbin` } },
        { output: /^ready$/m, timeoutMs: START_TIMEOUT_MS },
      ),
    );
    const control = resources.use(await ControlConnection.open(join(directory, FILES.control), () => simulator.stderr));
    const root = await readFile(join(directory, FILES.attestationRoot));
    const controls = cards.map((_, index) => new CardControl(control, index));
    return {
      env: { PATH, PCSCLITE_CSOCK_NAME: join(directory, FILES.pcscd, 'pcscd.comm') },
      card: (index = 0) => {
        const card = controls[index];
        if (card === undefined) throw new RangeError(`there is no card ${index}`);
        return card;
      },
      attestationRoot: { der: root, pem: certificatePem(root) },
      pcscd: {
        stop: async () => void (await control.order({ verb: 'stopPcscd' })),
        start: async () => void (await control.order({ verb: 'startPcscd' })),
      },
      usb: {
        plug: async (port = 1, ids = {}) => void (await control.order({ verb: 'plugUsb', device: { port, ...ids } })),
        unplug: async (port = 1) => void (await control.order({ verb: 'unplugUsb', device: { port } })),
      },
      enter: (command, args) => ({
        command: 'nsenter',
        // Entering a mount namespace leads to its root directory.
        args: ['--target', String(simulator.pid), ...NSENTER, 'env', `--chdir=${process.cwd()}`, command, ...args],
      }),
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  } catch (error) {
    await resources[Symbol.asyncDispose]();
    throw error;
  }
}
