import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ErrorCode, EXIT_CODE_OF, GRPC_STATUS } from '../../../src/errors.ts';
import { decodeErrorInfo, type ErrorInfo, encodeErrorInfo } from '../../../src/rpc/error-info.ts';

const CODES = Object.keys(EXIT_CODE_OF) as ErrorCode[];

/** Length-delimited protobuf field. */
const field = (number: number, content: string | Uint8Array) => {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);
};
const statusWith = (typeUrl: string, reason: string, domain: string) =>
  field(3, Buffer.concat([field(1, typeUrl), field(2, Buffer.concat([field(1, reason), field(2, domain)]))]));
const TYPE_URL = 'type.googleapis.com/google.rpc.ErrorInfo';

describe('our error in the trailer', () => {
  it('comes back as it was sent', () => {
    const info: fc.Arbitrary<ErrorInfo> = fc.record({
      code: fc.constantFrom(...CODES),
      hint: fc.option(fc.string({ unit: 'grapheme' }), { nil: undefined }),
      retriesLeft: fc.option(fc.nat(), { nil: undefined }),
    });
    fc.assert(
      fc.property(info, fc.constantFrom(...Object.values(GRPC_STATUS)), fc.string(), (sent, grpcCode, message) => {
        expect(decodeErrorInfo(encodeErrorInfo(grpcCode, message, sent))).toEqual(sent);
      }),
    );
  });

  it('has the wire form of google.rpc.Status with an ErrorInfo of domain "signet"', () => {
    const bytes = encodeErrorInfo(5, 'no', { code: 'KEY_NOT_FOUND', hint: undefined, retriesLeft: undefined });
    const expected = Buffer.concat([
      Buffer.from([8, 5]),
      field(2, 'no'),
      statusWith(TYPE_URL, 'KEY_NOT_FOUND', 'signet'),
    ]);
    expect(bytes).toEqual(expected);
  });
});

describe('a trailer of somebody else', () => {
  it('that is garbage is ignored', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => decodeErrorInfo(bytes) === undefined));
  });

  it('that is ours and damaged is ignored or still a closed code', () => {
    const bytes = encodeErrorInfo(9, 'x', { code: 'PIN_INCORRECT', hint: 'look', retriesLeft: 2 });
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (index, flip) => {
        const damaged = Buffer.from(bytes);
        damaged[index] = (damaged[index] ?? 0) ^ flip;
        const info = decodeErrorInfo(damaged);
        return info === undefined || CODES.includes(info.code);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['of another domain', statusWith(TYPE_URL, 'KEY_NOT_FOUND', 'example.com')],
    ['with a reason that is none of ours', statusWith(TYPE_URL, 'RATE_LIMIT', 'signet')],
    ['with a reason that every object has', statusWith(TYPE_URL, 'toString', 'signet')],
    ['with details of another type', statusWith('type.googleapis.com/google.rpc.DebugInfo', 'INTERNAL', 'signet')],
    ['without details', Buffer.from([8, 5])],
    ['without a byte', Buffer.alloc(0)],
  ])('%s is ignored', (_, bytes) => expect(decodeErrorInfo(bytes)).toBeUndefined());

  it.each(['', 'many', 'NaN'])('with %j retries left tells no number', (text) => {
    const entry = Buffer.concat([field(1, 'retries_left'), field(2, text)]);
    const info = Buffer.concat([field(1, 'PIN_INCORRECT'), field(2, 'signet'), field(3, entry)]);
    const bytes = field(3, Buffer.concat([field(1, TYPE_URL), field(2, info)]));
    expect(decodeErrorInfo(bytes)).toEqual({ code: 'PIN_INCORRECT', hint: undefined, retriesLeft: undefined });
  });
});
