import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readKeyPem, sealKeyPem } from '../../../src/crypto/key-pem.ts';
import { PrivateKey } from '../../../src/crypto/private-key.ts';
import { Secret } from '../../../src/crypto/secret.ts';
import { checkOwner } from '../../../src/daemon/owner.ts';
import { SignetError } from '../../../src/errors.ts';

/** Pieces that mean something in a PEM file, and any character, also halves of pairs. */
const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom('\n', '\r', '\r\n', ': ', 'role', 'gun', 'Proc-Type: 4,ENCRYPTED', '-----BEGIN PRIVATE KEY-----'),
      fc.constantFrom(
        '-----END ENCRYPTED PRIVATE KEY-----',
        '\u0085',
        '\u2028',
        '\ufeff',
        '\u00a0',
        ' ',
        '\t',
        '\u0000',
      ),
      fc.string({ unit: 'binary', maxLength: 8 }),
      fc.integer({ min: 0xd800, max: 0xdfff }).map((unit) => String.fromCharCode(unit)),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join(''));

const accepts = (owner: { role: string; gun: string }): boolean => {
  try {
    checkOwner(owner);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(SignetError);
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    return false;
  }
};

describe('role and GUN', () => {
  it.each(['', 'root', 'targets/releases', 'registry.example.com:5000/team/app', 'Grüße 日本 😀', 'a: b', '-----'])(
    'may be %j',
    (text) => {
      expect(checkOwner({ role: text, gun: text })).toEqual({ role: text, gun: text });
    },
  );

  it('gives back role and GUN alone', () => {
    const request = { role: 'a', gun: 'b', algorithm: 'ecdsa' };
    expect(checkOwner(request)).toEqual({ role: 'a', gun: 'b' });
  });

  it('have 255 characters at most, as the columns of the table', () => {
    expect(accepts({ role: 'x'.repeat(255), gun: 'x'.repeat(255) })).toBe(true);
    expect(() => checkOwner({ role: 'x'.repeat(256), gun: '' })).toThrow('role is longer than 255 characters');
    expect(() => checkOwner({ role: '', gun: 'x'.repeat(256) })).toThrow('gun is longer than 255 characters');
  });

  it.each(['a\nb', 'a\rb', '\u0000', 'a\u001b[31m', 'a\u0085b', 'a\u2028b', 'a\ud800', '\udc00b'])(
    'have no control character and no half of a pair (%j)',
    (text) => {
      expect(() => checkOwner({ role: text, gun: '' })).toThrow('role has a control character');
      expect(() => checkOwner({ role: '', gun: text })).toThrow('gun has a control character');
    },
  );

  it.each([' a', 'a ', '\u00a0a', 'a\ufeff', ' '])('have no outer white space, which no reader keeps (%j)', (text) => {
    expect(() => checkOwner({ role: text, gun: '' })).toThrow('role begins or ends with white space');
  });

  it('that are accepted come back from the key file as they were: no header can be forged', async () => {
    const key = await PrivateKey.generate('ed25519');
    using passphrase = Secret.fromText('passphrase');
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(hostile, hostile, async (role, gun) => {
        if (!accepts({ role, gun })) return;
        accepted++;
        const pem = readKeyPem(Buffer.from(await sealKeyPem(key, { role, gun }, passphrase, 1)));
        expect([pem.role, pem.gun, pem.sealed]).toEqual([role, gun, true]);
        expect(pem.block.headers.size).toBe(Number(role !== '') + Number(gun !== ''));
      }),
      { numRuns: 2000 },
    );
    expect(accepted).toBeGreaterThan(20);
  });
});
