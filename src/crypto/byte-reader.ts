/** A stream of bytes, taken in pieces of one's own choice. */

/** Takes a stream in pieces of any size, holding no more of it than asked for and one piece of the source. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #pieces: Uint8Array[] = [];
  #length = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** @returns The next `length` bytes, fewer only at the end; they stay. */
  async peek(length: number): Promise<Buffer> {
    while (this.#length < length) {
      const { value, done } = await this.#source.next();
      if (done) break;
      this.#pieces.push(value);
      this.#length += value.byteLength;
    }
    const all = this.#joined();
    return all.subarray(0, length);
  }

  /** @returns The next `length` bytes, fewer only at the end. */
  async take(length: number): Promise<Buffer> {
    const taken = await this.peek(length);
    this.#pieces = [this.#joined().subarray(taken.length)];
    this.#length -= taken.length;
    return taken;
  }

  /** One piece, copied only if there are several. */
  #joined(): Buffer {
    const [first = Buffer.alloc(0), ...others] = this.#pieces;
    const all = others.length === 0 ? first : Buffer.concat(this.#pieces);
    this.#pieces = [all];
    return Buffer.from(all.buffer, all.byteOffset, all.byteLength);
  }

  /** What has not been taken yet. */
  async *rest(): AsyncIterable<Uint8Array> {
    yield* this.#pieces;
    this.#pieces = [];
    for (let next = await this.#source.next(); !next.done; next = await this.#source.next()) yield next.value;
  }
}
