/**
 * One question to the operating system's keyring, in a process of its own (secret-store-host.ts) that can be killed: a
 * session bus that hangs must not hold up the daemon.
 */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { spawned } from '../backends/spawned.ts';
import { Secret } from '../crypto/secret.ts';
import { SignetError } from '../errors.ts';

/** Longer secrets are no passphrase or PIN. */
export const MAX_SECRET_BYTES = 4096;
/** Bytes of the host's answer. */
export const ANSWER = { no: 0, yes: 1, connected: 2 } as const;

/** Node starts, and the bus answers; milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000;
/** A person may have to unlock the keyring first; milliseconds. */
const TIMEOUT_MS = 60_000;
const MAX_REASON_CHARACTERS = 1000;
/** What the host needs to know of the environment. */
const VARIABLES = ['DBUS_SESSION_BUS_ADDRESS', 'XDG_RUNTIME_DIR', 'HOME'];

export interface StoreRequest {
  readonly verb: 'get' | 'set' | 'delete';
  readonly name: string;
}

export interface StoreAnswer {
  /** Whether there is, or was, something of that name. */
  readonly found: boolean;
  /** What `get` found; the caller disposes of it. */
  readonly secret: Secret | undefined;
}

export interface AskStoreOptions {
  readonly env: NodeJS.ProcessEnv;
  /** For tests: the host's program. */
  readonly entry?: string | undefined;
  readonly connectTimeoutMs?: number | undefined;
}

/**
 * @param secret What `set` keeps; not disposed of here.
 * @throws {SignetError} UNAVAILABLE: the store does not answer in time, or it refuses; its reason is the cause.
 *   INVALID_ARGUMENT for a secret that is too long
 */
export async function askStore(
  request: StoreRequest,
  secret: Secret | undefined,
  { env, entry, connectTimeoutMs = CONNECT_TIMEOUT_MS }: AskStoreOptions,
): Promise<StoreAnswer> {
  if (secret !== undefined && secret.bytes().byteLength > MAX_SECRET_BYTES) {
    throw new SignetError('INVALID_ARGUMENT', `the secret is longer than ${MAX_SECRET_BYTES} bytes`);
  }
  const program = entry ?? fileURLToPath(new URL('./secret-store-host.js', import.meta.url));
  const child = spawned(
    spawn(process.execPath, [program], {
      env: Object.fromEntries(VARIABLES.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]]))),
    }),
  );
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  let isLate = false;
  const expire = () => {
    isLate = true;
    kill();
  };
  let timer = setTimeout(expire, connectTimeoutMs);
  const output = new HostOutput(() => {
    clearTimeout(timer);
    timer = setTimeout(expire, TIMEOUT_MS);
  });
  let reason = '';
  child.stdout.on('data', (chunk: Buffer) => output.take(chunk));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    reason = (reason + text).slice(0, MAX_REASON_CHARACTERS);
  });
  child.stdin.on('error', () => undefined); // it has ended: its exit code tells
  child.stdin.write(`${JSON.stringify(request)}\n`);
  child.stdin.end(secret?.bytes());
  return await new Promise<StoreAnswer>((resolve, reject) => {
    child.once('error', (cause) => reject(unusable(cause)));
    child.once('close', (code) => {
      const answer = code === 0 ? output.answer() : undefined;
      if (answer !== undefined) resolve(answer);
      else reject(isLate ? silent() : unusable(new Error(reason)));
    });
  }).finally(() => {
    clearTimeout(timer);
    process.off('exit', kill);
    output.dispose();
  });
}

/** What the host writes, in memory that is zeroed. */
class HostOutput {
  readonly #bytes = Buffer.alloc(2 + MAX_SECRET_BYTES);
  readonly #onConnected: () => void;
  #length = 0;
  #isTooLong = false;

  constructor(onConnected: () => void) {
    this.#onConnected = onConnected;
  }

  take(chunk: Buffer): void {
    if (this.#length === 0 && chunk[0] === ANSWER.connected) this.#onConnected();
    const copied = chunk.copy(this.#bytes, this.#length);
    this.#length += copied;
    this.#isTooLong ||= copied < chunk.length;
    chunk.fill(0);
  }

  /** @returns Undefined if it is none. */
  answer(): StoreAnswer | undefined {
    const [connected, found] = this.#bytes;
    if (this.#isTooLong || this.#length < 2 || connected !== ANSWER.connected) return undefined;
    const content = this.#bytes.subarray(2, this.#length);
    return {
      found: found === ANSWER.yes,
      secret: content.length === 0 ? undefined : new Secret(Uint8Array.from(content)),
    };
  }

  dispose(): void {
    this.#bytes.fill(0);
  }
}

function silent(): SignetError {
  return new SignetError('UNAVAILABLE', "the system's keyring did not answer", { hint: 'unlock it, then try again' });
}

function unusable(cause: unknown): SignetError {
  return new SignetError('UNAVAILABLE', "the system's keyring cannot be used: no unlocked Secret Service answers", {
    hint: 'start one, such as gnome-keyring, and unlock it; or unlock keys by hand',
    cause,
  });
}
