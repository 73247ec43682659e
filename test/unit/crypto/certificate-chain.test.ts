import { describe, expect, it } from 'vitest';
import type { Certificate } from '../../../src/crypto/certificate.ts';
import { verifyChain } from '../../../src/crypto/certificate-chain.ts';
import { basicConstraints, keyUsage } from '../../../src/crypto/certificate-extensions.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { authorityExtensions, DURING, type Issued, issue, VALIDITY } from '../../support/x509.ts';

const root = await issue('root', { extensions: authorityExtensions() });
const upper = await issue('upper', { by: root, extensions: authorityExtensions(1) });
const lower = await issue('lower', { by: upper, extensions: authorityExtensions(0) });
const leaf = await issue('leaf', { by: lower });
const certificates = (...issued: Issued[]): Certificate[] => issued.map(({ certificate }) => certificate);
const names = (path: readonly Certificate[]) => path.map(({ subject }) => subject.commonName);
const untrusted = (reason: string, name = 'leaf') =>
  expect.objectContaining({ code: 'INTEGRITY', message: `certificate CN=${name} is not trusted: ${reason}` });

describe('verifyChain', () => {
  it('finds the path whatever the order, and leaves out what does not belong to it', async () => {
    const stranger = await issue('stranger', { extensions: authorityExtensions() });
    const chain = certificates(leaf, upper, stranger, root, lower);
    expect(names(verifyChain(chain, certificates(stranger, root), DURING))).toStrictEqual([
      'leaf',
      'lower',
      'upper',
      'root',
    ]);
  });

  it('ends at the nearest root', () => {
    const roots = certificates(root, lower);
    expect(names(verifyChain(certificates(leaf, lower, upper), roots, DURING))).toStrictEqual(['leaf', 'lower']);
  });

  it('takes a certificate that is a root itself, whoever signed it', () => {
    expect(names(verifyChain(certificates(leaf), certificates(leaf), DURING))).toStrictEqual(['leaf']);
  });

  it('tries the other certificates of the same name', async () => {
    const impostor = await issue('lower', { by: root, extensions: authorityExtensions() });
    const path = verifyChain(certificates(leaf, impostor, lower, upper), certificates(root), DURING);
    expect(path[1]).toBe(lower.certificate);
  });

  it('is valid in the first and in the last second, and not outside', () => {
    const at = (offsetMs: number, date: Date) => () =>
      verifyChain(certificates(leaf), certificates(lower), new Date(date.getTime() + offsetMs));
    expect(at(0, VALIDITY.notBefore)()).toHaveLength(2);
    expect(at(999, VALIDITY.notAfter)()).toHaveLength(2);
    expect(at(-1, VALIDITY.notBefore)).toThrow(untrusted('CN=leaf is valid only from 2020-01-01T00:00:00.000Z on'));
    expect(at(1000, VALIDITY.notAfter)).toThrow(untrusted('CN=leaf expired at 2040-01-01T00:00:00.000Z'));
    expect(at(Number.NaN, DURING)).toThrow(untrusted('CN=leaf expired at 2040-01-01T00:00:00.000Z'));
  });

  it('refuses a path through a certificate or to a root that has expired', async () => {
    const old = await issue('old', { by: root, extensions: authorityExtensions(), notAfter: new Date('2025-01-01') });
    const reason = 'CN=old expired at 2025-01-01T00:00:00.000Z';
    const below = await issue('leaf', { by: old });
    expect(() => verifyChain(certificates(below, old), certificates(root), DURING)).toThrow(untrusted(reason));
    expect(() => verifyChain(certificates(below), certificates(old), DURING)).toThrow(untrusted(reason));
  });

  it('refuses a certificate whose issuer is not there', () => {
    expect(() => verifyChain(certificates(leaf), certificates(root), DURING)).toThrow(
      untrusted('no certificate of the issuer CN=lower is known'),
    );
    expect(() => verifyChain(certificates(leaf, lower, upper), [], DURING)).toThrow(
      untrusted('no certificate of the issuer CN=root is known'),
    );
  });

  it('refuses a signature by another key of the same name', async () => {
    const impostor = await issue('root', { extensions: authorityExtensions() });
    expect(() => verifyChain(certificates(upper), certificates(impostor), DURING)).toThrow(
      untrusted('the signature on CN=upper is not by CN=root', 'upper'),
    );
  });

  it('refuses what an end entity signed', async () => {
    const forged = await issue('forged', { by: leaf });
    expect(() => verifyChain(certificates(forged, leaf, lower, upper), certificates(root), DURING)).toThrow(
      untrusted('CN=leaf is not an authority', 'forged'),
    );
  });

  it.each([
    ['has no basic constraints', []],
    ['has key usage for signatures only', [basicConstraints(true), keyUsage('digitalSignature')]],
  ])('refuses an authority that %s', async (_, extensions) => {
    const by = await issue('weak', { by: root, extensions });
    const reason = extensions.length === 0 ? 'CN=weak is not an authority' : 'CN=weak may not sign certificates';
    const below = await issue('leaf', { by });
    expect(() => verifyChain(certificates(below, by), certificates(root), DURING)).toThrow(untrusted(reason));
  });

  it('refuses more authorities in a row than one above allows', async () => {
    const third = await issue('third', { by: lower, extensions: authorityExtensions() });
    const deep = await issue('leaf', { by: third });
    expect(() => verifyChain(certificates(deep, third, lower, upper), certificates(root), DURING)).toThrow(
      untrusted('CN=lower allows 0 authorities below it, not 1'),
    );
  });

  it('refuses critical extensions that it does not know, and no others', async () => {
    const extension = (critical: boolean) => ({ oid: '2.5.29.30', critical, value: Buffer.from('3000', 'hex') });
    const strange = await issue('leaf', { by: root, extensions: [extension(true)] });
    expect(() => verifyChain(certificates(strange), certificates(root), DURING)).toThrow(
      untrusted('CN=leaf has the unknown critical extension 2.5.29.30'),
    );
    const harmless = await issue('leaf', { by: root, extensions: [extension(false)] });
    expect(verifyChain(certificates(harmless), certificates(root), DURING)).toHaveLength(2);
  });

  it('refuses a signature algorithm that it does not accept', () => {
    const weak = { ...leaf.certificate, signatureAlgorithm: undefined, signatureAlgorithmOid: '1.2.840.10045.4.1' };
    expect(() => verifyChain([weak], certificates(lower), DURING)).toThrow(
      untrusted('CN=leaf is signed with 1.2.840.10045.4.1, which is not accepted'),
    );
  });

  it('ends for certificates that issued each other', async () => {
    const [a, b] = [await PrivateKey.generate('ecdsa'), await PrivateKey.generate('ecdsa')];
    const first = await issue('a', { key: a, extensions: authorityExtensions() });
    const second = await issue('b', { key: b, extensions: authorityExtensions() });
    const crossed = [
      await issue('a', { key: a, by: second, extensions: authorityExtensions() }),
      await issue('b', { key: b, by: first, extensions: authorityExtensions() }),
    ];
    expect(() => verifyChain(certificates(...crossed), certificates(root), DURING)).toThrow(
      untrusted('no certificate of the issuer CN=a is known', 'a'),
    );
  });

  it('ends for many certificates of one name', async () => {
    const key = await PrivateKey.generate('ecdsa');
    const same = await Promise.all(
      Array.from({ length: 16 }, () => issue('x', { key, extensions: authorityExtensions() })),
    );
    expect(() => verifyChain(certificates(...same), certificates(root), DURING)).toThrow(
      expect.objectContaining({ code: 'INTEGRITY', message: expect.stringContaining('CN=x is not trusted') }),
    );
  });

  it.each([0, 17])('refuses a chain of %d certificates', (count) => {
    expect(() => verifyChain(Array<Certificate>(count).fill(leaf.certificate), certificates(root), DURING)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'a certificate chain has 1 to 16 certificates' }),
    );
  });
});
