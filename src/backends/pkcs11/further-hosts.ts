/**
 * The hosts of a token beyond the first one, for modules that can work in parallel processes. They help while they can: none
 * of their failures is a caller's.
 */
import type { WhichToken } from '../token-facts.ts';
import type { AttachedToken } from './token-connection.ts';

/** A connection that is one host's. */
export interface FurtherHost extends AsyncDisposable {
  readonly attached: AttachedToken | undefined;
  readonly isOpen: boolean;
  logout(): Promise<boolean>;
  release(): Promise<void>;
}

/**
 * Opens the token at a host, with a PIN that the token has taken already.
 *
 * @param token The only one that may be opened.
 * @param pin Undefined: the configured one.
 * @throws {SignetError} the token or its PIN is of no use there at present
 */
export type LoginAt<Host> = (host: Host, token: WhichToken, pin?: Uint8Array) => Promise<void>;

export class FurtherHosts<Host extends FurtherHost> implements AsyncDisposable {
  readonly #hosts: readonly Host[];
  readonly #login: LoginAt<Host>;
  readonly #onEvent: (what: string, error: unknown) => void;
  readonly #opening = new Set<Host>();
  /** The last failure that was told, until one of them works again. */
  #told: string | undefined;

  constructor(hosts: readonly Host[], login: LoginAt<Host>, onEvent: (what: string, error: unknown) => void) {
    this.#hosts = hosts;
    this.#login = login;
    this.#onEvent = onEvent;
  }

  /** The token at a host where it is open. */
  get open(): AttachedToken | undefined {
    return this.#hosts.find(({ isOpen }) => isOpen)?.attached;
  }

  /** Opens the token at every host where it is not, without waiting; for when it is open at another one. */
  tend(token: WhichToken): void {
    for (const host of this.#hosts) if (!host.isOpen) void this.#open(host, token);
  }

  /** To be called with a PIN that the token has taken. */
  async loginWith(token: WhichToken, pin: Uint8Array): Promise<void> {
    for (const host of this.#hosts) await this.#open(host, token, pin);
  }

  async logout(): Promise<void> {
    for (const host of this.#hosts) await host.logout();
  }

  async release(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host.release()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host[Symbol.asyncDispose]()));
  }

  async #open(host: Host, token: WhichToken, pin?: Uint8Array): Promise<void> {
    if (this.#opening.has(host)) return;
    this.#opening.add(host);
    try {
      await this.#login(host, token, pin);
      this.#told = undefined;
    } catch (error) {
      const message = error instanceof Error ? error.message : '';
      if (message !== this.#told) this.#onEvent('a further token host cannot help', error);
      this.#told = message;
    } finally {
      this.#opening.delete(host);
    }
  }
}
