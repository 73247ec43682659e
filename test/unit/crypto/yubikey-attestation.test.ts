import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { basicConstraints, type CertificateExtension } from '../../../src/crypto/certificate-extensions.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { verifyYubiKeyAttestation } from '../../../src/crypto/yubikey-attestation.ts';
import { SignetError } from '../../../src/errors.ts';
import { authorityExtensions, DURING, type Issued, type IssueOptions, issue } from '../../support/x509.ts';

/** The extensions of an attestation; any of them may be given another value, or left out. */
function extensions(values: Partial<Record<3 | 7 | 8 | 9, string | undefined>> = {}): CertificateExtension[] {
  const all = { 3: '050704', 7: '02040102fade', 8: '0202', 9: '03', ...values };
  return Object.entries(all).flatMap(([arc, hex]) =>
    hex === undefined ? [] : [{ oid: `1.3.6.1.4.1.41482.3.${arc}`, critical: false, value: Buffer.from(hex, 'hex') }],
  );
}

const root = await issue('test root', { extensions: authorityExtensions() });
const f9 = await issue('Yubico PIV Attestation', { by: root, extensions: [basicConstraints(true, 0)] });
const options = { at: DURING, authorities: { roots: [root.certificate], intermediates: [] } };
const der = (...issued: Issued[]) => issued.map(({ certificate }) => certificate.der);

function attest(
  values?: Parameters<typeof extensions>[0],
  { slot = '9c', ...more }: IssueOptions & { readonly slot?: string } = {},
): Promise<Issued> {
  return issue(`YubiKey PIV Attestation ${slot}`, { by: f9, extensions: extensions(values), ...more });
}

describe('verifyYubiKeyAttestation', () => {
  it('trusts none in which a bit of the key, the policy or the signature is another', async () => {
    const [attestation = Buffer.of(), attester = Buffer.of()] = der(await attest(), f9);
    fc.assert(
      fc.property(fc.nat(attestation.length - 1), fc.nat(7), (index, bit) => {
        const damaged = Buffer.from(attestation);
        damaged.writeUInt8(damaged.readUInt8(index) ^ (1 << bit), index);
        expect(() => verifyYubiKeyAttestation([damaged, attester], options)).toThrow(SignetError);
      }),
      { numRuns: 300 },
    );
  });

  it('reads all that an attestation says', async () => {
    const attested = await attest();
    expect(verifyYubiKeyAttestation(der(attested, f9), options)).toStrictEqual({
      slot: '9c',
      serial: 16_972_510,
      firmware: [5, 7, 4],
      pinPolicy: 'once',
      touchPolicy: 'always',
      formFactor: 'USB-C keychain',
      isFipsCertified: false,
      isCspnCertified: false,
      publicKey: expect.objectContaining({ algorithm: 'ecdsa' }),
      weaknesses: [],
      chain: [attested.certificate, f9.certificate, root.certificate].map(({ subject }) =>
        expect.objectContaining({ subject }),
      ),
    });
  });

  it.each([
    ['0101', 'never', 'never'],
    ['0303', 'always', 'cached'],
    ['0401', 'match-once', 'never'],
    ['0501', 'match-always', 'never'],
  ])('reads the usage policy %s', async (hex, pinPolicy, touchPolicy) => {
    expect(verifyYubiKeyAttestation(der(await attest({ 8: hex }), f9), options)).toMatchObject({
      pinPolicy,
      touchPolicy,
    });
  });

  it('leaves out what the firmware leaves out', async () => {
    const attested = await attest({ 7: undefined, 9: undefined }, { slot: 'of something' });
    expect(verifyYubiKeyAttestation(der(attested, f9), options)).toMatchObject({
      serial: undefined,
      formFactor: undefined,
      slot: undefined,
    });
  });

  it('reads the marks of FIPS and CSPN from the certificate in slot f9', async () => {
    const marks = [10, 11].map((arc) => ({ ...extensions()[0], oid: `1.3.6.1.4.1.41482.3.${arc}` }));
    const marked = await issue('marked', {
      by: root,
      extensions: [
        basicConstraints(true, 0),
        ...marks.map((mark) => ({ critical: false, value: Buffer.of(), ...mark })),
      ],
    });
    const attested = await attest({ 9: '81' }, { by: marked });
    expect(verifyYubiKeyAttestation(der(attested, marked), options)).toMatchObject({
      isFipsCertified: true,
      isCspnCertified: true,
      formFactor: 'USB-A keychain',
    });
  });

  it.each([
    ['a YubiKey 4 and RSA', '040304', 'rsa', ['YSA-2017-01']],
    ['a repaired YubiKey 4 and RSA', '040305', 'rsa', []],
    ['a YubiKey FIPS and RSA', '040404', 'rsa', ['YSA-2019-02']],
    ['a YubiKey FIPS and ECDSA', '040404', 'ecdsa', ['YSA-2019-02', 'YSA-2024-03']],
    ['a repaired YubiKey FIPS and ECDSA', '040405', 'ecdsa', ['YSA-2024-03']],
    ['a YubiKey 5 and ECDSA', '050603', 'ecdsa', ['YSA-2024-03']],
    ['a YubiKey 5.7 and ECDSA', '050700', 'ecdsa', []],
    ['a YubiKey 5.7 and Ed25519', '050700', 'ed25519', []],
  ] as const)('names the weaknesses of %s', async (_, firmware, type, ids) => {
    const attested = await attest({ 3: firmware }, { key: await PrivateKey.generate(type) });
    const { weaknesses } = verifyYubiKeyAttestation(der(attested, f9), options);
    expect(weaknesses.map(({ id }) => id)).toStrictEqual(ids);
  });

  it.each([
    ['050701', ['YSA-2024-03']],
    ['050702', []],
  ])('knows that the YubiKey Bio was repaired later: %s', async (firmware, ids) => {
    const { weaknesses } = verifyYubiKeyAttestation(der(await attest({ 3: firmware, 9: '07' }), f9), options);
    expect(weaknesses.map(({ id }) => id)).toStrictEqual(ids);
  });

  it.each<[string, Parameters<typeof extensions>[0], string]>([
    ['a firmware of two bytes', { 3: '0507' }, 'malformed attestation: firmware version has not 3 bytes'],
    ['a policy of three bytes', { 8: '020202' }, 'malformed attestation: usage policy has not 2 bytes'],
    ['an unknown PIN policy', { 8: '0002' }, 'malformed attestation: unknown PIN policy'],
    ['an unknown touch policy', { 8: '0204' }, 'malformed attestation: unknown touch policy'],
    ['an empty form factor', { 9: '' }, 'malformed attestation: form factor has not 1 bytes'],
    ['a negative serial number', { 7: '020180' }, 'malformed attestation: serial number is negative'],
    ['more than a serial number', { 7: '020101ff' }, 'malformed attestation: trailing bytes'],
    [
      'a certificate without them',
      { 3: undefined },
      'certificate CN=YubiKey PIV Attestation 9c is not a PIV attestation of a YubiKey',
    ],
  ])('refuses %s', async (_, values, message) => {
    const attested = await attest(values);
    expect(() => verifyYubiKeyAttestation(der(attested, f9), options)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message }),
    );
  });

  it('needs the certificate from slot f9', async () => {
    const attested = await attest();
    expect(() => verifyYubiKeyAttestation(der(attested), options)).toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'an attestation needs the certificate from slot f9 with it',
      }),
    );
  });

  it('trusts nobody but the given roots', async () => {
    const attested = await attest();
    const other = await issue('other root', { extensions: authorityExtensions() });
    const authorities = { roots: [other.certificate], intermediates: [root.certificate] };
    expect(() => verifyYubiKeyAttestation(der(attested, f9), { at: DURING, authorities })).toThrow(
      expect.objectContaining({
        code: 'INTEGRITY',
        message:
          'certificate CN=YubiKey PIV Attestation 9c is not trusted: no certificate of the issuer CN=test root is known',
      }),
    );
  });

  it('refuses an attestation by another YubiKey than the one of the certificate in slot f9', async () => {
    const other = await issue('Yubico PIV Attestation', { by: root, extensions: [basicConstraints(true, 0)] });
    const attested = await attest({}, { by: other });
    expect(() => verifyYubiKeyAttestation(der(attested, f9), options)).toThrow(
      expect.objectContaining({
        code: 'INTEGRITY',
        message:
          'certificate CN=YubiKey PIV Attestation 9c is not trusted: the signature on CN=YubiKey PIV Attestation 9c is not by CN=Yubico PIV Attestation',
      }),
    );
  });

  describe('of a YubiKey 4, whose certificate in slot f9 does not say that it is an authority', () => {
    it('is trusted right below a root', async () => {
      const old = await issue('old', { by: root, extensions: [] });
      const attested = await attest({ 3: '040304' }, { by: old });
      expect(verifyYubiKeyAttestation(der(attested, old), options).chain).toHaveLength(3);
    });

    it('is not trusted below another authority, lest an attested key attests others', async () => {
      const attestedKey = await attest();
      const forged = await attest({ 8: '0303' }, { by: attestedKey });
      const authorities = { roots: [root.certificate], intermediates: [f9.certificate] };
      for (const chain of [der(forged, attestedKey, f9), der(forged, attestedKey)]) {
        expect(() => verifyYubiKeyAttestation(chain, { at: DURING, authorities })).toThrow(
          expect.objectContaining({
            code: 'INTEGRITY',
            message: expect.stringMatching(
              /^certificate CN=YubiKey PIV Attestation 9c is not trusted: no certificate of/,
            ),
          }),
        );
      }
    });

    it('is not trusted when another key signed', async () => {
      const old = await issue('old', { by: root, extensions: [] });
      const attested = await attest({}, { by: await issue('old', { by: root, extensions: [] }) });
      expect(() => verifyYubiKeyAttestation(der(attested, old), options)).toThrow(
        expect.objectContaining({
          code: 'INTEGRITY',
          message: 'the attestation is not trusted: it is not signed by the key in slot f9',
        }),
      );
    });

    it('is not trusted when the attestation has expired', async () => {
      const old = await issue('old', { by: root, extensions: [] });
      const attested = await attest({}, { by: old, notAfter: new Date('2025-01-01') });
      expect(() => verifyYubiKeyAttestation(der(attested, old), options)).toThrow(
        expect.objectContaining({
          code: 'INTEGRITY',
          message: expect.stringContaining('expired at 2025-01-01T00:00:00.000Z'),
        }),
      );
    });
  });
});
