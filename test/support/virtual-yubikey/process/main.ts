/**
 * The simulator's process, started inside fresh namespaces with a directory for everything as its argument, in which
 * its settings lie. It prints `ready` when orders can be sent, and ends with the connection that they come over.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newMaker } from '../card/attestation.ts';
import { type CardOrder, FILES, type MachineSettings, type Order } from '../control-protocol.ts';
import { serveControl } from './control-server.ts';
import { furnishNamespace } from './namespace.ts';
import { Pcscd } from './pcscd.ts';
import { UsbBus } from './usb-bus.ts';
import { VirtualCard } from './virtual-card.ts';

const directory = process.argv[2] ?? '';
const settings = JSON.parse(readFileSync(join(directory, FILES.settings), 'utf8')) as MachineSettings;

const pcscdDirectory = join(directory, FILES.pcscd);
mkdirSync(pcscdDirectory);
furnishNamespace(pcscdDirectory);
// Only those who ask for USB need koffi, which is optional.
const bus = settings.hasUsb ? new UsbBus((await import('./netlink.ts')).openUeventSender()) : undefined;

const maker = await newMaker();
writeFileSync(join(directory, FILES.attestationRoot), maker.certificate);
const pcscd = new Pcscd(directory);
const cards = await Promise.all(
  settings.cards.map((card, index) => VirtualCard.make(card, maker, card.reader ?? index)),
);
for (const [index, card] of cards.entries()) if (settings.cards[index]?.isInserted ?? true) insert(card);
await startPcscd();
// As PID 1 of its namespace it takes all processes inside with it.
await serveControl(join(directory, FILES.control), execute, () => process.exit(0));
process.stdout.write('ready\n');

function usb(): UsbBus {
  if (bus === undefined) throw new Error('this machine has no USB');
  return bus;
}

async function startPcscd(): Promise<void> {
  await pcscd.start();
  await Promise.all(cards.map((card) => (card.isInserted ? pcscd.untilPresent(card.reader) : undefined)));
}

async function execute(order: Order): Promise<unknown> {
  switch (order.verb) {
    case 'startPcscd':
      return await startPcscd();
    case 'stopPcscd':
      return await pcscd.stop();
    case 'plugUsb':
      return usb().plug(order.device);
    case 'unplugUsb':
      return usb().unplug(order.device);
    default: {
      const card = cards[order.card];
      if (card === undefined) throw new Error(`there is no card ${order.card}`);
      return await orderCard(card, order);
    }
  }
}

function insert(card: VirtualCard): void {
  const isTaken = cards.some((other) => other !== card && other.reader === card.reader && other.isInserted);
  if (isTaken) throw new Error(`another card is in reader ${card.reader}`);
  card.insert();
}

async function orderCard(card: VirtualCard, order: CardOrder): Promise<unknown> {
  switch (order.verb) {
    case 'insert':
      if (!pcscd.isRunning || card.isInserted) return insert(card);
      return await pcscd.untilInserted(card.reader, () => insert(card));
    case 'remove':
      if (!pcscd.isRunning || !card.isInserted) return card.remove();
      return await pcscd.untilRemoved(card.reader, () => card.remove());
    default:
      return card.control(order);
  }
}
