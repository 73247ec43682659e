/** What the numbers in PIV commands mean: instructions, algorithms, slots, policies, and since which firmware. */

/** NIST SP 800-73-4 Part 2 and Yubico's extensions to it. */
export const INSTRUCTION = {
  VERIFY: 0x20,
  CHANGE_REFERENCE_DATA: 0x24,
  RESET_RETRY_COUNTER: 0x2c,
  GENERATE_ASYMMETRIC: 0x47,
  GENERAL_AUTHENTICATE: 0x87,
  SELECT: 0xa4,
  GET_RESPONSE: 0xc0,
  GET_DATA: 0xcb,
  PUT_DATA: 0xdb,
  MOVE_KEY: 0xf6,
  GET_METADATA: 0xf7,
  GET_SERIAL: 0xf8,
  ATTEST: 0xf9,
  SET_PIN_RETRIES: 0xfa,
  RESET: 0xfb,
  GET_VERSION: 0xfd,
  IMPORT_KEY: 0xfe,
  SET_MANAGEMENT_KEY: 0xff,
} as const;

export type InstructionName = keyof typeof INSTRUCTION;

const INSTRUCTION_NAMES: ReadonlyMap<number, InstructionName> = new Map(
  Object.entries(INSTRUCTION).map(([name, code]) => [code, name as InstructionName]),
);

/** The name of an INS octet, if the card knows it. */
export function instructionName(ins: number): InstructionName | undefined {
  return INSTRUCTION_NAMES.get(ins);
}

/** `5.4.3` as three numbers. */
export type Firmware = readonly [major: number, minor: number, patch: number];

/** True if `firmware` is `major.minor` or newer. */
export function isAtLeast(firmware: Firmware, major: number, minor: number): boolean {
  return firmware[0] > major || (firmware[0] === major && firmware[1] >= minor);
}

interface KeyAlgorithmFacts {
  /** NIST SP 800-78-4 table 6-2; above 0xDF Yubico's own, and 05 and 16 since firmware 5.7. */
  readonly id: number;
  readonly since?: readonly [major: number, minor: number];
}

/** Asymmetric algorithms. */
export const KEY_ALGORITHMS = {
  'RSA-1024': { id: 0x06 },
  'RSA-2048': { id: 0x07 },
  'RSA-3072': { id: 0x05, since: [5, 7] },
  'RSA-4096': { id: 0x16, since: [5, 7] },
  'P-256': { id: 0x11 },
  'P-384': { id: 0x14 },
  Ed25519: { id: 0xe0, since: [5, 7] },
} as const satisfies Record<string, KeyAlgorithmFacts>;

export type KeyAlgorithm = keyof typeof KEY_ALGORITHMS;

/** The algorithm with this identifier, if the firmware has it. */
export function keyAlgorithm(id: number, firmware: Firmware): KeyAlgorithm | undefined {
  const found = Object.entries<KeyAlgorithmFacts>(KEY_ALGORITHMS).find(([, facts]) => facts.id === id);
  if (found === undefined) return undefined;
  const [name, { since }] = found;
  return since === undefined || isAtLeast(firmware, ...since) ? (name as KeyAlgorithm) : undefined;
}

/** Octets of GENERATE, IMPORT, metadata and attestation; 0 asks for the slot's default. */
export const PIN_POLICIES = { never: 1, once: 2, always: 3 } as const;
export const TOUCH_POLICIES = { never: 1, always: 2, cached: 3 } as const;

export type PinPolicy = keyof typeof PIN_POLICIES;
export type TouchPolicy = keyof typeof TOUCH_POLICIES;

/** Where a key came from, as metadata says it. */
export const ORIGINS = { generated: 1, imported: 2 } as const;

export type Origin = keyof typeof ORIGINS;

interface SlotFacts {
  /** The data object for the slot's certificate (NIST SP 800-73-4 Part 1 table 3; Yubico's for f9). */
  readonly certificateTag: number;
  /** NIST SP 800-73-4 Part 1 §3.2: what holds unless the key was made with another policy. */
  readonly pinPolicy: PinPolicy;
}

/** The slot of the key that signs attestations; RESET leaves it alone. */
export const ATTESTATION_SLOT = 0xf9;
/** The management key's reference. */
export const MANAGEMENT_KEY_SLOT = 0x9b;

/** Slots of asymmetric keys, by key reference. */
export const SLOTS: ReadonlyMap<number, SlotFacts> = new Map<number, SlotFacts>([
  [0x9a, { certificateTag: 0x5fc105, pinPolicy: 'once' }],
  [0x9c, { certificateTag: 0x5fc10a, pinPolicy: 'always' }],
  [0x9d, { certificateTag: 0x5fc10b, pinPolicy: 'once' }],
  [0x9e, { certificateTag: 0x5fc101, pinPolicy: 'never' }],
  ...Array.from({ length: 20 }, (_, index): [number, SlotFacts] => [
    0x82 + index,
    { certificateTag: 0x5fc10d + index, pinPolicy: 'once' },
  ]),
  [ATTESTATION_SLOT, { certificateTag: 0x5fff01, pinPolicy: 'never' }],
]);

/** The name whose number this is. */
export function nameOf<Name extends string>(table: Readonly<Record<Name, number>>, value: number): Name | undefined {
  const found = Object.entries<number>(table).find(([, number]) => number === value);
  return found === undefined ? undefined : (found[0] as Name);
}
