/** What is said to a module about a key that it makes or takes. */
import { SignetError } from '../../errors.ts';
import { CKA, CKK, type CKO } from './constants.ts';
import type { KeyFacts } from './host-protocol.ts';
import { edwardsParams } from './key-kinds.ts';
import type { ModuleProfile, OptionalAttribute } from './profile.ts';
import { decodeAttributes } from './public-object.ts';
import type { AttributeValue, Template } from './template.ts';

/** What both halves of a pair have in common. */
export interface PairName {
  readonly id: Uint8Array;
  readonly label: Uint8Array;
}

/** The public half is readable without a login, so that keys can be listed before the PIN is given. */
export function publicTemplate({ id, label }: PairName, refused: readonly OptionalAttribute[]): Template {
  return [
    [CKA.TOKEN, true],
    [CKA.PRIVATE, false],
    [CKA.ID, id],
    [CKA.LABEL, label],
    ...without(refused, [['VERIFY', true]]),
  ];
}

/** Everything is said: modules have defaults that let keys out. @param refused What this module does not take. */
export function privateTemplate({ id, label }: PairName, refused: readonly OptionalAttribute[]): Template {
  return [
    [CKA.TOKEN, true],
    [CKA.ID, id],
    ...without(refused, [
      ['PRIVATE', true],
      ['SENSITIVE', true],
      ['EXTRACTABLE', false],
      ['SIGN', true],
      ['DECRYPT', false],
      ['UNWRAP', false],
      ['DERIVE', false],
      ['LABEL', label],
    ]),
  ];
}

function without(
  refused: readonly OptionalAttribute[],
  wanted: readonly (readonly [OptionalAttribute, AttributeValue])[],
): Template {
  return wanted.filter(([name]) => !refused.includes(name)).map(([name, value]) => [CKA[name], value] as const);
}

/** The public numbers of a key, as attributes in the form that a module wants. */
export function publicValues(
  key: Omit<KeyFacts, 'hasPrivate'>,
  profile: Pick<ModuleProfile, 'edwardsParams'>,
): Template {
  const { keyType, ecParams, ecPoint, modulus, publicExponent } = decodeAttributes(key);
  const named: readonly (readonly [number, AttributeValue | undefined])[] = [
    [CKA.EC_PARAMS, keyType === CKK.EC_EDWARDS ? edwardsParams(profile) : ecParams],
    [CKA.EC_POINT, ecPoint],
    [CKA.MODULUS, modulus],
    [CKA.PUBLIC_EXPONENT, publicExponent],
  ];
  return named.flatMap(([type, value]) => (value === undefined ? [] : [[type, value] as const]));
}

/** @param parts As `privateKeyParts` gives them. @throws {SignetError} INVALID_ARGUMENT */
export function privateValues(keyType: number, parts: readonly Uint8Array[]): Template {
  const rsa = [CKA.PRIVATE_EXPONENT, CKA.PRIME_1, CKA.PRIME_2, CKA.EXPONENT_1, CKA.EXPONENT_2, CKA.COEFFICIENT];
  const types = keyType === CKK.RSA ? rsa : [CKA.VALUE];
  if (parts.length !== types.length) throw new SignetError('INVALID_ARGUMENT', 'incomplete private key');
  return types.map((type, index) => [type, parts[index] ?? Buffer.alloc(0)] as const);
}

/** Class and type, for C_CreateObject. */
export function keyClass(objectClass: typeof CKO.PUBLIC_KEY | typeof CKO.PRIVATE_KEY, keyType: number): Template {
  return [
    [CKA.CLASS, objectClass],
    [CKA.KEY_TYPE, keyType],
  ];
}
