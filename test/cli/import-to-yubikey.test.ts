/** `signet key import` to a YubiKey: the slot and its guards are chosen as for `signet key generate`. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandLineHome, commandLineHome } from '../support/cli.ts';
import { FACTORY_PIN, type YubikeyHome, yubikeyHome } from '../support/yubikey-home.ts';

let home: CommandLineHome;
let card: YubikeyHome;
const signet = (...args: string[]) => home.signet(args, { env: card.yubikeys.env });
const toYubikey = (file: string, ...more: string[]) =>
  signet('key', 'import', file, '--role', 'alice', '--backend', 'yubikey', ...more);

beforeAll(async () => {
  home = await commandLineHome();
  card = await yubikeyHome();
  await mkdir(join(home.path, '.signet'), { mode: 0o700 });
  const tokens = [{ uri: `yubikey:?pin-source=file:${await card.pinFile(FACTORY_PIN)}` }];
  await writeFile(join(home.path, '.signet', 'signetd.json'), JSON.stringify({ tokens }));
  const pems = [0, 1, 2].map(() =>
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'pem', type: 'pkcs8' }),
  );
  for (const [index, pem] of pems.entries()) await writeFile(join(home.path, `${index}.pem`), pem);
  await writeFile(join(home.path, 'all.pem'), pems.join(''));
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  await card[Symbol.asyncDispose]();
});

async function slots(): Promise<readonly object[]> {
  const keys: { device: { slot: string; touchPolicy: string } }[] = JSON.parse(
    (await signet('key', 'list', '--json')).stdout,
  );
  return keys.map(({ device: { slot, touchPolicy } }) => ({ slot, touchPolicy }));
}

describe('a key from a file', () => {
  it('goes to the slot that is named, with the policies that are asked for', async () => {
    expect(await toYubikey('0.pem', '--slot', '9a', '--touch-policy', 'cached')).toMatchObject({ ending: 0 });
    expect(await slots()).toEqual([{ slot: '9a', touchPolicy: 'cached' }]);
  });

  it('goes over no other key, and is not said to be there already', async () => {
    expect(await toYubikey('1.pem', '--slot', '9a')).toEqual({
      ending: 3,
      stdout: '',
      stderr:
        'signet: slot 9a is not empty\n' +
        'signet: hint: name another one; overwriting destroys what is there for good (--really-overwrite-slot)\n',
    });
  });

  it('takes the place of another one on request', async () => {
    const replacing = await toYubikey('1.pem', '--slot', '9a', '--really-overwrite-slot');
    expect(replacing).toMatchObject({ ending: 0, stdout: expect.stringMatching(/^Imported [0-9a-f]{64} /) });
    expect(await slots()).toEqual([{ slot: '9a', touchPolicy: 'never' }]);
  });

  it('does not share its slot with the others of the file', async () => {
    expect(await toYubikey('all.pem', '--slot', '9c', '--really-overwrite-slot')).toMatchObject({
      ending: 2,
      stderr: 'signet: 3 keys cannot go to one slot\nsignet: hint: import them one by one, each with its --slot\n',
    });
    expect(await slots()).toHaveLength(1);
  });
});
