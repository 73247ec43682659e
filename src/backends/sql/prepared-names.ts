/** Which statements PostgreSQL is to prepare, and under which name. */
import { numberPlaceholders } from './statement-text.ts';

/** Statements with more values are lists of varying length: each length is another statement, rarely seen again. */
const MAX_VALUES = 16;
/** Per connection the server keeps this many plans. */
const MAX_NAMES = 64;
/** Texts are translated once and kept; beyond this many, each time. */
const MAX_TEXTS = 512;

export interface PreparedStatement {
  /** With `$n` for `?`. */
  readonly text: string;
  /** Undefined: not to be prepared. */
  readonly name: string | undefined;
}

export class PreparedNames {
  readonly #known = new Map<string, PreparedStatement>();
  #names = 0;

  of(sql: string): PreparedStatement {
    const known = this.#known.get(sql);
    if (known !== undefined) return known;
    const text = numberPlaceholders(sql);
    if (this.#known.size >= MAX_TEXTS) return { text, name: undefined };
    const isWorthIt = this.#names < MAX_NAMES && !text.includes(`$${MAX_VALUES + 1}`);
    const statement = { text, name: isWorthIt ? `signet_${++this.#names}` : undefined };
    this.#known.set(sql, statement);
    return statement;
  }
}
