/** What ARCHITECTURE.md says about folders, imports and packages. */
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const document = await readFile(join(ROOT, 'ARCHITECTURE.md'), 'utf8');
const { dependencies, optionalDependencies } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly optionalDependencies: Readonly<Record<string, string>>;
};

interface SourceFile {
  readonly path: string;
  /** Relative ones as paths from the root, packages by their names. */
  readonly imports: readonly string[];
}

const sources: readonly SourceFile[] = await Promise.all(
  (await readdir(join(ROOT, 'src'), { recursive: true }))
    .filter((name) => name.endsWith('.ts'))
    .map(async (name) => {
      const path = join('src', name);
      const text = await readFile(join(ROOT, path), 'utf8');
      const names = [...text.matchAll(/(?:\bfrom |\bimport\(|^import |\(import\.meta\.url\)\()'([^']+)'/gm)].map(
        ([, target = '']) => target,
      );
      return {
        path,
        imports: names.map((target) => (target.startsWith('.') ? normalize(join(dirname(path), target)) : target)),
      };
    }),
);
const BACKENDS = ['file', 'memory', 'sql', 'pkcs11', 'yubikey'] as const;
const STANDS_ON: Readonly<Record<string, readonly string[]>> = { yubikey: ['pkcs11'] };

/** What stands between backticks. */
function quoted(text: string): readonly string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);
}

/** Rows of the table under a heading; the first cell of each. */
function firstCells(heading: string): readonly string[] {
  const [, section = ''] = document.split(`\n## ${heading}\n`);
  const rows = (section.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('| `'));
  return rows.map((row) => row.split(' | ')[0] ?? '');
}

describe('imports', () => {
  it.each(BACKENDS)('of the backend %s lead to no other backend, unless it stands on it', (name) => {
    const folder = (backend: string) => join('src', 'backends', backend, '/');
    const forbidden = BACKENDS.filter((other) => other !== name && !STANDS_ON[name]?.includes(other)).map(folder);
    const own = sources.filter(({ path }) => path.startsWith(folder(name)));
    expect(own.length).toBeGreaterThan(0);
    const found = own.flatMap(({ path, imports }) =>
      imports
        .filter((target) => forbidden.some((other) => target.startsWith(other)))
        .map((target) => `${path}: ${target}`),
    );
    expect(found).toEqual([]);
  });

  it.each(Object.keys(optionalDependencies))('of %s, which has native code, are in one file', (name) => {
    expect(sources.filter(({ imports }) => imports.includes(name))).toHaveLength(1);
  });
});

describe('the map of modules', () => {
  it('has every folder of src, and none that is not there', async () => {
    const named = firstCells('Modules').flatMap(quoted);
    const folders = new Set(
      sources
        .map(({ path }) => dirname(path).split('/'))
        .filter((names) => names.length > 1)
        .map((names) => join(...names.slice(0, names[1] === 'backends' ? 3 : 2))),
    );
    folders.delete(join('src', 'backends')); // its files are those that homes share
    const documented = named.filter((name) => /^src\/.*\/$/.test(name)).map((name) => name.slice(0, -1));
    expect(documented.sort()).toEqual([...folders].sort());
  });

  it('has every file of the lowest layer', () => {
    const lowest = sources.filter(({ path }) => dirname(path) === 'src').map(({ path }) => basename(path));
    expect(lowest.filter((name) => !document.includes(name))).toEqual([]);
  });

  it('names no file that is not there', async () => {
    const entries = [
      ...(await readdir(ROOT)),
      ...(await readdir(join(ROOT, 'scripts'))).map((name) => `scripts/${name}`),
      ...(await readdir(join(ROOT, 'test'), { recursive: true })).map((name) => `test/${name}`),
      ...sources.map(({ path }) => path),
    ];
    const named = quoted(document.replace(/^```.*?^```$/gms, '')).filter((name) =>
      /^[\w./-]+\.(?:ts|mjs|json)$/.test(name),
    );
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((name) => !entries.some((entry) => `/${entry}`.endsWith(`/${name}`)))).toEqual([]);
  });
});

describe('the table of dependencies', () => {
  const cells = firstCells('Dependencies, and why');
  const documented = cells.flatMap(quoted);

  it('has every package that is needed at run time, and no other', () => {
    expect(documented.sort()).toEqual([...Object.keys(dependencies), ...Object.keys(optionalDependencies)].sort());
  });

  it('says which ones are optional', () => {
    const optional = cells.filter((cell) => cell.includes('(optional)')).join(' ');
    expect(documented.filter((name) => optional.includes(`\`${name}\``)).sort()).toEqual(
      Object.keys(optionalDependencies).sort(),
    );
  });
});
