import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkGun, collectionDirectory, gunPath } from '../../../src/repository/gun.ts';

describe('the name of a collection', () => {
  it.each(['docker.io/library/alpine', 'localhost:5000/team/App', 'a', 'metadata', 'changelist/app', 'ünïcode/ß'])(
    'may be %s',
    (gun) => {
      expect(checkGun(gun)).toBe(gun);
    },
  );

  it.each([
    ['', 'it is empty'],
    ['/a', 'it has an empty part'],
    ['a/', 'it has an empty part'],
    ['a//b', 'it has an empty part'],
    ['../a', 'it leaves the trust directory'],
    ['a/../../b', 'it leaves the trust directory'],
    ['a/.', 'it leaves the trust directory'],
    ['a\\b', 'it has a character that no server takes'],
    ['a*', 'it has a character that no server takes'],
    ['a\u0000b', 'it has a character that no server takes'],
    ['a\ud800', 'it has a character that no server takes'],
    ['a/_trust/tuf', 'it has a part _trust'],
    ['a/metadata', 'its part metadata is the name of a folder that a collection has'],
    ['a/changelist/b', 'its part changelist is the name of a folder that a collection has'],
    ['a/Metadata', 'its part Metadata is the name of a folder that a collection has'],
    ['a'.repeat(256), 'it has more than 255 characters'],
  ])('is not %j', (gun, problem) => {
    expect(() => checkGun(gun)).toThrow(new RegExp(`is not the name of a collection: ${problem}$`));
  });

  it('never leads out of the trust directory, or to another collection', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string(), (a, b) => {
        for (const gun of [a, b, `${a}/${b}`, `${a}/../${b}`]) {
          let checked: string;
          try {
            checked = checkGun(gun);
          } catch {
            continue;
          }
          expect(collectionDirectory('/trust', checked)).toBe(`/trust/tuf/${gun}`);
          expect(join(collectionDirectory('/trust', checked))).toBe(`/trust/tuf/${gun}`);
        }
      }),
    );
  });

  it('is one path of a URL, whatever is in it', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        let gun: string;
        try {
          gun = checkGun(text);
        } catch {
          return;
        }
        const url = new URL(`https://server/v2/${gunPath(gun)}/_trust/tuf/`);
        expect(decodeURIComponent(url.pathname)).toBe(`/v2/${gun}/_trust/tuf/`);
        expect({ search: url.search, hash: url.hash }).toEqual({ search: '', hash: '' });
      }),
    );
  });

  it('keeps the colon of a port', () => {
    expect(gunPath('localhost:5000/team/a b?')).toBe('localhost:5000/team/a%20b%3F');
  });
});
