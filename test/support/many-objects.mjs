/**
 * Fills a token with key pairs, for tests: node many-objects.mjs MODULE LABEL PIN COUNT. In a process of its own, as
 * everything that loads a module.
 */
import { createRequire } from 'node:module';
import { p256 } from '@noble/curves/nist.js';

const [, , path, label, pin, count] = process.argv;
const { PKCS11 } = createRequire(import.meta.url)('pkcs11js');
const module = new PKCS11();
module.load(path);
module.C_Initialize({ flags: 2 });
const slot = module.C_GetSlotList(true).find((slot) => module.C_GetTokenInfo(slot).label.trim() === label);
const session = module.C_OpenSession(slot, 6);
module.C_Login(session, 1, pin);
const P256 = Buffer.from('06082a8648ce3d030107', 'hex');
const [CLASS, TOKEN, PRIVATE, LABEL, VALUE, KEY_TYPE, ID, SENSITIVE, SIGN, EC_PARAMS, EC_POINT] = [
  0, 1, 2, 3, 0x11, 0x100, 0x102, 0x103, 0x108, 0x180, 0x181,
];
const native = (template) => template.map(([type, value]) => ({ type, value }));
for (let index = 1; index <= Number(count); index++) {
  // The scalar is the index: a point is one addition from the one before.
  const point = p256.Point.BASE.multiply(BigInt(index)).toBytes(false);
  const id = Buffer.alloc(4);
  id.writeUInt32BE(index);
  const scalar = Buffer.from(index.toString(16).padStart(64, '0'), 'hex');
  const common = [
    [TOKEN, true],
    [KEY_TYPE, 3],
    [ID, id],
    [LABEL, Buffer.from(`signet:targets:example.com/${index}`)],
    [EC_PARAMS, P256],
  ];
  const ecPoint = Buffer.concat([Buffer.of(4, point.length), point]);
  module.C_CreateObject(session, native([[CLASS, 2], [PRIVATE, false], ...common, [EC_POINT, ecPoint]]));
  const secret = [
    [PRIVATE, true],
    [SENSITIVE, true],
    [SIGN, true],
    [VALUE, scalar],
  ];
  module.C_CreateObject(session, native([[CLASS, 3], ...common, ...secret]));
}
module.C_Finalize();
