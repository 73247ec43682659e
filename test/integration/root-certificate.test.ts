import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { certificatePem } from '../../src/crypto/certificate.ts';
import { sealKeyPem } from '../../src/crypto/key-pem.ts';
import { parsePem } from '../../src/crypto/pem.ts';
import { PrivateKey } from '../../src/crypto/private-key.ts';
import { buildRootCertificate } from '../../src/crypto/root-certificate.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { type Signer, startNotarySigner } from '../support/notary.ts';
import { type Stack, startStack } from '../support/stack.ts';

/** Of `createNotaryClient`. */
const PASSPHRASE = 'root-passphrase';
/** As notary writes them: the test is not about the key file. */
const ITERATIONS = 2048;

let stack: Stack<Signer>;
beforeAll(async () => {
  stack = await startStack(startNotarySigner);
});
afterAll(() => stack[Symbol.asyncDispose]());

function p384(): PrivateKey {
  const text = readFileSync(new URL('../vectors/key-formats/p8-p384.pem', import.meta.url));
  return PrivateKey.fromPkcs8(parsePem(text)?.bytes ?? Buffer.of());
}

describe('a root certificate by Signet', () => {
  it.each<[string, () => PrivateKey | Promise<PrivateKey>]>([
    ['P-256', () => PrivateKey.generate('ecdsa')],
    ['P-384', p384],
    ['RSA, signed with PSS', () => PrivateKey.generate('rsa')],
  ])('is published by notary and trusted by another client: %s', async (name, makeKey) => {
    const slug = name.replaceAll(/\W+/g, '-').toLowerCase();
    const gun = `example.com/${slug}`;
    using key = await makeKey();
    const certificate = await buildRootCertificate({ gun, publicKey: key.publicKey, notBefore: new Date() }, (input) =>
      key.sign(input),
    );
    const alice = await stack.client(`alice-${slug}`);
    const [keyFile, certificateFile] = [join(alice.home, 'root.key'), join(alice.home, 'root.crt')];
    using passphrase = Secret.fromText(PASSPHRASE);
    await writeFile(keyFile, await sealKeyPem(key, { role: 'root', gun: '' }, passphrase, ITERATIONS));
    await writeFile(certificateFile, certificatePem(certificate));

    await alice.succeeds('init', gun, '--rootkey', keyFile, '--rootcert', certificateFile, '-p');

    const root: unknown = JSON.parse(await stack.server.metadata(gun, 'root.json'));
    expect(root).toMatchObject({ signed: { keys: expect.toSatisfy(holds(certificatePem(certificate))) } });
    const bob = await stack.client(`bob-${slug}`);
    expect(await bob.succeeds('list', gun)).toContain('No targets present');
  });
});

function holds(pem: string) {
  const value = Buffer.from(pem).toString('base64');
  return (keys: Record<string, { keyval: { public: string } }>) =>
    Object.values(keys).some(({ keyval }) => keyval.public === value);
}
