/** Backup and Restore over the real socket, between two built daemons. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { AgentClient } from '../../src/client/agent-client.ts';
import { type AgentDaemon, startAgentDaemon } from '../support/agent-daemon.ts';
import { person, THINKING } from '../support/conversation.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';

// Each archive costs its passphrase's derivation, made or opened.
vi.setConfig({ testTimeout: 60_000 });

const PASSPHRASE = 'a passphrase for these tests';
const ARCHIVE_PASSPHRASE = 'the passphrase of the archive';
const OWNER = { role: 'targets', gun: 'registry.example.com/team/app' };
const KEYS = 250;
const bytes = (text: string) => Buffer.from(text);
const OPTIONS = { passphrase: bytes(''), replace: false, dry_run: false };

let places: TemporaryDirectory[];
let daemons: AgentDaemon[];
let from: AgentClient;
let to: AgentClient;
let archive: Buffer;

beforeAll(async () => {
  places = [await temporaryDirectory(), await temporaryDirectory()];
  daemons = await Promise.all(places.map(({ path }) => startAgentDaemon(path)));
  [from, to] = daemons.map((daemon) => daemon.agent()) as [AgentClient, AgentClient];
  for (let index = 0; index < KEYS; index++) {
    await from.generateKey({ algorithm: 'ed25519', ...OWNER, passphrase: bytes(PASSPHRASE) });
  }
}, 60_000);
afterAll(async () => {
  for (const daemon of daemons) {
    await daemon[Symbol.asyncDispose]();
    expect(daemon.program.stderr).not.toContain(PASSPHRASE);
    expect(daemon.program.stderr).not.toContain(ARCHIVE_PASSPHRASE);
  }
  for (const place of places) await place[Symbol.asyncDispose]();
});

const stored = async (index: number) => {
  const path = daemons[index]?.storagePath ?? '';
  const names = (await readdir(path)).sort();
  return Promise.all(names.map(async (name) => [name, await readFile(join(path, name), 'utf8')]));
};

async function* parts(content: Buffer, size = 100_000): AsyncIterable<Buffer> {
  for (let at = 0; at < content.length; at += size) yield content.subarray(at, at + size);
}

describe('a backup', () => {
  it('comes in parts, with its progress, under a passphrase that the person chooses', async () => {
    const who = person(() => ARCHIVE_PASSPHRASE);
    using interaction = await from.interact(who);
    const pieces: Uint8Array[] = [];
    let progress = { done: 0, total: 0 };
    for await (const part of from.backup({ passphrase: bytes('') }, { interaction: interaction.id })) {
      pieces.push(part.archive);
      progress = { done: part.progress?.done ?? 0, total: part.progress?.total ?? 0 };
    }
    archive = Buffer.concat(pieces);
    expect(who.asked.map(({ kind }) => kind)).toEqual(['new archive passphrase']);
    expect(progress).toEqual({ done: KEYS, total: KEYS });
  });

  it('needs a passphrase', async () => {
    const pieces = from.backup({ passphrase: bytes('') })[Symbol.asyncIterator]();
    await expect(pieces.next()).rejects.toMatchObject({
      code: 'PASSPHRASE_REQUIRED',
      message: 'the backup needs a passphrase',
    });
  });
});

describe('a restore', () => {
  it('says in a dry run what it would do', async () => {
    const request = { ...OPTIONS, passphrase: bytes(ARCHIVE_PASSPHRASE), dry_run: true };
    const { restored, unchanged, replaced } = await to.restore(request, parts(archive));
    expect([restored.length, unchanged.length, replaced.length]).toEqual([KEYS, 0, 0]);
    expect(await stored(1)).toEqual([]);
  });

  it('refuses a wrong passphrase, a damaged archive, and what is none', async () => {
    const restore = (passphrase: string, content: Buffer) =>
      to.restore({ ...OPTIONS, passphrase: bytes(passphrase) }, parts(content));
    await expect(restore('wrong one', archive)).rejects.toMatchObject({ code: 'PASSPHRASE_INCORRECT' });
    const cut = restore(ARCHIVE_PASSPHRASE, archive.subarray(0, -1));
    await expect(cut).rejects.toMatchObject({ code: 'INTEGRITY', message: 'the archive is damaged or cut short' });
    const noise = restore(ARCHIVE_PASSPHRASE, Buffer.alloc(3_000_000, 'x'));
    await expect(noise).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await stored(1)).toEqual([]);
  });

  it('that is given up changes nothing', async () => {
    const request = { ...OPTIONS, passphrase: bytes(ARCHIVE_PASSPHRASE) };
    const controller = new AbortController();
    async function* slow() {
      yield archive.subarray(0, 70_000);
      controller.abort();
      await THINKING;
    }
    await expect(to.restore(request, slow(), { signal: controller.signal })).rejects.toMatchObject({
      code: 'CANCELLED',
    });
    async function* failing() {
      yield archive.subarray(0, 70_000);
      throw new Error('the disk with the archive is gone');
    }
    await expect(to.restore(request, failing())).rejects.toThrow('the disk with the archive is gone');
    await expect.poll(() => stored(1)).toEqual([]);
  });

  it('brings every key back', async () => {
    const who = person(() => ARCHIVE_PASSPHRASE);
    using interaction = await to.interact(who);
    const report = await to.restore(OPTIONS, parts(archive), { interaction: interaction.id });
    expect(report.restored).toHaveLength(KEYS);
    expect(who.asked.map(({ kind }) => kind)).toEqual(['archive passphrase']);
    expect(who.progressed.map(({ done }) => done)).toEqual([100, 200]);
    expect(await stored(1)).toEqual(await stored(0));
  });

  it('stops at what is there with another content, unless it is to be replaced', async () => {
    const [keyId = ''] = (await stored(1)).map(([name = '']) => name.replace('.key', ''));
    await to.relabelKey({ key_id: keyId, role: 'alice', gun: '' });
    const request = { ...OPTIONS, passphrase: bytes(ARCHIVE_PASSPHRASE) };
    await expect(to.restore(request, parts(archive))).rejects.toMatchObject({
      code: 'KEY_EXISTS',
      message: `of the keys in the backup, 1 are here with another content: ${keyId}`,
    });
    const replacing = { ...request, passphrase: bytes(ARCHIVE_PASSPHRASE), replace: true };
    const { restored, unchanged, replaced } = await to.restore(replacing, parts(archive));
    expect([restored.length, unchanged.length, replaced]).toEqual([0, KEYS - 1, [keyId]]);
    expect(await stored(1)).toEqual(await stored(0));
  });
});
