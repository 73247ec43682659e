/**
 * Strict JSON (RFC 8259) that says where a mistake is.
 *
 * `JSON.parse` is not used for whole files: its messages quote the text, which may hold a database password, often
 * without a position, and it silently takes the last of two equal names.
 */

const MAX_DEPTH = 32;
const BLANK = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\p{Cc}]|[\u007f-\u009f]|\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4}))*"/uy;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;

/** Makes the error for a problem at a character position, 0 = the first. */
type Fail = (problem: string, offset: number) => Error;

/**
 * Parses one JSON text.
 *
 * @param fail Called once at most; its result is thrown. The problem never quotes the text.
 * @returns Objects without a prototype's setters in the way: `__proto__` is a member like any other.
 */
export function parseJson(text: string, fail: Fail): unknown {
  return new Parser(text, fail).document();
}

class Parser {
  readonly #text: string;
  readonly #fail: Fail;
  #offset = 0;
  #depth = 0;

  constructor(text: string, fail: Fail) {
    this.#text = text;
    this.#fail = fail;
  }

  document(): unknown {
    const value = this.#value();
    if (this.#offset < this.#text.length) throw this.#fail('unexpected text after the end', this.#offset);
    return value;
  }

  /** One value with the blanks around it. */
  #value(): unknown {
    this.#take(BLANK);
    const value = this.#nested();
    this.#take(BLANK);
    return value;
  }

  #nested(): unknown {
    const first = this.#text[this.#offset];
    if (first !== '{' && first !== '[') return this.#scalar();
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) throw this.#fail('nested too deeply', this.#offset);
    const value = first === '{' ? this.#object() : this.#array();
    this.#depth -= 1;
    return value;
  }

  #scalar(): unknown {
    const token = this.#take(STRING) ?? this.#take(NUMBER) ?? this.#take(WORD);
    if (token === undefined) throw this.#fail('expected a value', this.#offset);
    return JSON.parse(token);
  }

  #object(): unknown {
    const members = new Map<string, unknown>();
    this.#expect('{');
    this.#take(BLANK);
    if (this.#accept('}')) return {};
    do {
      this.#take(BLANK);
      const start = this.#offset;
      const token = this.#take(STRING);
      if (token === undefined) throw this.#fail('expected a name in double quotes', start);
      const name: string = JSON.parse(token);
      if (members.has(name)) throw this.#fail('name given twice in one object', start);
      this.#take(BLANK);
      this.#expect(':');
      members.set(name, this.#value());
    } while (this.#accept(','));
    this.#expect('}');
    return Object.fromEntries(members);
  }

  #array(): unknown {
    const items: unknown[] = [];
    this.#expect('[');
    this.#take(BLANK);
    if (this.#accept(']')) return items;
    do items.push(this.#value());
    while (this.#accept(','));
    this.#expect(']');
    return items;
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#offset;
    const token = pattern.exec(this.#text)?.[0];
    this.#offset += token?.length ?? 0;
    return token;
  }

  #accept(character: string): boolean {
    const found = this.#text[this.#offset] === character;
    if (found) this.#offset += 1;
    return found;
  }

  #expect(character: string): void {
    if (!this.#accept(character)) throw this.#fail(`expected "${character}"`, this.#offset);
  }
}
