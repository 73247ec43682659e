/** What a client calls a token: a serial number, a label, or a URI as in the configuration. */
import { formatPkcs11Uri, type Pkcs11Uri, parsePkcs11Uri } from '../../backends/pkcs11/uri.ts';
import { isYubikeyUri, nameOfYubikey, parseYubikeyUri } from '../../backends/yubikey/uri.ts';
import type { TokenName } from '../../keyring/target.ts';

const PKCS11_URI = /^pkcs11:/i;

/**
 * @param text '' or absent: no name.
 * @throws {SignetError} INVALID_ARGUMENT for a malformed URI
 */
export function tokenNameOf(text: string | undefined): TokenName | undefined {
  if (!text) return undefined;
  if (isYubikeyUri(text)) return yubikeyName(text);
  if (PKCS11_URI.test(text)) return pkcs11Name(text);
  return {
    text,
    location: undefined,
    untold: undefined,
    fits: ({ identity }) => identity.serial === text || identity.label === text,
  };
}

function yubikeyName(text: string): TokenName {
  const { serial, modulePath } = parseYubikeyUri(text);
  return {
    text,
    location: nameOfYubikey(serial === undefined ? {} : { serial }),
    untold: undefined,
    fits: (told) =>
      told.identity.backend === 'yubikey' &&
      isEqual(serial, told.identity.serial) &&
      isEqual(modulePath, told.modulePath),
  };
}

/** The PIN source that a URI of the configuration has is passed over. */
function pkcs11Name(text: string): TokenName {
  const { pinSource: _, moduleName: __, modulePath, ...path } = parsePkcs11Uri(text);
  const { token, serial, manufacturer, model, ...others } = path;
  const [untold] = Object.keys(others) as (keyof Pkcs11Uri)[];
  return {
    text,
    location: formatPkcs11Uri(path),
    untold,
    fits: (told) =>
      isEqual(token, told.identity.label) &&
      isEqual(serial, told.identity.serial) &&
      isEqual(manufacturer, told.manufacturer) &&
      isEqual(model, told.model) &&
      isEqual(modulePath, told.modulePath),
  };
}

function isEqual(wanted: string | undefined, told: string): boolean {
  return wanted === undefined || wanted === told;
}
