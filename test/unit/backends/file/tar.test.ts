import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readTar, TAR_END, type TarEntry, tarEntry } from '../../../../src/backends/file/tar.ts';
import { runProgram } from '../../../support/processes.ts';
import { temporaryDirectory } from '../../../support/temp.ts';

const ENTRIES: readonly TarEntry[] = [
  { name: 'a', content: Buffer.alloc(0) },
  { name: 'keys/b.key', content: randomBytes(511) },
  { name: 'keys/c.key', content: randomBytes(512) },
  { name: `keys/tuf_keys/${'g'.repeat(200)}/d.key`, content: randomBytes(1500) },
  { name: 'keys/tuf_keys/größe/e.key', content: randomBytes(10) },
];
const ARCHIVE = Buffer.concat([...ENTRIES.map(({ name, content }) => tarEntry(name, content)), TAR_END]);

async function* pieces(bytes: Buffer, size: number): AsyncIterable<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(archive: Buffer, size = 700): Promise<TarEntry[]> {
  const entries: TarEntry[] = [];
  for await (const entry of readTar(pieces(archive, size), () => 2000)) entries.push(entry);
  return entries;
}

describe('a tar file', () => {
  it.each([1, 512, 700, ARCHIVE.length])('is read back as it was written, in pieces of %i bytes', async (size) => {
    expect(await read(ARCHIVE, size)).toEqual(ENTRIES);
  });

  it('is one for the tar program', async () => {
    await using directory = await temporaryDirectory();
    const file = join(directory.path, 'archive.tar');
    await writeFile(file, ARCHIVE);
    const env = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C.UTF-8' };
    const { ending, stdout, stderr } = await runProgram('tar', ['-tf', file], { env });
    expect({ ending, stderr, names: stdout.trim().split('\n') }).toEqual({
      ending: 0,
      stderr: '',
      names: ENTRIES.map(({ name }) => name),
    });
  });

  const damaged = { code: 'INTEGRITY', message: 'the archive holds something else than a backup of keys' };

  it.each([
    ['is cut short in a header', ARCHIVE.subarray(0, 100)],
    ['is cut short in a content', ARCHIVE.subarray(0, 1100)],
    ['has no end', ARCHIVE.subarray(0, -1024)],
    ['has something after its end', Buffer.concat([ARCHIVE, Buffer.alloc(512, 1)])],
    ['has a wrong checksum', Buffer.concat([Buffer.from('b'), ARCHIVE.subarray(1)])],
    [
      'ends with the long name of nothing',
      Buffer.concat([tarEntry('l'.repeat(101), Buffer.alloc(0)).subarray(0, 1024), TAR_END]),
    ],
  ])('that %s is refused', async (_what, archive) => {
    await expect(read(archive)).rejects.toMatchObject(damaged);
  });

  it.each(['1', '2', '5', 'L', 'g', '\0'])('with an entry of type %j is refused', async (type) => {
    const entry = tarEntry('name', Buffer.alloc(0));
    const before = entry[156] ?? 0;
    entry.write(type, 156, 'latin1');
    // With its checksum put right.
    const sum = Number.parseInt(entry.toString('latin1', 148, 154), 8) - before + (entry[156] ?? 0);
    entry.write(sum.toString(8).padStart(6, '0'), 148, 'latin1');
    await expect(read(Buffer.concat([entry, TAR_END]))).rejects.toMatchObject(damaged);
  });

  it('with an entry beyond the limit is refused before it is read', async () => {
    await expect(read(Buffer.concat([tarEntry('a', Buffer.alloc(2001)), TAR_END]))).rejects.toMatchObject(damaged);
  });
});
