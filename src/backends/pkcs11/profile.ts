/**
 * What is special about each PKCS#11 module: data only, so that it crosses to the token host. docs/tokens.md publishes the
 * table. A module that is in no row gets `GENERIC`, which asks for everything the standard has.
 */
import { basename } from 'node:path';
import type { KeyAlgorithm } from '../../crypto/algorithms.ts';

/** Attributes of a template that some modules refuse. */
export type OptionalAttribute =
  | 'VERIFY'
  | 'PRIVATE'
  | 'SENSITIVE'
  | 'EXTRACTABLE'
  | 'SIGN'
  | 'DECRYPT'
  | 'UNWRAP'
  | 'DERIVE'
  | 'LABEL'
  /** Of RSA keys that are imported. */
  | 'MODULUS'
  | 'PRIVATE_EXPONENT';

export interface ModuleProfile {
  /** As in docs/tokens.md. */
  readonly name: string;
  /** CKA_ID of a key: any bytes, changed after generation to Notary's key ID; or a place that the caller names. */
  readonly ckaId: 'free' | 'place';
  /** Whether CKA_LABEL keeps what is written to it, and so role and GUN. */
  readonly keepsLabels: boolean;
  /** Left out of the templates of C_GenerateKeyPair. */
  readonly refusedAtGeneration: readonly OptionalAttribute[];
  /** Left out of the templates of C_CreateObject. */
  readonly refusedAtImport: readonly OptionalAttribute[];
  /** Algorithms that C_CreateObject takes. */
  readonly imports: readonly KeyAlgorithm[];
  /** Whether C_CreateObject takes the public half too; otherwise the module makes it by itself. */
  readonly importsPublicHalf: boolean;
  /** Who may write to the token: the user, or the security officer (PIV's management key). */
  readonly writesAs: 'user' | 'so';
  /** Whether C_DestroyObject takes keys away. */
  readonly removesKeys: boolean;
  /** How Ed25519 is named in CKA_EC_PARAMS (PKCS#11 v3.0 §2.3.5 allows both): id-Ed25519, or "edwards25519". */
  readonly edwardsParams: 'oid' | 'name';
  /** The longest message that an Ed25519 key signs, bytes; undefined: no limit known. */
  readonly maxMessageBytes: number | undefined;
  /** Whether X.509 certificates can be stored. */
  readonly storesCertificates: boolean;
  /** Whether the token's flags tell that PIN tries are few, one, or none. Where not, triesLeft is not known. */
  readonly tellsTries: boolean;
  /** Whether these flags are those of when the module found the token: what other processes spend is not seen. */
  readonly remembersTries: boolean;
  /** Whether the module keeps the PIN and presents it again by itself where another program ended the login. */
  readonly presentsPinAgain: boolean;
  /** Wrong PINs until the token locks; undefined where it never does. For people. */
  readonly locksAfter: string | undefined;
  /** How many bytes a user's PIN has, at least and at most; undefined: the module tells. No other text is given to it. */
  readonly pinBytes: readonly [min: number, max: number] | undefined;
  /** Whether several processes may use one token at a time without breaking each other's operations. */
  readonly sharesToken: boolean;
  /** Whether CKR_USER_NOT_LOGGED_IN from a login that holds means a touch that did not come. */
  readonly hasTouch: boolean;
  /** Sessions that one process may open; undefined: no limit known. */
  readonly maxSessions: number | undefined;
  /** Whether C_Initialize wants `library_parameters`. */
  readonly wantsParameters: boolean;
  /** Whether the module leaves things behind in its device if it ends without C_Finalize. */
  readonly wantsFinalize: boolean;
  /** How long after an error of the device the module may still list a token that was pulled out, milliseconds. */
  readonly listsPulledForMs: number;
  /** Whether objects that were written are wrong, or crash the module, until all sessions are closed and opened again. */
  readonly reopensAfterWriting: boolean;
  /** What to look after if the module cannot list its tokens; undefined: nothing is known. For people. */
  readonly listingHint: string | undefined;
}

/** Of modules that reach cards through PC/SC. */
const PCSC_HINT = 'see that pcscd, the service for smart cards, runs';

export const GENERIC: ModuleProfile = {
  name: 'generic',
  ckaId: 'free',
  keepsLabels: true,
  refusedAtGeneration: [],
  refusedAtImport: [],
  imports: ['ecdsa', 'ed25519', 'rsa'],
  importsPublicHalf: true,
  writesAs: 'user',
  removesKeys: true,
  edwardsParams: 'oid',
  maxMessageBytes: undefined,
  storesCertificates: true,
  tellsTries: true,
  remembersTries: false,
  presentsPinAgain: false,
  locksAfter: 'unknown',
  pinBytes: undefined,
  sharesToken: false,
  hasTouch: false,
  maxSessions: undefined,
  wantsParameters: false,
  wantsFinalize: false,
  listsPulledForMs: 0,
  reopensAfterWriting: false,
  listingHint: undefined,
};

/** What a module says about itself (CK_INFO, trimmed). */
export interface ModuleFacts {
  readonly manufacturer: string;
  readonly description: string;
  /** `major.minor` of CK_VERSION. */
  readonly version: string;
}

interface ProfileRow extends ModuleProfile {
  /** The library's file, for what must be known before the module can be asked. */
  readonly file: RegExp;
  /** CK_INFO manufacturerID. */
  readonly manufacturer: RegExp;
  /** CK_TOKEN_INFO manufacturerID, of modules that are not alike on all their tokens. */
  readonly token?: RegExp;
}

/** First match wins. */
const ROWS: readonly ProfileRow[] = [
  {
    ...GENERIC,
    name: 'softhsm',
    file: /^libsofthsm2?\.so/,
    manufacturer: /^SoftHSM/,
    locksAfter: undefined,
    sharesToken: true,
  },
  {
    ...GENERIC,
    name: 'nss',
    file: /^libsoftokn3\.so/,
    manufacturer: /^Mozilla Foundation/,
    imports: ['ecdsa', 'rsa'],
    tellsTries: false,
    locksAfter: undefined,
    sharesToken: true,
    wantsParameters: true,
  },
  {
    ...GENERIC,
    name: 'tpm2',
    file: /^libtpm2_pkcs11\.so/,
    manufacturer: /^tpm2-software/,
    refusedAtGeneration: ['VERIFY'], // it takes that and DECRYPT=false for a contradiction
    imports: [],
    tellsTries: false,
    locksAfter: 'as the TPM is set (dictionary attack lock-out), often 3 to 32',
    maxSessions: 1024,
    wantsFinalize: true,
  },
  {
    ...GENERIC,
    name: 'p11-kit',
    file: /^(p11-kit-(client|proxy)|libp11-kit)\.so/,
    manufacturer: /^PKCS#11 Kit/,
    locksAfter: 'as the module behind it',
  },
  {
    ...GENERIC,
    name: 'opensc-piv', // any PIV card: it reads and signs, and changes nothing
    file: /^(onepin-)?opensc-pkcs11\.so/,
    manufacturer: /^OpenSC/,
    token: /^piv_II/,
    keepsLabels: false,
    imports: [],
    removesKeys: false,
    storesCertificates: false,
    locksAfter: '3 on most cards',
  },
  {
    ...GENERIC,
    name: 'opensc',
    file: /^(onepin-)?opensc-pkcs11\.so/,
    manufacturer: /^OpenSC/,
    locksAfter: '3 on most cards',
    listingHint: PCSC_HINT,
  },
  {
    ...GENERIC,
    name: 'ykcs11',
    file: /^libykcs11(\.2)?\.(so|dylib)/,
    manufacturer: /^Yubico/,
    ckaId: 'place',
    keepsLabels: false,
    refusedAtGeneration: ['EXTRACTABLE'],
    refusedAtImport: ['PRIVATE', 'EXTRACTABLE', 'SIGN', 'DECRYPT', 'UNWRAP', 'DERIVE', 'MODULUS', 'PRIVATE_EXPONENT'],
    imports: ['ecdsa', 'ed25519', 'rsa'],
    importsPublicHalf: false,
    writesAs: 'so',
    removesKeys: false, // it says that it did
    remembersTries: true,
    presentsPinAgain: true,
    edwardsParams: 'name',
    maxMessageBytes: 3062, // a command's 3072 bytes without the tags around the message
    locksAfter: '3 unless set otherwise',
    pinBytes: [6, 8], // since 2.7.2 "VERIFY_NONE" is a login without a PIN
    hasTouch: true,
    listsPulledForMs: 600, // readers without interrupts are polled by pcscd each 400 ms
    reopensAfterWriting: true,
    maxSessions: 16,
    listingHint: PCSC_HINT,
  },
];

/** Every profile, in the order of the documentation. */
export const PROFILES: readonly ModuleProfile[] = [...ROWS, GENERIC];

/** By the file's name: all that is known before C_Initialize. */
export function profileOfFile(modulePath: string): ModuleProfile {
  return ROWS.find(({ file, token }) => token === undefined && file.test(basename(modulePath))) ?? GENERIC;
}

/**
 * By what the module says, which holds for copies and links under any name.
 *
 * @param token The one that it is for; undefined: the module as a whole.
 */
export function profileOf(
  { manufacturer }: Pick<ModuleFacts, 'manufacturer'>,
  token?: { readonly manufacturer: string },
): ModuleProfile {
  const fits = (row: ProfileRow) =>
    row.token === undefined || (token !== undefined && row.token.test(token.manufacturer));
  return ROWS.find((row) => row.manufacturer.test(manufacturer) && fits(row)) ?? GENERIC;
}
