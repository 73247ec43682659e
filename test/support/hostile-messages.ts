/** Hostile protobuf messages and gRPC framing, for every method the daemon serves. */
import { deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { framed } from './grpc-connection.ts';
import { MARKER } from './hostile-http2.ts';

const MIB = 1024 * 1024;

export const SERVER_METHODS = [
  '/proto.KeyManagement/CreateKey',
  '/proto.KeyManagement/DeleteKey',
  '/proto.KeyManagement/GetKeyInfo',
  '/proto.Signer/Sign',
  '/grpc.health.v1.Health/Check',
  '/grpc.health.v1.Health/Watch',
] as const;
export const AGENT_METHODS = [
  'Status',
  'ListKeys',
  'FindKey',
  'GetPublicKey',
  'GenerateKey',
  'RemoveKey',
  'Sign',
  'Unlock',
  'Lock',
].map((method) => `/signet.v1.Agent/${method}`);

const marked = Buffer.from(MARKER);
/** A length-delimited field (wire type 2) of at most 127 bytes. */
const field = (number: number, value: Uint8Array) =>
  Buffer.concat([Buffer.from([(number << 3) | 2, value.byteLength]), value]);

function nested(depth: number): Buffer {
  let message = Buffer.alloc(0);
  for (let level = 0; level < depth; level++) message = Buffer.concat([Buffer.from([0x0a]), varint(message), message]);
  return message;
}

/** The length of `bytes` as a base-128 varint. */
function varint({ length }: Uint8Array): Buffer {
  const groups: number[] = [];
  let rest = length;
  for (; rest >= 128; rest >>= 7) groups.push((rest & 127) | 128);
  return Buffer.from([...groups, rest]);
}

/** Small messages that broke some protobuf reader, somewhere. */
export const CORPUS: readonly (readonly [name: string, message: Buffer])[] = [
  ['nothing', Buffer.alloc(0)],
  ['a lone tag', Buffer.from('0a', 'hex')],
  ['a length beyond the end', Buffer.from('0a7f41', 'hex')],
  ['a length of 2^32 - 1', Buffer.from('0affffffff0f', 'hex')],
  ['a length of 2^64 - 1', Buffer.from('0affffffffffffffffff01', 'hex')],
  ['a varint without end', Buffer.alloc(64, 0xff)],
  ['field number 0', Buffer.from('020141', 'hex')],
  ['the greatest field number', Buffer.from('faffffff0f0141', 'hex')],
  ['wire type 6', Buffer.from('0e01', 'hex')],
  ['wire type 7', Buffer.from('0f01', 'hex')],
  ['a text as varint', Buffer.from('080110011801', 'hex')],
  ['a text as fixed32', Buffer.from('0d414141411541414141', 'hex')],
  ['a text as fixed64', Buffer.from('094141414141414141114141414141414141', 'hex')],
  ['a group that is not closed', Buffer.from('0b', 'hex')],
  ['a group closed by another', Buffer.from('0b14', 'hex')],
  ['a group closed without a start', Buffer.from('0c', 'hex')],
  ['a text that is not UTF-8', field(1, Buffer.from('fffec0', 'hex'))],
  ['a text with half a character', field(1, Buffer.from('eda080', 'hex'))],
  ['a text cut inside a character', field(1, Buffer.from('41f09f98', 'hex'))],
  ['an overlong NUL', field(1, Buffer.from('c080', 'hex'))],
  ['texts with line breaks', Buffer.concat([1, 2, 3].map((number) => field(number, Buffer.from(`${MARKER}\r\n`))))],
  ['every field as the marker', Buffer.concat([1, 2, 3, 4, 5].map((number) => field(number, marked)))],
  ['the same field 100 000 times', Buffer.concat(Array.from({ length: 100_000 }, () => field(1, Buffer.alloc(0))))],
  ['100 000 unknown fields', Buffer.concat(Array.from({ length: 100_000 }, () => Buffer.from('f80701', 'hex')))],
  ['100 000 groups inside each other', Buffer.alloc(100_000, 0x7b)],
  ['2 000 messages inside each other', nested(2000)],
  ['a text of 1 MiB', Buffer.concat([Buffer.from('0a808040', 'hex'), Buffer.alloc(MIB, 0x61)])],
  ['a key ID of 63 characters', field(1, Buffer.from('a'.repeat(63)))],
  ['__proto__', field(1, Buffer.from('__proto__'))],
  ['a negative int64', Buffer.from('18ffffffffffffffffff01', 'hex')],
];

/** Bytes, and well-formed fields with every wire type, cut and changed at random. */
export const hostileMessage: fc.Arbitrary<Uint8Array> = (() => {
  const tag = fc.record({ number: fc.integer({ min: 0, max: 18 }), wire: fc.integer({ min: 0, max: 7 }) });
  const value = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.constantFrom(
      marked,
      Buffer.from('ecdsa'),
      Buffer.from('sha256'),
      Buffer.from('ab'.repeat(32)),
      Buffer.alloc(32, 1),
    ),
  );
  const part = fc.tuple(tag, value, fc.integer({ min: -3, max: 300 })).map(([{ number, wire }, bytes, lie]) => {
    const key = number < 16 ? [(number << 3) | wire] : [((number << 3) & 127) | wire | 128, number >> 4];
    const length = lie < 100 ? bytes.byteLength : lie;
    const prefix =
      wire === 2 ? [length < 128 ? length : (length & 127) | 128, ...(length < 128 ? [] : [length >> 7])] : [];
    return Buffer.concat([Buffer.from([...key, ...prefix]), bytes]);
  });
  const fields = fc.array(part, { maxLength: 6 }).map((parts) => new Uint8Array(Buffer.concat(parts)));
  return fc.oneof(fc.uint8Array({ maxLength: 200 }), fields);
})();

export interface Framing {
  readonly name: string;
  readonly body: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** The statuses that may be answered. */
  readonly statuses: readonly number[];
}

const OK = 0;
const RESOURCE_EXHAUSTED = 8;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;

/** Request bodies for Health/Check, whose well-formed request is an empty message. */
export const FRAMINGS: readonly Framing[] = [
  { name: 'no message', body: Buffer.alloc(0), statuses: [UNIMPLEMENTED] },
  { name: 'two messages', body: framedTimes(2), statuses: [UNIMPLEMENTED] },
  { name: '1 000 messages', body: framedTimes(1000), statuses: [UNIMPLEMENTED] },
  {
    name: 'bytes after the message',
    body: Buffer.concat([framedTimes(1), Buffer.from('zz')]),
    statuses: [OK, INTERNAL],
  },
  { name: 'a length beyond the end', body: Buffer.from('0000000009ff', 'hex'), statuses: [UNIMPLEMENTED, INTERNAL] },
  { name: 'a length of 2^32 - 1', body: Buffer.from('00ffffffffff', 'hex'), statuses: [RESOURCE_EXHAUSTED] },
  { name: 'half a prefix', body: Buffer.from('000000', 'hex'), statuses: [UNIMPLEMENTED, INTERNAL] },
  { name: 'the compressed flag without an encoding', body: framed(Buffer.alloc(0), 1), statuses: [OK, INTERNAL] },
  { name: 'a flag of 255', body: framed(Buffer.alloc(0), 255), statuses: [OK, INTERNAL] },
  compressed('an unknown encoding', 'br', Buffer.from(MARKER), UNIMPLEMENTED),
  compressed('an encoding with odd characters', '\u00ff"<', Buffer.from(MARKER), OK, UNIMPLEMENTED, INTERNAL),
  compressed('gzip', 'gzip', gzipSync(Buffer.alloc(0)), OK),
  compressed('deflate', 'deflate', deflateSync(Buffer.alloc(0)), OK),
  compressed('gzip of nothing', 'gzip', Buffer.alloc(0), INTERNAL),
  compressed('gzip of garbage', 'gzip', Buffer.from(MARKER), INTERNAL),
  compressed('gzip that is cut', 'gzip', gzipSync(Buffer.alloc(1000)).subarray(0, -9), INTERNAL),
  compressed('deflate that needs a dictionary', 'deflate', Buffer.from('78bb00000001', 'hex'), INTERNAL),
  // 64 MiB of zeros in 64 KiB; the limit is that of uncompressed messages.
  compressed('a gzip bomb', 'gzip', gzipSync(Buffer.alloc(64 * MIB)), RESOURCE_EXHAUSTED),
  compressed('a deflate bomb', 'deflate', deflateSync(Buffer.alloc(64 * MIB)), RESOURCE_EXHAUSTED),
  {
    name: 'four gzip bombs in one call',
    body: Buffer.concat(Array.from({ length: 4 }, () => framed(gzipSync(Buffer.alloc(16 * MIB)), 1))),
    headers: { 'grpc-encoding': 'gzip' },
    statuses: [RESOURCE_EXHAUSTED, UNIMPLEMENTED],
  },
];

function framedTimes(count: number): Buffer {
  return Buffer.concat(Array.from({ length: count }, () => framed(Buffer.alloc(0))));
}

function compressed(name: string, encoding: string, message: Uint8Array, ...statuses: readonly number[]): Framing {
  return { name, body: framed(message, 1), headers: { 'grpc-encoding': encoding }, statuses };
}
