import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkFile, checkFileMeta, fileMetaOf, fileMetaOfChunks } from '../../../src/tuf/file-meta.ts';

const HELLO = Buffer.from('hello\n');
const SHA256 = '5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03';

function refusal(message: string) {
  return expect.objectContaining({ code: 'METADATA_REJECTED', message });
}

function only(algorithm: string) {
  const { length, hashes } = fileMetaOf(HELLO);
  return { length, hashes: new Map([...hashes].filter(([name]) => name === algorithm)) };
}

describe('checkFile', () => {
  it('takes the content that was signed, by every hash that is known', () => {
    checkFile(HELLO, fileMetaOf(HELLO), 'v1');
    checkFile(HELLO, only('sha256'), 'v1');
    checkFile(HELLO, only('sha512'), 'v1');
  });

  it('refuses other content in the words of notary', () => {
    expect(() => checkFile(Buffer.from('x'), fileMetaOf(HELLO), 'v1')).toThrow(
      refusal(`sha256 checksum for v1 did not match: expected ${SHA256}`),
    );
    expect(() => checkFile(Buffer.from('x'), only('sha512'), 'v1')).toThrow(/^sha512 checksum for v1 did not match/);
  });

  it('checks all hashes, not the first only', () => {
    const { length, hashes } = fileMetaOf(HELLO);
    const mixed = { length, hashes: new Map(hashes).set('sha512', Buffer.alloc(64)) };
    expect(() => checkFile(HELLO, mixed, 'v1')).toThrow(/^sha512 checksum for v1 did not match: expected 00/);
  });

  it('refuses another length, and having nothing to check', () => {
    expect(() => checkFileMeta(fileMetaOf(HELLO), { ...fileMetaOf(HELLO), length: 7 }, 'v1')).toThrow(
      refusal('size of v1 did not match: expected 7 bytes, not 6'),
    );
    const unknown = { length: 6, hashes: new Map([['md5', Buffer.alloc(16)]]) };
    expect(() => checkFile(HELLO, unknown, 'v1')).toThrow(refusal('there is no known checksum for v1'));
  });
});

describe('fileMetaOfChunks', () => {
  it('says the same as for the whole', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array()), async (chunks) => {
        async function* stream() {
          yield* chunks;
        }
        expect(await fileMetaOfChunks(stream())).toEqual(fileMetaOf(Buffer.concat(chunks)));
      }),
    );
  });
});
