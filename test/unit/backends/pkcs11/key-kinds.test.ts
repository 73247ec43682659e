import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { CKA, CKM } from '../../../../src/backends/pkcs11/constants.ts';
import {
  algorithmsOf,
  canMake,
  generationOf,
  type KeyKind,
  kindOf,
} from '../../../../src/backends/pkcs11/key-kinds.ts';
import { publicValues } from '../../../../src/backends/pkcs11/key-templates.ts';
import { GENERIC, profileOf } from '../../../../src/backends/pkcs11/profile.ts';
import { encodePublicKey } from '../../../../src/backends/pkcs11/public-object.ts';
import { fromSpki } from '../../../../src/crypto/public-key.ts';

const range = (mechanism: number, minBits: number, maxBits: number) => ({ mechanism, minBits, maxBits });
const KINDS: readonly KeyKind[] = ['P-256', 'P-384', 'Ed25519', 'RSA-2048', 'RSA-3072', 'RSA-4096'];

describe('what a token makes', () => {
  it.each([
    ['nothing without mechanisms', [], []],
    [
      'nothing that it cannot sign with',
      [range(CKM.EC_KEY_PAIR_GEN, 256, 521), range(CKM.RSA_PKCS_KEY_PAIR_GEN, 0, 0)],
      [],
    ],
    ['curves within its sizes', [range(CKM.EC_KEY_PAIR_GEN, 256, 256), range(CKM.ECDSA, 256, 521)], ['P-256']],
    ['any size where it tells none', [range(CKM.EC_KEY_PAIR_GEN, 0, 0), range(CKM.ECDSA, 0, 0)], ['P-256', 'P-384']],
    [
      'Ed25519 whatever its unit of sizes is',
      [range(CKM.EC_EDWARDS_KEY_PAIR_GEN, 32, 57), range(CKM.EDDSA, 255, 448)],
      ['Ed25519'],
    ],
    [
      'RSA up to its limit',
      [range(CKM.RSA_PKCS_KEY_PAIR_GEN, 1024, 4096), range(CKM.RSA_PKCS_PSS, 1024, 3072)],
      ['RSA-2048', 'RSA-3072'],
    ],
  ])('%s', (_, mechanisms, makes) => {
    expect(KINDS.filter((kind) => canMake(kind, mechanisms))).toEqual(makes);
  });

  it('is told by algorithm as far as the usual kind of each', () => {
    const small = [range(CKM.RSA_PKCS_KEY_PAIR_GEN, 512, 2048), range(CKM.RSA_PKCS_PSS, 512, 2048)];
    expect(algorithmsOf(small)).toEqual([]);
  });
});

it('takes P-256 and RSA 3072 unless told otherwise', () => {
  expect(kindOf({ algorithm: 'ecdsa' })).toBe('P-256');
  expect(kindOf({ algorithm: 'rsa' })).toBe('RSA-3072');
  expect(kindOf({ algorithm: 'rsa', modulusBits: 4096 })).toBe('RSA-4096');
});

it('names Ed25519 by its OID, and by its name where the module wants that, as libykcs11 does', () => {
  const oid = Buffer.from('06032b6570', 'hex');
  const name = Buffer.from('130c656477617264733235353139', 'hex');
  expect(generationOf('Ed25519', GENERIC)).toEqual([CKM.EC_EDWARDS_KEY_PAIR_GEN, [[CKA.EC_PARAMS, oid]]]);
  const ykcs11 = profileOf({ manufacturer: 'Yubico (www.yubico.com)' });
  expect(generationOf('Ed25519', ykcs11)).toEqual([CKM.EC_EDWARDS_KEY_PAIR_GEN, [[CKA.EC_PARAMS, name]]]);
  const { publicKey } = generateKeyPairSync('ed25519', {
    publicKeyEncoding: { format: 'der', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
  });
  const facts = { ckaId: '', label: '', ...encodePublicKey(fromSpki(publicKey)) };
  expect(publicValues(facts, GENERIC)).toContainEqual([CKA.EC_PARAMS, oid]);
  expect(publicValues(facts, ykcs11)).toContainEqual([CKA.EC_PARAMS, name]);
});
