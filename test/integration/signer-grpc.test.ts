/** signetd in notary-signer's place, byte by byte; and what notary-signer does wrong, which signetd must not. */
import { readFile, rename } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KeyAlgorithm, parseKeyAlgorithm } from '../../src/crypto/algorithms.ts';
import { keyIdOf, parseKeyId } from '../../src/crypto/key-id.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { GRPC_STATUS } from '../../src/errors.ts';
import { type Authority, type Certificate, createAuthority } from '../support/certificates.ts';
import { waitFor } from '../support/conditions.ts';
import { type Answer, callOnce, type Door, framed, GrpcConnection, tlsDoor } from '../support/grpc-connection.ts';
import { Resources } from '../support/resources.ts';
import {
  CREATE_KEY,
  DELETE_KEY,
  decodeRequest,
  decodeResponse,
  encodeRequest,
  GET_KEY_INFO,
  HEALTH_CHECK,
  keyId,
  SIGN,
  signatureRequest,
  type Tree,
} from '../support/signer-messages.ts';
import { type Signetd, type SignetdOptions, startSignetd } from '../support/signetd.ts';
import { temporaryDirectory } from '../support/temp.ts';

interface RecordedCall {
  readonly Name: string;
  readonly Method: string;
  /** Absent for an empty message, here and below. */
  readonly RequestHex?: string;
  readonly ResponseHex?: string;
  readonly StatusNum: number;
  readonly StatusMessage?: string;
}
interface RecordedSignature {
  readonly key_id: string;
  readonly key_algorithm: string;
  readonly public_key_b64: string;
  readonly content_hex: string;
  readonly signature_b64: string;
}

const VECTORS = new URL('../vectors/signer-grpc/vectors.json', import.meta.url);
const recorded = JSON.parse(await readFile(VECTORS, 'utf8')) as {
  readonly calls: readonly RecordedCall[];
  readonly signatures: readonly RecordedSignature[];
};

/** Fits gRPC's default limit, which notary-signer keeps. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
const MARKER = 'content-that-must-not-be-logged';

const resources = new Resources();
let authority: Authority;
let serverCertificate: Certificate;
let client: Certificate;

beforeAll(async () => {
  const { path } = resources.use(await temporaryDirectory());
  authority = await createAuthority(path, 'ca');
  serverCertificate = await authority.issue('signer', { extendedKeyUsage: ['serverAuth'] });
  client = await authority.issue('client', { extendedKeyUsage: ['clientAuth'] });
});
afterAll(() => resources[Symbol.asyncDispose]());

async function start(options?: SignetdOptions): Promise<{ readonly signetd: Signetd; readonly door: Door }> {
  const { path } = resources.use(await temporaryDirectory());
  const tls = { certificate: serverCertificate, clientCaFile: authority.certFile };
  const signetd = resources.use(await startSignetd(path, tls, options));
  return { signetd, door: await tlsDoor(signetd.port, authority.certFile, client) };
}

const ask = (door: Door, method: string, request: Tree): Promise<Answer> =>
  callOnce(door, method, encodeRequest(method, request));

/** Makes a key. @returns Its ID and the message that describes it */
async function createKey(door: Door, algorithm: KeyAlgorithm = 'ecdsa'): Promise<{ id: string; publicKey: Buffer }> {
  const answer = await ask(door, CREATE_KEY, { algorithm, gun: 'example.com/app', role: 'timestamp' });
  expect(answer).toMatchObject({ status: GRPC_STATUS.OK });
  const { keyInfo, publicKey } = decodeResponse(CREATE_KEY, onlyMessage(answer)) as {
    readonly keyInfo: { readonly keyID: { readonly ID: string } };
    readonly publicKey: Buffer;
  };
  return { id: keyInfo.keyID.ID, publicKey };
}

function onlyMessage({ messages }: Answer): Buffer {
  const [message, ...others] = messages;
  if (message === undefined || others.length > 0) throw new Error(`${messages.length} messages instead of one`);
  return message;
}

describe.each(['file', 'memory'])("notary-signer's recorded calls on the %s backend", (backend) => {
  let connection: GrpcConnection;
  const answers = new Map<string, Answer>();
  /** Recorded text → what stands for it here. */
  const ours = new Map<string, string>();

  function given(name: string): Answer {
    const answer = answers.get(name);
    if (answer === undefined) throw new Error(`${name} was not asked`);
    return answer;
  }
  const translate = (text: string) => ours.get(text) ?? [...ours].reduce((all, [a, b]) => all.replaceAll(a, b), text);
  function translateTree(tree: Tree): Tree {
    const entries = Object.entries(tree).map(([field, value]) => {
      if (typeof value === 'string') return [field, translate(value)] as const;
      const nested = typeof value === 'object' && !(value instanceof Uint8Array);
      return [field, nested ? translateTree(value) : value] as const;
    });
    return Object.fromEntries(entries);
  }

  beforeAll(async () => {
    const { door } = await start({ config: { storage: { backend } } });
    connection = resources.use(await GrpcConnection.open(door));
    for (const call of recorded.calls) {
      const request = translateTree(decodeRequest(call.Method, bytesOf(call.RequestHex)));
      const answer = await connection.call(call.Method, encodeRequest(call.Method, request));
      answers.set(call.Name, answer);
      if (call.Method !== CREATE_KEY || call.ResponseHex === undefined) continue;
      const theirId = idOf(decodeResponse(call.Method, bytesOf(call.ResponseHex)));
      ours.set(theirId, idOf(decodeResponse(call.Method, onlyMessage(answer))));
    }
  });

  test('every request re-encodes to its recorded bytes', () => {
    for (const { Method, RequestHex } of recorded.calls) {
      const bytes = bytesOf(RequestHex);
      expect(encodeRequest(Method, decodeRequest(Method, bytes))).toEqual(bytes);
    }
  });

  test.each(recorded.calls.map((call) => [call.Name, call] as const))('%s: the same answer', (name, call) => {
    const answer = given(name);
    expect({ status: answer.status, message: answer.message || undefined }).toEqual({
      status: call.StatusNum,
      message: call.StatusNum === GRPC_STATUS.OK ? answer.message || undefined : translate(call.StatusMessage ?? ''),
    });
    if (call.StatusNum !== GRPC_STATUS.OK) {
      expect(answer.messages).toEqual([]);
      return;
    }
    const theirs = translateTree(decodeResponse(call.Method, bytesOf(call.ResponseHex)));
    // Keys and signatures are new: their bytes are of the same length, everything else is the same.
    expect(withLengths(decodeResponse(call.Method, onlyMessage(answer)))).toEqual(withLengths(theirs));
  });

  test('its key IDs are those of its public keys', () => {
    for (const name of ['create ecdsa', 'create ed25519']) {
      const key = decodeResponse(CREATE_KEY, onlyMessage(given(name)));
      const algorithm = parseKeyAlgorithm(name.replace('create ', ''));
      expect(idOf(key)).toBe(keyIdOf({ algorithm, bytes: key['publicKey'] as Buffer }));
    }
  });

  test('its signatures verify', () => {
    const signing = recorded.calls.filter(({ Method, StatusNum }) => Method === SIGN && StatusNum === 0);
    expect(signing).toHaveLength(recorded.signatures.length);
    for (const { Name, RequestHex } of signing) {
      const algorithm = parseKeyAlgorithm(Name.split(' ')[1] ?? '');
      const bytes = decodeResponse(CREATE_KEY, onlyMessage(given(`create ${algorithm}`)))['publicKey'] as Buffer;
      const content = (decodeRequest(SIGN, bytesOf(RequestHex))['content'] ?? Buffer.alloc(0)) as Buffer;
      const signature = decodeResponse(SIGN, onlyMessage(given(Name)))['content'] as Buffer;
      expect(verifySignature({ algorithm, bytes }, content, signature)).toBe(true);
    }
  });
});

function bytesOf(hex: string | undefined): Buffer {
  return Buffer.from(hex ?? '', 'hex');
}

function idOf(message: Tree): string {
  return (message as { readonly keyInfo: { readonly keyID: { readonly ID: string } } }).keyInfo.keyID.ID;
}

function withLengths(tree: Tree): object {
  const entries = Object.entries(tree).map(([field, value]) => {
    if (value instanceof Uint8Array) return [field, { bytes: value.length }] as const;
    return [field, typeof value === 'object' ? withLengths(value) : value] as const;
  });
  return Object.fromEntries(entries);
}

test.each(recorded.signatures)("verifies notary-signer's $key_algorithm signature over $content_hex", (vector) => {
  const algorithm = parseKeyAlgorithm(vector.key_algorithm);
  const key = { algorithm, bytes: Buffer.from(vector.public_key_b64, 'base64') };
  const signature = Buffer.from(vector.signature_b64, 'base64');
  expect(keyIdOf(key)).toBe(parseKeyId(vector.key_id));
  expect(verifySignature(key, Buffer.from(vector.content_hex, 'hex'), signature)).toBe(true);
});

describe('what notary-signer does wrong', () => {
  let signetd: Signetd;
  let door: Door;
  let key: { readonly id: string; readonly publicKey: Buffer };

  const sign = (id: string, content = Buffer.from('x')) => ask(door, SIGN, signatureRequest(id, content));

  beforeAll(async () => {
    ({ signetd, door } = await start());
    key = await createKey(door);
  });

  test('Sign without a key ID is an invalid argument, and the daemon lives', async () => {
    const answer = await ask(door, SIGN, { content: Buffer.from('x') });
    expect(answer).toMatchObject({ status: GRPC_STATUS.INVALID_ARGUMENT, message: 'the request names no key' });
    expect(await sign(key.id)).toMatchObject({ status: GRPC_STATUS.OK });
  });

  test('an empty key ID is no key: nothing is found, signed or deleted', async () => {
    const notFound = { status: GRPC_STATUS.NOT_FOUND, messages: [] };
    expect(await ask(door, GET_KEY_INFO, keyId(''))).toMatchObject({ ...notFound, message: 'key  not found' });
    expect(await sign('')).toMatchObject({ ...notFound, message: 'signing key not found: ' });
    expect(await ask(door, DELETE_KEY, keyId(''))).toMatchObject({ status: GRPC_STATUS.OK });
    expect(await sign(key.id)).toMatchObject({ status: GRPC_STATUS.OK });
  });

  test.each([
    ['gun', '\n'],
    ['gun', '\r'],
    ['gun', '\u2028'],
    ['role', '\nProc-Type: 4,ENCRYPTED'],
    ['role', '\u0000'],
  ])('CreateKey refuses a %s with %j', async (field, text) => {
    const request = { algorithm: 'ecdsa', gun: 'g', role: 'r', [field]: `a${text}b` };
    const message = `${field} has a control character`;
    expect(await ask(door, CREATE_KEY, request)).toMatchObject({ status: GRPC_STATUS.INVALID_ARGUMENT, message });
  });

  test('signed content is in no log line', async () => {
    expect(await sign(key.id, Buffer.from(MARKER))).toMatchObject({ status: GRPC_STATUS.OK });
    expect(await sign('ab'.repeat(32), Buffer.from(MARKER))).toMatchObject({ status: GRPC_STATUS.NOT_FOUND });
    const hasSigned = () => signetd.log().filter(({ msg }) => msg === 'signed' || msg === 'signing failed').length >= 2;
    await waitFor('the log', hasSigned);
    expect(signetd.program.stderr.includes(MARKER)).toBe(false);
  });

  test('a key without its passphrase is never "not found"', async () => {
    const { path: home } = resources.use(await temporaryDirectory());
    const { door: other } = await start({
      config: { storage: { path: signetd.storagePath, default_alias: 'other' } },
      env: { HOME: home, NOTARY_SIGNER_OTHER: 'another passphrase' },
    });
    const refused = { status: GRPC_STATUS.FAILED_PRECONDITION, messages: [] };
    const why = 'the passphrase that the signer has does not open the key';
    expect(await ask(other, SIGN, signatureRequest(key.id, Buffer.from('x')))).toMatchObject({
      ...refused,
      message: `Signing failed for KeyID ${key.id}: ${why}`,
    });
    expect(await ask(other, GET_KEY_INFO, keyId(key.id))).toMatchObject({
      ...refused,
      message: `key ${key.id} cannot be read: ${why}`,
    });
  });

  test('a directory that went away is neither "not found" nor success, and health tells within 2 s', async () => {
    const healthIs = (status: number) => async () => {
      const tree = decodeResponse(HEALTH_CHECK, onlyMessage(await ask(door, HEALTH_CHECK, {})));
      return tree['status'] === status;
    };
    const away = `${signetd.storagePath}-away`;
    await rename(signetd.storagePath, away);
    await new Promise((resolve) => setTimeout(resolve, 250)); // an open key's file is looked at every 200 ms
    const unavailable = { status: GRPC_STATUS.UNAVAILABLE, messages: [] };
    const unknown = 'ab'.repeat(32);
    for (const id of [key.id, unknown]) {
      expect(await sign(id)).toMatchObject(unavailable);
      expect(await ask(door, GET_KEY_INFO, keyId(id))).toMatchObject(unavailable);
      expect(await ask(door, DELETE_KEY, keyId(id))).toMatchObject(unavailable);
    }
    const created = await ask(door, CREATE_KEY, { algorithm: 'ecdsa', gun: 'g', role: 'snapshot' });
    expect(created).toMatchObject({ ...unavailable, message: 'Key creation failed' });
    await waitFor('NOT_SERVING', healthIs(2));
    await rename(away, signetd.storagePath);
    await waitFor('SERVING', healthIs(1));
    expect(await sign(key.id)).toMatchObject({ status: GRPC_STATUS.OK });
  });
});

describe('limits', () => {
  let signetd: Signetd;
  let door: Door;
  let connection: GrpcConnection;
  let id: string;

  beforeAll(async () => {
    const server = { max_connections: 3 };
    ({ signetd, door } = await start({ config: { server } }));
    connection = resources.use(await GrpcConnection.open(door));
    ({ id } = await createKey(door));
  });

  const signRequest = (content: Uint8Array) => encodeRequest(SIGN, signatureRequest(id, content));

  test('a message of exactly 4 MiB is signed', async () => {
    const overhead = signRequest(Buffer.alloc(MAX_MESSAGE_BYTES)).length - MAX_MESSAGE_BYTES;
    const message = signRequest(Buffer.alloc(MAX_MESSAGE_BYTES - overhead));
    expect(message.length).toBe(MAX_MESSAGE_BYTES);
    expect(await connection.call(SIGN, message)).toMatchObject({ status: GRPC_STATUS.OK });
  });

  test('one byte more is RESOURCE_EXHAUSTED, and the connection goes on', async () => {
    const answer = await connection.send(SIGN, framed(Buffer.alloc(MAX_MESSAGE_BYTES + 1)));
    expect(answer.status).toBe(GRPC_STATUS.RESOURCE_EXHAUSTED);
    expect(answer.message).toContain(`(${MAX_MESSAGE_BYTES + 1} vs ${MAX_MESSAGE_BYTES})`);
    expect(await connection.call(SIGN, signRequest(Buffer.from('x')))).toMatchObject({ status: GRPC_STATUS.OK });
  });

  test.each(['/proto.Signer/Verify', '/proto.Unknown/Sign', '/signet.v1.Agent/ListKeys', '/'])(
    '%s is not implemented',
    async (path) => {
      expect((await connection.call(path, Buffer.alloc(0))).status).toBe(GRPC_STATUS.UNIMPLEMENTED);
    },
  );

  test("both of notary-server's health names serve", async () => {
    for (const name of ['KeyManagement', 'Signer']) {
      const request = encodeRequest(HEALTH_CHECK, { service: `grpc.health.v1.Health.${name}` });
      const answer = await connection.call(HEALTH_CHECK, request);
      expect(decodeResponse(HEALTH_CHECK, onlyMessage(answer))).toEqual({ status: 1 });
    }
  });

  test('connections beyond server.max_connections are closed, and one that ends makes room', async () => {
    await using second = await GrpcConnection.open(door);
    {
      await using third = await GrpcConnection.open(door);
      await expect(GrpcConnection.open(door)).rejects.toThrow();
      for (const open of [second, third]) {
        expect(await open.call(HEALTH_CHECK, Buffer.alloc(0))).toMatchObject({ status: GRPC_STATUS.OK });
      }
    }
    await waitFor('room for a connection', () => ask(door, HEALTH_CHECK, {}).catch(() => undefined));
    const refusals = () => signetd.log().some(({ msg }) => msg === 'connection refused: server.max_connections');
    await waitFor('a line in the log', refusals);
  });

  describe('with keys that take seconds to seal', () => {
    const slow = encodeRequest(CREATE_KEY, { algorithm: 'ecdsa', gun: 'g', role: 'timestamp' });
    let slowly: GrpcConnection;

    beforeAll(async () => {
      const server = { max_concurrent_calls: 1, call_timeout: '400ms' };
      const started = await start({ config: { server, storage: { kdf_iterations: 2_000_000 } } });
      slowly = resources.use(await GrpcConnection.open(started.door));
    });

    /** Calls that were given up still hold their places until their work has ended. */
    const allEnded = async () => {
      await waitFor('a free place', async () => {
        const answer = await slowly.call(SIGN, encodeRequest(SIGN, signatureRequest('', Buffer.alloc(0))));
        return answer.status === GRPC_STATUS.NOT_FOUND;
      });
    };

    test('server.call_timeout ends a call with DEADLINE_EXCEEDED', async () => {
      const answer = await slowly.call(CREATE_KEY, slow);
      expect(answer.status).toBe(GRPC_STATUS.DEADLINE_EXCEEDED);
      expect(answer.message).toBe('the call took too long');
      await allEnded();
    });

    test("the client's own deadline ends a call earlier", async () => {
      const answer = await slowly.call(CREATE_KEY, slow, { headers: { 'grpc-timeout': '50m' } });
      expect(answer).toMatchObject({ status: GRPC_STATUS.DEADLINE_EXCEEDED, message: 'Deadline exceeded' });
      await allEnded();
    });

    test('calls beyond server.max_concurrent_calls are RESOURCE_EXHAUSTED, but health is told', async () => {
      const first = slowly.call(CREATE_KEY, slow);
      await new Promise((resolve) => setTimeout(resolve, 100));
      const refused = await slowly.call(CREATE_KEY, slow);
      expect(refused).toMatchObject({ status: GRPC_STATUS.RESOURCE_EXHAUSTED, message: 'too many calls' });
      expect(await slowly.call(HEALTH_CHECK, Buffer.alloc(0))).toMatchObject({ status: GRPC_STATUS.OK });
      expect((await first).status).toBe(GRPC_STATUS.DEADLINE_EXCEEDED);
      await allEnded();
    });
  });
});
