import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CachedTouch } from '../../../../src/backends/yubikey/cached-touch.ts';
import { Presence } from '../../../../src/backends/yubikey/presence.ts';
import { formatVersion, isAtLeast, parseYubicoVersion } from '../../../../src/backends/yubikey/versions.ts';
import { parseKeyId } from '../../../../src/crypto/key-id.ts';
import { SignetError } from '../../../../src/errors.ts';
import { pinPerson } from '../../../support/pin-person.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('Presence', () => {
  function watched(isThere: boolean) {
    const state = { isThere, looks: 0, problem: undefined as SignetError | undefined };
    const changes: boolean[] = [];
    const presence = new Presence({
      isThere,
      look: async () => {
        state.looks++;
        if (state.problem !== undefined) throw state.problem;
        if (!state.isThere) throw new SignetError('TOKEN_NOT_PRESENT', 'gone');
      },
      onChange: (there) => changes.push(there),
    });
    return { presence, state, changes };
  }

  it('looks each second, and tells each change once', async () => {
    const { presence, state, changes } = watched(false);
    await vi.advanceTimersByTimeAsync(3000);
    expect(changes).toEqual([]);
    state.isThere = true;
    await vi.advanceTimersByTimeAsync(3000);
    state.isThere = false;
    await vi.advanceTimersByTimeAsync(3000);
    expect(changes).toEqual([true, false]);
    expect(state.looks).toBe(9);
    presence[Symbol.dispose]();
    await vi.advanceTimersByTimeAsync(3000);
    expect(state.looks).toBe(9);
  });

  it('looks more often after a hint, until something changed', async () => {
    const { presence, state, changes } = watched(false);
    presence.hint();
    await vi.advanceTimersByTimeAsync(250);
    expect(state.looks).toBe(3);
    state.isThere = true;
    await vi.advanceTimersByTimeAsync(100);
    expect(changes).toEqual([true]);
    await vi.advanceTimersByTimeAsync(500);
    expect(state.looks).toBe(4);
    presence[Symbol.dispose]();
  });

  it('ends a hint that nothing came of', async () => {
    const { presence, state } = watched(true);
    presence.hint();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(state.looks).toBe(1 + 20 + 8); // at once, for two seconds, each second
    presence[Symbol.dispose]();
  });

  it('takes no other failure for an absence', async () => {
    const { presence, state, changes } = watched(true);
    state.problem = new SignetError('UNAVAILABLE', 'does not answer');
    await vi.advanceTimersByTimeAsync(3000);
    expect(changes).toEqual([]);
    presence[Symbol.dispose]();
  });
});

describe('CachedTouch', () => {
  const keyId = parseKeyId('a'.repeat(64));
  const key = (touchPolicy: 'always' | 'cached') => ({
    keyId,
    role: 'root',
    gun: '',
    location: '',
    needs: { pin: true, touch: true, passphrase: false },
    device: { serial: '1', label: '', touchPolicy },
  });
  const token = { backend: 'yubikey', label: '', serial: '1' };

  it('leaves out the notice for 14 s after a touch, not after a signature without one', () => {
    const touches = new CachedTouch();
    const person = pinPerson(() => undefined);
    const ask = (touchPolicy: 'always' | 'cached') =>
      touches.contextFor(key(touchPolicy), person.context).interaction?.touch(token, key(touchPolicy));
    ask('cached');
    touches.noteSigned(keyId);
    vi.advanceTimersByTime(10_000);
    ask('cached');
    touches.noteSigned(keyId); // still of the first touch
    expect(person.touches.count).toBe(1);
    ask('always');
    expect(person.touches.count).toBe(2);
    vi.advanceTimersByTime(4001);
    ask('cached');
    expect(person.touches.count).toBe(3);
    touches.noteSigned(keyId);
    touches.forget();
    ask('cached');
    expect(person.touches.count).toBe(4);
  });
});

describe('versions', () => {
  it.each([
    ['5.43', [5, 4, 3]],
    ['5.71', [5, 7, 1]],
    ['2.20', [2, 2, 0]],
    ['2.72', [2, 7, 2]],
    ['4.0', [4, 0, 0]],
  ])('%s is %j', (text, version) => {
    expect(parseYubicoVersion(text)).toEqual(version);
  });

  it('that are none are not known', () => {
    for (const text of ['', '5', '5.4.3', 'a.b', '5.4444']) expect(parseYubicoVersion(text)).toBeUndefined();
  });

  it('are compared number by number', () => {
    expect(isAtLeast([5, 7, 0], [5, 4, 3])).toBe(true);
    expect(isAtLeast([5, 4, 3], [5, 4, 3])).toBe(true);
    expect(isAtLeast([4, 9, 9], [5, 0, 0])).toBe(false);
    expect(formatVersion([5, 4, 3])).toBe('5.4.3');
  });
});
