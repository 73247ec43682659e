import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { privateKeyParts } from '../../../../src/crypto/private-key-parts.ts';
import { parseTlvs, requireTlv, tlv } from '../../../support/virtual-yubikey/card/tlv.ts';
import { insideTemplate, signatureRequest, type Terminal, terminal } from './terminal.ts';

const MESSAGE = Buffer.from('what is signed');
const NEW_FIRMWARE = { firmware: '5.7.1' };
/** SHA-256 in DigestInfo (RFC 8017 §9.2 note 1). */
const DIGEST_INFO = Buffer.from('3031300d060960864801650304020105000420', 'hex');

interface AlgorithmCase {
  readonly id: number;
  readonly hash: 'sha256' | 'sha384' | null;
  /** What the card is given for `MESSAGE`. */
  readonly input: Buffer;
}

const digest = (hash: string) => createHash(hash).update(MESSAGE).digest();

function paddedDigest(modulusBytes: number): Buffer {
  const block = Buffer.alloc(modulusBytes, 0xff);
  const info = Buffer.concat([Buffer.of(0), DIGEST_INFO, digest('sha256')]);
  block.set([0, 1]);
  block.set(info, modulusBytes - info.length);
  return block;
}

const ALGORITHMS: Readonly<Record<string, AlgorithmCase>> = {
  'P-256': { id: 0x11, hash: 'sha256', input: digest('sha256') },
  'P-384': { id: 0x14, hash: 'sha384', input: digest('sha384') },
  'RSA-1024': { id: 0x06, hash: 'sha256', input: paddedDigest(128) },
  'RSA-2048': { id: 0x07, hash: 'sha256', input: paddedDigest(256) },
  'RSA-3072': { id: 0x05, hash: 'sha256', input: paddedDigest(384) },
  Ed25519: { id: 0xe0, hash: null, input: MESSAGE },
};

async function sign({ expectData }: Terminal, slot: number, { id, input }: AlgorithmCase): Promise<Buffer> {
  return insideTemplate(await expectData('GENERAL_AUTHENTICATE', id, slot, signatureRequest(input)), 0x82);
}

function publicKeyIn({ applet }: Terminal, slot: number): KeyObject {
  const key = applet.state.keys.get(slot)?.pair.spki ?? Buffer.alloc(0);
  return createPublicKey({ key, format: 'der', type: 'spki' });
}

/** GENERATE's data. */
function control(id: number, policies = Buffer.alloc(0)): Buffer {
  return tlv(0xac, tlv(0x80, Buffer.of(id)), policies);
}

describe.each(Object.entries(ALGORITHMS))('%s', (name, algorithm) => {
  test('signs with a key made in the card', async () => {
    const card = await terminal(NEW_FIRMWARE);
    await card.authenticate(0x0a);
    const answer = await card.expectData('GENERATE_ASYMMETRIC', 0, 0x9e, control(algorithm.id));
    const publicKey = publicKeyIn(card, 0x9e);
    expect(verify(algorithm.hash, MESSAGE, publicKey, await sign(card, 0x9e, algorithm))).toBe(true);
    const metadata = parseTlvs(await card.expectData('GET_METADATA', 0, 0x9e));
    expect(metadata.map(({ value }) => value.toString('hex'))).toEqual([
      algorithm.id.toString(16).padStart(2, '0'),
      '0101',
      '01',
      requireTlv(parseTlvs(answer), 0x7f49).toString('hex'),
    ]);
  });

  test('signs with an imported key', async () => {
    const card = await terminal(NEW_FIRMWARE);
    await card.authenticate(0x0a);
    const { publicKey, objects } = keyToImport(name);
    await card.expectData('IMPORT_KEY', algorithm.id, 0x9e, objects);
    expect(verify(algorithm.hash, MESSAGE, publicKey, await sign(card, 0x9e, algorithm))).toBe(true);
    expect(requireTlv(parseTlvs(await card.expectData('GET_METADATA', 0, 0x9e)), 0x03)).toEqual(Buffer.of(2));
  });

  test('refuses an input that it cannot sign, and a key of another algorithm', async () => {
    const card = await terminal({ ...NEW_FIRMWARE, keys: [{ slot: 0x9e, algorithm: name as 'P-256' }] });
    const isRsaOrEc = algorithm.hash !== null;
    const tooLong = signatureRequest(Buffer.concat([algorithm.input, Buffer.of(1)]));
    const { statusWord } = await card.send('GENERAL_AUTHENTICATE', algorithm.id, 0x9e, tooLong);
    expect(statusWord).toBe(isRsaOrEc ? '6a80' : '9000');
    const other = algorithm.id === 0x11 ? 0x14 : 0x11;
    const request = signatureRequest(algorithm.input);
    expect((await card.send('GENERAL_AUTHENTICATE', other, 0x9e, request)).statusWord).toBe('6a86');
  });
});

/** A new key as IMPORT takes it. */
function keyToImport(name: string): { readonly publicKey: KeyObject; readonly objects: Buffer } {
  const { publicKey, privateKey } = name.startsWith('RSA-')
    ? generateKeyPairSync('rsa', { modulusLength: Number(name.slice(4)) })
    : name === 'Ed25519'
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('ec', { namedCurve: name });
  const { kind, parts } = privateKeyParts(privateKey);
  switch (kind) {
    case 'ec':
      return { publicKey, objects: tlv(0x06, ...parts) };
    case 'ed25519':
      return { publicKey, objects: tlv(0x07, ...parts) };
    case 'rsa':
      return { publicKey, objects: Buffer.concat(parts.slice(1).map((part, index) => tlv(index + 1, part))) };
  }
}

test.each([
  ['a scalar without its leading zeros', 0x11, tlv(0x06, Buffer.alloc(31, 1))],
  ['a scalar of zero', 0x11, tlv(0x06, Buffer.alloc(32))],
  ['a scalar of the curve order and more', 0x11, tlv(0x06, Buffer.alloc(32, 0xff))],
  ['an RSA key without its CRT values', 0x07, Buffer.concat([tlv(0x01, Buffer.of(7)), tlv(0x02, Buffer.of(11))])],
  ['nothing', 0x11, Buffer.alloc(0)],
])('refuses to import %s', async (_what, id, objects) => {
  const { send, authenticate, applet } = await terminal();
  await authenticate();
  expect((await send('IMPORT_KEY', id, 0x9a, objects)).statusWord).toBe('6a80');
  expect(applet.state.keys.has(0x9a)).toBe(false);
});

test.each([
  ['Ed25519', 0xe0],
  ['RSA 3072', 0x05],
  ['RSA 4096', 0x16],
])('has no %s before firmware 5.7', async (_name, id) => {
  const { send, authenticate } = await terminal({ firmware: '5.4.3' });
  await authenticate();
  expect((await send('GENERATE_ASYMMETRIC', 0, 0x9a, control(id))).statusWord).toBe('6a80');
});

test('makes, imports, moves and replaces keys for the holder of the management key only', async () => {
  const { send, verifyPin } = await terminal(NEW_FIRMWARE);
  await verifyPin();
  const newKey = Buffer.concat([Buffer.of(0x0a, 0x9b, 24), Buffer.alloc(24, 5)]);
  const answers = [
    await send('GENERATE_ASYMMETRIC', 0, 0x9a, control(0x11)),
    await send('IMPORT_KEY', 0x11, 0x9a, tlv(0x06, Buffer.alloc(32, 1))),
    await send('MOVE_KEY', 0x9a, 0x9c),
    await send('SET_MANAGEMENT_KEY', 0xff, 0xff, newKey),
    await send('PUT_DATA', 0x3f, 0xff, Buffer.from('5c035fc1055301aa', 'hex')),
  ];
  expect(answers.map(({ statusWord }) => statusWord)).toEqual(Array(5).fill('6982'));
});

test('moves and deletes keys since firmware 5.7', async () => {
  const keys = [{ slot: 0x9a }, { slot: 0x9c }];
  const { send, authenticate, applet } = await terminal({ ...NEW_FIRMWARE, keys });
  await authenticate(0x0a);
  const spki = applet.state.keys.get(0x9a)?.pair.spki;
  expect((await send('MOVE_KEY', 0x9c, 0x9a)).statusWord).toBe('6985');
  expect((await send('MOVE_KEY', 0x82, 0x9a)).statusWord).toBe('9000');
  expect(applet.state.keys.get(0x82)?.pair.spki).toEqual(spki);
  expect((await send('MOVE_KEY', 0xff, 0x82)).statusWord).toBe('9000');
  expect((await send('MOVE_KEY', 0xff, 0x82)).statusWord).toBe('6a88');
  const old = await terminal({ firmware: '5.6.0', keys });
  expect((await old.send('MOVE_KEY', 0xff, 0x9a)).statusWord).toBe('6d00');
});

test('keeps objects of the size of the card and hands them back', async () => {
  const { send, expectData, authenticate } = await terminal();
  await authenticate();
  const put = async (length: number) =>
    await send(
      'PUT_DATA',
      0x3f,
      0xff,
      Buffer.concat([Buffer.from('5c035fc105', 'hex'), tlv(0x53, Buffer.alloc(length, 7))]),
    );
  const get = () => send('GET_DATA', 0x3f, 0xff, Buffer.from('5c035fc105', 'hex'));
  expect((await put(3063)).statusWord).toBe('9000');
  expect((await get()).data).toEqual(tlv(0x53, Buffer.alloc(3063, 7)));
  expect((await put(3064)).statusWord).toBe('6a84');
  expect((await put(0)).statusWord).toBe('9000');
  expect((await get()).statusWord).toBe('6a82');
  expect(await expectData('GET_DATA', 0x3f, 0xff, Buffer.from('5c017e', 'hex'))).toHaveLength(20);
});

test('keeps the printed information from those who do not know the PIN', async () => {
  const { send, verifyPin } = await terminal();
  const get = async () => (await send('GET_DATA', 0x3f, 0xff, Buffer.from('5c035fc109', 'hex'))).statusWord;
  expect(await get()).toBe('6982');
  await verifyPin();
  expect(await get()).toBe('6a82');
});

test('answers PIV commands only while PIV is selected', async () => {
  const { send } = await terminal();
  const aid = (hex: string) => Buffer.from(hex, 'hex');
  for (const other of ['a000000527471117', 'a0000005272101', 'd27600012401']) {
    expect((await send('SELECT', 4, 0, aid(other))).statusWord).toBe('9000');
    expect((await send('GET_VERSION', 0, 0)).statusWord).toBe('6d00');
  }
  expect((await send('SELECT', 4, 0, aid('a0000000031010'))).statusWord).toBe('6a82');
  expect((await send('SELECT', 4, 0, aid('a00000030800001000'))).statusWord).toBe('9000');
  expect((await send('GET_VERSION', 0, 0)).data).toEqual(Buffer.of(5, 4, 3));
  expect((await send('GET_SERIAL', 0, 0)).data.readUInt32BE()).toBe(12345678);
});
