/**
 * Removing a key. C_DestroyObject of libykcs11 answers that it did and the key is still there, and firmware before 5.7 has no
 * other way either. So a key is overwritten, with one that is made here and forgotten at once; its certificate says that the
 * slot is as good as empty.
 */
import { generateKeyPairSync } from 'node:crypto';
import { PrivateKey } from '../../crypto/private-key.ts';
import { decodePkcs8 } from '../../crypto/private-key-info.ts';
import { privateKeyParts } from '../../crypto/private-key-parts.ts';
import type { Secret } from '../../crypto/secret.ts';
import { throwIfCancelled } from '../cancellation.ts';
import { joinParts } from '../pkcs11/blob-parts.ts';
import { certificateParts } from '../pkcs11/certificate-parts.ts';
import type { TokenAccess } from '../pkcs11/hooks.ts';
import { ANSWERS } from '../pkcs11/host-protocol.ts';
import { encodePublicKey } from '../pkcs11/public-object.ts';
import type { BoundContext } from '../same-token.ts';
import { ckaIdOfSlot, type PivSlot } from './piv-slots.ts';
import { buildVacancyCertificate } from './slot-certificate.ts';

/**
 * Destroys what is in a slot. The user is logged out.
 *
 * @param managementKey Hex digits.
 * @throws {SignetError} PIN_INCORRECT for another management key, TOKEN_NOT_PRESENT, UNAVAILABLE
 */
export async function vacateSlot(
  slot: PivSlot,
  { connection, login }: TokenAccess,
  managementKey: Secret,
  now: Date,
  context: BoundContext,
): Promise<void> {
  // DER, because exporting a fresh key object can deadlock Node 20.
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { format: 'der', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
  });
  using signer = PrivateKey.fromPkcs8(privateKey);
  const { publicKey } = signer;
  const { parts } = privateKeyParts(decodePkcs8(privateKey));
  const blob = joinParts([managementKey.bytes(), ...parts]);
  for (const secret of [privateKey, ...parts]) secret.fill(0);
  const certificate = await buildVacancyCertificate(publicKey, now, (input) => signer.sign(input));
  const ckaId = ckaIdOfSlot(slot);
  const object = { ckaId: Buffer.from(ckaId).toString('base64'), label: '', ...encodePublicKey(publicKey) };
  // The second half follows the first, whoever waits.
  const unstoppable = { caller: context.caller, client: context.client, token: context.token };
  try {
    throwIfCancelled(context);
    await connection.request(unstoppable, { op: 'import', key: object }, { parse: ANSWERS.key, blob, isChange: true });
    const { value, subject, issuer, serialNumber } = certificateParts(certificate.der, publicKey);
    const stored = joinParts([managementKey.bytes(), value, subject, issuer, serialNumber]);
    const request = { op: 'putCertificate', ckaId: Buffer.from(ckaId).toString('hex'), label: '' } as const;
    try {
      await connection.request(unstoppable, request, { parse: ANSWERS.none, blob: stored, isChange: true });
    } finally {
      stored.fill(0);
    }
  } finally {
    blob.fill(0);
    login.noteLoggedOut();
  }
}
