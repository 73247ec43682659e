import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { applyChanges, type TargetsEdit } from '../../../src/tuf/apply-changes.ts';
import type { Change, EditDelegation } from '../../../src/tuf/change.ts';
import { fileMetaOf } from '../../../src/tuf/file-meta.ts';
import { listTargets, lookupTarget, reachedRoles, type TargetsByRole } from '../../../src/tuf/lookup.ts';
import { parseTargets } from '../../../src/tuf/metadata.ts';
import { newTargets } from '../../../src/tuf/next-version.ts';
import { hasEnoughKeys } from '../../../src/tuf/role-keys.ts';
import { type DelegationName, isDelegation, parseDelegation, type TargetsRole } from '../../../src/tuf/roles.ts';
import { delegationsOf } from '../../../src/tuf/targets.ts';
import { canonicalKeyId, type TufKey, tufKeyId } from '../../../src/tuf/tuf-key.ts';
import { temporaryDirectory } from '../../support/temp.ts';
import { TestKeys } from '../../support/tuf-collection.ts';
import { versionsOf } from '../../support/tuf-vectors.ts';

const NOW = new Date('2026-11-20T12:00:00Z');
const META = fileMetaOf(Buffer.from('hello\n'));
const EMPTY: TargetsByRole = new Map([['targets', { ...newTargets(NOW), version: 3 }]]);

let plainKey: TufKey;
let certificate: TufKey;

beforeAll(async () => {
  await using directory = await temporaryDirectory();
  const keys = new TestKeys();
  plainKey = await keys.generate();
  certificate = await keys.certificate(directory.path, 'somebody');
});

function apply(roles: TargetsByRole, ...changes: Change[]): TargetsEdit {
  return applyChanges(roles, changes, NOW);
}

function add(role: TargetsRole, name: string): Change {
  return { type: 'add-target', role, name, meta: META };
}

function edit(role: DelegationName, fields: Partial<EditDelegation> = {}): EditDelegation {
  return { type: 'edit-delegation', role, create: true, ...fields };
}

function delegation(roles: TargetsByRole, name: DelegationName, parent: TargetsRole = 'targets') {
  const targets = roles.get(parent);
  return targets && delegationsOf(targets).find((role) => role.name === name);
}

function refusal(message: string) {
  return expect.objectContaining({ code: 'INVALID_ARGUMENT', message });
}

describe('targets', () => {
  it('are added, replaced and removed; nothing given is changed', () => {
    const { roles, changed } = apply(EMPTY, add('targets', 'a'), add('targets', 'b'), {
      type: 'remove-target',
      role: 'targets',
      name: 'a',
    });
    expect([...(roles.get('targets')?.targets.keys() ?? [])]).toEqual(['b']);
    expect([...changed]).toEqual(['targets']);
    expect(roles.get('targets')?.version).toBe(3);
    expect(EMPTY.get('targets')?.targets.size).toBe(0);
  });

  it('removing what is not there changes nothing', () => {
    expect(apply(EMPTY, { type: 'remove-target', role: 'targets', name: 'x' }).changed.size).toBe(0);
  });

  it('make the first metadata of a delegation', () => {
    const { roles, changed } = apply(EMPTY, edit('targets/a', { addPaths: ['x/'] }), add('targets/a', 'x/1'));
    expect(roles.get('targets/a')).toMatchObject({ version: 0, delegations: { roles: [] } });
    expect([...changed]).toEqual(['targets', 'targets/a']);
  });

  it('must be inside the paths of the role, and of those above it', () => {
    const base = apply(
      EMPTY,
      edit('targets/a', { addPaths: ['x/'] }),
      edit('targets/a/b', { addPaths: ['x/y/'] }),
    ).roles;
    expect(apply(base, add('targets/a/b', 'x/y/1')).changed.has('targets/a/b')).toBe(true);
    expect(() => apply(base, add('targets', 'v'), add('targets/a/b', 'x/1'))).toThrow(
      refusal('change 1: could not add all targets: targets/a/b may not sign "x/1"'),
    );
    const narrowed = apply(base, edit('targets/a', { clearPaths: true, addPaths: ['z/'] })).roles;
    expect(() => apply(narrowed, add('targets/a/b', 'x/y/1'))).toThrow(/may not sign/);
  });

  it('of a role that nobody delegates to are refused', () => {
    expect(() => apply(EMPTY, add('targets/a', 'x'))).toThrow(
      refusal('change 0: tuf: invalid role targets/a. this role is not known'),
    );
  });

  it('with a name that cannot be published are refused', () => {
    expect(() => apply(EMPTY, add('targets', 'a\tb'))).toThrow(
      refusal('change 0: the name of a target has a control character'),
    );
  });

  it('ten thousand of them are added in one go', () => {
    const changes = Array.from({ length: 10_000 }, (_, number) => add('targets', `v${number}`));
    expect(applyChanges(EMPTY, changes, NOW).roles.get('targets')?.targets.size).toBe(10_000);
  });
});

describe('delegations', () => {
  it('are made with keys and paths, threshold 1', () => {
    const { roles } = apply(
      EMPTY,
      edit('targets/a', { threshold: 1, addKeys: [plainKey, certificate] }),
      edit('targets/a', { addPaths: [''] }),
    );
    expect(delegation(roles, 'targets/a')).toEqual({
      name: 'targets/a',
      keyIds: [tufKeyId(plainKey), tufKeyId(certificate)],
      paths: [''],
      threshold: 1,
    });
    expect([...(roles.get('targets')?.delegations.keys.keys() ?? [])]).toHaveLength(2);
  });

  it('lose keys by the ID of the key or of its certificate; an unknown ID is ignored', () => {
    const base = apply(EMPTY, edit('targets/a', { addKeys: [plainKey, certificate], addPaths: [''] })).roles;
    for (const keyId of [canonicalKeyId(certificate), tufKeyId(certificate)]) {
      const { roles } = apply(base, edit('targets/a', { create: false, removeKeys: [keyId, 'aaaa'] }));
      expect(delegation(roles, 'targets/a')?.keyIds).toEqual([tufKeyId(plainKey)]);
      expect([...(roles.get('targets')?.delegations.keys.keys() ?? [])]).toEqual([tufKeyId(plainKey)]);
    }
  });

  it('gain and lose paths as notary did it', () => {
    const withRole = versionsOf('repo-ecdsa', 'targets').map((bytes) => parseTargets(bytes, 'targets').signed);
    const before = withRole.find((targets) => delegationsOf(targets).some(({ paths }) => paths.length === 2));
    const after = withRole.at(-1);
    if (!before || !after) throw new Error('targets are missing');
    const { roles } = apply(
      new Map([['targets', before]]),
      edit('targets/releases', { create: false, removePaths: ['v', 'w'] }),
    );
    expect(roles.get('targets')?.delegations).toEqual(after.delegations);
  });

  it('are edited only if they are there', () => {
    expect(() => apply(EMPTY, edit('targets/a', { create: false }))).toThrow(
      refusal('change 0: tuf: invalid role targets/a. this role is not known'),
    );
    expect(() => apply(EMPTY, { type: 'delete-delegation', role: 'targets/a' })).toThrow(/this role is not known/);
  });

  it('get no path that the role above does not have', () => {
    const base = apply(EMPTY, edit('targets/a', { addPaths: ['x/'] })).roles;
    expect(() => apply(base, edit('targets/a/b', { addPaths: ['x/1', 'y'] }))).toThrow(
      refusal('change 0: a path of targets/a/b is outside those of the role above it'),
    );
  });

  it('go with all that is below them', () => {
    const base = apply(
      EMPTY,
      edit('targets/a', { addKeys: [plainKey], addPaths: [''] }),
      edit('targets/a/b', { addPaths: [''] }),
      edit('targets/ab', { addPaths: [''] }),
      add('targets/a/b', 'x'),
      add('targets/ab', 'x'),
    ).roles;
    const { roles, removed, changed } = apply(base, { type: 'delete-delegation', role: 'targets/a' });
    expect([...roles.keys()]).toEqual(['targets', 'targets/ab']);
    expect([...removed]).toEqual(['targets/a', 'targets/a/b']);
    expect([...changed]).toEqual(['targets']);
    expect(roles.get('targets')?.delegations.keys.size).toBe(0);
  });

  it('that come back go on counting versions', () => {
    const base = new Map(apply(EMPTY, edit('targets/a', { addPaths: [''] }), add('targets/a', 'x')).roles);
    base.set('targets/a', { ...newTargets(NOW), version: 7 });
    const { roles, removed } = apply(
      base,
      { type: 'delete-delegation', role: 'targets/a' },
      edit('targets/a', { addPaths: [''] }),
      add('targets/a', 'y'),
    );
    expect(roles.get('targets/a')?.version).toBe(7);
    expect([...(roles.get('targets/a')?.targets.keys() ?? [])]).toEqual(['y']);
    expect(removed.size).toBe(0);
  });

  it('lose a purged key everywhere, and roles without it stay as they are', () => {
    const base = apply(
      EMPTY,
      edit('targets/a', { addKeys: [certificate, plainKey], addPaths: [''] }),
      edit('targets/a/b', { addKeys: [certificate], addPaths: [''] }),
      edit('targets/c', { addKeys: [plainKey], addPaths: [''] }),
      add('targets/c', 'x'),
    ).roles;
    const { roles, changed } = apply(base, { type: 'purge-delegation-keys', keyIds: [canonicalKeyId(certificate)] });
    expect([...changed]).toEqual(['targets', 'targets/a']);
    const inner = delegation(roles, 'targets/a/b', 'targets/a');
    expect(inner?.keyIds).toEqual([]);
    expect(inner && hasEnoughKeys(inner)).toBe(false);
    expect(apply(base, { type: 'purge-delegation-keys', keyIds: ['deadbeef'] }).changed.size).toBe(0);
  });
});

describe('witness', () => {
  it('marks a role to be signed anew', () => {
    expect([...apply(EMPTY, { type: 'witness', role: 'targets' }).changed]).toEqual(['targets']);
  });

  it.each(['targets/nope', 'root', 'snapshot'] as const)('%s is not known', (role) => {
    expect(() => apply(EMPTY, { type: 'witness', role })).toThrow(
      refusal(`change 0: tuf: invalid role ${role}. this role is not known`),
    );
  });
});

describe('look-up', () => {
  const other = fileMetaOf(Buffer.from('other'));
  const roles = apply(
    EMPTY,
    edit('targets/a', { addPaths: ['x/', 'shared'] }),
    edit('targets/a/deep', { addPaths: ['x/'] }),
    edit('targets/b', { addPaths: [''] }),
    add('targets', 'top'),
    add('targets/a', 'shared'),
    add('targets/a/deep', 'x/1'),
    { type: 'add-target', role: 'targets/b', name: 'x/1', meta: other },
    { type: 'add-target', role: 'targets/b', name: 'top', meta: other },
    { type: 'add-target', role: 'targets/b', name: 'only-b', meta: other },
  ).roles;

  it('asks parents before children, and all of one delegation before the next', () => {
    expect([...reachedRoles(roles)].map(({ role }) => role)).toEqual([
      'targets',
      'targets/a',
      'targets/a/deep',
      'targets/b',
    ]);
    expect(lookupTarget(roles, 'x/1')).toEqual({ name: 'x/1', role: 'targets/a/deep', meta: META });
    expect(lookupTarget(roles, 'top')?.role).toBe('targets');
    expect(lookupTarget(roles, 'only-b')?.role).toBe('targets/b');
    expect(lookupTarget(roles, 'none')).toBeUndefined();
  });

  it('asks the given roles only, in their order', () => {
    expect(lookupTarget(roles, 'top', ['targets/b', 'targets'])?.role).toBe('targets/b');
    expect(lookupTarget(roles, 'top', ['targets/a'])).toBeUndefined();
    expect(lookupTarget(roles, 'x/1', ['targets/a'])?.role).toBe('targets/a/deep');
  });

  it('believes no role outside its paths, even if it says so', () => {
    const bold = new Map(roles);
    bold.set('targets/a/deep', {
      ...newTargets(NOW),
      targets: new Map([
        ['top', other],
        ['y/1', other],
      ]),
    });
    expect(lookupTarget(bold, 'y/1')).toBeUndefined();
    expect(listTargets(bold, ['targets/a']).map(({ name }) => name)).toEqual(['shared']);
    // a path that the parent does not have is none
    const stretched = new Map(bold);
    const a = bold.get('targets/a');
    const deep = a && delegationsOf(a)[0];
    if (!a || !deep) throw new Error('no delegation');
    stretched.set('targets/a', { ...a, delegations: { ...a.delegations, roles: [{ ...deep, paths: ['x/', 'y/'] }] } });
    expect(lookupTarget(stretched, 'y/1')).toBeUndefined();
  });

  it('a list holds what look-ups find', () => {
    const orders = fc.shuffledSubarray<TargetsRole>(['targets', 'targets/a', 'targets/a/deep', 'targets/b'], {
      minLength: 1,
    });
    fc.assert(
      fc.property(orders, (from) => {
        const names = ['top', 'shared', 'x/1', 'only-b', 'none'];
        const found = names.flatMap((name) => lookupTarget(roles, name, from) ?? []);
        const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
        expect(listTargets(roles, from).sort(byName)).toEqual(found.sort(byName));
      }),
    );
  });
});

describe('role names', () => {
  it.each(['targets/a', 'targets/a-b_9/c', `targets/${'x'.repeat(247)}`])('%s is a delegation', (name) => {
    expect(isDelegation(name)).toBe(true);
  });

  it.each([
    'targets',
    'targets/',
    'targets/Bad',
    'targets//a',
    'targets/a/',
    'targets/../a',
    'targets/a.b',
    'root/a',
    'targets/*',
    'targets/a\n',
    `targets/${'x'.repeat(248)}`,
  ])('%j is none', (name) => {
    expect(() => parseDelegation(name)).toThrow(/^tuf: invalid role targets|^tuf: invalid role root\/a/);
    expect(isDelegation(name)).toBe(false);
  });
});
