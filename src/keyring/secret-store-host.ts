/**
 * The process that asks the operating system's keyring, once (secret-store-process.ts). The only file that imports
 * `@napi-rs/keyring`: the library connects to D-Bus in the thread that calls it, and waits without end for a bus that does
 * not answer.
 *
 * Standard input: one line of JSON with what is asked, then the secret, to the end. Standard output: one byte when there
 * is a connection, one byte for the answer, then the secret. Exit code 1: it failed, for the reason on standard error.
 *
 * On Linux it asks the Secret Service and nothing else: left to itself the library falls back to the kernel's keyutils,
 * which any process of the session can read and which forgets at logout.
 */
import { readSync, writeSync } from 'node:fs';
import { AsyncEntry } from '@napi-rs/keyring';
import { ANSWER, MAX_SECRET_BYTES, type StoreRequest } from './secret-store-process.ts';

const SERVICE = 'signet';
const LINE_FEED = 0x0a;

async function answer(): Promise<void> {
  const input = readInput();
  const end = input.indexOf(LINE_FEED);
  const { verb, name } = JSON.parse(input.toString('utf8', 0, end)) as StoreRequest;
  const entry = new AsyncEntry(SERVICE, name, { linux: { store: 'secret-service' } });
  writeSync(1, Buffer.of(ANSWER.connected));
  switch (verb) {
    case 'get': {
      const secret = await entry.getSecret();
      if (secret === null) return void writeSync(1, Buffer.of(ANSWER.no));
      writeSync(1, Buffer.of(ANSWER.yes));
      return void writeSync(1, Uint8Array.from(secret));
    }
    case 'set':
      await entry.setSecret(input.subarray(end + 1));
      return void writeSync(1, Buffer.of(ANSWER.yes));
    case 'delete':
      return void writeSync(1, Buffer.of((await entry.deleteCredential()) ? ANSWER.yes : ANSWER.no));
  }
}

function readInput(): Buffer {
  const buffer = Buffer.alloc(2 * MAX_SECRET_BYTES);
  let length = 0;
  for (;;) {
    const bytesRead = readSync(0, buffer, length, buffer.length - length, null);
    if (bytesRead === 0) return buffer.subarray(0, length);
    length += bytesRead;
  }
}

try {
  await answer();
  process.exit(0);
} catch (error) {
  writeSync(2, String(error));
  process.exit(1);
}
