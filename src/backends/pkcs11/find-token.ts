/** Which of a module's tokens is meant. */
import { SignetError } from '../../errors.ts';
import { CKF_TOKEN } from './constants.ts';
import { ANSWERS, type TokenFacts } from './host-protocol.ts';
import type { TokenHost } from './token-host.ts';
import { formatPkcs11Uri, type Pkcs11Uri } from './uri.ts';

export interface WantedToken {
  readonly uri: Pkcs11Uri & { readonly modulePath: string };
  /** How people know it. */
  readonly name: string;
  /** Whether that is the name of a device, of which the serial number alone is written into the URI. */
  readonly isDevice: boolean;
}

/** Tokens that are told apart in a hint. */
const MAX_DISTINCTIONS = 5;
/** Slots that a message names. */
const MAX_NAMED_SLOTS = 4;

/**
 * The one token that the URI matches (RFC 7512 §2.4). Some modules look for tokens only when they start: if there is none,
 * the module is started again once.
 *
 * @param which Blank tokens have no label yet, so that theirs is not compared; one with the label comes first.
 * @throws {SignetError} TOKEN_NOT_PRESENT, CONFIGURATION if several match; what the module says
 */
export async function findToken(
  host: TokenHost,
  wanted: WantedToken,
  which: 'initialised' | 'also blank',
): Promise<TokenFacts> {
  const { token: _, ...unlabelled } = wanted.uri;
  for (const fresh of [false, true]) {
    const { value: tokens } = await host.request({ op: 'tokens', fresh }, { parse: ANSWERS.tokens });
    const initialised = tokens.filter((token) => isInitialised(token) && matches(wanted.uri, token));
    const blank = tokens.filter((token) => !isInitialised(token) && matches(unlabelled, token));
    const [match, ...others] = which === 'initialised' || initialised.length > 0 ? initialised : blank;
    if (match !== undefined && others.length > 0) throw several(wanted, [match, ...others]);
    if (match !== undefined) return match;
  }
  throw none(wanted, await emptySlots(host));
}

/** Whether it has been given a label and PINs. */
export function isInitialised({ flags }: TokenFacts): boolean {
  return (flags & CKF_TOKEN.TOKEN_INITIALIZED) !== 0;
}

function matches(uri: Pkcs11Uri, token: TokenFacts): boolean {
  const wanted: readonly (readonly [string | undefined, string])[] = [
    [uri.token, token.label],
    [uri.serial, token.serial],
    [uri.manufacturer, token.manufacturer],
    [uri.model, token.model],
    [uri.slotId?.toString(), token.slotId],
    [uri.slotDescription, token.slotDescription],
    [uri.slotManufacturer, token.slotManufacturer],
  ];
  return wanted.every(([want, have]) => want === undefined || want === have);
}

/** The hint is what to write into the URI so that it names one of them. */
function several({ name, isDevice }: WantedToken, tokens: readonly TokenFacts[]): SignetError {
  const shown = tokens.slice(0, MAX_DISTINCTIONS);
  const serials = () => shown.map(({ serial }) => `serial=${serial}`).join(' or ');
  const hint = isDevice
    ? `add the serial number to the URI: ${serials()}`
    : `name one of them in the configuration: ${shown.map((token) => uriOf(token, shown)).join(', ')}`;
  return new SignetError('CONFIGURATION', `${tokens.length} tokens match ${name}`, { hint });
}

function uriOf({ label: token, serial, slotId }: TokenFacts, among: readonly TokenFacts[]): string {
  const isUnique = among.filter((other) => other.label === token && other.serial === serial).length === 1;
  return formatPkcs11Uri({ token, serial, ...(isUnique ? {} : { slotId: Number(slotId) }) });
}

/** @returns None where the module does not tell: why there is no token is what the caller is told. */
async function emptySlots(host: TokenHost): Promise<readonly string[]> {
  const answer = host.request({ op: 'emptySlots' }, { parse: ANSWERS.emptySlots });
  return await answer.then(
    ({ value }) => [...new Set(value)].slice(0, MAX_NAMED_SLOTS),
    () => [],
  );
}

/** PKCS#11 shows an empty reader and one whose card another program has for itself (SCARD_SHARE_EXCLUSIVE) as the same. */
function none({ name, uri: { modulePath } }: WantedToken, slots: readonly string[]): SignetError {
  const list = `list the tokens with: pkcs11-tool --module ${modulePath} -L`;
  if (slots.length === 0) {
    return new SignetError('TOKEN_NOT_PRESENT', `no token matches ${name}`, { hint: `plug it in, or ${list}` });
  }
  const where = slots.map((slot) => JSON.stringify(slot)).join(', ');
  const what = `no token matches ${name}; there is none in ${where}, or another program has it for itself`;
  return new SignetError('TOKEN_NOT_PRESENT', what, {
    hint: `plug it in, or end the other program (gpg's: gpgconf --kill scdaemon), or ${list}`,
  });
}
