/** Whatever stands in a configuration file, in the environment or on the command line is refused in our own words. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAddress } from '../../../src/daemon/config/address.ts';
import { SCALAR_KEYS } from '../../../src/daemon/config/keys.ts';
import { parseFlags } from '../../../src/daemon/config.ts';
import { SignetError } from '../../../src/errors.ts';
import { configDirectory, ENV } from './config-directory.ts';

const { load, loadNone } = configDirectory();

/** @returns What was thrown, unless it is a SignetError of that code with a message and a hint */
async function unclear(code: string, work: () => unknown): Promise<unknown> {
  try {
    await work();
    return undefined;
  } catch (error) {
    const isClear = error instanceof SignetError && error.code === code && /^.+$/.test(error.message) && !!error.hint;
    return isClear ? undefined : error;
  }
}

const word = fc.oneof(
  fc.constantFrom(...SCALAR_KEYS.flatMap((key) => [key, key.split('.').at(-1) ?? ''])),
  fc.constantFrom(
    'server',
    'agent',
    'storage',
    'logging',
    'placement',
    'tokens',
    'root',
    '*',
    '__proto__',
    'constructor',
  ),
  fc.constantFrom(
    'memory',
    'file',
    'info',
    'true',
    'null',
    '~',
    ':7899',
    '1h',
    '-1',
    '1e999',
    '<<',
    '\u0000',
    '\ud800',
  ),
  fc.string({ maxLength: 8 }),
);

/** Trees that look like a configuration in places. */
const tree = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    word,
    fc.constantFrom(0, -0, 1, 1e300, null, true, 64, 65_536),
    fc.array(tie('value'), { maxLength: 3 }),
    tie('object'),
  ),
  object: fc.dictionary(word, tie('value'), { maxKeys: 6 }),
}))['object'];

/** Text that looks like a document in places. */
const text = fc
  .array(
    fc.oneof(
      word,
      fc.constantFrom(
        '{',
        '}',
        '[',
        ']',
        ':',
        ',',
        '"',
        "'",
        '\n',
        '\n  ',
        '\n- ',
        ' = ',
        '#',
        '&a',
        '*a',
        '!!binary ',
      ),
      fc.constantFrom(
        '<<: *a',
        '---\n',
        '...\n',
        '|',
        '>',
        '? ',
        '!!js/function ',
        '[[',
        ']]',
        '1979-05-27',
        '%YAML 9\n',
        '\t',
      ),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(''));

const runs = { numRuns: 300, interruptAfterTimeLimit: 4000 };

describe.each(['json', 'yaml', 'toml'])('a %s document', (format) => {
  const name = `signer.${format}`;

  it('of any text is read or refused clearly', async () => {
    await fc.assert(
      fc.asyncProperty(text, async (content) => {
        expect(await unclear('CONFIGURATION', () => load(content, { name }))).toBeUndefined();
      }),
      runs,
    );
  });

  it('of any bytes is read or refused clearly', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
        expect(await unclear('CONFIGURATION', () => load(Buffer.from(bytes), { name }))).toBeUndefined();
      }),
      runs,
    );
  });

  it('nested 100 000 deep is refused clearly', async () => {
    for (const bracket of ['[', '{"a":', '- ', '{a: ', 'a=[', 'a={a=']) {
      expect(await unclear('CONFIGURATION', () => load(bracket.repeat(100_000), { name }))).toBeUndefined();
    }
  });
});

// JSON is YAML too.
it.each(['json', 'yaml'])('any tree as %s is taken or refused clearly', async (format) => {
  await fc.assert(
    fc.asyncProperty(tree, async (document) => {
      const work = () => load(JSON.stringify(document), { name: `signer.${format}` });
      expect(await unclear('CONFIGURATION', work)).toBeUndefined();
    }),
    runs,
  );
});

it('any environment is taken or refused clearly', async () => {
  const variable = fc.constantFrom(
    ...SCALAR_KEYS.map((key) => `NOTARY_SIGNER_${key.toUpperCase().replaceAll('.', '_')}`),
  );
  await fc.assert(
    fc.asyncProperty(fc.dictionary(variable, word, { maxKeys: 5 }), async (changed) => {
      expect(await unclear('CONFIGURATION', () => loadNone({ ...ENV, ...changed }))).toBeUndefined();
    }),
    runs,
  );
});

it('any command line is taken or refused clearly', async () => {
  const flag = fc.constantFrom(
    '-config',
    '--config',
    '-debug',
    '-debug=',
    '-logf',
    '-logf=json',
    '-version',
    '--',
    '-',
    '-=x',
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(flag, word), { maxLength: 6 }), async (argv) => {
      expect(await unclear('INVALID_ARGUMENT', () => parseFlags(argv))).toBeUndefined();
    }),
    runs,
  );
});

it('any text is an address or not, and an address has a port that a socket takes', () => {
  const part = fc.constantFrom('[', ']', ':', '::1', '127.0.0.1', '7899', '65536', '0', '%lo', 'host', '.', ' ');
  const address = fc.oneof(
    fc.string(),
    fc.array(part, { maxLength: 5 }).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(address, (candidate) => {
      const port = parseAddress(candidate)?.port ?? 0;
      return Number.isInteger(port) && port >= 0 && port <= 65_535;
    }),
  );
});
