/** Who may talk to signetd over TCP, and with which TLS: what notary-signer allows, no more and no less. */
import { existsSync } from 'node:fs';
import { copyFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Authority, type Certificate, createAuthority, writeBundle } from '../support/certificates.ts';
import { waitFor } from '../support/conditions.ts';
import { createNotaryClient, startNotaryServer } from '../support/notary.ts';
import { runProgram } from '../support/processes.ts';
import { Resources } from '../support/resources.ts';
import { type Signetd, startSignetd } from '../support/signetd.ts';
import { temporaryDirectory } from '../support/temp.ts';
import { admits, connectHealth, type Handshake, handshake, showing } from '../support/tls-client.ts';

/** The suites notary-signer offers below TLS 1.3; the other half needs an RSA certificate. */
const ECDSA_SUITES = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-SHA',
  'ECDHE-ECDSA-AES128-SHA',
];
const RSA_SUITES = ECDSA_SUITES.map((suite) => suite.replace('ECDSA', 'RSA'));

const resources = new Resources();
let directory: string;
let authority: Authority;
let rogueAuthority: Authority;
let serverCertificate: Certificate;
let client: Certificate;
let rogueClient: Certificate;

beforeAll(async () => {
  directory = resources.use(await temporaryDirectory()).path;
  authority = await createAuthority(directory, 'ca');
  rogueAuthority = await createAuthority(directory, 'rogue-ca');
  serverCertificate = await authority.issue('signer', { extendedKeyUsage: ['serverAuth'] });
  client = await authority.issue('client', { extendedKeyUsage: ['clientAuth'] });
  rogueClient = await rogueAuthority.issue('rogue-client', { extendedKeyUsage: ['clientAuth'] });
});
afterAll(() => resources[Symbol.asyncDispose]());

/** Starts a daemon of its own in a new directory. */
async function start(certificate: Certificate, clientCaFile: string): Promise<Signetd> {
  const { path } = resources.use(await temporaryDirectory());
  return resources.use(await startSignetd(path, { certificate, clientCaFile }));
}

describe('with client_ca_file', () => {
  let signetd: Signetd;
  beforeAll(async () => {
    signetd = await start(serverCertificate, authority.certFile);
  });

  /** A refusal must hold at every protocol version: TLS 1.2 fails in the handshake, TLS 1.3 right after it. */
  async function isAdmitted(certificate: Certificate | undefined): Promise<boolean> {
    const shown = certificate === undefined ? [] : showing(certificate);
    const { completed } = await handshake(signetd.port, ['-tls1_2', ...shown]);
    const admitted = await admits(signetd.port, authority.certFile, certificate);
    expect(completed).toBe(admitted);
    return admitted;
  }

  test('admits a client certificate of that authority', async () => {
    expect(await isAdmitted(client)).toBe(true);
  });

  test('admits a client certificate without extended key usage', async () => {
    expect(await isAdmitted(await authority.issue('any-purpose', { extendedKeyUsage: [] }))).toBe(true);
  });

  test('refuses a client without certificate', async () => {
    expect(await isAdmitted(undefined)).toBe(false);
  });

  test('refuses a certificate of another authority', async () => {
    expect(await isAdmitted(rogueClient)).toBe(false);
  });

  test('refuses a certificate that is for servers only', async () => {
    expect(await isAdmitted(await authority.issue('server-only', { extendedKeyUsage: ['serverAuth'] }))).toBe(false);
  });

  test('refuses a certificate that has expired', async () => {
    const expired = await authority.issue('expired', { extendedKeyUsage: ['clientAuth'], validDays: -1 });
    expect(await isAdmitted(expired)).toBe(false);
  });

  test('names the accepted authorities in the CertificateRequest', async () => {
    const { output } = await handshake(signetd.port, ['-tls1_2', ...showing(client)]);
    expect(output).toMatch(/^Acceptable client certificate CA names\nO = Signet test, CN = ca\n(?!O = )/m);
  });

  test('negotiates h2', async () => {
    const { alpn } = await handshake(signetd.port, ['-alpn', 'h2,http/1.1', ...showing(client)]);
    expect(alpn).toBe('h2');
  });

  test.each([
    ['-tls1', undefined],
    ['-tls1_1', undefined],
    ['-tls1_2', 'TLSv1.2'],
    ['-tls1_3', 'TLSv1.3'],
  ])('%s negotiates %s', async (version, protocol) => {
    const ciphers = ['-cipher', 'ALL:@SECLEVEL=0'];
    expect((await handshake(signetd.port, [version, ...ciphers, ...showing(client)])).protocol).toBe(protocol);
  });

  test('offers exactly the TLS 1.2 suites of notary-signer for an EC certificate', async () => {
    expect(await suitesOf(signetd)).toEqual(ECDSA_SUITES.toSorted());
  });

  test('offers exactly the TLS 1.2 suites of notary-signer for an RSA certificate', async () => {
    const rsa = await authority.issue('signer-rsa', { extendedKeyUsage: ['serverAuth'], keyType: 'rsa' });
    expect(await suitesOf(await start(rsa, authority.certFile))).toEqual(RSA_SUITES.toSorted());
  });
});

/** Asks with all suites, then with all but the chosen one, and so on until the server finds none. */
async function suitesOf({ port }: Signetd): Promise<string[]> {
  const found: string[] = [];
  for (;;) {
    const offer = ['ALL', 'COMPLEMENTOFALL', ...found.map((suite) => `!${suite}`), '@SECLEVEL=0'].join(':');
    const { cipher } = await handshake(port, ['-tls1_2', '-cipher', offer, ...showing(client)]);
    if (cipher === undefined) return found.sort();
    found.push(cipher);
  }
}

describe('a session that a client has saved', () => {
  test.each([
    ['TLSv1.2', '-tls1_2', 'with client_ca_file'],
    ['TLSv1.3', '-tls1_3', 'with client_ca_file'],
    ['TLSv1.2', '-tls1_2', 'without it'],
    ['TLSv1.3', '-tls1_3', 'without it'],
  ])('is not resumed (%s, %s, %s): the handshake is a full one', async (protocol, flag, kind) => {
    const { path } = resources.use(await temporaryDirectory());
    const config = kind === 'without it' ? { server: { client_ca_file: undefined } } : {};
    const tls = { certificate: serverCertificate, clientCaFile: authority.certFile };
    const { port } = resources.use(await startSignetd(path, tls, { config }));
    const session = join(path, 'session');
    const save = ['s_client', '-connect', `127.0.0.1:${port}`, flag, ...showing(client), '-sess_out', session];
    // TLS 1.3 sends what can be saved after the handshake: s_client must still be there to read it.
    const command = ['-c', 'sleep 0.7 | openssl "$@"', 'sh', ...save];
    await runProgram('sh', command, { env: { PATH: process.env['PATH'] ?? '' } });
    expect(existsSync(session)).toBe(true);
    const again = await handshake(port, [flag, ...showing(client), '-sess_in', session]);
    expect(again.output).not.toMatch(/^Reused, /m);
    expect(again).toMatchObject({ completed: true, protocol });
  });
});

describe("notary's stock deployment: client_ca_file is a leaf and its intermediate, without the root", () => {
  test('notary-server is admitted and a collection is published', async () => {
    const intermediate = await authority.intermediate('intermediate');
    const leaf = await intermediate.issue('notary-server', { extendedKeyUsage: ['serverAuth', 'clientAuth'] });
    const certFile = await writeBundle(join(directory, 'notary-server-chain.crt'), [
      leaf.certFile,
      intermediate.certFile,
    ]);
    const certificate = { certFile, keyFile: leaf.keyFile };
    const signetd = await start(serverCertificate, certFile);
    const caFile = authority.certFile;
    const access = { port: signetd.port, caFile, certificate };
    const server = resources.use(await startNotaryServer(directory, { certificate, caFile }, access));
    const notary = await createNotaryClient(join(directory, 'alice'), { url: server.url, caFile });
    expect(await notary.succeeds('init', '-p', 'example.com/stock')).toContain('Successfully published changes');
    expect(await admits(signetd.port, caFile, rogueClient)).toBe(false);
  });
});

describe('SIGHUP', () => {
  let signetd: Signetd;
  let served: Certificate;
  let clientCaFile: string;

  beforeAll(async () => {
    served = { certFile: join(directory, 'served.crt'), keyFile: join(directory, 'served.key') };
    clientCaFile = join(directory, 'served-ca.crt');
    await serve(serverCertificate);
    await copyFile(authority.certFile, clientCaFile);
    signetd = await start(served, clientCaFile);
  });

  async function serve({ certFile, keyFile }: Certificate): Promise<void> {
    await replace(certFile, served.certFile);
    await replace(keyFile, served.keyFile);
  }

  const look = (): Promise<Handshake> => handshake(signetd.port, ['-tls1_2', ...showing(client)]);

  test('makes new handshakes use the new certificate while old connections live on', async () => {
    await using old = await connectHealth(signetd.port, authority.certFile, client);
    expect(await old.check()).toBe(0);
    expect((await look()).serverName).toBe('signer');

    await serve(await authority.issue('renewed', { extendedKeyUsage: ['serverAuth'] }));
    signetd.program.kill('SIGHUP');
    await waitFor('the renewed certificate', async () => (await look()).serverName === 'renewed');
    expect(await old.check()).toBe(0);
  });

  test('keeps the certificate in use and logs an error when the new file is broken', async () => {
    await writeFile(served.certFile, 'not a certificate\n');
    signetd.program.kill('SIGHUP');
    const error = await waitFor('a line in the log', () => signetd.log().find((line) => line['level'] === 'error'));
    expect(JSON.stringify(error)).toContain(served.certFile);
    expect((await look()).serverName).toBe('renewed');
    expect(await admits(signetd.port, authority.certFile, client)).toBe(true);
  });

  test('makes new handshakes use the new client_ca_file', async () => {
    await serve(serverCertificate);
    await replace(rogueAuthority.certFile, clientCaFile);
    signetd.program.kill('SIGHUP');
    await waitFor('the other authority', () => admits(signetd.port, authority.certFile, rogueClient));
    expect(await admits(signetd.port, authority.certFile, client)).toBe(false);
  });
});

/** Puts a copy of `source` in the place of `target` in one step, as certificate tools do. */
async function replace(source: string, target: string): Promise<void> {
  await copyFile(source, `${target}.new`);
  await rename(`${target}.new`, target);
}
