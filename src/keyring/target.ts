/** Which home a new key goes to, where the caller says more than `placement` does. */
import type { KeyBackend, KeyRequest } from '../backends/backend.ts';
import type { TokenDescription, WhichToken } from '../backends/token-facts.ts';
import { SignetError } from '../errors.ts';

/** Absent members leave it to `placement`. */
export interface Target {
  /** Name of a backend, or `storage`. */
  readonly backend?: string | undefined;
  /** Serial number of a token. */
  readonly serial?: string | undefined;
  /** Another name of a token. */
  readonly token?: TokenName | undefined;
  /** Refuse any home that is not a token. */
  readonly requireHardware?: boolean | undefined;
}

/** What somebody calls a token. */
export interface TokenName {
  /** As it was written. */
  readonly text: string;
  /** The `location` of a backend that it is, if there is one with it; undefined: it is no URI. */
  readonly location: string | undefined;
  /** Something that it says and no `TokenDescription` tells: then it means a location, or nothing. */
  readonly untold: string | undefined;
  /** Whether a token may be called so. */
  readonly fits: (token: TokenDescription) => boolean;
}

/** All that is given must be right. */
export interface TokenChoice {
  readonly serial?: string | undefined;
  readonly label?: string | undefined;
  readonly name?: TokenName | undefined;
}

/** A home, and the token that it had when it was chosen; undefined where its name alone says which one it is. */
export interface ChosenToken {
  readonly home: KeyBackend;
  readonly which: WhichToken | undefined;
}

/** What a target leaves. */
export interface Narrowed {
  readonly homes: readonly KeyBackend[];
  /** The only token that is meant: another one may be in its place by the time that something is done. */
  readonly which: WhichToken | undefined;
}

/** A home that is a device. */
export function isToken(home: KeyBackend): boolean {
  return home.token !== undefined;
}

/**
 * Leaves the homes that the target allows.
 *
 * @throws {SignetError} as `chooseToken`; TOKEN_NOT_PRESENT if hardware is required and none of the homes is a token
 */
export async function narrow(
  homes: readonly KeyBackend[],
  { serial, token: name, requireHardware = false }: Target,
  role: string,
): Promise<Narrowed> {
  if (serial !== undefined || name !== undefined) {
    const { home, which } = await chooseToken(homes, { serial, name });
    return { homes: [home], which };
  }
  if (!requireHardware) return { homes, which: undefined };
  const tokens = homes.filter(isToken);
  if (tokens.length > 0) return { homes: tokens, which: undefined };
  const names = homes.map(({ name }) => name).join(', ') || 'none';
  throw new SignetError('TOKEN_NOT_PRESENT', `no token is configured for keys of role "${role}", only: ${names}`, {
    hint: 'add one to "tokens", and its backend to "placement"',
  });
}

/**
 * The one token that is meant.
 *
 * @throws {SignetError} TOKEN_NOT_PRESENT, INVALID_ARGUMENT if several tokens answer to that, or why the only token that
 *   could be the one cannot be asked
 */
export async function chooseToken(homes: readonly KeyBackend[], choice: TokenChoice): Promise<ChosenToken> {
  const tokens = homes.filter(isToken);
  const { name } = choice;
  const named = tokens.filter(({ location }) => location === name?.location);
  // A token that is away cannot be asked, and is named by its location all the same.
  if (named[0] !== undefined && named.length === 1 && saysOnlyName(choice)) return { home: named[0], which: undefined };
  if (named.length === 0 && name?.untold !== undefined) {
    throw new SignetError('INVALID_ARGUMENT', `no configured token is ${JSON.stringify(name.text)}`, {
      hint: `write it as one of: ${locations(tokens)}`,
    });
  }
  const answers: Answer[] = [];
  let failure: unknown;
  for (const home of named.length > 0 ? named : tokens) {
    try {
      const token = await home.token?.describe();
      if (token !== undefined) answers.push({ home, token });
    } catch (error) {
      failure ??= error;
    }
  }
  const matches = answers.filter(({ token }) => fits(token, choice));
  const [match, ...others] = matches;
  // Never the first of them: what is asked for may erase it.
  if (others.length > 0) throw ambiguous(matches, tokens, choice);
  if (match !== undefined) return { home: match.home, which: match.token.identity };
  if (answers.length === 0 && failure !== undefined) throw failure;
  const known = answers.map(({ token }) => token.identity.serial).join(', ');
  const hint =
    name === undefined ? `those that answer are: ${known}` : `those that are configured are: ${locations(tokens)}`;
  throw new SignetError('TOKEN_NOT_PRESENT', `no configured token ${description(choice)}`, {
    hint: tokens.length === 0 ? 'add the token to "tokens"' : hint,
  });
}

interface Answer {
  readonly home: KeyBackend;
  readonly token: TokenDescription;
}

function saysOnlyName({ serial, label }: TokenChoice): boolean {
  return serial === undefined && label === undefined;
}

function fits(token: TokenDescription, { serial, label, name }: TokenChoice): boolean {
  const { identity } = token;
  if (serial !== undefined && identity.serial !== serial) return false;
  if (label !== undefined && identity.label !== label) return false;
  return name === undefined || name.fits(token);
}

function ambiguous(matches: readonly Answer[], tokens: readonly KeyBackend[], choice: TokenChoice): SignetError {
  const names = matches.map(({ home, token }) => {
    const isUnique = tokens.filter(({ location }) => location === home.location).length === 1;
    return isUnique ? home.location : `${home.location}?module-path=${encodeURI(token.modulePath)}`;
  });
  return new SignetError(
    'INVALID_ARGUMENT',
    `${matches.length} configured tokens ${description(choice, true)}`,
    new Set(names).size === names.length
      ? { hint: `name one of them by its URI: ${quoted(names)}` }
      : { hint: 'nothing tells them apart: give one of them another label, or configure only one' },
  );
}

function description({ serial, label, name }: TokenChoice, isPlural = false): string {
  const have = isPlural ? 'have' : 'has';
  const facts = [
    ...(serial === undefined ? [] : [`the serial number ${JSON.stringify(serial)}`]),
    ...(label === undefined ? [] : [`the label ${JSON.stringify(label)}`]),
  ];
  const called = name === undefined ? [] : [`${isPlural ? 'answer' : 'answers'} to ${JSON.stringify(name.text)}`];
  return [...(facts.length === 0 ? [] : [`${have} ${facts.join(' and ')}`]), ...called].join(' and ');
}

/** How the tokens are named, for hints. */
export function locations(tokens: readonly KeyBackend[]): string {
  return quoted(tokens.map(({ location }) => location));
}

/** A shell would end a command at the ";" of a URI. */
function quoted(names: readonly string[]): string {
  return names.map((name) => JSON.stringify(name)).join(', ');
}

/** What is asked for must be possible there: a request that is half granted is a surprise. @throws {SignetError} UNSUPPORTED */
export function checkFits(home: KeyBackend, { device, passphrase }: Pick<KeyRequest, 'device' | 'passphrase'>): void {
  if (device !== undefined && !isToken(home)) {
    throw new SignetError('UNSUPPORTED', `${home.location} is no token: it has no slots and no PIN or touch policies`, {
      hint: 'leave them out, or name a token',
    });
  }
  if (passphrase !== undefined && home.passphrases === undefined) {
    throw new SignetError('UNSUPPORTED', `keys in ${home.location} have no passphrase of their own`, {
      hint: 'leave the passphrase out',
    });
  }
}
