import { describe, expect, it } from 'vitest';
import {
  EXIT_CODE_OF,
  fromNodeError,
  GRPC_STATUS,
  GRPC_STATUS_OF,
  isErrorCode,
  SignetError,
} from '../../src/errors.ts';

const codes = Object.keys(EXIT_CODE_OF).filter(isErrorCode);

describe('the tables of error codes', () => {
  it('cover the same codes', () => {
    expect(Object.keys(GRPC_STATUS_OF).toSorted()).toEqual(codes.toSorted());
    expect(codes.length).toBeGreaterThan(20);
  });

  it.each(codes)('%s has a gRPC status that exists and is an error', (code) => {
    expect(GRPC_STATUS[GRPC_STATUS_OF[code]]).toBeGreaterThan(0);
  });

  it.each(codes)('%s has a non-zero exit code that a shell can see', (code) => {
    expect(EXIT_CODE_OF[code]).toBeGreaterThan(0);
    expect(EXIT_CODE_OF[code]).toBeLessThan(256);
  });

  it('let a machine retry only what needs no person', () => {
    const retried = codes.filter((code) => GRPC_STATUS_OF[code] === 'UNAVAILABLE');
    expect(retried.toSorted()).toEqual(['TOKEN_BUSY', 'UNAVAILABLE']);
  });

  it('number gRPC statuses 0 to 16 without gaps', () => {
    expect(Object.values(GRPC_STATUS)).toEqual([...Array(17).keys()]);
  });
});

describe('isErrorCode', () => {
  it.each(['toString', '__proto__', '', 'internal'])('is false for %j', (text) => {
    expect(isErrorCode(text)).toBe(false);
  });
});

describe('SignetError', () => {
  it('has no cause property unless there is one', () => {
    expect('cause' in new SignetError('INTERNAL', 'x')).toBe(false);
  });

  it('carries hint, retries and cause', () => {
    const cause = new Error('CKR_PIN_INCORRECT');
    const error = new SignetError('PIN_INCORRECT', 'wrong PIN', { hint: 'try again', retriesLeft: 2, cause });
    expect(error).toMatchObject({ name: 'SignetError', code: 'PIN_INCORRECT', hint: 'try again', retriesLeft: 2 });
    expect(error.cause).toBe(cause);
  });
});

describe('fromNodeError', () => {
  const errno = (code: unknown) => Object.assign(new Error('native text'), { code });

  it('passes a SignetError through unchanged', () => {
    const error = new SignetError('PIN_LOCKED', 'locked');
    expect(fromNodeError(error, 'cannot sign')).toBe(error);
  });

  it.each([
    ['EEXIST', 'UNAVAILABLE'],
    ['ABORT_ERR', 'CANCELLED'],
    ['ENOENT', 'UNAVAILABLE'],
    ['EIO', 'UNAVAILABLE'],
    ['EACCES', 'UNAVAILABLE'],
  ])('maps %s to %s and names it', (code, expected) => {
    const error = fromNodeError(errno(code), 'cannot read /k');
    expect(error).toMatchObject({ code: expected, message: `cannot read /k (${code})` });
    expect((error.cause as Error).message).toBe('native text');
  });

  it.each([[errno(20)], [new Error('bug')], [undefined], [null], ['text']])(
    'takes %s, which has no errno name, for a bug',
    (error) => {
      expect(fromNodeError(error, 'cannot read /k')).toMatchObject({ code: 'INTERNAL', message: 'cannot read /k' });
    },
  );

  it('does not repeat the text of the foreign error', () => {
    expect(fromNodeError(errno('EIO'), 'cannot read /k').message).not.toContain('native text');
  });
});
