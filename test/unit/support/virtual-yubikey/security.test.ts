import { createCipheriv, createHash, createPublicKey, verify, X509Certificate } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { PinPolicy, TouchPolicy } from '../../../support/virtual-yubikey/card/tables.ts';
import { parseTlvs, requireTlv, tlv } from '../../../support/virtual-yubikey/card/tlv.ts';
import { CommandedTouch } from '../../../support/virtual-yubikey/process/touch.ts';
import { FACTORY_KEY, insideTemplate, signatureRequest, terminal } from './terminal.ts';

const DIGEST = createHash('sha256').update('x').digest();

describe('the management key', () => {
  test.each([
    ['3DES', 0x03, 24],
    ['AES-128', 0x08, 16],
    ['AES-192', 0x0a, 24],
    ['AES-256', 0x0c, 32],
  ] as const)('proves itself with %s', async (managementAlgorithm, id, length) => {
    const key = Buffer.alloc(length, 'key');
    const card = await terminal({ managementAlgorithm, managementKey: key.toString('hex') });
    expect(await card.authenticate(id, Buffer.alloc(length, 'yek'))).toBe('6982');
    expect(await card.authenticate(id, key)).toBe('9000');
    expect(card.applet.state.statistics.managementKey).toEqual({ attempts: 2, failures: 1 });
  });

  test('is 3DES before firmware 5.7 and AES-192 from then on', async () => {
    const old = await terminal({ firmware: '5.6.0' });
    expect([await old.authenticate(0x0a), await old.authenticate(0x03)]).toEqual(['6a80', '9000']);
    const fresh = await terminal({ firmware: '5.7.0' });
    expect([await fresh.authenticate(0x03), await fresh.authenticate(0x0a)]).toEqual(['6a80', '9000']);
  });

  test('can be changed to another algorithm, which AES is since firmware 5.4', async () => {
    const aes = Buffer.alloc(32, 'key');
    const order = Buffer.concat([Buffer.of(0x0c, 0x9b, 32), aes]);
    const card = await terminal();
    await card.authenticate();
    expect((await card.send('SET_MANAGEMENT_KEY', 0xff, 0xff, order)).statusWord).toBe('9000');
    await card.select();
    expect([await card.authenticate(), await card.authenticate(0x0c, aes)]).toEqual(['6a80', '9000']);
    const old = await terminal({ firmware: '5.3.1' });
    await old.authenticate();
    expect((await old.send('SET_MANAGEMENT_KEY', 0xff, 0xff, order)).statusWord).toBe('6a80');
  });

  test('answers to a single authentication, once per challenge', async () => {
    const { expectData, send } = await terminal();
    const started = await expectData('GENERAL_AUTHENTICATE', 0x03, 0x9b, tlv(0x7c, tlv(0x81)));
    const cipher = createCipheriv('des-ede3', FACTORY_KEY, null).setAutoPadding(false);
    const response = tlv(0x7c, tlv(0x82, cipher.update(insideTemplate(started, 0x81))));
    expect((await send('GENERAL_AUTHENTICATE', 0x03, 0x9b, response)).statusWord).toBe('9000');
    expect((await send('GENERAL_AUTHENTICATE', 0x03, 0x9b, response)).statusWord).toBe('6985');
  });
});

describe.each([
  ['never', ['9000', '9000', '9000', '9000']],
  ['once', ['6982', '9000', '9000', '9000']],
  ['always', ['6982', '9000', '6982', '9000']],
] as const satisfies [PinPolicy, string[]][])('PIN policy %s', (pinPolicy, expected) => {
  test('allows signatures without a PIN, after it, again, and after it again', async () => {
    const { send, verifyPin } = await terminal({ keys: [{ slot: 0x9a, pinPolicy }] });
    const sign = async () => (await send('GENERAL_AUTHENTICATE', 0x11, 0x9a, signatureRequest(DIGEST))).statusWord;
    const answers = [await sign()];
    await verifyPin();
    answers.push(await sign(), await sign());
    await verifyPin();
    answers.push(await sign());
    expect(answers).toEqual(expected);
  });
});

test('slots have their own default for the PIN', async () => {
  const slots = [0x9a, 0x9c, 0x9d, 0x9e, 0x95];
  const { applet } = await terminal({ keys: slots.map((slot) => ({ slot })) });
  const policies = slots.map((slot) => applet.state.keys.get(slot)?.pinPolicy);
  expect(policies).toEqual(['once', 'always', 'once', 'never', 'once']);
});

describe('touch', () => {
  async function card(touchPolicy: TouchPolicy, touch: CommandedTouch) {
    const { send, applet } = await terminal({ keys: [{ slot: 0x9e, touchPolicy }] }, touch);
    const sign = async () => (await send('GENERAL_AUTHENTICATE', 0x11, 0x9e, signatureRequest(DIGEST))).statusWord;
    return { sign, applet };
  }

  test.each([
    ['never', 0],
    ['always', 2],
    ['cached', 1],
  ] as const)('policy %s asks for %i touches for two signatures', async (policy, touches) => {
    const { sign, applet } = await card(policy, new CommandedTouch());
    expect([await sign(), await sign()]).toEqual(['9000', '9000']);
    expect(applet.state.statistics.touchesAwaited).toBe(touches);
  });

  test('denied or not given in time is 6982', async () => {
    const touch = new CommandedTouch();
    const { sign } = await card('always', touch);
    touch.mode = { mode: 'deny' };
    expect(await sign()).toBe('6982');
    touch.mode = { mode: 'wait' };
    touch.timeoutMs = 1;
    expect(await sign()).toBe('6982');
  });

  test('given while the card waits lets it sign; given before, it does nothing', async () => {
    const touch = new CommandedTouch();
    const { sign } = await card('always', touch);
    touch.mode = { mode: 'wait' };
    expect(touch.touch()).toBe(false);
    const signing = sign();
    await expect.poll(() => touch.isAwaited).toBe(true);
    expect(touch.touch()).toBe(true);
    expect(await signing).toBe('9000');
    expect(touch.isAwaited).toBe(false);
  });

  test('given late still counts', async () => {
    const touch = new CommandedTouch();
    touch.mode = { mode: 'late', afterMs: 5 };
    expect(await (await card('always', touch)).sign()).toBe('9000');
  });
});

describe('attestation', () => {
  const policies = Buffer.concat([tlv(0xaa, Buffer.of(3)), tlv(0xab, Buffer.of(2))]);

  test('is a certificate that leads to the maker and tells all about the key', async () => {
    const { expectData, authenticate, applet, maker } = await terminal({ formFactor: 3 });
    await authenticate();
    await expectData('GENERATE_ASYMMETRIC', 0, 0x9c, tlv(0xac, tlv(0x80, Buffer.of(0x11)), policies));
    const leaf = new X509Certificate(await expectData('ATTEST', 0x9c, 0));
    const object = await expectData('GET_DATA', 0x3f, 0xff, Buffer.from('5c035fff01', 'hex'));
    const issuer = new X509Certificate(requireTlv(parseTlvs(requireTlv(parseTlvs(object), 0x53)), 0x70));
    const root = new X509Certificate(maker.certificate);
    expect([leaf.subject, leaf.issuer]).toEqual(['CN=YubiKey PIV Attestation 9c', 'CN=Yubico PIV Attestation']);
    expect([leaf.verify(issuer.publicKey), issuer.verify(root.publicKey), root.verify(root.publicKey)]).toEqual([
      true,
      true,
      true,
    ]);
    expect(leaf.checkIssued(issuer) && issuer.checkIssued(root)).toBe(true);
    expect(leaf.publicKey.export({ format: 'der', type: 'spki' })).toEqual(applet.state.keys.get(0x9c)?.pair.spki);
    // OBJECT IDENTIFIER 1.3.6.1.4.1.41482.3.x, then OCTET STRING
    const extension = (number: number, content: string) =>
      `060a2b0601040182c40a030${number}04${(content.length / 2).toString(16).padStart(2, '0')}${content}`;
    const hex = leaf.raw.toString('hex');
    for (const expected of [
      extension(3, '050403'),
      extension(7, '020400bc614e'),
      extension(8, '0302'),
      extension(9, '03'),
    ])
      expect(hex).toContain(expected);
  });

  test('is refused for imported keys and empty slots', async () => {
    const { send, authenticate } = await terminal();
    await authenticate();
    await send('IMPORT_KEY', 0x11, 0x9a, tlv(0x06, Buffer.alloc(32, 1)));
    expect((await send('ATTEST', 0x9a, 0)).statusWord).toBe('6a80');
    expect((await send('ATTEST', 0x9c, 0)).statusWord).toBe('6a88');
  });

  test('is refused when f9 holds no certificate', async () => {
    const { send, authenticate } = await terminal({ keys: [{ slot: 0x9a }] });
    await authenticate();
    for (const object of ['5303700130', '5300']) {
      await send('PUT_DATA', 0x3f, 0xff, Buffer.from(`5c035fff01${object}`, 'hex'));
      expect((await send('ATTEST', 0x9a, 0)).statusWord).toBe('6a80');
    }
  });
});

test('a key that the card was making when its power was lost is not kept', async () => {
  const { send, authenticate, applet } = await terminal();
  await authenticate();
  const making = send('GENERATE_ASYMMETRIC', 0, 0x9a, tlv(0xac, tlv(0x80, Buffer.of(0x11))));
  applet.powerOff();
  expect((await making).statusWord).toBe('6985');
  expect(applet.state.keys.has(0x9a)).toBe(false);
});

test.each([
  ['serial number', { serial: 2 ** 32 }],
  ['length of the PIN', { pin: '12345' }],
  ['length of the PUK', { puk: '1234567' }],
  ['number of tries', { pukRetries: 16 }],
])('there is no card with an impossible %s', async (what, settings) => {
  await expect(terminal(settings)).rejects.toThrow(`no card has a ${what}`);
});

test('metadata tells of PIN, PUK and management key since firmware 5.3', async () => {
  const { send, verifyPin } = await terminal({ pin: '777777', pinRetries: 5 });
  await verifyPin();
  const hex = async (p2: number) => (await send('GET_METADATA', 0, p2)).data.toString('hex');
  expect(await hex(0x80)).toBe('0101ff05010006020504');
  expect(await hex(0x81)).toBe('0101ff05010106020303');
  expect(await hex(0x9b)).toBe('01010302020001050101');
  expect((await send('GET_METADATA', 0, 0x9a)).statusWord).toBe('6a88');
  const old = await terminal({ firmware: '5.2.7' });
  expect((await old.send('GET_METADATA', 0, 0x80)).statusWord).toBe('6d00');
});

test('a wrong signature on demand is well-formed, and only one', async () => {
  const card = await terminal({ keys: [{ slot: 0x9e }] });
  const key = card.applet.state.keys.get(0x9e)?.pair.spki ?? Buffer.alloc(0);
  const publicKey = createPublicKey({ key, format: 'der', type: 'spki' });
  card.applet.state.wrongSignatures = 1;
  const verified: boolean[] = [];
  for (let times = 0; times < 2; times++) {
    const answer = await card.expectData('GENERAL_AUTHENTICATE', 0x11, 0x9e, signatureRequest(DIGEST));
    verified.push(verify('sha256', Buffer.from('x'), publicKey, insideTemplate(answer, 0x82)));
  }
  expect(verified).toEqual([false, true]);
});
