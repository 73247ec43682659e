/** The configuration file as a plain tree: JSON, YAML or TOML, by its extension. */
import { extname } from 'node:path';
import { parse as parseToml, TomlError } from 'smol-toml';
import { parseDocument as parseYamlDocument } from 'yaml';
import { SignetError } from '../../errors.ts';
import { readBoundedFile } from './bounded-file.ts';
import { parseJson } from './json.ts';

/** Makes the error for a problem at a line and column, both from 1. */
type Fail = (problem: string, line: number, column: number) => SignetError;

const PARSERS: ReadonlyMap<string, (text: string, fail: Fail) => unknown> = new Map([
  ['.json', readJson],
  ['.yaml', readYaml],
  ['.yml', readYaml],
  ['.toml', readToml],
]);

/**
 * Reads exactly the named file, of at most 1 MiB.
 *
 * @returns The top-level object; an empty YAML or TOML file is an empty object.
 * @throws {SignetError} CONFIGURATION; a syntax error has line and column, and never quotes the file
 */
export async function readDocument(file: string): Promise<Readonly<Record<string, unknown>>> {
  const parser = PARSERS.get(extname(file).toLowerCase());
  if (parser === undefined) {
    throw configurationError(
      `cannot tell the format of configuration file ${file}`,
      'give it a name that ends in .json, .yaml, .yml or .toml',
    );
  }
  const text = decodeUtf8(await readBoundedFile(file, 'configuration file', configurationError), file);
  const tree = parser(text, (problem, line, column) => {
    const place = `line ${line}, column ${column}`;
    const hint = 'correct the file at that place (JSON takes no comments and no trailing commas)';
    return configurationError(`cannot parse configuration file ${file}: ${place}: ${problem}`, hint);
  });
  if (isRecord(tree)) return tree;
  throw configurationError(
    `configuration file ${file} does not hold an object`,
    'write keys and values, as {"storage": {"backend": "file"}}',
  );
}

/** True for an object with members, as all three parsers make them. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function configurationError(problem: string, hint: string, cause?: unknown): SignetError {
  return new SignetError('CONFIGURATION', problem, { hint, cause });
}

function decodeUtf8(content: Buffer, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch (cause) {
    throw configurationError(`configuration file ${file} is not UTF-8 text`, 'save it as UTF-8', cause);
  }
}

function readJson(text: string, fail: Fail): unknown {
  return parseJson(text, (problem, offset) => {
    const before = text.slice(0, offset).split('\n');
    return fail(problem, before.length, (before.at(-1)?.length ?? 0) + 1);
  });
}

function readYaml(text: string, fail: Fail): unknown {
  if (mayNestDeeply(text)) throw fail('nested too deeply', 1, 1);
  // `merge`: YAML 1.1's `<<`, which viper's parser knows and YAML 1.2 dropped. `logLevel`: no process warnings that
  // quote the file.
  const document = parseYamlDocument(text, { merge: true, prettyErrors: true, logLevel: 'error' });
  const [error] = document.errors;
  if (error !== undefined) {
    const at = error.linePos?.[0];
    // Only the error's name: its message shows the lines around it.
    throw fail(error.code.toLowerCase().replaceAll('_', ' '), at?.line ?? 1, at?.col ?? 1);
  }
  try {
    return document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch {
    // An alias without its anchor, or aliases that unfold into a bomb.
    throw fail('aliases that cannot be resolved', 1, 1);
  }
}

/**
 * A cheap upper bound: brackets anywhere, plus indentation, plus indicators in one line.
 *
 * The YAML library recurses. It catches the end of the stack, but V8 aborts the process when that comes while a regular
 * expression is compiled.
 */
function mayNestDeeply(text: string): boolean {
  const brackets = text.match(/[[{]/g)?.length ?? 0;
  return brackets > 256 || /^ {65}/m.test(text) || /^ *(?:[-?:][ \t]+){9}/m.test(text);
}

function readToml(text: string, fail: Fail): unknown {
  try {
    return parseToml(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // Not its message, which shows the lines around the place.
    throw fail('not valid TOML', error.line, error.column);
  }
}
