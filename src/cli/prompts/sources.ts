/** Secrets that come from somewhere else than a person: files, file descriptors, and the variables of notary and docker. */
import { fstatSync, readSync } from 'node:fs';
import { resolve } from 'node:path';
import { readPrivateSecret } from '../../backends/secret-file.ts';
import { Secret } from '../../crypto/secret.ts';
import { fromNodeError, SignetError } from '../../errors.ts';
import { passphraseVariables } from '../../passphrase-variables.ts';

/** Longer secrets than this are a mistaken file. */
const MAX_SECRET_BYTES = 4096;

/** The command line's options of the same names. */
export interface SecretOptions {
  readonly passphraseFile?: string | undefined;
  readonly passphraseFd?: string | undefined;
  readonly pinFile?: string | undefined;
  readonly pinFd?: string | undefined;
}

export interface FoundSecret {
  /** The caller disposes of it. */
  readonly secret: Secret;
  /** For messages: the file, descriptor or variable. */
  readonly origin: string;
}

export class SecretSources implements Disposable {
  readonly #options: SecretOptions;
  readonly #env: NodeJS.ProcessEnv;
  /** A descriptor can be read only once. */
  readonly #read = new Map<string, Secret>();

  /** @throws {SignetError} INVALID_ARGUMENT for two sources of one secret */
  constructor(options: SecretOptions, env: NodeJS.ProcessEnv) {
    for (const [file, fd, what] of [
      [options.passphraseFile, options.passphraseFd, 'passphrase'],
      [options.pinFile, options.pinFd, 'pin'],
    ]) {
      if (file === undefined || fd === undefined) continue;
      throw new SignetError('INVALID_ARGUMENT', `--${what}-file and --${what}-fd exclude each other`);
    }
    this.#options = options;
    this.#env = env;
  }

  /**
   * For a key: what the command line names, else the first variable that is set for the key's role.
   *
   * @throws {SignetError} CONFIGURATION for a file that cannot be used, INVALID_ARGUMENT for a descriptor
   */
  async passphrase(role: string): Promise<FoundSecret | undefined> {
    const named = await this.namedPassphrase();
    if (named !== undefined) return named;
    for (const origin of passphraseVariables(role)) {
      const value = this.#env[origin];
      if (value) return { secret: Secret.fromText(value), origin };
    }
    return undefined;
  }

  /** For what is not a key of a role, as an archive: only what the command line names. @throws as `passphrase` */
  async namedPassphrase(): Promise<FoundSecret | undefined> {
    return await this.#named(this.#options.passphraseFile, this.#options.passphraseFd, '--passphrase');
  }

  /** Never from a variable. @throws as `passphrase` */
  async pin(): Promise<FoundSecret | undefined> {
    return await this.#named(this.#options.pinFile, this.#options.pinFd, '--pin');
  }

  async #named(file: string | undefined, fd: string | undefined, option: string): Promise<FoundSecret | undefined> {
    if (file !== undefined) {
      const path = resolve(file);
      return { secret: await readPrivateSecret(path, `${option}-file`), origin: path };
    }
    if (fd === undefined) return undefined;
    const origin = `file descriptor ${fd}`;
    const known = this.#read.get(fd) ?? readDescriptor(fd, `${option}-fd`);
    this.#read.set(fd, known);
    return { secret: known.clone(), origin };
  }

  [Symbol.dispose](): void {
    for (const secret of this.#read.values()) secret.dispose();
  }
}

/** Up to the first line break or the end. */
function readDescriptor(text: string, option: string): Secret {
  const fd = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  const buffer = Buffer.alloc(MAX_SECRET_BYTES);
  let length = 0;
  try {
    if (Number.isNaN(fd)) throw new SignetError('INVALID_ARGUMENT', `${option} needs the number of a file descriptor`);
    fstatSync(fd);
    while (length < buffer.length && !buffer.subarray(0, length).includes(0x0a)) {
      const bytesRead = readSync(fd, buffer, length, buffer.length - length, null);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    const lineEnd = buffer.subarray(0, length).indexOf(0x0a);
    let end = lineEnd < 0 ? length : lineEnd;
    if (buffer[end - 1] === 0x0d) end--;
    if (end > 0) return new Secret(Buffer.alloc(end, buffer.subarray(0, end)));
    throw new SignetError('INVALID_ARGUMENT', `${option} ${fd}: nothing was written to it`);
  } catch (error) {
    const { message } = fromNodeError(error, `${option} ${text} cannot be read`);
    throw new SignetError('INVALID_ARGUMENT', message, { cause: error });
  } finally {
    buffer.fill(0);
  }
}
