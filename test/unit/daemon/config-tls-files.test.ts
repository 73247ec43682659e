import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTlsMaterial } from '../../../src/daemon/tls-files.ts';

const vector = (name: string) => fileURLToPath(new URL(`../../vectors/tls/${name}`, import.meta.url));
const NOW = new Date('2027-06-01T00:00:00Z');
const GOOD = { tlsCertFile: vector('server.crt'), tlsKeyFile: vector('server.key'), clientCaFile: undefined };

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'signet-tls-'));
});
afterAll(async () => {
  await rm(dir, { recursive: true });
});

async function file(name: string, content: string | Buffer): Promise<string> {
  await writeFile(join(dir, name), content);
  return join(dir, name);
}

const refusal = (message: string, hint?: string) =>
  expect.objectContaining({
    code: 'CONFIGURATION',
    message: `unable to set up TLS: ${message}`,
    hint: hint ?? expect.stringMatching(/./),
  });

describe('loadTlsMaterial', () => {
  it('returns the files as they are', async () => {
    const material = await loadTlsMaterial({ ...GOOD, clientCaFile: vector('ca.crt') }, NOW);
    expect(material).toEqual({
      cert: await readFile(vector('server.crt')),
      key: await readFile(vector('server.key')),
      clientCa: await readFile(vector('ca.crt')),
      warnings: [],
    });
  });

  it('takes certificate and key from one file', async () => {
    const both = await file(
      'both.pem',
      Buffer.concat([await readFile(vector('server.crt')), await readFile(vector('server.key'))]),
    );
    const material = await loadTlsMaterial({ tlsCertFile: both, tlsKeyFile: both, clientCaFile: undefined }, NOW);
    expect(material.warnings).toEqual([]);
  });

  it('accepts a client CA file without a self-signed certificate', async () => {
    const material = await loadTlsMaterial({ ...GOOD, clientCaFile: vector('intermediate.crt') }, NOW);
    expect(material.warnings).toEqual([]);
  });

  it.each([
    ['tlsCertFile', 'server.tls_cert_file'],
    ['tlsKeyFile', 'server.tls_key_file'],
    ['clientCaFile', 'server.client_ca_file'],
  ])('names the key and the file when %s is missing', async (field, key) => {
    const path = join(dir, 'missing.pem');
    await expect(loadTlsMaterial({ ...GOOD, [field]: path }, NOW)).rejects.toThrow(
      refusal(`cannot read ${key} ${path} (ENOENT)`, 'create the file or correct the path'),
    );
  });

  it('refuses a directory and a file over 1 MiB', async () => {
    await expect(loadTlsMaterial({ ...GOOD, tlsKeyFile: dir }, NOW)).rejects.toThrow(
      refusal(`cannot read server.tls_key_file ${dir} (EISDIR)`, 'name a regular file'),
    );
    const path = await file('big.pem', Buffer.alloc(1024 * 1024 + 1));
    await expect(loadTlsMaterial({ ...GOOD, tlsCertFile: path }, NOW)).rejects.toThrow(
      refusal(`server.tls_cert_file ${path} is larger than 1 MiB`),
    );
  });

  it('refuses a certificate file without a certificate', async () => {
    const path = vector('server.key');
    await expect(loadTlsMaterial({ ...GOOD, tlsCertFile: path }, NOW)).rejects.toThrow(
      refusal(`server.tls_cert_file ${path} holds no certificate`),
    );
  });

  it('refuses a client CA file without a certificate', async () => {
    const path = await file('empty.pem', '');
    await expect(loadTlsMaterial({ ...GOOD, clientCaFile: path }, NOW)).rejects.toThrow(
      refusal(`server.client_ca_file ${path} holds no certificate`),
    );
  });

  it('says which certificate of a file is damaged', async () => {
    const damaged = '-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n';
    const path = await file('damaged.pem', (await readFile(vector('ca.crt'), 'utf8')) + damaged);
    await expect(loadTlsMaterial({ ...GOOD, clientCaFile: path }, NOW)).rejects.toThrow(
      refusal(`certificate 2 of server.client_ca_file ${path} cannot be parsed`),
    );
  });

  it.each(['encrypted-pkcs8.key', 'encrypted-rfc1421.key'])('refuses the encrypted key %s', async (name) => {
    const path = vector(name);
    await expect(loadTlsMaterial({ ...GOOD, tlsKeyFile: path }, NOW)).rejects.toThrow(
      refusal(`server.tls_key_file ${path} is encrypted`, expect.stringContaining('openssl pkey -in FILE')),
    );
  });

  it('refuses a key file without a key', async () => {
    const path = vector('server.crt');
    await expect(loadTlsMaterial({ ...GOOD, tlsKeyFile: path }, NOW)).rejects.toThrow(
      refusal(`server.tls_key_file ${path} holds no private key that can be parsed`),
    );
  });

  it("refuses a key that is not the certificate's", async () => {
    const path = vector('other.key');
    await expect(loadTlsMaterial({ ...GOOD, tlsKeyFile: path }, NOW)).rejects.toThrow(
      refusal(`server.tls_key_file ${path} is not the key of server.tls_cert_file ${GOOD.tlsCertFile}`),
    );
  });

  describe('with a certificate valid from 2026-11-20 to 2026-11-21', () => {
    const ONE_DAY = { ...GOOD, tlsCertFile: vector('one-day.crt') };
    const what = `server.tls_cert_file ${ONE_DAY.tlsCertFile}`;

    it('warns while it is about to expire', async () => {
      const { warnings } = await loadTlsMaterial(ONE_DAY, new Date('2026-11-20T12:00:00Z'));
      expect(warnings).toEqual([`${what} expires on 2026-11-21`]);
    });

    it('refuses it afterwards', async () => {
      await expect(loadTlsMaterial(ONE_DAY, new Date('2026-11-21T07:27:49Z'))).rejects.toThrow(
        refusal(`${what} expired on 2026-11-21`, 'renew the certificate'),
      );
    });

    it('only warns before it is valid: the clock may be the one that is wrong', async () => {
      const { warnings } = await loadTlsMaterial(ONE_DAY, new Date('2026-10-01T00:00:00Z'));
      expect(warnings).toEqual([`${what} is not valid before 2026-11-20`]);
    });

    it('only warns where it is a client CA', async () => {
      const { warnings } = await loadTlsMaterial({ ...GOOD, clientCaFile: ONE_DAY.tlsCertFile }, NOW);
      expect(warnings).toEqual([
        `certificate 1 of server.client_ca_file ${ONE_DAY.tlsCertFile} expired on 2026-11-21: its clients are refused`,
      ]);
    });

    it('only warns where it is an intermediate', async () => {
      const chain = Buffer.concat([await readFile(vector('server.crt')), await readFile(ONE_DAY.tlsCertFile)]);
      const path = await file('chain.pem', chain);
      const { warnings } = await loadTlsMaterial({ ...GOOD, tlsCertFile: path }, NOW);
      expect(warnings).toEqual([`certificate 3 of server.tls_cert_file ${path} expired on 2026-11-21`]);
    });
  });

  it('warns 30 days before the end and not earlier', async () => {
    const cert = { ...GOOD, tlsCertFile: vector('one-day.crt') };
    const at = (iso: string) => loadTlsMaterial(cert, new Date(iso)).then(({ warnings }) => warnings.length);
    expect(await at('2026-10-22T07:27:48Z')).toBe(1);
    expect(await at('2026-10-22T07:27:49Z')).toBe(2);
  });
});
