/** Deriving keys takes seconds of a thread, and Node's few threads also read the files. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { FileBackend } from '../../../../src/backends/file/file-backend.ts';
import { listedPassphrases, writeKeyFile } from '../../../support/key-files.ts';
import { Resources } from '../../../support/resources.ts';
import { temporaryDirectory } from '../../../support/temp.ts';

const derivations = vi.hoisted(() => ({ running: 0, most: 0, count: 0 }));

vi.mock('../../../../src/crypto/key-pem.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../../../../src/crypto/key-pem.ts')>();
  const counted =
    <Args extends readonly unknown[], Result>(derive: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      derivations.count++;
      derivations.running++;
      derivations.most = Math.max(derivations.most, derivations.running);
      try {
        return await derive(...args);
      } finally {
        await delay(5); // whoever may run beside this one has come by then
        derivations.running--;
      }
    };
  return { ...original, openKeyPem: counted(original.openKeyPem), sealKeyPem: counted(original.sealKeyPem) };
});

let resources: Resources;
let path: string;
let backend: FileBackend;

beforeEach(async () => {
  resources = new Resources();
  path = join(resources.use(await temporaryDirectory()).path, 'private');
  await mkdir(path, { mode: 0o700 });
  const passphrases = listedPassphrases(['right']);
  backend = resources.use(await FileBackend.open({ path, passphrases, unlocked: { max: 100, ttlMs: 60_000 } }));
});
afterEach(() => resources[Symbol.asyncDispose]());

it('at most two keys are derived at once, however many are opened and made', async () => {
  const files = await Promise.all(Array.from({ length: 8 }, () => writeKeyFile(path, { passphrase: 'right' })));
  Object.assign(derivations, { running: 0, most: 0, count: 0 });
  const context = { caller: 'test' };
  await Promise.all([
    ...files.map(({ key }) => backend.sign(key.keyId, { message: Buffer.from('message') }, context)),
    ...files.map((_, index) =>
      backend.generator.generate({ algorithm: 'ed25519', role: 'timestamp', gun: `gun-${index}` }, context),
    ),
  ]);
  expect(derivations).toMatchObject({ count: 16, most: 2, running: 0 });
});
