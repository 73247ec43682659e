/**
 * PIV's management key, which writes to slots. It has no tries to lose, so that the factory's is simply looked at; any other
 * is in a file that the configuration names, or a person gives it.
 */
import { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { TokenAccess } from '../pkcs11/hooks.ts';
import { ANSWERS } from '../pkcs11/host-protocol.ts';
import type { BoundContext } from '../same-token.ts';
import { readPrivateSecret } from '../secret-file.ts';
import { libraryWarnings } from './library.ts';
import { readProtectedKey } from './protected-management-key.ts';
import { parseYubicoVersion } from './versions.ts';

/** Yubico's, the same on every new YubiKey; published, no secret. */
const FACTORY_KEY = '010203040506070801020304050607080102030405060708';
/** AES-128; 3DES and AES-192; AES-256. */
const HEX_DIGITS = [32, 48, 64];

export interface ManagementKeyOptions {
  /** With the key in hex, absolute; undefined: the factory's, the one that the YubiKey keeps under its PIN, a person's. */
  readonly file: string | undefined;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * @returns Hex digits. The caller disposes of it. The user may be logged out.
 * @throws {SignetError} PIN_REQUIRED if nobody has it; CONFIGURATION for a file that is of no use
 */
export async function obtainManagementKey(
  context: BoundContext,
  access: TokenAccess,
  { file, env }: ManagementKeyOptions,
): Promise<Secret> {
  if (file !== undefined) {
    return await tried(checked(await readPrivateSecret(file, 'management_key_file'), file), context, access);
  }
  const factory = Secret.fromText(FACTORY_KEY);
  if (await isRight(factory, context, access)) return factory;
  factory.dispose();
  const kept = await readProtectedKey(context, access, env);
  if (kept !== undefined) return await tried(kept, context, access);
  return await tried(await ask(context, access), context, access);
}

/** @throws {SignetError} PIN_INCORRECT */
async function tried(key: Secret, context: BoundContext, access: TokenAccess): Promise<Secret> {
  if (await isRight(key, context, access)) return key;
  key.dispose();
  throw new SignetError('PIN_INCORRECT', `${access.connection.name} refused the management key`, {
    hint: whatLibraryLacks(access) ?? 'it has no tries to lose: give the right one',
  });
}

/** Before version 2.3 the library refuses AES keys as if they were wrong. */
function whatLibraryLacks({ connection: { last } }: TokenAccess): string | undefined {
  return last && libraryWarnings(parseYubicoVersion(last.module.version))[0];
}

async function isRight(key: Secret, context: BoundContext, { connection, login }: TokenAccess): Promise<boolean> {
  try {
    await connection.request(context, { op: 'checkWriter' }, { parse: ANSWERS.none, blob: key.bytes() });
    return true;
  } catch (error) {
    if (error instanceof SignetError && error.code === 'PIN_INCORRECT') return false;
    throw error;
  } finally {
    login.noteLoggedOut();
  }
}

async function ask({ interaction, signal, token: began }: BoundContext, access: TokenAccess): Promise<Secret> {
  const { connection, login } = access;
  const token = login.identityOf(await connection.attach(began));
  const question = { token, secret: 'management-key', isNew: false, triesLeft: undefined, key: undefined } as const;
  const answer = await interaction?.pin(question, signal);
  if (answer !== undefined) return checked(answer, 'what was given');
  throw new SignetError('PIN_REQUIRED', `the management key of ${connection.name} is needed`, {
    hint:
      whatLibraryLacks(access) ??
      'it is not the factory key: put it, in hex, into a file and name that as management_key_file of the token',
  });
}

function checked(key: Secret, from: string): Secret {
  const text = Buffer.from(key.bytes()).toString('latin1');
  if (HEX_DIGITS.includes(text.length) && /^[0-9a-f]+$/i.test(text)) return key;
  key.dispose();
  throw new SignetError('CONFIGURATION', `${from} is no management key`, {
    hint: 'it has 32, 48 or 64 hexadecimal digits',
  });
}
