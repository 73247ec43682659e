import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  type Certificate,
  certificatePem,
  certificatePublicKey,
  parseCertificate,
  parseCertificatesPem,
} from '../../../src/crypto/certificate.ts';
import { ecdsaSignatureFromDer } from '../../../src/crypto/ecdsa-signature.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { buildRootCertificate, buildSlotCertificate } from '../../../src/crypto/root-certificate.ts';
import { runProgram } from '../../support/processes.ts';
import { temporaryDirectory } from '../../support/temp.ts';

const env = { PATH: process.env['PATH'] ?? '' };
const notBefore = new Date('2026-11-20T10:00:00.700Z');

function vector(name: string): Certificate {
  const [certificate] = parseCertificatesPem(
    readFileSync(new URL(`../../vectors/certificates/${name}.crt`, import.meta.url)),
  );
  if (certificate === undefined) throw new Error('no certificate in the vector');
  return certificate;
}

async function openssl(certificate: Certificate, ...args: string[]): Promise<string> {
  await using directory = await temporaryDirectory();
  const file = join(directory.path, 'root.crt');
  await writeFile(file, certificatePem(certificate));
  const { ending, stdout, stderr } = await runProgram('openssl', [...args, file], { env });
  if (ending !== 0) throw new Error(stderr);
  return stdout;
}

describe('buildRootCertificate', () => {
  it.each([
    ['notary-root-p256', 'docker.io/vectors/app', 32, undefined],
    ['notary-root-p384', 'vectors/p384', 48, undefined],
    ['notary-root-rsa3072', 'vectors/rsa', 0, 'sha256WithRSAEncryption' as const],
  ])(
    'makes the very bytes of %s from its key, dates, number and signature',
    async (name, gun, scalarBytes, algorithm) => {
      const notarys = vector(name);
      const signature = scalarBytes === 0 ? notarys.signature : ecdsaSignatureFromDer(notarys.signature, scalarBytes);
      const ours = await buildRootCertificate(
        {
          gun,
          publicKey: certificatePublicKey(notarys),
          notBefore: notarys.notBefore,
          serialNumber: Buffer.from(notarys.serialNumber, 'hex'),
          ...(algorithm === undefined ? {} : { signatureAlgorithm: algorithm }),
        },
        async () => signature,
      );
      expect(Buffer.from(ours.der).toString('hex')).toBe(Buffer.from(notarys.der).toString('hex'));
      const text = readFileSync(new URL(`../../vectors/certificates/${name}.crt`, import.meta.url), 'utf8');
      expect(certificatePem(ours)).toBe(text);
    },
  );

  it.each(['p8-plain', 'p8-p224', 'p8-p384', 'p8-p521', 'pkcs1-plain'])(
    'makes a certificate that OpenSSL verifies with the key of %s',
    async (name) => {
      const block = readFileSync(new URL(`../../vectors/key-formats/${name}.pem`, import.meta.url), 'utf8');
      const der = Buffer.from(block.replaceAll(/-----.*-----|\s/g, ''), 'base64');
      using key = name.startsWith('p8') ? PrivateKey.fromPkcs8(der) : PrivateKey.fromPkcs1(der);
      const certificate = await buildRootCertificate(
        { gun: 'registry.example.com/team/my_app', publicKey: key.publicKey, notBefore },
        (input) => key.sign(input),
      );
      await using directory = await temporaryDirectory();
      const file = join(directory.path, 'root.crt');
      await writeFile(file, certificatePem(certificate));
      const attime = String(Date.UTC(2030, 0, 1) / 1000);
      const options = ['-check_ss_sig', '-x509_strict', '-partial_chain', '-attime', attime, '-CAfile', file, file];
      const { stdout, stderr } = await runProgram('openssl', ['verify', ...options], { env });
      expect(`${stdout}${stderr}`).toBe(`${file}: OK\n`);
    },
  );

  it('has the shape that Notary documents', async () => {
    using key = await PrivateKey.generate('ecdsa');
    const certificate = await buildRootCertificate(
      { gun: 'registry.example.com/team/app', publicKey: key.publicKey, notBefore },
      (input) => key.sign(input),
    );
    const text = await openssl(certificate, 'x509', '-noout', '-text', '-in');
    expect(text).toContain('Version: 3 (0x2)');
    expect(text).toContain('Signature Algorithm: ecdsa-with-SHA256');
    expect(text).toContain('Issuer: CN = registry.example.com/team/app\n');
    expect(text).toContain('Subject: CN = registry.example.com/team/app\n');
    expect(text).toContain('Not Before: Nov 20 10:00:00 2026 GMT');
    expect(text).toContain('Not After : Nov 17 10:00:00 2036 GMT');
    expect(text.replaceAll(/^ +| +$/gm, '')).toContain(
      [
        'X509v3 Key Usage: critical\nDigital Signature, Key Encipherment',
        'X509v3 Extended Key Usage:\nCode Signing',
        'X509v3 Basic Constraints: critical\nCA:FALSE',
      ].join('\n'),
    );
  });

  it('gives every certificate another serial number', async () => {
    using key = await PrivateKey.generate('ecdsa');
    const options = { gun: 'a/b', publicKey: key.publicKey, notBefore };
    const [first, second] = await Promise.all(
      [1, 2].map(() => buildRootCertificate(options, (input) => key.sign(input))),
    );
    expect(first?.serialNumber).not.toBe(second?.serialNumber);
  });

  it('refuses ed25519, of which Notary reads no certificates', async () => {
    using key = await PrivateKey.generate('ed25519');
    const options = { gun: 'a/b', publicKey: key.publicKey, notBefore };
    await expect(buildRootCertificate(options, (input) => key.sign(input))).rejects.toThrow(
      expect.objectContaining({
        code: 'UNSUPPORTED',
        message: 'an ed25519 key cannot be a root key: Notary reads no such certificates',
      }),
    );
  });

  it.each(['', 'two\nlines'])('refuses the GUN %j', async (gun) => {
    using key = await PrivateKey.generate('ecdsa');
    await expect(
      buildRootCertificate({ gun, publicKey: key.publicKey, notBefore }, (input) => key.sign(input)),
    ).rejects.toThrow(
      expect.objectContaining({
        code: 'INVALID_ARGUMENT',
        message: 'the common name of a certificate is empty or has a control character',
      }),
    );
  });
});

describe('buildSlotCertificate', () => {
  it('makes certificates of all keys that PIV tokens have, Ed25519 included', async () => {
    using key = await PrivateKey.generate('ed25519');
    const certificate = await buildSlotCertificate(
      { commonName: 'root', publicKey: key.publicKey, notBefore },
      (input) => key.sign(input),
    );
    expect(certificate).toMatchObject({ subject: { commonName: 'root' }, signatureAlgorithm: 'Ed25519' });
    expect(parseCertificate(certificate.der)).toStrictEqual(certificate);
    expect(await openssl(certificate, 'x509', '-noout', '-text', '-in')).toContain('Public Key Algorithm: ED25519');
  });
});
