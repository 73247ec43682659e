/**
 * A token host that misbehaves on demand: an independent implementation of the protocol's other end, without any module.
 *
 * FAKE_HOST names a JSON file: {"flags", "pin", "sign": how to answer a signature, "load": likewise}. Every login appends a
 * line to the file beside it, `.log`.
 */
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { appendFileSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';

const file = process.env.FAKE_HOST;
const plan = () => JSON.parse(readFileSync(file, 'utf8'));
const log = (line) => appendFileSync(`${file}.log`, `${line}\n`);
const socket = new Socket({ fd: 3, readable: true, writable: true });
const privateKey = createPrivateKey({ key: Buffer.from(plan().pkcs8, 'base64'), format: 'der', type: 'pkcs8' });
const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
const key = {
  ckaId: Buffer.from([1]).toString('base64'),
  label: Buffer.from('signet:root:example.com%3A5000/a').toString('base64'),
  keyType: 3,
  ecParams: Buffer.from('06082a8648ce3d030107', 'hex').toString('base64'),
  ecPoint: spki.subarray(-65).toString('base64'),
  hasPrivate: true,
};
let loggedIn = false;

const CKF_LOGIN_REQUIRED = 4;
const CKF_TOKEN_INITIALIZED = 0x400;
/** P-256, to make and to sign with. */
const MECHANISMS = [0x1040, 0x1041].map((mechanism) => ({ mechanism, minBits: 256, maxBits: 256 }));
const state = () => ({ flags: CKF_LOGIN_REQUIRED | (plan().flags ?? 0), loggedIn });

function frame(id, header, blob = Buffer.alloc(0)) {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const head = Buffer.alloc(12);
  head.writeUInt32BE(8 + json.length + blob.length, 0);
  head.writeUInt32BE(id, 4);
  head.writeUInt32BE(json.length, 8);
  return Buffer.concat([head, json, blob]);
}
const reply = (id, value, blob) => socket.write(frame(id, { ok: true, value }, blob));
const refuse = (id, code, message, more = {}) => socket.write(frame(id, { ok: false, code, message, ...more }));

/** Signs a digest: node:crypto has no such call, so the digest is the message and the caller compares in kind. */
const misbehaviours = {
  hang: () => undefined,
  exit: () => process.exit(7),
  'huge frame': () => socket.write(Buffer.from('ffffffff0000000000000000', 'hex')),
  'tiny frame': () => socket.write(Buffer.from('00000001', 'hex')),
  'not json': (id) => socket.write(frame(id, '{')),
  'no object': (id) => socket.write(frame(id, '[]')),
  'unknown code': (id) => socket.write(frame(id, { ok: false, code: 'HARMLESS', message: 'x' })),
  'unknown id': () => reply(4_000_000, null),
  'long header': () => socket.write(Buffer.from('00000008000000010000ffff', 'hex')),
  'wrong signature': (id) =>
    reply(id, null, sign('sha256', Buffer.from('another message'), { key: privateKey, dsaEncoding: 'ieee-p1363' })),
  'short signature': (id) => reply(id, null, Buffer.alloc(3)),
  'no signature': (id) => reply(id, null),
  'not logged in': (id) => refuse(id, 'PIN_REQUIRED', 'not logged in (CKR_USER_NOT_LOGGED_IN)'),
  lost: (id) => refuse(id, 'TOKEN_NOT_PRESENT', 'gone (CKR_DEVICE_REMOVED)', { lost: true }),
};

const administration = ['changePin', 'setUserPin', 'initialise'].map((op) => [
  op,
  (id) => {
    log(op);
    return reply(id, state());
  },
]);

const handlers = {
  ...Object.fromEntries(administration),
  load: (id) => {
    const how = misbehaviours[plan().load];
    return how === undefined ? reply(id, { manufacturer: 'fake', description: '', version: '1.0' }) : how(id);
  },
  tokens: (id) =>
    reply(
      id,
      (plan().tokens ?? ['fake']).map((label, index) => ({
        slotId: String(index),
        label,
        manufacturer: 'fake',
        model: 'fake',
        serial: '0001',
        flags: (label === '' ? 0 : CKF_TOKEN_INITIALIZED) | CKF_LOGIN_REQUIRED,
        slotDescription: '',
        slotManufacturer: '',
        firmware: '1.0',
      })),
    ),
  emptySlots: (id) => reply(id, plan().emptySlots ?? []),
  attach: (id) => reply(id, { ...state(), mechanisms: MECHANISMS }),
  state: (id) => reply(id, state()),
  keys: async (id) => {
    log('keys');
    await new Promise((resolve) => setTimeout(resolve, plan().keysDelayMs ?? 0));
    return reply(id, [...(plan().keysBefore ?? []), key, ...(plan().keysAfter ?? [])]);
  },
  login: (id, _, pin) => {
    log(`login ${createHash('sha256').update(pin).digest('hex').slice(0, 8)}`);
    if (plan().login === 'exit') process.exit(8);
    loggedIn = false;
    if (pin.toString() !== plan().pin) return refuse(id, 'PIN_INCORRECT', 'login failed (CKR_PIN_INCORRECT)');
    loggedIn = true;
    return reply(id, state());
  },
  logout: (id) => {
    loggedIn = false;
    return reply(id, state());
  },
  generate: async (id) => {
    log('generate');
    await new Promise((resolve) => setTimeout(resolve, plan().delayMs ?? 0));
    return reply(id, key);
  },
  sign: async (id) => {
    log('sign');
    const how = misbehaviours[plan().sign];
    if (how !== undefined) return how(id);
    await new Promise((resolve) => setTimeout(resolve, plan().delayMs ?? 0));
    // What it signs is agreed upon: the digest of this text.
    return reply(id, null, sign('sha256', Buffer.from('agreed'), { key: privateKey, dsaEncoding: 'ieee-p1363' }));
  },
};

const waiting = [];
let isBusy = false;
async function pump() {
  if (isBusy) return;
  isBusy = true;
  while (waiting.length > 0) {
    const { id, header, blob } = waiting.shift();
    await handlers[header.op](id, header, blob);
  }
  isBusy = false;
}

let buffered = Buffer.alloc(0);
socket.on('data', (chunk) => {
  buffered = Buffer.concat([buffered, chunk]);
  while (buffered.length >= 4 && buffered.length >= 4 + buffered.readUInt32BE(0)) {
    const end = 4 + buffered.readUInt32BE(0);
    const headerEnd = 12 + buffered.readUInt32BE(8);
    const request = {
      id: buffered.readUInt32BE(4),
      header: JSON.parse(buffered.toString('utf8', 12, headerEnd)),
      blob: buffered.subarray(headerEnd, end),
    };
    buffered = buffered.subarray(end);
    if (request.header.op === 'cancel') {
      const index = waiting.findIndex(({ id }) => id === request.header.id);
      if (index >= 0) {
        waiting.splice(index, 1);
        refuse(request.header.id, 'CANCELLED', 'not begun');
      }
    } else waiting.push(request);
  }
  void pump();
});
socket.on('close', () => process.exit(0));
