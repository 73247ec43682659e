/** Tells when a YubiKey is plugged in or out, as the USB bus has it: a hint to look, never a fact to rely on. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { moduleEnvironment } from '../pkcs11/child-environment.ts';

export type UsbEvent = 'connect' | 'disconnect';

export interface UsbEventsOptions {
  readonly env: NodeJS.ProcessEnv;
  /** usb-watcher.js; for tests, which run from the sources. */
  readonly entry?: string | undefined;
  readonly onEvent: (event: UsbEvent) => void;
  /** For the log: whether there is a bus to listen to. */
  readonly onState: (what: string) => void;
}

/** A machine without USB, or one that does not let us listen, is no failure: then there are no hints. */
export class UsbEvents implements Disposable {
  readonly #child: ChildProcess;
  #isListening = false;
  #isDisposed = false;

  constructor({ env, entry, onEvent, onState }: UsbEventsOptions) {
    const path = entry ?? fileURLToPath(new URL('./usb-watcher.js', import.meta.url));
    this.#child = fork(path, [], {
      env: moduleEnvironment(env),
      execArgv: [],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    // Neither the process nor the channel keeps the daemon from ending.
    this.#child.unref();
    this.#child.channel?.unref();
    this.#child.on('message', (message) => {
      if (message === 'connect' || message === 'disconnect') onEvent(message);
      if (message !== 'listening') return;
      this.#isListening = true;
      onState('the USB bus tells when YubiKeys come and go');
    });
    const ended = () => {
      if (!this.#isDisposed)
        onState('the USB bus does not tell when YubiKeys come and go: they are looked for each second');
    };
    this.#child.once('error', ended);
    this.#child.once('exit', ended);
  }

  /** Whether events are to be expected. */
  get isListening(): boolean {
    return this.#isListening;
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    if (this.#child.connected) this.#child.disconnect();
  }
}
