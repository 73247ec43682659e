import { describe, expect, it } from 'vitest';
import { readAttestationAuthorities, YUBICO_PIV_AUTHORITIES } from '../../../src/crypto/attestation-authorities.ts';
import { certificatePem } from '../../../src/crypto/certificate.ts';
import { authorityExtensions, type Issued, issue } from '../../support/x509.ts';

const root = await issue('test root', { extensions: authorityExtensions() });
const intermediate = await issue('test intermediate', { by: root, extensions: authorityExtensions() });
const pem = (...issued: Issued[]) => Buffer.from(issued.map(({ certificate }) => certificatePem(certificate)).join(''));

describe('readAttestationAuthorities', () => {
  it('tells roots from intermediates, in any order', () => {
    const { roots, intermediates } = readAttestationAuthorities(pem(intermediate, root));
    expect(roots.map(({ der }) => der)).toStrictEqual([root.certificate.der]);
    expect(intermediates.map(({ der }) => der)).toStrictEqual([intermediate.certificate.der]);
  });

  it('refuses a file without a root', () => {
    expect(() => readAttestationAuthorities(pem(intermediate))).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'there is no root among the attestation authorities',
      }),
    );
  });

  it('refuses a file without certificates', () => {
    expect(() => readAttestationAuthorities(Buffer.from('nothing'))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }),
    );
  });

  it.each([...YUBICO_PIV_AUTHORITIES.keys()])('refuses another certificate with the name %s', async (name) => {
    const impostor = await issue(name, { extensions: authorityExtensions() });
    expect(() => readAttestationAuthorities(pem(root, impostor))).toThrow(
      expect.objectContaining({
        code: 'INTEGRITY',
        message: `the certificate "${name}" is not Yubico's: its SHA-256 is another`,
      }),
    );
  });
});
