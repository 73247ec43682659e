/** What the documents say that the code can tell: links, variables, commands, exit codes. */
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/cli/table/commands.ts';
import { EXIT_CODE_OF } from '../../src/errors.ts';
import { passphraseVariables } from '../../src/passphrase-variables.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

async function filesBelow(folder: string, extension: string): Promise<ReadonlyMap<string, string>> {
  const names = (await readdir(join(ROOT, folder), { recursive: folder !== '' })).filter((name) =>
    name.endsWith(extension),
  );
  const read = async (name: string) => [join(folder, name), await readFile(join(ROOT, folder, name), 'utf8')] as const;
  return new Map(await Promise.all(names.map(read)));
}

const documents = new Map([
  ...(await filesBelow('', '.md')),
  ...(await filesBelow('docs', '.md')),
  ...(await filesBelow('test', '.md')),
]);

/** As GitHub names the places of headings. */
function anchorsOf(text: string): ReadonlySet<string> {
  const headings = text.replace(/^```.*?^```$/gms, '').match(/(?<=^#+ ).*$/gm) ?? [];
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

describe('a link in a document', () => {
  const links = [...documents].flatMap(([path, text]) =>
    [...text.matchAll(/\]\(([^()\s]+)\)/g)].map(([, target = '']): [string, string] => [path, target]),
  );

  it('leads to a file and a heading that are there', () => {
    const local = links.filter(([, target]) => !target.startsWith('https://'));
    expect(local.length).toBeGreaterThan(20);
    const dead = local.filter(([path, target]) => {
      const [file = '', anchor] = target.split('#');
      const goal = file === '' ? path : join(dirname(path), file);
      if (!existsSync(join(ROOT, goal))) return true;
      return anchor !== undefined && !anchorsOf(documents.get(goal) ?? '').has(anchor);
    });
    expect(dead).toEqual([]);
  });
});

describe('a variable of the environment', () => {
  const PREFIXED = /(?<=')(?:NOTARY_(?!SIGNER_)|DOCKER_|SIGNET_|XDG_|DBUS_|HTTPS?_PROXY|NO_PROXY|PG[A-Z])[A-Z_]*(?=')/g;
  const READ = /(?<=\benv\[')\w+(?='\])/g;
  const KEY_OF_TABLE = /(?<=^ {2})PG[A-Z_]+(?=:)/gm;

  it('that is read stands in a document', async () => {
    const sources = [...(await filesBelow('src', '.ts')).values()];
    const read = new Set(
      sources.flatMap((text) => [PREFIXED, READ, KEY_OF_TABLE].flatMap((pattern) => text.match(pattern) ?? [])),
    );
    expect([...read]).toEqual(expect.arrayContaining(['HOME', 'SIGNET_SOCKET', 'NOTARY_AUTH', 'PGHOST', 'NO_PROXY']));
    const text = ['configuration', 'users'].map((name) => documents.get(`docs/${name}.md`)).join('\n');
    expect([...read].filter((name) => !new RegExp(`\\b${name}\\b`).test(text))).toEqual([]);
  });
});

describe('docs/users.md', () => {
  const guide = documents.get('docs/users.md') ?? '';

  it('shows or names every command', () => {
    const commands = COMMANDS.filter(({ hidden }) => !hidden).map(({ name }) => name);
    const missing = commands.filter((name) => {
      const [noun = '', verb] = name.split(' ');
      // `signet key list`, or one of several verbs in a row: `signet token change-pin`, `unblock` and `init`.
      const places = [
        `signet ${name}\\b`,
        `\`${name}\``,
        ...(verb === undefined ? [] : [`signet ${noun} .*\`${verb}\``]),
      ];
      return !new RegExp(places.join('|')).test(guide);
    });
    expect(missing).toEqual([]);
  });

  it('has the variables of every role, in their order', () => {
    const rows = guide.match(/^\| [a-z, ]+ \| `(?:NOTARY|DOCKER)_.*\|$/gm) ?? [];
    const documented = rows.map((row) => [row.split(' ')[1]?.replace(/,$/, ''), row.match(/(?<=`)[A-Z_]+(?=`)/g)]);
    const roles = ['root', 'targets', 'snapshot', 'timestamp', 'delegations'];
    expect(documented).toEqual(roles.map((role) => [role, passphraseVariables(role)]));
  });

  it('has every error code in the row of its exit code', () => {
    const rows = guide.match(/^\| \d+ \|.*\|$/gm) ?? [];
    const documented = rows.flatMap((row) => {
      const codes = row.match(/(?<=`)[A-Z_]+(?=`)/g) ?? [];
      return codes.map((code): [string, number] => [code, Number(/\d+/.exec(row)?.[0])]);
    });
    expect(Object.fromEntries(documented)).toEqual(EXIT_CODE_OF);
    expect(documented).toHaveLength(Object.keys(EXIT_CODE_OF).length);
  });
});

describe('docs/operators.md', () => {
  it('explains every metric of ours, and no other', async () => {
    const text = await readFile(join(ROOT, 'src/daemon/metrics.ts'), 'utf8');
    const rows = documents.get('docs/operators.md')?.match(/^\| `signet_[^|]*/gm) ?? [];
    const named = rows.flatMap((row) => row.match(/(?<=`)signet_\w+/g) ?? []);
    expect(named.sort()).toEqual([...(text.match(/(?<=')signet_\w+(?=')/g) ?? [])].sort());
  });
});
