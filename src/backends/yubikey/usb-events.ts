/** Tells when a YubiKey is plugged in or out, as the USB bus has it: a hint to look, never a fact to rely on. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { moduleEnvironment } from '../pkcs11/child-environment.ts';

export type UsbEvent = 'connect' | 'disconnect';

export interface UsbListener {
  readonly onEvent: (event: UsbEvent) => void;
  /** For the log: whether there is a bus to listen to. */
  readonly onState: (what: string) => void;
}

const LISTENING = 'the USB bus tells when YubiKeys come and go';
const ENDED = 'the USB bus does not tell when YubiKeys come and go: they are looked for each second';

/** One for all YubiKeys of a daemon. */
let shared: Watcher | undefined;

/**
 * A machine without USB, or one that does not let us listen, is no failure: then there are no hints.
 *
 * @param env Of the process that listens.
 * @param entry usb-watcher.js; for tests, which run from the sources.
 */
export function listenToUsb(listener: UsbListener, env: NodeJS.ProcessEnv, entry?: string): Disposable {
  shared ??= new Watcher(env, entry ?? fileURLToPath(new URL('./usb-watcher.js', import.meta.url)));
  const watcher = shared;
  watcher.add(listener);
  return {
    [Symbol.dispose]: () => {
      if (watcher.remove(listener) === 0 && shared === watcher) shared = undefined;
    },
  };
}

class Watcher {
  readonly #child: ChildProcess;
  readonly #listeners = new Set<UsbListener>();
  #state: string | undefined;

  constructor(env: NodeJS.ProcessEnv, entry: string) {
    this.#child = fork(entry, [], {
      env: moduleEnvironment(env),
      execArgv: [],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    // Neither the process nor the channel keeps the daemon from ending.
    this.#child.unref();
    this.#child.channel?.unref();
    this.#child.on('message', (message) => {
      if (message === 'listening') this.#tell(LISTENING);
      if (message !== 'connect' && message !== 'disconnect') return;
      for (const { onEvent } of this.#listeners) onEvent(message);
    });
    const ended = () => this.#tell(ENDED);
    this.#child.once('error', ended);
    this.#child.once('exit', ended);
  }

  add(listener: UsbListener): void {
    this.#listeners.add(listener);
    if (this.#state !== undefined) listener.onState(this.#state);
  }

  /** The last one to go ends the process. @returns How many are left */
  remove(listener: UsbListener): number {
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0 && this.#child.connected) this.#child.disconnect();
    return this.#listeners.size;
  }

  #tell(state: string): void {
    if (this.#state === state) return;
    this.#state = state;
    for (const { onState } of this.#listeners) onState(state);
  }
}
