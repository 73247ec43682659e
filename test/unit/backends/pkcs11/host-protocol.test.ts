import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ANSWERS,
  encodeFrame,
  FrameReader,
  MAX_FRAME_BYTES,
  parseReply,
} from '../../../../src/backends/pkcs11/host-protocol.ts';

describe('frames', () => {
  it('come out as they went in, however the stream is cut', () => {
    const frames = fc.array(
      fc.record({
        id: fc.integer({ min: 0, max: 0xffffffff }),
        header: fc.dictionary(fc.string(), fc.string()),
        blob: fc.uint8Array({ maxLength: 300 }),
      }),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(frames, fc.integer({ min: 1, max: 50 }), (sent, size) => {
        const stream = Buffer.concat(sent.map(({ id, header, blob }) => encodeFrame(id, header, blob)));
        const reader = new FrameReader();
        const received = [];
        for (let offset = 0; offset < stream.length; offset += size) {
          received.push(...reader.push(Buffer.from(stream.subarray(offset, offset + size))));
        }
        expect(received.map(({ id, header, blob }) => ({ id, header: { ...header }, blob: [...blob] }))).toEqual(
          sent.map(({ id, header, blob }) => ({ id, header: { ...header }, blob: [...blob] })),
        );
      }),
    );
  });

  it('leave nothing of a PIN in the stream that they were read from', () => {
    const stream = encodeFrame(1, { op: 'login' }, Buffer.from('135792468'));
    const [frame] = new FrameReader().push(stream);
    expect(frame?.blob.toString()).toBe('135792468');
    expect(stream.every((byte) => byte === 0)).toBe(true);
  });

  it('that are garbage end in one kind of error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          new FrameReader().push(Buffer.from(bytes));
        } catch (error) {
          expect(error).toMatchObject({ code: 'INTERNAL', message: expect.stringMatching(/^token host protocol: /) });
        }
      }),
    );
  });

  it('that claim to be too long are refused before they are there', () => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(MAX_FRAME_BYTES + 1);
    expect(() => new FrameReader().push(length)).toThrow('token host protocol: a frame of 16777217 bytes');
  });

  it('that would be too long are not made', () => {
    expect(() => encodeFrame(1, {}, Buffer.alloc(MAX_FRAME_BYTES))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'more than 16777216 bytes for a token' }),
    );
  });
});

describe('answers of a host', () => {
  it.each([
    {},
    { ok: 1 },
    { ok: false },
    { ok: false, code: 'constructor', message: '' },
    { ok: false, code: 'INTERNAL' },
  ])('%j is none', (header) => {
    expect(() => parseReply(header)).toThrow(/^token host protocol: /);
  });

  it.each(['tokens', 'keys', 'state', 'key'] as const)('are checked: %s', (kind) => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        try {
          ANSWERS[kind](value);
        } catch (error) {
          expect(error).toMatchObject({ code: 'INTERNAL', message: expect.stringMatching(/^token host protocol: /) });
        }
      }),
    );
    const wrong = { tokens: [{ slotId: 1 }], keys: [{ ckaId: 'AQ==', label: '' }], state: { flags: -1 }, key: [] }[
      kind
    ];
    expect(() => ANSWERS[kind](wrong)).toThrow(/^token host protocol: /);
  });
});
