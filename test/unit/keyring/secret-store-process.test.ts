import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Secret } from '../../../src/crypto/secret.ts';
import { askStore } from '../../../src/keyring/secret-store-process.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../support/temp.ts';

const REQUEST = { verb: 'get', name: 'pin:4711' } as const;
const UNUSABLE = {
  code: 'UNAVAILABLE',
  message: "the system's keyring cannot be used: no unlocked Secret Service answers",
};

let directory: TemporaryDirectory;
beforeAll(async () => {
  directory = await temporaryDirectory();
});
afterAll(async () => {
  await directory[Symbol.asyncDispose]();
});

/** A host that does as a test says. @param script JavaScript with `input` and `write`. */
async function ask(script: string, secret?: Secret, options: Partial<Parameters<typeof askStore>[2]> = {}) {
  const entry = join(directory.path, 'host.mjs');
  const prelude = `import { readFileSync, writeSync } from 'node:fs';
    const input = readFileSync(0, 'latin1');
    const write = (...bytes) => writeSync(1, Buffer.from(bytes));\n`;
  await writeFile(entry, prelude + script);
  return await askStore(REQUEST, secret, { env: {}, entry, ...options });
}

describe('the answer', () => {
  it.each([
    ['write(2); write(0)', false, undefined],
    ['write(2); write(1)', true, undefined],
    ['write(2); write(1, ...Buffer.from("1234"))', true, '1234'],
    ['write(2, 1); for (const byte of Buffer.from("1234")) write(byte)', true, '1234'],
  ])('of %s is read', async (script, found, text) => {
    const { secret, ...answer } = await ask(script);
    using held = secret;
    expect(answer).toEqual({ found });
    expect(held && Buffer.from(held.bytes()).toString()).toBe(text);
  });

  it.each([
    ['write(2)'],
    ['write(1, 49)'],
    [''],
    ['write(2, 1, ...Buffer.alloc(4097))'],
    ['write(2, 1); process.exit(1)'],
  ])('that is none (%s) is an error', async (script) => {
    await expect(ask(script)).rejects.toMatchObject(UNUSABLE);
  });

  it('that does not come is not waited for', async () => {
    const forever = 'setInterval(() => {}, 1000)';
    await expect(ask(forever, undefined, { connectTimeoutMs: 50 })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: "the system's keyring did not answer",
    });
  });

  it('that is a failure has its reason for the log alone', async () => {
    const failed = await ask('process.stderr.write("locked"); process.exitCode = 1').catch((error: unknown) => error);
    expect(failed).toMatchObject({ ...UNUSABLE, cause: { message: 'locked' } });
  });
});

describe('the host', () => {
  it('is told what is asked and the secret on its standard input, and nothing in arguments or environment', async () => {
    using secret = Secret.fromText('1234');
    const env = { HOME: '/home/alice', NOTARY_ROOT_PASSPHRASE: 'of another' };
    const script = `write(2, 1, ...Buffer.from(JSON.stringify([input, process.argv.slice(2), Object.keys(process.env)])))`;
    const answer = await ask(script, secret, { env });
    using told = answer.secret;
    expect(JSON.parse(Buffer.from(told?.bytes() ?? []).toString())).toEqual([
      '{"verb":"get","name":"pin:4711"}\n1234',
      [],
      ['HOME'],
    ]);
  });

  it('gets no secret of more than 4096 bytes', async () => {
    using secret = Secret.fromText('x'.repeat(4097));
    await expect(ask('write(2, 1)', secret)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'the secret is longer than 4096 bytes',
    });
  });
});
