import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { echo, fullStatusOf, publicText, type Status, statusOf, toSignetError } from '../../../src/daemon/status.ts';
import { type ErrorCode, EXIT_CODE_OF, GRPC_STATUS, GRPC_STATUS_OF, SignetError } from '../../../src/errors.ts';
import { DETAILS_TRAILER, decodeErrorInfo } from '../../../src/rpc/error-info.ts';

const CODES = Object.keys(EXIT_CODE_OF) as ErrorCode[];
const DETAIL = '/home/alice/.docker/trust: refused by db.internal';

function infoOf({ metadata }: Status) {
  const [trailer] = metadata?.get(DETAILS_TRAILER) ?? [];
  return trailer instanceof Buffer ? decodeErrorInfo(trailer) : undefined;
}
const secretive = (code: ErrorCode) =>
  new SignetError(code, DETAIL, { hint: DETAIL, retriesLeft: 2, cause: new Error(`cause of ${DETAIL}`) });

describe('what a remote client is told', () => {
  it.each(CODES.filter((code) => code !== 'INVALID_ARGUMENT'))('of %s is a fixed text and our code', (code) => {
    const status = statusOf(secretive(code));
    expect(status.code).toBe(GRPC_STATUS[GRPC_STATUS_OF[code]]);
    expect(status.details).toMatch(/^[a-z][A-Za-z ]+$/);
    expect(infoOf(status)).toEqual({ code, hint: undefined, retriesLeft: undefined });
    const bytes = Buffer.concat((status.metadata?.get(DETAILS_TRAILER) ?? []) as Buffer[]).toString('latin1');
    expect(status.details + bytes).not.toMatch(/alice|db\.internal/);
  });

  it('of its own argument is the whole message', () => {
    const error = new SignetError('INVALID_ARGUMENT', 'role has a control character', { cause: new Error(DETAIL) });
    expect(publicText(error)).toBe('role has a control character');
    expect(statusOf(error)).toMatchObject({ code: 3, details: 'role has a control character' });
  });

  it("may be Notary's code and text, with our code beside it", () => {
    const status = statusOf(new SignetError('UNSUPPORTED', 'x'), 'algorithm rsa not supported', GRPC_STATUS.UNKNOWN);
    expect(status).toMatchObject({ code: 2, details: 'algorithm rsa not supported' });
    expect(infoOf(status)?.code).toBe('UNSUPPORTED');
  });
});

describe("what the agent's own user is told", () => {
  it.each(CODES)('of %s is message, hint and tries left, but not the cause', (code) => {
    const status = fullStatusOf(secretive(code));
    expect(status).toMatchObject({ code: GRPC_STATUS[GRPC_STATUS_OF[code]], details: DETAIL });
    expect(infoOf(status)).toEqual({ code, hint: DETAIL, retriesLeft: 2 });
    const bytes = Buffer.concat((status.metadata?.get(DETAILS_TRAILER) ?? []) as Buffer[]).toString('latin1');
    expect(status.details + bytes).not.toContain('cause of');
  });
});

describe('anything thrown', () => {
  it('that is ours stays as it is', () => {
    const error = secretive('TOKEN_BUSY');
    expect(toSignetError(error)).toBe(error);
  });

  it.each([new TypeError(DETAIL), DETAIL, undefined, null, { code: 'KEY_NOT_FOUND', message: DETAIL }])(
    'that is not ours is INTERNAL with a fixed text (%#)',
    (thrown) => {
      const error = toSignetError(thrown);
      expect(error).toMatchObject({ code: 'INTERNAL', message: 'unexpected error' });
      expect(fullStatusOf(error).details).toBe('unexpected error');
    },
  );
});

describe("a client's own text", () => {
  it('of up to 256 characters is echoed as it is', () => {
    expect(echo('x'.repeat(256))).toBe('x'.repeat(256));
    expect(echo('x'.repeat(257))).toBe(`${'x'.repeat(256)}…`);
  });

  it('is always fit for a status: bounded, and whole characters', () => {
    const anyText = fc.string({ unit: fc.nat(0xffff).map((unit) => String.fromCharCode(unit)), maxLength: 600 });
    fc.assert(
      fc.property(anyText, (text) => {
        const shown = echo(text);
        expect(shown.length).toBeLessThanOrEqual(257);
        expect(() => encodeURI(shown)).not.toThrow();
      }),
    );
  });

  it('that was cut through a character still makes a status that grpc-js can send', () => {
    for (const status of [statusOf, fullStatusOf]) {
      const { details } = status(new SignetError('INVALID_ARGUMENT', 'unknown "\ud83d'));
      expect(() => encodeURI(details)).not.toThrow();
      expect(details).toBe('unknown "\ufffd');
    }
  });
});
