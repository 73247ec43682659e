/** The man pages, which come from the same table as `--help`. */
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { manPages } from '../../src/cli/man.ts';
import { COMMANDS } from '../../src/cli/table/commands.ts';
import { VERSION } from '../../src/version.ts';

const DIRECTORY = fileURLToPath(new URL('../../man/', import.meta.url));
const pages = manPages(COMMANDS, VERSION);

describe('man/', () => {
  it('has a page for the program and for every command that is shown, and no other', async () => {
    expect((await readdir(DIRECTORY)).sort()).toEqual([...pages.keys()].sort());
    expect(pages.size).toBe(1 + COMMANDS.filter(({ hidden }) => !hidden).length);
  });

  it.each([...pages])('%s is up to date (node scripts/man.mjs)', async (name, page) => {
    expect(await readFile(DIRECTORY + name, 'utf8')).toBe(page);
  });

  it('has no line that groff would take for a request by mistake', () => {
    const requests = new Set(['.TH', '.SH', '.TP', '.B', '.I', '.PP', '.RS', '.RE', '.nf', '.fi']);
    for (const page of pages.values()) {
      for (const line of page.split('\n')) {
        if (/^[.']/.test(line)) expect(requests).toContain(line.split(' ')[0]);
      }
    }
  });
});
