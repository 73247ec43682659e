/** What signet publishes, in the hands of docker; names and custom data that notary itself cannot publish. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CollectionHome, collectionHome } from '../support/collection-home.ts';

const GUN = 'registry.example.com/team/app';
const DIGEST = '5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03';

let home: CollectionHome;
beforeAll(async () => {
  home = await collectionHome();
  await writeFile(join(home.path, 'hello.txt'), 'hello\n');
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
});

async function signet(...args: string[]): Promise<string> {
  const { ending, stdout, stderr } = await home.signet(...args);
  expect({ args, ending, stderr: ending === 0 ? '' : stderr }).toEqual({ args, ending: 0, stderr: '' });
  return stdout;
}

describe('docker', () => {
  it('pulls by the digest that signet signed, as far as it gets without an engine', async () => {
    await signet('init', '-p', '--server-snapshot', GUN);
    await signet('addhash', '-p', GUN, '1.0', '1573', '--sha256', DIGEST);
    const pull = await home.docker('-H', `unix://${join(home.path, 'no-engine')}`, 'pull', `${GUN}:1.0`);
    expect(pull.ending).not.toBe(0);
    const trusted = await home.trustedDocker('-H', `unix://${join(home.path, 'no-engine')}`, 'pull', `${GUN}:1.0`);
    expect(trusted.stdout).toContain(`Pull (1 of 1): ${GUN}:1.0@sha256:${DIGEST}`);
    expect(trusted.stderr).toMatch(/no-engine/);
    const unsigned = await home.trustedDocker('-H', `unix://${join(home.path, 'no-engine')}`, 'pull', `${GUN}:2.0`);
    expect(unsigned.stderr).toContain('No valid trust data for 2.0');
  });

  it('adds a signer to a collection of signet, which then signs for it', async () => {
    const { stdout } = await home.docker('trust', 'key', 'generate', 'alice');
    expect(stdout).toContain('alice.pub');
    const added = await home.docker('trust', 'signer', 'add', '--key', 'alice.pub', 'alice', GUN);
    expect(added).toMatchObject({ ending: 0 });
    const roles = JSON.parse(await signet('delegation', 'list', GUN, '--json')) as { role: string }[];
    expect(roles.map(({ role }) => role)).toEqual(['targets/alice', 'targets/releases']);
    // docker's variable for the passphrase of signers is another one than notary's
    const passphrase = join(home.path, 'passphrase');
    await writeFile(passphrase, 'targets-passphrase', { mode: 0o600 });
    const add = ['addhash', '-p', GUN, '2.0', '1573', '--sha256', DIGEST, '-r', 'targets/releases,targets/alice'];
    await signet(...add, '--passphrase-file', passphrase);
    const inspected = await home.docker('trust', 'inspect', `${GUN}:2.0`);
    expect(JSON.parse(inspected.stdout)).toMatchObject([
      { SignedTags: [{ SignedTag: '2.0', Digest: DIGEST, Signers: ['alice'] }] },
    ]);
  });

  it('initialises a collection, on which signet publishes', async () => {
    const gun = 'registry.example.com/team/by-docker';
    const added = await home.docker('trust', 'signer', 'add', '--key', 'alice.pub', 'alice', gun);
    expect(added).toMatchObject({ ending: 0 });
    const passphrase = join(home.path, 'passphrase');
    await signet(
      'addhash',
      '-p',
      gun,
      '1.0',
      '1573',
      '--sha256',
      DIGEST,
      '-r',
      'targets/releases',
      '--passphrase-file',
      passphrase,
    );
    expect(await signet('list', gun)).toMatch(/^1\.0 .*targets\/releases$/m);
  });
});

describe('names and custom data', () => {
  const gun = 'example.com/odd';
  const odd = [
    '<gt>&lt',
    'quo"te',
    'back\\slash',
    '\u2028',
    'é',
    '\u{1f600}',
    '10',
    '9',
    '__proto__',
    ' ',
    '%d%s',
    '-dash',
  ];
  const custom = [
    '{"b":1,"a":2}',
    '{"a":"<>&"}',
    '{"a":1e3}',
    '"a\\n\\u0001b"',
    '[null,true,{"x":{}}]',
    '1152921504606846976',
  ];

  it('of every form are published by signet, and read by notary', async () => {
    await signet('init', '-p', gun);
    for (const name of odd) await signet('add', gun, '--', name, 'hello.txt');
    await signet('publish', gun);
    expect(await home.notary('add', '-p', gun, 'on-top', 'hello.txt')).toMatchObject({ ending: 0 });
    // From here on only signet can publish: notary signs escapes in custom data, and verifies without them.
    for (const [index, json] of custom.entries()) {
      await writeFile(join(home.path, `custom-${index}.json`), json);
      await signet('add', gun, `custom-${index}`, 'hello.txt', '--custom', `custom-${index}.json`);
    }
    await signet('publish', gun);
    const reader = await home.reader('odd');
    const list = await reader.succeeds('list', gun);
    for (const name of odd) expect(list).toContain(name);
    const targets = JSON.parse(await signet('list', gun, '--json')) as { name: string; custom?: unknown }[];
    expect(targets).toHaveLength(odd.length + 1 + custom.length);
    const published = targets.filter(({ name }) => name.startsWith('custom-')).map((target) => target.custom);
    expect(published).toEqual(custom.map((json) => JSON.parse(json) as unknown));
  });

  it.each([
    ['a control character', ['add', gun, 'new\nline', 'hello.txt'], 'the name of a target has a control character'],
    ['a missing file', ['add', gun, 'v1', 'missing'], 'cannot read missing (ENOENT)'],
    ['a short hash', ['addhash', gun, 'v1', '1', '--sha256', 'abcd'], 'invalid sha256 hex contents provided'],
    ['no hash', ['addhash', gun, 'v1', '1'], 'must specify at least one hash: --sha256 or --sha512'],
    ['a strange size', ['addhash', gun, 'v1', '1e3', '--sha256', DIGEST], '"1e3" is not a size in bytes'],
    [
      'a role that is none',
      ['add', gun, 'v1', 'hello.txt', '-r', 'Bad'],
      'tuf: invalid role Bad. this role is not known',
    ],
    ['a number of no change', ['reset', gun, '-n', '7'], 'there is no change number "7"'],
    ['nothing to reset', ['reset', gun], 'must specify changes to reset with -n or the --all flag'],
    [
      'a bad delegation',
      ['delegation', 'add', gun, 'targets/Bad', '--all-paths'],
      'tuf: invalid role targets/Bad. invalid delegation role name',
    ],
    [
      'a missing key',
      ['delegation', 'add', gun, 'targets/x', 'nosuch.pem'],
      'file for public key does not exist: nosuch.pem',
    ],
    ['a target that is not there', ['lookup', gun, 'nope'], 'No valid trust data for nope'],
    [
      'other content',
      ['verify', gun, '9', '-i', 'custom-0.json'],
      `data not present in the trusted collection, sha256 checksum for 9 did not match: expected ${DIGEST}`,
    ],
  ])('%s is told, and stages nothing', async (_, args, message) => {
    const { ending, stdout, stderr } = await home.signet(...args);
    expect({ stdout, stderr: stderr.split('\n')[0] }).toEqual({ stdout: '', stderr: `signet: ${message}` });
    expect(ending).not.toBe(0);
    expect(await signet('status', gun)).toBe(`No unpublished changes for ${gun}\n`);
  });

  it('a change that no role may make stays staged until it is taken back', async () => {
    await signet('delegation', 'add', '-p', gun, 'targets/narrow', '--paths', 'only/');
    const { ending, stderr } = await home.signet('add', '-p', gun, 'elsewhere', 'hello.txt', '-r', 'targets/narrow');
    expect({ ending, stderr }).toEqual({
      ending: 2,
      stderr: expect.stringContaining('change 0: could not add all targets: targets/narrow may not sign "elsewhere"'),
    });
    expect(await signet('status', gun)).toMatch(/^0 +create +targets\/narrow +target +elsewhere$/m);
    await signet('reset', gun, '--all');
    expect((await home.signet('publish', gun)).ending).toBe(0);
  });
});
