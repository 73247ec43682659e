/** Collections published by Debian's notary 0.7.0: believed as a whole, and written again byte for byte. */
import { describe, expect, it } from 'vitest';
import {
  encodeMetadata,
  type Metadata,
  parseRoot,
  parseSnapshot,
  parseTargets,
  parseTimestamp,
  type ReceivedMetadata,
  signedMessage,
} from '../../../src/tuf/metadata.ts';
import { isTargetsRole } from '../../../src/tuf/roles.ts';
import { TRUST_ON_FIRST_USE } from '../../../src/tuf/trust-pinning.ts';
import { TrustedMetadata } from '../../../src/tuf/trusted-metadata.ts';
import { COLLECTIONS, filesOf, newest, type VectorFile, versionsOf } from '../../support/tuf-vectors.ts';

function parse({ role, bytes }: VectorFile): ReceivedMetadata<Metadata> {
  if (role === 'root') return parseRoot(bytes);
  if (role === 'snapshot') return parseSnapshot(bytes);
  if (role === 'timestamp') return parseTimestamp(bytes);
  if (isTargetsRole(role)) return parseTargets(bytes, role);
  throw new Error(`no role is named ${role}`);
}

describe.each(COLLECTIONS)('$name', ({ name, gun, now }) => {
  it.each(filesOf(name))('$path is written again byte for byte', (file) => {
    const metadata = parse(file);
    expect(encodeMetadata(metadata).toString('utf8')).toBe(file.bytes.toString('utf8'));
    expect(signedMessage(metadata.signed).equals(metadata.message)).toBe(true);
  });

  it('is believed, every version of its root in turn', () => {
    const [first, ...rest] = versionsOf(name, 'root');
    if (first === undefined) throw new Error('no root');
    const trusted = TrustedMetadata.fromFirstRoot(first, TRUST_ON_FIRST_USE, { gun, now });
    for (const root of rest) trusted.updateRoot(root);
    expect(trusted.root.signed.version).toBe(1 + rest.length);
    trusted.updateTimestamp(newest(name, 'timestamp'));
    trusted.updateSnapshot(newest(name, 'snapshot'));
    trusted.updateTargets('targets', newest(name, 'targets'));
    for (const role of trusted.publishedDelegations('targets')) trusted.updateTargets(role, newest(name, role));
    expect([...trusted.targets.keys()]).toEqual(name === 'repo-ecdsa' ? ['targets', 'targets/releases'] : ['targets']);
  });
});
