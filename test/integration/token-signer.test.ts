/** notary-signer's API with keys on a token: its four calls, and what its clients see when the token's module fails. */
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AgentClient } from '../../src/client/agent-client.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { type PublicKeyMessage, SERVING_STATUS } from '../../src/rpc/messages.ts';
import { type Authority, createAuthority } from '../support/certificates.ts';
import { waitFor } from '../support/conditions.ts';
import { type FaultyModule, faultyModule } from '../support/faulty-module.ts';
import { Resources } from '../support/resources.ts';
import { connectSigner, type SignerClient } from '../support/signer-client.ts';
import { type Signetd, startSignetd } from '../support/signetd.ts';
import { type SoftHsm, softHsm } from '../support/softhsm.ts';

const GUN = 'registry.example.com/team/app';
const CONTENT = Buffer.from('{"_type":"Timestamp"}');
const UNAVAILABLE = 14;
const INTERNAL = 13;
const NOT_FOUND = 5;
const DATA_LOSS = 15;
const FAILED_PRECONDITION = 9;

let resources: Resources;
let hsm: SoftHsm;
let module: FaultyModule;
let authority: Authority;

beforeEach(async () => {
  resources = new Resources();
  hsm = resources.use(await softHsm());
  await hsm.createToken('ci');
  module = await faultyModule(hsm);
  authority = await createAuthority(hsm.directory, 'ca');
});
afterEach(() => resources[Symbol.asyncDispose]());

const use = <T extends Disposable>(client: T): T => {
  resources.use({ [Symbol.asyncDispose]: async () => client[Symbol.dispose]() });
  return client;
};

/** A daemon with a token for timestamps; snapshots go to files. */
async function start(name = 'signer', token: object = {}) {
  const certificate = await authority.issue(name, { extendedKeyUsage: ['serverAuth'] });
  const uri = `pkcs11:token=ci?module-path=${module.modulePath}&pin-source=file:${await hsm.pinFile()}`;
  const signer = resources.use(
    await startSignetd(
      join(hsm.directory, name),
      { certificate, clientCaFile: authority.certFile },
      {
        config: { tokens: [{ uri, ...token }], placement: { timestamp: ['pkcs11'], '*': ['storage'] } },
        env: module.env,
      },
    ),
  );
  const connect = async (client: string) => {
    const shown = await authority.issue(`${name}-${client}`, { extendedKeyUsage: ['clientAuth'] });
    return use(await connectSigner(signer.port, authority.certFile, shown));
  };
  return { signer, connect, client: await connect('client') };
}

/** @returns Whether the signature is good; of a failure its gRPC status. */
async function sign(client: SignerClient, key: PublicKeyMessage): Promise<boolean | number> {
  try {
    const { content } = await client.sign(idOf(key), CONTENT);
    return verifySignature({ algorithm: 'ecdsa', bytes: key.publicKey }, CONTENT, content);
  } catch (error) {
    return (error as { readonly code: number }).code;
  }
}

const idOf = (key: PublicKeyMessage) => key.keyInfo?.keyID?.ID ?? '';
const timestampKey = (client: SignerClient, gun = GUN) => client.createKey('ecdsa', gun, 'timestamp');
const snapshotKey = (client: SignerClient) => client.createKey('ecdsa', GUN, 'snapshot');

async function hostPids({ program: { pid } }: Signetd): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  return children.split(' ').filter(Boolean).map(Number);
}

describe('a key on a token', () => {
  it('is made, described, used and deleted by the four calls', async () => {
    const { client } = await start();
    const key = await timestampKey(client);
    expect(await client.getKeyInfo(idOf(key))).toMatchObject({ role: 'timestamp', publicKey: key.publicKey });
    expect(await sign(client, key)).toBe(true);
    await client.deleteKey(idOf(key));
    await client.deleteKey(idOf(key)); // an absent key is deleted already
    expect(await sign(client, key)).toBe(NOT_FOUND);
    await expect(client.getKeyInfo(idOf(key))).rejects.toMatchObject({ code: NOT_FOUND });
  });

  it('is a new one at each CreateKey: a token does not know which keys have never signed', async () => {
    const { client } = await start();
    const keys = [await timestampKey(client), await timestampKey(client)];
    expect(new Set(keys.map(idOf)).size).toBe(2);
    for (const key of keys) expect(await sign(client, key)).toBe(true);
  });

  it('serves another daemon on the same token, and each sees what the other one made and deleted', async () => {
    const [one, two] = [await start('one'), await start('two')];
    const key = await timestampKey(one.client);
    await waitFor('the other one to see it', async () => (await sign(two.client, key)) === true);
    const both = [one.client, two.client];
    const outcomes = await Promise.all(
      Array.from({ length: 60 }, (_, call) => sign(both[call % 2] as SignerClient, key)),
    );
    expect(new Set(outcomes)).toEqual(new Set([true]));
    await two.client.deleteKey(idOf(key));
    expect(await sign(one.client, key)).toBe(NOT_FOUND);
  });
});

describe('while the token fails', () => {
  it.each([
    ['C_Sign crash', UNAVAILABLE],
    ['C_Sign return 0x30', UNAVAILABLE],
    ['C_Sign return 0xe0', FAILED_PRECONDITION],
    ['C_Sign return 0x80000001', INTERNAL],
    ['C_Sign corrupt', DATA_LOSS],
  ])('%s: its callers get status %i, keys in files sign, and it recovers', async (fault, status) => {
    const { signer, client } = await start();
    const [onToken, inFile] = [await timestampKey(client), await snapshotKey(client)];
    await module.misbehave(fault);
    const [failed, ...fine] = await Promise.all([
      sign(client, onToken),
      ...Array.from({ length: 10 }, () => sign(client, inFile)),
    ]);
    expect(failed).toBe(status);
    expect(new Set(fine)).toEqual(new Set([true]));
    await module.misbehave();
    await waitFor('the token', async () => (await sign(client, onToken)) === true);
    const told = await waitFor('the log', () => signer.log().find((line) => line['msg'] === 'signing failed'));
    expect(told).toMatchObject({ keyId: idOf(onToken), backend: 'pkcs11', role: 'timestamp' });
    if (fault.includes('return'))
      expect(told?.['error']).toMatch(/^faulty\.so: signing on token "ci" failed \(CKR_\w+/);
  });

  it('that hangs, callers get an answer at their deadline and the file keys go on', async () => {
    const { client } = await start();
    const [onToken, inFile] = [await timestampKey(client), await snapshotKey(client)];
    await module.misbehave('C_Sign hang');
    const late = sign(client, onToken);
    for (let i = 0; i < 20; i++) expect(await sign(client, inFile)).toBe(true);
    expect(await client.checkHealth()).toMatchObject({ status: SERVING_STATUS.SERVING });
    expect([UNAVAILABLE, 4]).toContain(await late);
    await module.misbehave();
    await waitFor('the token', async () => (await sign(client, onToken)) === true, { timeoutMs: 30_000 });
  });

  it('that hangs from the start, the daemon starts all the same, and the file keys sign', async () => {
    await module.misbehave('C_Initialize hang');
    const { signer, client } = await start();
    expect(await sign(client, await snapshotKey(client))).toBe(true);
    expect(signer.log()).toContainEqual(
      expect.objectContaining({
        level: 'warning',
        msg: 'token pkcs11:token=ci cannot be used yet',
        error: 'pkcs11:token=ci does not answer',
      }),
    );
    await module.misbehave();
    const key = await waitFor('the token', () => timestampKey(client).catch(() => undefined), { timeoutMs: 40_000 });
    expect(await sign(client, key)).toBe(true);
  });

  it('because its host is killed under load: nothing but that host’s calls is lost', async () => {
    const { signer, client, connect } = await start('signer', { hosts: 2 });
    const others = await Promise.all(['a', 'b'].map(connect));
    const [onToken, inFile] = [await timestampKey(client), await snapshotKey(client)];
    await sign(client, onToken);
    for (const signal of ['SIGKILL', 'SIGKILL', 'SIGKILL'] as const) {
      const load = Array.from({ length: 150 }, (_, call) => sign(others[call % 2] as SignerClient, onToken));
      const files = Array.from({ length: 20 }, () => sign(client, inFile));
      await Promise.race(load);
      const [pid = 0] = await hostPids(signer);
      process.kill(pid, signal);
      const outcomes = await Promise.all(load);
      expect(outcomes.filter((outcome) => outcome !== true && outcome !== UNAVAILABLE)).toEqual([]);
      expect(new Set(await Promise.all(files))).toEqual(new Set([true]));
      await waitFor('the next signature', async () => (await sign(client, onToken)) === true);
    }
    const stderr = signer.program.stderr;
    expect(stderr).not.toContain('135792468');
  });

  it('because it is away: file keys can be deleted, a key on it cannot, and the log says what was not asked', async () => {
    const { signer, client } = await start();
    const [onToken, inFile] = [await timestampKey(client), await snapshotKey(client)];
    const [token = ''] = await hsm.tokenDirectories();
    await rename(token, join(hsm.directory, 'away'));
    await waitFor('the loss to be known', async () => (await sign(client, onToken)) === FAILED_PRECONDITION);
    await client.deleteKey(idOf(inFile));
    const told = await waitFor('the log', () =>
      signer.log().find((line) => line['msg'] === 'key deleted elsewhere; this home could not be asked'),
    );
    expect(told).toMatchObject({ keyId: idOf(inFile), location: 'pkcs11:token=ci' });
    await expect(client.deleteKey(idOf(onToken))).rejects.toMatchObject({ code: INTERNAL });
    await rename(join(hsm.directory, 'away'), token);
    await waitFor('the token', async () => (await sign(client, onToken)) === true);
    await client.deleteKey(idOf(onToken));
    expect(await sign(client, onToken)).toBe(NOT_FOUND);
  });
});

describe('a slow token', () => {
  it('lets a client that asks now and then pass one that floods it', async () => {
    const { signer, client, connect } = await start();
    const key = await timestampKey(client);
    const flooding = await connect('flood');
    await module.misbehave('C_Sign sleep 50');
    let floodDone = 0;
    const flood = Array.from({ length: 60 }, () => sign(flooding, key).then(() => floodDone++));
    await waitFor('the flood to begin', () => floodDone > 0);
    const before = floodDone;
    expect(await sign(client, key)).toBe(true);
    expect(floodDone - before).toBeLessThanOrEqual(3);
    const agent = use(new AgentClient(signer.socket));
    const between = floodDone;
    await agent.sign({ key_id: idOf(key), input: 'message', message: CONTENT });
    expect(floodDone - between).toBeLessThanOrEqual(3);
    await module.misbehave();
    await Promise.all(flood);
  });
});
