/**
 * Puts objects on a token that other programs might have made. Run as a process of its own, because it loads the module.
 *
 * Arguments: the module, the token's label, the PIN, what (`makers` below), how many.
 */
import { createRequire } from 'node:module';
import { p256 } from '@noble/curves/nist.js';

const [modulePath, label, pin, what, count] = process.argv.slice(2);
const pkcs11 = createRequire(import.meta.url)('pkcs11js');
const module = new pkcs11.PKCS11();
module.load(modulePath);
module.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
const slot = module.C_GetSlotList(true).find((candidate) => module.C_GetTokenInfo(candidate).label.trim() === label);
const session = module.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION);
module.C_Login(session, pkcs11.CKU_USER, pin);

const common = (name, id) => [
  { type: pkcs11.CKA_TOKEN, value: true },
  { type: pkcs11.CKA_PRIVATE, value: false },
  { type: pkcs11.CKA_LABEL, value: name },
  ...(id === undefined ? [] : [{ type: pkcs11.CKA_ID, value: Buffer.from(id) }]),
];
const P256 = Buffer.from('06082a8648ce3d030107', 'hex');
const makers = {
  /** Key pairs of Signet's, for the GUNs example.com/0 and so on. Made here: that takes a token longer. */
  pairs: (number) => {
    const scalar = BigInt(number + 1); // a point is one addition from the one before
    const label = `signet:targets:example.com/${number}`;
    const id = Buffer.from(number.toString(16).padStart(8, '0'), 'hex');
    const curve = [
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
      { type: pkcs11.CKA_EC_PARAMS, value: P256 },
    ];
    const point = Buffer.from(p256.Point.BASE.multiply(scalar).toBytes(false));
    module.C_CreateObject(session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
      ...curve,
      { type: pkcs11.CKA_EC_POINT, value: Buffer.concat([Buffer.of(4, point.length), point]) },
      ...common(label, id),
    ]);
    module.C_CreateObject(session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
      ...curve,
      { type: pkcs11.CKA_SENSITIVE, value: true },
      { type: pkcs11.CKA_SIGN, value: true },
      { type: pkcs11.CKA_VALUE, value: Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex') },
      ...common(label, id).map((row) => (row.type === pkcs11.CKA_PRIVATE ? { ...row, value: true } : row)),
    ]);
  },
  data: (number) =>
    module.C_CreateObject(session, [{ type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA }, ...common(`data ${number}`)]),
  /** A public key alone, of a type that signs nothing here. */
  dsa: (number) =>
    module.C_CreateObject(session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_DSA },
      ...[pkcs11.CKA_PRIME, pkcs11.CKA_SUBPRIME, pkcs11.CKA_BASE, pkcs11.CKA_VALUE].map((type) => ({
        type,
        value: Buffer.alloc(32, 7),
      })),
      ...common(`dsa ${number}`, [0xd5, number]),
    ]),
  /** Key pairs that all have the same CKA_ID. */
  twins: () =>
    module.C_GenerateKeyPair(
      session,
      { mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN },
      [
        { type: pkcs11.CKA_EC_PARAMS, value: P256 },
        { type: pkcs11.CKA_VERIFY, value: true },
        ...common('twin', [0x22]),
      ],
      [
        { type: pkcs11.CKA_TOKEN, value: true },
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_SIGN, value: true },
        { type: pkcs11.CKA_ID, value: Buffer.of(0x22) },
      ],
    ),
  /** Public halves with nothing behind them. */
  anchors: (number) =>
    module.C_CreateObject(session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
      { type: pkcs11.CKA_EC_PARAMS, value: P256 },
      { type: pkcs11.CKA_EC_POINT, value: Buffer.concat([Buffer.from('044104', 'hex'), Buffer.alloc(64, number)]) },
      ...common(`anchor ${number}`, [0xaa, number >> 8, number & 0xff]),
    ]),
};
for (let number = 0; number < Number(count); number++) makers[what](number);
