import { beforeEach, describe, expect, it } from 'vitest';
import { Progress } from '../../../src/daemon/progress.ts';

let written: string[];
let now: number;
beforeEach(() => {
  written = [];
  now = 0;
});

const progress = (isTTY: boolean) =>
  new Progress('keys done', { isTTY, write: (text) => written.push(text) }, () => now);

describe('progress', () => {
  it('is a bar on a terminal', () => {
    const bar = progress(true);
    for (const done of [0, 1, 2]) bar.show(done, 2);
    bar.end();
    expect(written).toEqual([
      `\r[${'-'.repeat(30)}] 0 of 2 keys done`,
      `\r[${'#'.repeat(15)}${'-'.repeat(15)}] 1 of 2 keys done`,
      `\r[${'#'.repeat(30)}] 2 of 2 keys done`,
      '\n',
    ]);
  });

  it('stays a bar where there turn out to be more than were counted, or none', () => {
    const bar = progress(true);
    bar.show(3, 2);
    bar.show(0, 0);
    expect(written).toEqual([`\r[${'#'.repeat(30)}] 3 of 2 keys done`, `\r[${'-'.repeat(30)}] 0 of 0 keys done`]);
  });

  it('is a count where the end is not known', () => {
    progress(true).show(7, undefined);
    expect(written).toEqual(['\r7 keys done']);
  });

  it('is a line every ten seconds where nobody watches', () => {
    const lines = progress(false);
    for (now = 0; now <= 25_000; now += 1000) lines.show(now / 1000, 100);
    lines.end();
    expect(written).toEqual(['10 of 100 keys done\n', '20 of 100 keys done\n']);
  });
});
