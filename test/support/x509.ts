/** Certificate chains made in the process, for any time and with any extensions. */
import type { Certificate } from '../../src/crypto/certificate.ts';
import {
  buildCertificate,
  type CertificateTemplate,
  randomSerialNumber,
} from '../../src/crypto/certificate-builder.ts';
import { basicConstraints, type CertificateExtension, keyUsage } from '../../src/crypto/certificate-extensions.ts';
import { nameFromCommonName } from '../../src/crypto/distinguished-name.ts';
import { PrivateKey } from '../../src/crypto/private-key.ts';
import type { PublicKey } from '../../src/crypto/public-key.ts';

/** From 2020 to 2040, whenever the tests run. */
export const VALIDITY = { notBefore: new Date('2020-01-01T00:00:00Z'), notAfter: new Date('2040-01-01T00:00:00Z') };
/** A time in the middle of `VALIDITY`. */
export const DURING: Date = new Date('2030-06-01T12:00:00Z');

export interface Issued {
  readonly certificate: Certificate;
  readonly key: PrivateKey;
}

export interface IssueOptions extends Partial<Omit<CertificateTemplate, 'subject' | 'issuer' | 'publicKey'>> {
  /** A fresh P-256 key by default. */
  readonly key?: PrivateKey;
  /** Self-signed without. */
  readonly by?: Issued;
}

/** Extensions of a certificate authority. */
export function authorityExtensions(pathLength?: number): readonly CertificateExtension[] {
  return [basicConstraints(true, pathLength), keyUsage('keyCertSign', 'cRLSign')];
}

/** Issues a certificate for `CN=<commonName>`; without other extensions, it is of an end entity. */
export async function issue(commonName: string, options: IssueOptions = {}): Promise<Issued> {
  const key = options.key ?? (await PrivateKey.generate('ecdsa'));
  return { certificate: await certify(commonName, key.publicKey, { ...options, key }), key };
}

/** As `issue`, for a public key alone. */
export function certify(
  commonName: string,
  publicKey: PublicKey,
  { key, by, ...template }: IssueOptions,
): Promise<Certificate> {
  const signer = by?.key ?? key;
  if (signer === undefined) throw new TypeError('nobody signs the certificate');
  return buildCertificate(
    {
      ...VALIDITY,
      serialNumber: randomSerialNumber(),
      extensions: [basicConstraints(false)],
      ...template,
      subject: nameFromCommonName(commonName),
      publicKey,
      ...(by === undefined ? {} : { issuer: { name: by.certificate.subject, publicKey: by.key.publicKey } }),
    },
    (input) => signer.sign(input),
  );
}
