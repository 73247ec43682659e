/** `yubikey:serial=12345678?pin-source=file:/path`: the form of RFC 7512 with the few attributes that a YubiKey needs. */
import { SignetError } from '../../errors.ts';
import { parsePkcs11Uri } from '../pkcs11/uri.ts';

export interface YubikeyUri {
  /** Decimal, as printed on the device. Undefined: the only one that is plugged in. */
  readonly serial?: string;
  readonly pinSource?: string;
  /** Yubico's library; undefined: where it usually is. */
  readonly modulePath?: string;
}

const SCHEME = 'yubikey:';
/** 32 bits. */
const MAX_SERIAL = 0xffffffff;
const HINT = 'write it as yubikey:serial=12345678?pin-source=file:/path';

function invalid(problem: string, hint = HINT): SignetError {
  return new SignetError('INVALID_ARGUMENT', `malformed yubikey URI: ${problem}`, { hint });
}

/** Whether a text means to be such a URI. */
export function isYubikeyUri(text: string): boolean {
  return text.slice(0, SCHEME.length).toLowerCase() === SCHEME;
}

/** @throws {SignetError} INVALID_ARGUMENT; values are not quoted in the message */
export function parseYubikeyUri(text: string): YubikeyUri {
  if (!isYubikeyUri(text)) throw invalid('it does not begin with "yubikey:"');
  const { serial, pinSource, modulePath, ...others } = parseAttributes(text.slice(SCHEME.length));
  const [other] = Object.keys(others);
  if (other !== undefined) throw invalid('it has other attributes than serial, pin-source and module-path');
  if (serial !== undefined && !isSerial(serial)) throw invalid('serial is not the number printed on the device');
  return {
    ...(serial === undefined ? {} : { serial }),
    ...(pinSource === undefined ? {} : { pinSource }),
    ...(modulePath === undefined ? {} : { modulePath }),
  };
}

function parseAttributes(text: string): ReturnType<typeof parsePkcs11Uri> {
  try {
    return parsePkcs11Uri(`pkcs11:${text}`);
  } catch (error) {
    if (!(error instanceof SignetError)) throw error;
    throw invalid(error.message.replace(/^malformed pkcs11 URI: /, ''), error.hint);
  }
}

function isSerial(text: string): boolean {
  return /^[1-9]\d{0,9}$/.test(text) && Number(text) <= MAX_SERIAL;
}

/** How messages name the YubiKey: without PIN source and module. */
export function nameOfYubikey({ serial }: Pick<YubikeyUri, 'serial'>): string {
  return serial === undefined ? SCHEME : `${SCHEME}serial=${serial}`;
}
