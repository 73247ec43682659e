/** docs/configuration.md: the bounds and defaults in its tables are those that hold. */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { KDF_ITERATIONS } from '../../../src/crypto/key-pem.ts';
import { environmentName, SCALAR_KEYS, shapeOf } from '../../../src/daemon/config/keys.ts';
import { configDirectory, refusal, SERVER } from './config-directory.ts';

interface Row {
  readonly key: string;
  readonly unit: string;
  readonly fallback: string;
  readonly variable: string;
}

const guide = await readFile(new URL('../../../docs/configuration.md', import.meta.url), 'utf8');
const rows = guide.split('\n').flatMap((line): Row[] => {
  const cells = /^\| `([a-z0-9_.]+)` \|(.*)\|$/.exec(line);
  const [, key = '', rest = ''] = cells ?? [];
  const [, unit, fallback, variable] = rest.split('|').map((cell) => cell.trim());
  if (unit === undefined || fallback === undefined || variable === undefined) return [];
  return [{ key, unit, fallback, variable: variable.replaceAll('`', '') }];
});
const { load } = configDirectory();

/** A file in which the key has an effect, and is not set. */
function fileFor(key: string): object {
  const sql = { backend: 'sqlite3', db_url: 'keys.db', default_alias: 'a' };
  const storage = key === 'storage.kdf_iterations' ? { backend: 'file' } : sql;
  return { server: SERVER, agent: {}, storage };
}

/** As messages have it: `a whole number from 1 to 64`, `a duration from 0s to 1h`. */
function boundsOf({ unit }: Row): string | undefined {
  const [, duration, min, max] = /^(duration, )?(\d+[a-z]*) to (\d+[a-z]*)$/.exec(unit) ?? [];
  if (min === undefined || max === undefined) return undefined;
  return `${duration === undefined ? 'a whole number' : 'a duration'} from ${min} to ${max}`;
}

describe('the tables of keys', () => {
  it('have known keys only, each with its own variable', () => {
    expect(rows.length).toBeGreaterThan(25);
    for (const { key, variable } of rows) {
      const known = SCALAR_KEYS.find((scalar) => scalar === key);
      expect({ key, variable }).toEqual({ key, variable: known === undefined ? '' : environmentName(known) });
      if (known === undefined) expect(shapeOf(key)).toBe('structured');
    }
  });

  const bounded = rows.flatMap((row): [string, string][] => {
    const bounds = boundsOf(row);
    return bounds === undefined ? [] : [[row.key, bounds]];
  });

  it.each(bounded)('say rightly that %s is %s', async (key, bounds) => {
    await expect(load({ ...fileFor(key), [key]: 'x' })).rejects.toEqual(
      refusal(expect.stringMatching(new RegExp(`^not ${bounds} \\(${key} in `))),
    );
  });

  const defaults = rows.flatMap(({ key, fallback }): [string, string][] => {
    const isPlain = /^(?:`[0-9a-z]+`|\d+)$/.test(fallback) && shapeOf(key) === 'scalar';
    return isPlain ? [[key, fallback.replaceAll('`', '')]] : [];
  });

  it.each(defaults)('say rightly that %s is %s by default', async (key, value) => {
    expect(await load({ ...fileFor(key), [key]: value })).toEqual(await load(fileFor(key)));
  });

  it('have both for most keys with a value that is counted or measured', () => {
    expect(bounded.length).toBeGreaterThan(12);
    expect(defaults.length).toBeGreaterThan(12);
  });

  it('have the iterations that seal key files', () => {
    const row = rows.find(({ key }) => key === 'storage.kdf_iterations');
    expect(row?.fallback).toMatch(new RegExp(`^${KDF_ITERATIONS};`));
  });
});
