import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { type ModuleProfile, PROFILES, profileOf, profileOfFile } from '../../../../src/backends/pkcs11/profile.ts';

describe('the profile of a module', () => {
  it.each([
    ['/usr/lib/softhsm/libsofthsm2.so', 'softhsm'],
    ['/usr/lib/x86_64-linux-gnu/libsoftokn3.so', 'nss'],
    ['/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1', 'tpm2'],
    ['/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so', 'p11-kit'],
    ['/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so', 'opensc'],
    ['/usr/lib/x86_64-linux-gnu/libykcs11.so.2.2.0', 'ykcs11'],
    ['/opt/vendor/libsofthsm2.so.d/libvendor.so', 'generic'],
  ])('follows from its file before it can be asked: %s', (path, name) => {
    expect(profileOfFile(path).name).toBe(name);
  });

  it.each([
    ['SoftHSM', 'softhsm'],
    ['Mozilla Foundation', 'nss'],
    ['tpm2-software.github.io', 'tpm2'],
    ['PKCS#11 Kit', 'p11-kit'],
    ['OpenSC Project', 'opensc'],
    ['Yubico (www.yubico.com)', 'ykcs11'],
    ['somebody else', 'generic'],
    ['', 'generic'],
  ])('follows from what it says of itself: %s', (manufacturer, name) => {
    expect(profileOf({ manufacturer }).name).toBe(name);
  });

  it.each([
    ['OpenSC Project', 'piv_II', 'opensc-piv'],
    ['OpenSC Project', 'www.CardContact.de', 'opensc'],
    ['somebody else', 'piv_II', 'generic'],
  ])('follows from the token as well where a module is not alike on all: %s, %s', (manufacturer, token, name) => {
    expect(profileOf({ manufacturer }, { manufacturer: token }).name).toBe(name);
  });
});

/** A row of the table, as the document writes it. */
function rowOf(profile: ModuleProfile): string {
  const yes = (value: boolean) => (value ? 'yes' : 'no');
  const refused = [...new Set([...profile.refusedAtGeneration, ...profile.refusedAtImport])];
  const cells = [
    `\`${profile.name}\``,
    profile.ckaId,
    yes(profile.keepsLabels),
    profile.imports.length === 0 ? 'no' : profile.imports.join(', '),
    yes(profile.removesKeys),
    yes(profile.storesCertificates),
    profile.writesAs === 'user' ? 'PIN' : 'SO PIN',
    refused.length === 0 ? 'none' : refused.map((name) => `\`${name}\``).join(' '),
    profile.locksAfter ?? 'never',
    yes(profile.tellsTries),
    yes(profile.sharesToken),
    profile.maxSessions === undefined ? 'no limit known' : String(profile.maxSessions),
    [profile.wantsParameters ? 'parameters' : '', profile.wantsFinalize ? 'orderly end' : '']
      .filter(Boolean)
      .join(', ') || 'nothing',
  ];
  return `| ${cells.join(' | ')} |`;
}

it('docs/tokens.md has the table of profiles as it is', async () => {
  const document = await readFile(new URL('../../../../docs/tokens.md', import.meta.url), 'utf8');
  const table = document.split('\n').filter((line) => /^\| `(\w|-)+` \|/.test(line) && line.split('|').length === 15);
  expect(table).toEqual(PROFILES.map(rowOf));
});
