/** Takes orders over a Unix socket, and ends the process when the one who ordered it is gone. */
import { createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Answer, Order } from '../control-protocol.ts';

/**
 * Listens for the one connection that there is. Orders are executed at once, also while others are under way.
 *
 * @param execute Does one and returns what it answers.
 * @param onGone The connection has ended, of itself or because the other process did.
 */
export function serveControl(path: string, execute: (order: Order) => unknown, onGone: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      server.close(); // no second one
      createInterface({ input: socket }).on('line', (line) => void serve(socket, JSON.parse(line) as Order, execute));
      socket.on('error', () => {}); // `close` follows
      socket.once('close', onGone);
    });
    server.once('error', reject);
    server.listen(path, resolve);
  });
}

async function serve(socket: Socket, order: Order, execute: (order: Order) => unknown): Promise<void> {
  const { id } = order;
  let answer: Answer;
  try {
    answer = { id, result: await execute(order) };
  } catch (error) {
    answer = { id, error: error instanceof Error ? error.message : String(error) };
  }
  socket.write(`${JSON.stringify(answer)}\n`);
}
