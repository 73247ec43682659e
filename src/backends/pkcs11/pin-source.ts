/**
 * Where PINs come from when no person is asked: a file, a systemd credential, the keyring of the desktop. A source says
 * which content it has now without telling anything that follows from the PIN, so that a PIN that was refused is known again
 * after a restart (pin-memory.ts).
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Secret } from '../../crypto/secret.ts';
import { fromNodeError, SignetError } from '../../errors.ts';
import { readPrivateSecret, readSecret } from '../secret-file.ts';
import type { TokenIdentity } from '../token-facts.ts';

export interface SourcedPin {
  /** The caller disposes of it. */
  readonly pin: Secret;
  /** The same text as long as the source has the same content. */
  readonly identity: string;
}

export interface PinSource {
  /** For messages and the state file: `pin-source /run/pin`. */
  readonly name: string;
  /** What a person does about a PIN that was refused, for a hint. */
  readonly remedy: string;
  /** @returns Undefined if it has none for this token. @throws {SignetError} CONFIGURATION, UNAVAILABLE */
  read(): Promise<SourcedPin | undefined>;
  /** Told when the token refused the PIN. @returns Whether it does not have that content any more. */
  refused?(): Promise<boolean>;
}

/** A PIN that a person had the desktop's keyring remember. */
export interface RememberedPin {
  /** @returns Undefined if there is none. */
  read(): Promise<Secret | undefined>;
  /** The token refused it. @returns Whether it is forgotten for certain. */
  forget(): Promise<boolean>;
}

export interface PinSourceOptions {
  /** `pin-source`: a file with the PIN, absolute. */
  readonly pinFile: string | undefined;
  /** systemd's `$CREDENTIALS_DIRECTORY`. */
  readonly credentialsDirectory?: string | undefined;
  /** Whether `signet-pin` may be meant: with several tokens only `signet-pin-SERIAL` says for which. */
  readonly isOnlyToken?: boolean | undefined;
  readonly rememberedPin?: ((token: TokenIdentity) => RememberedPin) | undefined;
}

/** In order: only the first one that has a PIN is ever used. */
export function pinSourcesOf(options: PinSourceOptions, token: TokenIdentity): readonly PinSource[] {
  const { pinFile, credentialsDirectory: directory, isOnlyToken = false, rememberedPin } = options;
  const credentials = [...(isName(token.serial) ? [`-${token.serial}`] : []), ...(isOnlyToken ? [''] : [])];
  return [
    ...(pinFile === undefined ? [] : [filePin(pinFile)]),
    ...(directory === undefined ? [] : credentials.map((suffix) => credentialPin(directory, `signet-pin${suffix}`))),
    ...(rememberedPin === undefined ? [] : [keyringPin(rememberedPin(token))]),
  ];
}

function filePin(path: string): PinSource {
  const name = `pin-source ${path}`;
  return {
    name,
    remedy: `correct the PIN in ${path}`,
    read: () =>
      readUnchanged(
        () => readPrivateSecret(path, 'pin-source'),
        async () => {
          const { dev, ino, size, mtimeNs } = await statOf(path, name);
          return [dev, ino, size, mtimeNs].join(' ');
        },
      ),
  };
}

/** systemd makes the file anew at each start, so that nothing but its length says whether it is the same. */
function credentialPin(directory: string, credential: string): PinSource {
  const path = join(directory, credential);
  const name = `the credential ${credential}`;
  return {
    name,
    remedy: 'correct it, then unlock one of the keys by hand once',
    read: () =>
      readUnchanged(
        () => readSecret(path),
        async () => String((await statOf(path, name)).size),
      ),
  };
}

/** What is remembered is forgotten as soon as it was refused. */
function keyringPin(remembered: RememberedPin): PinSource {
  return {
    name: 'the keyring',
    remedy: 'unlock one of the keys by hand',
    read: async () => {
      const pin = await remembered.read();
      return pin === undefined ? undefined : { pin, identity: 'remembered' };
    },
    refused: () => remembered.forget(),
  };
}

/** Reads again if the file was replaced meanwhile, so that PIN and identity belong together. */
async function readUnchanged(
  read: () => Promise<Secret | undefined>,
  identify: () => Promise<string>,
): Promise<SourcedPin | undefined> {
  let pin = await read();
  for (let identity: string | undefined; pin !== undefined; ) {
    const now = await identify();
    if (now === identity) return { pin, identity };
    identity = now;
    pin.dispose();
    pin = await read();
  }
  return undefined;
}

async function statOf(path: string, name: string) {
  return stat(path, { bigint: true }).catch((error: unknown) => {
    const { message } = fromNodeError(error, `${name} cannot be read`);
    throw new SignetError('CONFIGURATION', message, { cause: error });
  });
}

/** Serial numbers come from devices. One of zeros, which NSS and tpm2-pkcs11 give to every token, says nothing. */
function isName(serial: string): boolean {
  return /^[A-Za-z0-9._-]{1,32}$/.test(serial) && !/^0+$/.test(serial);
}
