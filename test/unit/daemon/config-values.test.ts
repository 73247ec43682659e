import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAddress } from '../../../src/daemon/config/address.ts';
import { environmentName, nearestKey, SCALAR_KEYS, shapeOf } from '../../../src/daemon/config/keys.ts';

describe('parseAddress', () => {
  it.each([
    [':7899', undefined, 7899],
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['localhost:65535', 'localhost', 65_535],
    ['notary_signer.example.com:1', 'notary_signer.example.com', 1],
    ['[::1]:7899', '::1', 7899],
    ['[fe80::1%eth0]:7899', 'fe80::1%eth0', 7899],
  ])('reads %s', (text, host, port) => {
    expect(parseAddress(text)).toEqual({ host, port });
  });

  it.each([
    '',
    '7899',
    'localhost',
    'localhost:',
    ':http',
    ':65536',
    ':-1',
    '::1:7899',
    '[::1]',
    '[localhost]:1',
    '[]:1',
    'a b:1',
    'http://a:1',
    ':1 ',
  ])('rejects "%s"', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });
});

describe('the list of keys', () => {
  it('gives every key an environment variable of its own', () => {
    expect(new Set(SCALAR_KEYS.map(environmentName)).size).toBe(SCALAR_KEYS.length);
    expect(environmentName('reporting.bugsnag.api_key')).toBe('NOTARY_SIGNER_REPORTING_BUGSNAG_API_KEY');
  });

  it('is all in docs/configuration.md', async () => {
    const guide = await readFile(new URL('../../../docs/configuration.md', import.meta.url), 'utf8');
    const missing = [...SCALAR_KEYS, 'placement', 'tokens'].filter((key) => !guide.includes(`\`${key}\``));
    expect(missing).toEqual([]);
  });

  it('knows the section of every key', () => {
    const sections = SCALAR_KEYS.filter((key) => key.includes('.')).map((key) => key.slice(0, key.lastIndexOf('.')));
    expect(new Set(sections.map(shapeOf))).toEqual(new Set(['section']));
  });
});

describe('nearestKey', () => {
  it.each([
    ['server.grpc_adr', 'server.grpc_addr'],
    ['servr', 'server'],
    ['server.cert_file', 'server.tls_cert_file'],
    ['storage.pasphrase_file', 'storage.passphrase_file'],
    ['worker', 'workers'],
    ['backend', 'storage.backend'],
    ['storage.socket', 'agent.socket'],
  ])('takes %s for %s', (key, nearest) => {
    expect(nearestKey(key)).toBe(nearest);
  });

  it('suggests nothing for what is near to nothing', () => {
    expect(nearestKey('trust_service')).toBeUndefined();
    expect(nearestKey('x'.repeat(100_000))).toBeUndefined();
  });

  it('never suggests a key without effect', () => {
    expect(nearestKey('storage.usernam')).not.toBe('storage.username');
    expect(nearestKey('username')).toBeUndefined();
  });

  it('finds a key behind any one wrong character', () => {
    const key = fc.constantFrom('server.grpc_addr', 'storage.passphrase_file', 'metrics.http_addr', 'workers');
    fc.assert(
      fc.property(key, fc.nat(), (known, position) => {
        const at = position % known.length;
        expect(nearestKey(`${known.slice(0, at)}?${known.slice(at + 1)}`)).toBe(known);
      }),
    );
  });
});
