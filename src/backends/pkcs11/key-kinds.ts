/** The kinds of keys that are made on tokens, and what a token must be able to do for each. */
import type { KeyAlgorithm } from '../../crypto/algorithms.ts';
import { curveByOpensslName } from '../../crypto/named-curves.ts';
import { type PublicKey, toKeyObject } from '../../crypto/public-key.ts';
import { SignetError } from '../../errors.ts';
import type { KeyRequest } from '../backend.ts';
import { CKA, CKM } from './constants.ts';
import type { ModuleProfile } from './profile.ts';
import { curveParams, ED25519_PARAMS, ED25519_PARAMS_BY_NAME } from './public-object.ts';
import type { Template } from './template.ts';

export type KeyKind = 'P-256' | 'P-384' | 'Ed25519' | 'RSA-2048' | 'RSA-3072' | 'RSA-4096';

/** CK_MECHANISM_INFO of one mechanism: key sizes in bits. */
export interface MechanismRange {
  readonly mechanism: number;
  readonly minBits: number;
  readonly maxBits: number;
}

interface KindRow {
  readonly algorithm: KeyAlgorithm;
  /** Of curve or modulus. Undefined where modules tell sizes in units of their own: having the mechanism is enough. */
  readonly bits: number | undefined;
  readonly generateMechanism: number;
  readonly signMechanism: number;
}

const EC = { algorithm: 'ecdsa', generateMechanism: CKM.EC_KEY_PAIR_GEN, signMechanism: CKM.ECDSA } as const;
const RSA = {
  algorithm: 'rsa',
  generateMechanism: CKM.RSA_PKCS_KEY_PAIR_GEN,
  signMechanism: CKM.RSA_PKCS_PSS,
} as const;

const KINDS = {
  'P-256': { ...EC, bits: 256 },
  'P-384': { ...EC, bits: 384 },
  Ed25519: {
    algorithm: 'ed25519',
    bits: undefined,
    generateMechanism: CKM.EC_EDWARDS_KEY_PAIR_GEN,
    signMechanism: CKM.EDDSA,
  },
  'RSA-2048': { ...RSA, bits: 2048 },
  'RSA-3072': { ...RSA, bits: 3072 },
  'RSA-4096': { ...RSA, bits: 4096 },
} as const satisfies Record<KeyKind, KindRow>;

/** Every mechanism that decides what a token can do. */
export const KIND_MECHANISMS: readonly number[] = [
  ...new Set(Object.values(KINDS).flatMap((row) => [row.generateMechanism, row.signMechanism])),
];

const RSA_EXPONENT = Buffer.from('010001', 'hex');

/** @throws {SignetError} INVALID_ARGUMENT for a curve or a size that does not belong to the algorithm */
export function kindOf({ algorithm, curve, modulusBits }: Omit<KeyRequest, 'role' | 'gun'>): KeyKind {
  if (curve !== undefined && algorithm !== 'ecdsa') {
    throw new SignetError('INVALID_ARGUMENT', `${algorithm} keys have no choice of a curve`);
  }
  if (modulusBits !== undefined && algorithm !== 'rsa') {
    throw new SignetError('INVALID_ARGUMENT', `${algorithm} keys have no modulus`);
  }
  switch (algorithm) {
    case 'ecdsa':
      return curve ?? 'P-256';
    case 'ed25519':
      return 'Ed25519';
    case 'rsa':
      return `RSA-${modulusBits ?? 3072}`; // SP 800-57 part 1, table 2: as strong as P-256
  }
}

/** Whether a token with these mechanisms makes such keys and signs with them. */
export function canMake(kind: KeyKind, mechanisms: readonly MechanismRange[]): boolean {
  const { bits, generateMechanism, signMechanism } = KINDS[kind];
  return [generateMechanism, signMechanism].every((mechanism) => {
    const range = mechanisms.find((candidate) => candidate.mechanism === mechanism);
    return range !== undefined && (bits === undefined || isWithin(bits, range));
  });
}

/** Whether a token with these mechanisms signs with a key of its own size, as `KINDS` would have it. */
export function canSign(key: PublicKey, mechanisms: readonly MechanismRange[]): boolean {
  const { signMechanism } = KINDS[kindOf({ algorithm: key.algorithm })];
  const range = mechanisms.find(({ mechanism }) => mechanism === signMechanism);
  return range !== undefined && (key.algorithm === 'ed25519' || isWithin(bitsOf(key), range));
}

/** Of curve or modulus. */
function bitsOf(key: PublicKey): number {
  const { namedCurve, modulusLength = 0 } = toKeyObject(key).asymmetricKeyDetails ?? {};
  const curve = curveByOpensslName(namedCurve);
  return curve === undefined ? modulusLength : Number(curve.name.slice('P-'.length));
}

/** A maximum of 0 means that the module does not tell. */
function isWithin(bits: number, { minBits, maxBits }: MechanismRange): boolean {
  return maxBits === 0 || (minBits <= bits && bits <= maxBits);
}

/** The algorithms whose default kind a token makes. */
export function algorithmsOf(mechanisms: readonly MechanismRange[]): KeyAlgorithm[] {
  const algorithms: readonly KeyAlgorithm[] = ['ecdsa', 'ed25519', 'rsa'];
  return algorithms.filter((algorithm) => canMake(kindOf({ algorithm }), mechanisms));
}

/** CKA_EC_PARAMS of Ed25519, as a module wants it. */
export function edwardsParams(profile: Pick<ModuleProfile, 'edwardsParams'>): Buffer {
  return profile.edwardsParams === 'name' ? ED25519_PARAMS_BY_NAME : ED25519_PARAMS;
}

/** Mechanism and public template to make a key with. */
export function generationOf(
  kind: KeyKind,
  profile: Pick<ModuleProfile, 'edwardsParams'>,
): readonly [mechanism: number, publicTemplate: Template] {
  const { generateMechanism } = KINDS[kind];
  switch (kind) {
    case 'P-256':
      return [generateMechanism, [[CKA.EC_PARAMS, paramsOf('prime256v1')]]];
    case 'P-384':
      return [generateMechanism, [[CKA.EC_PARAMS, paramsOf('secp384r1')]]];
    case 'Ed25519':
      return [generateMechanism, [[CKA.EC_PARAMS, edwardsParams(profile)]]];
    case 'RSA-2048':
    case 'RSA-3072':
    case 'RSA-4096':
      return [
        generateMechanism,
        [
          [CKA.MODULUS_BITS, KINDS[kind].bits],
          [CKA.PUBLIC_EXPONENT, RSA_EXPONENT],
        ],
      ];
  }
}

function paramsOf(opensslName: string): Buffer {
  const curve = curveByOpensslName(opensslName);
  if (curve === undefined) throw new SignetError('INTERNAL', `${opensslName} is not in the table of curves`);
  return curveParams(curve);
}
