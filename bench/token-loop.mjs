/**
 * The module alone: C_SignInit and C_Sign in a loop, in a process of its own. Prints how long each signature took.
 *
 * Arguments: the module, the token's label, the PIN file, seconds. What the daemon's figures are compared with.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const [modulePath, label, pinFile, seconds] = process.argv.slice(2);
const { CKA_CLASS, CKA_SIGN, CKF_OS_LOCKING_OK, CKF_SERIAL_SESSION, CKM_ECDSA, CKO_PRIVATE_KEY, CKU_USER, PKCS11 } =
  createRequire(import.meta.url)('pkcs11js');
const module = new PKCS11();
module.load(modulePath);
module.C_Initialize({ flags: CKF_OS_LOCKING_OK });
const slot = module.C_GetSlotList(true).find((candidate) => module.C_GetTokenInfo(candidate).label.trim() === label);
const session = module.C_OpenSession(slot, CKF_SERIAL_SESSION);
module.C_Login(session, CKU_USER, readFileSync(pinFile, 'utf8').trim());
module.C_FindObjectsInit(session, [
  { type: CKA_CLASS, value: CKO_PRIVATE_KEY },
  { type: CKA_SIGN, value: true },
]);
const [key] = module.C_FindObjects(session, 1);
module.C_FindObjectsFinal(session);

const digest = randomBytes(32);
const signature = Buffer.alloc(256);
const latenciesUs = [];
const cpuBefore = process.cpuUsage();
const endsAt = performance.now() + Number(seconds) * 1000;
for (let before = performance.now(); before < endsAt; ) {
  module.C_SignInit(session, { mechanism: CKM_ECDSA }, key);
  module.C_Sign(session, digest, signature);
  const after = performance.now();
  latenciesUs.push((after - before) * 1000);
  before = after;
}
const { user, system } = process.cpuUsage(cpuBefore);
process.stdout.write(JSON.stringify({ latenciesUs, cpuSeconds: (user + system) / 1e6 }));
