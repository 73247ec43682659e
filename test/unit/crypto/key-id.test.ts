import { describe, expect, it } from 'vitest';
import { isKeyId, keyIdOf, parseKeyId } from '../../../src/crypto/key-id.ts';

describe('keyIdOf', () => {
  // Keys made by Debian's notary-signer 0.7.0, which gave these IDs.
  it.each([
    [
      'ecdsa',
      'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQ17vF+Ikijh3Qm4WE3MlpHU2+Bkazi+/s8ExhKD3SbUZ2f4S8Q6Z8+eD3gmiKmDmozavQB8XPXZyC8MWf9AR3w==',
      'fd0149609b1b21010941fd6e1f4849e69ff3da3858a2348f2307e5d24af8a5db',
    ],
    [
      'ed25519',
      '7aKf+/wziSF+YbC9v/b0yaLP5K+L8CwNptBHnOI2WBw=',
      '0a0b8a3edf43f6938e781993482cf47da5fb285a265e89efd4dfbf1ab5b9365a',
    ],
  ] as const)("gives notary-signer's ID of an %s key", (algorithm, base64, keyId) => {
    const id = keyIdOf({ algorithm, bytes: Buffer.from(base64, 'base64') });
    expect(id).toBe(keyId);
    expect(isKeyId(id)).toBe(true);
  });

  it('reads only the view, not the buffer behind it', () => {
    const bytes = Buffer.from('7aKf+/wziSF+YbC9v/b0yaLP5K+L8CwNptBHnOI2WBw=', 'base64');
    const inside = Uint8Array.from([1, 2, ...bytes, 3]).subarray(2, 34);
    expect(keyIdOf({ algorithm: 'ed25519', bytes: inside })).toBe(keyIdOf({ algorithm: 'ed25519', bytes }));
  });
});

describe('parseKeyId', () => {
  it('takes 64 lower-case hex characters', () => {
    expect(parseKeyId('0a'.repeat(32))).toBe('0a'.repeat(32));
  });

  it.each(['', '0a'.repeat(31), '0a'.repeat(33), '0A'.repeat(32), `${'0a'.repeat(32)}\n`, `../${'a'.repeat(61)}`])(
    'refuses %j',
    (text) => {
      expect(() => parseKeyId(text)).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', message: 'a key ID has 64 lower-case hex characters' }),
      );
    },
  );
});
