/** Bytes from hostile servers, and bytes that Go would write. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KeyId } from '../../../src/crypto/key-id.ts';
import type { FileMeta } from '../../../src/tuf/file-meta.ts';
import { goTimeOf } from '../../../src/tuf/go-time.ts';
import {
  encodeMetadata,
  parseRoot,
  parseSnapshot,
  parseTargets,
  parseTimestamp,
  type Signature,
  signedMessage,
} from '../../../src/tuf/metadata.ts';
import type { DelegationName } from '../../../src/tuf/roles.ts';
import type { DelegationRole, Targets } from '../../../src/tuf/targets.ts';
import { type TufKey, tufKeyId } from '../../../src/tuf/tuf-key.ts';
import { newest } from '../../support/tuf-vectors.ts';

const parseTop = (bytes: Uint8Array) => parseTargets(bytes, 'targets');

const ROOT = newest('repo-ecdsa', 'root').toString('utf8');
const TARGETS = newest('repo-ecdsa', 'targets').toString('utf8');
const SNAPSHOT = newest('repo-ecdsa', 'snapshot').toString('utf8');
const TIMESTAMP = newest('repo-ecdsa', 'timestamp').toString('utf8');

describe('hostile metadata', () => {
  const cases: readonly (readonly [string, (bytes: Uint8Array) => unknown, string, string | RegExp, string, string])[] =
    [
      ['a wrong type', parseRoot, ROOT, '"Root"', '"root"', 'signed is not of type Root'],
      ['no version', parseRoot, ROOT, '"version":5', '"x":5', 'signed has no number version'],
      ['version 0', parseRoot, ROOT, '"version":5', '"version":0', 'signed has a version out of range'],
      [
        'a version with a fraction',
        parseRoot,
        ROOT,
        '"version":5',
        '"version":5.5',
        'signed has a version out of range',
      ],
      ['a huge version', parseRoot, ROOT, '"version":5', '"version":1e300', 'signed has a version out of range'],
      ['a version as text', parseRoot, ROOT, '"version":5', '"version":"5"', 'signed has no number version'],
      [
        'two versions',
        parseRoot,
        ROOT,
        '"version":5',
        '"version":4,"version":5',
        /two members with the same name/.source,
      ],
      [
        'a version in capitals',
        parseRoot,
        ROOT,
        '"version":5',
        '"Version":4,"version":5',
        'signed has a member in wrong capitals',
      ],
      [
        'a long s',
        parseRoot,
        ROOT,
        '"version":5',
        '"ver\u017fion":4,"version":5',
        'signed has a member in wrong capitals',
      ],
      [
        'no expiry',
        parseRoot,
        ROOT,
        /"expires":"[^"]*"/,
        '"expires":"never"',
        'the time of expiry is not as in RFC 3339',
      ],
      [
        'a role missing',
        parseRoot,
        ROOT,
        '"timestamp":{"keyids"',
        '"x":{"keyids"',
        'signed names a role that is none of the four',
      ],
      [
        'threshold 0',
        parseRoot,
        ROOT,
        '"threshold":1',
        '"threshold":0',
        'signed.roles.root has a threshold out of range',
      ],
      [
        'another key under an ID',
        parseRoot,
        ROOT,
        '"keytype":"ecdsa"',
        '"keytype":"rsa"',
        'key ID is not valid for key content',
      ],
      [
        'a private key',
        parseRoot,
        ROOT,
        '"private":null',
        '"private":"AAAA"',
        'signed.keys.keyval holds a private key',
      ],
      [
        'a role with an unknown key',
        parseRoot,
        ROOT,
        /"keyids":\["[0-9a-f]{64}"/,
        `"keyids":["${'0'.repeat(64)}"`,
        'a role names a key that is not there',
      ],
      [
        'a key ID that is none',
        parseRoot,
        ROOT,
        /"keyids":\["[0-9a-f]{64}"/,
        '"keyids":["../../x"',
        'a role names a key by something that is no key ID',
      ],
      ['signatures missing', parseRoot, ROOT, '"signatures"', '"x"', 'file has no array signatures'],
      [
        'very many signatures',
        parseRoot,
        ROOT,
        '"signatures":[',
        `"signatures":[${'{},'.repeat(256)}`,
        'file has more than 256 signatures',
      ],
      ['a signature that is not base64', parseRoot, ROOT, '"sig":"', '"sig":"!', 'signatures.sig is not base64'],
      [
        'signed as text',
        parseRoot,
        ROOT,
        /"signed":\{.*\},"signatures"/,
        '"signed":"","signatures"',
        'signed is not an object',
      ],
      ['an array instead of an object', parseRoot, ROOT, /^.*$/, '[]', 'file is not an object'],
      [
        'targets as an array',
        parseTop,
        TARGETS,
        '"targets":{"lt',
        '"targets":[],"x":{"lt',
        'signed.targets is not an object',
      ],
      ['a negative length', parseTop, TARGETS, '"length":6', '"length":-6', 'signed.targets has a length out of range'],
      [
        'a length that no number can keep',
        parseTop,
        TARGETS,
        '"length":6',
        '"length":9007199254740993',
        'signed.targets has a length out of range',
      ],
      [
        'a target without a hash',
        parseTop,
        TARGETS,
        /"hashes":\{[^}]*\}/,
        '"hashes":{}',
        'signed.targets has no known checksum',
      ],
      [
        'a target with an unknown hash only',
        parseTop,
        TARGETS,
        /"hashes":\{[^}]*\}/,
        '"hashes":{"md5":"AAAA"}',
        'signed.targets has no known checksum',
      ],
      [
        'a hash of a wrong size',
        parseTop,
        TARGETS,
        /"sha256":"[^"]*"/,
        '"sha256":"AAAA"',
        'signed.targets has a checksum of a wrong size',
      ],
      ['custom data with a fraction', parseTop, TARGETS, '"a":1', '"a":1.5', 'json: unsupported value: 1.5'],
      [
        'a delegation of a role elsewhere',
        parseTop,
        TARGETS,
        '"name":"targets/releases"',
        '"name":"targets/a/b"',
        'signed.delegations.roles names a role that is no child of targets',
      ],
      [
        'a delegation with a bad name',
        parseTop,
        TARGETS,
        '"name":"targets/releases"',
        '"name":"targets/.."',
        'signed.delegations.roles names a role that is no child of targets',
      ],
      [
        'a role delegated twice',
        parseTop,
        TARGETS,
        /"roles":\[(\{.*?\})\]/,
        '"roles":[$1,$1]',
        'a role is delegated twice',
      ],
      [
        'no sha256 in a snapshot',
        parseSnapshot,
        SNAPSHOT,
        /"sha256":"[^"]*",/,
        '',
        'signed.meta has no sha256 checksum',
      ],
      [
        'a snapshot without targets',
        parseSnapshot,
        SNAPSHOT,
        '"targets":',
        '"targets/a":',
        'signed does not name targets',
      ],
      [
        'a timestamp without a snapshot',
        parseTimestamp,
        TIMESTAMP,
        '"snapshot":',
        '"x":',
        'signed does not name snapshot',
      ],
    ];

  it.each(cases)('%s is refused', (_, parse, text, from, to, problem) => {
    const damaged = text.replace(from, to);
    expect(damaged).not.toBe(text);
    const matching = new RegExp(problem.replace(/[.[\]()]/g, '\\$&'));
    expect(() => parse(Buffer.from(damaged))).toThrow(
      expect.objectContaining({ code: 'METADATA_REJECTED', message: expect.stringMatching(matching) }),
    );
  });

  it('a timestamp larger than 1 MiB is refused before it is read', () => {
    expect(() => parseTimestamp(Buffer.alloc(1024 * 1024 + 1, 0x20))).toThrow(
      'timestamp metadata is larger than 1048576 bytes',
    );
  });

  it('a damaged file never does more than to be refused', () => {
    fc.assert(
      fc.property(fc.constantFrom(ROOT, TARGETS), fc.nat(), fc.nat(255), (text, at, octet) => {
        const bytes = Buffer.from(text);
        bytes[at % bytes.length] = octet;
        for (const parse of [parseRoot, parseTop]) {
          try {
            parse(bytes);
          } catch (error) {
            expect(error).toMatchObject({ name: 'SignetError', code: 'METADATA_REJECTED' });
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('what Go drops and keeps', () => {
  it('members that nobody knows are covered by the signature, and dropped', () => {
    const text = TARGETS.replace('"version":7', '"version":7,"x":{"y":[1]}');
    const parsed = parseTop(Buffer.from(text));
    expect(Buffer.from(parsed.message).toString('utf8')).toContain('"x":{"y":[1]}');
    expect(encodeMetadata(parsed).toString('utf8')).toBe(TARGETS);
  });

  it('no roles are null or empty, as they were read; without delegations they are null', () => {
    const written = (delegations: string) => {
      const text = TARGETS.replace(/"delegations":\{.*?\},"expires"/, `${delegations}"expires"`);
      return /"delegations":.*?,(?="expires")/.exec(encodeMetadata(parseTop(Buffer.from(text))).toString('utf8'))?.[0];
    };
    const [empty, nil] = ['"delegations":{"keys":{},"roles":[]},', '"delegations":{"keys":{},"roles":null},'];
    expect(written(empty)).toBe(empty);
    expect(written(nil)).toBe(nil);
    expect(written('')).toBe(nil);
  });

  it('the method of a signature is written in lower case', () => {
    const parsed = parseTop(Buffer.from(TARGETS.replace('"method":"ecdsa"', '"method":"ECDSA"')));
    expect(encodeMetadata(parsed).toString('utf8')).toBe(TARGETS);
  });
});

describe('encodeMetadata', () => {
  const name = fc
    .string({ unit: 'binary', minLength: 1 })
    .filter((text) => [...text].every((character) => character >= ' '));
  const customText = fc.string({ unit: 'binary' });
  const custom = fc.letrec<{ value: FileMeta['custom'] }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small' },
      fc.boolean(),
      fc.maxSafeInteger(),
      customText,
      fc.array(tie('value')).map((items) => items.map((item) => item ?? null)),
      fc
        .array(fc.tuple(customText, tie('value')))
        .map((members) => new Map(members.map(([key, value]) => [key, value ?? null]))),
    ),
  })).value as fc.Arbitrary<NonNullable<FileMeta['custom']>>;
  const bytes = (length: number) =>
    fc.uint8Array({ minLength: length, maxLength: length }).map((array) => Buffer.from(array));
  const fileMeta: fc.Arbitrary<FileMeta> = fc
    .record(
      { length: fc.maxSafeInteger().map(Math.abs), sha256: bytes(32), sha512: bytes(64), custom },
      { requiredKeys: ['length', 'sha256'] },
    )
    .map(({ length, sha256, sha512, custom: data }) => ({
      length,
      hashes: new Map([['sha256', sha256], ...(sha512 ? [['sha512', sha512] as const] : [])]),
      ...(data !== undefined && { custom: data }),
    }));
  const key: fc.Arbitrary<TufKey> = fc.record({
    algorithm: fc.constantFrom('ecdsa', 'ed25519', 'rsa', 'ecdsa-x509', 'rsa-x509'),
    bytes: fc.uint8Array({ minLength: 1 }).map((array) => Buffer.from(array)),
  });
  const instant = fc.date({ min: new Date(0), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true });
  const targets: fc.Arbitrary<Targets> = fc
    .record({
      targets: fc.array(fc.tuple(name, fileMeta)),
      keys: fc.array(key, { maxLength: 4 }),
      roles: fc.uniqueArray(fc.stringMatching(/^[-a-z0-9_]{1,12}$/), { maxLength: 4 }),
      paths: fc.array(name, { maxLength: 3 }),
      threshold: fc.integer({ min: 1, max: 9 }),
      version: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
      instant,
      isNil: fc.boolean(),
    })
    .map((made) => {
      const keys = new Map<KeyId, TufKey>(made.keys.map((item) => [tufKeyId(item), item]));
      const roles = made.roles.map((role): DelegationRole => {
        const keyIds = keys.size === 0 && made.isNil ? null : [...keys.keys()];
        return { name: `targets/${role}` as DelegationName, keyIds, paths: made.paths, threshold: made.threshold };
      });
      return {
        type: 'Targets',
        version: made.version,
        expires: goTimeOf(made.instant),
        delegations: { keys, roles: roles.length === 0 && made.isNil ? null : roles },
        targets: new Map(made.targets),
      };
    });
  const signatures: fc.Arbitrary<readonly Signature[]> = fc.array(
    fc.record({ keyId: fc.stringMatching(/^[0-9a-f]{64}$/), method: fc.constant('ecdsa'), bytes: bytes(64) }),
  );

  /** The rules, told once more with other means: members sorted by Buffer.compare, escapes by JSON.stringify. */
  function asRules(value: unknown, isFile: boolean): string {
    if (value instanceof Map) return asRules(Object.fromEntries(value), isFile);
    if (value instanceof Uint8Array) return asRules(Buffer.from(value).toString('base64'), isFile);
    if (Array.isArray(value)) return `[${value.map((item) => asRules(item, isFile)).join(',')}]`;
    if (typeof value === 'string') {
      if (!isFile) return `"${value.split('\\').join('\\\\').split('"').join('\\"')}"`;
      const control = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
      const quoted = `"${value.split('\\').join('\\\\').split('"').join('\\"')}"`;
      return [...quoted]
        .map((unit) => (unit < ' ' || '<>&\u2028\u2029'.includes(unit) ? control(unit) : unit))
        .join('');
    }
    if (typeof value !== 'object' || value === null) return String(Object.is(value, -0) ? 0 : value);
    const members = Object.entries(value).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return `{${members.map(([member, inner]) => `${asRules(member, isFile)}:${asRules(inner, isFile)}`).join(',')}}`;
  }

  function plain({ delegations, targets: files, expires, version }: Targets) {
    const keys = [...delegations.keys].map(([keyId, { algorithm, bytes: value }]) => [
      keyId,
      { keytype: algorithm, keyval: { private: null, public: value } },
    ]);
    const roles = delegations.roles?.map((role) => ({
      keyids: role.keyIds,
      name: role.name,
      threshold: role.threshold,
      ...(role.paths.length > 0 && { paths: role.paths }),
    }));
    return {
      _type: 'Targets',
      delegations: { keys: Object.fromEntries(keys), roles: roles ?? null },
      expires: expires.text,
      targets: files,
      version,
    };
  }

  it('writes any targets by the rules, signed text and file', () => {
    fc.assert(
      fc.property(targets, signatures, (signed, list) => {
        const value = plain(signed);
        expect(signedMessage(signed).toString('utf8')).toBe(asRules(value, false));
        const tail = list.map(({ keyId, method, bytes: sig }) => ({ keyid: keyId, method, sig }));
        expect(encodeMetadata({ signed, signatures: list }).toString('utf8')).toBe(
          `{"signed":${asRules(value, true)},"signatures":${asRules(tail, true)}}`,
        );
      }),
    );
  });

  it('what it writes is read as what it was, and covers the same bytes', () => {
    fc.assert(
      fc.property(targets, signatures, (signed, list) => {
        const file = encodeMetadata({ signed, signatures: list });
        const parsed = parseTop(file);
        expect(Buffer.from(parsed.message).equals(signedMessage(signed))).toBe(true);
        expect(encodeMetadata(parsed).equals(file)).toBe(true);
      }),
    );
  });

  it('refuses names and paths that Go could not put into a file', () => {
    const now = goTimeOf(new Date(0));
    const base: Targets = {
      type: 'Targets',
      version: 1,
      expires: now,
      delegations: { keys: new Map(), roles: [] },
      targets: new Map(),
    };
    const meta = { length: 1, hashes: new Map([['sha256', createHash('sha256').digest()]]) };
    const withName = (target: string): Targets => ({ ...base, targets: new Map([[target, meta]]) });
    const refusal = (message: string) => expect.objectContaining({ code: 'INVALID_ARGUMENT', message });
    for (const write of [signedMessage, (signed: Targets) => encodeMetadata({ signed, signatures: [] })]) {
      expect(() => write(withName('a\nb'))).toThrow(refusal('the name of a target has a control character'));
      expect(() => write(withName('\ud800'))).toThrow(refusal('the name of a target is not Unicode text'));
      const role: DelegationRole = { name: 'targets/a', keyIds: [], threshold: 1, paths: ['\u0001'] };
      expect(() => write({ ...base, delegations: { keys: new Map(), roles: [role] } })).toThrow(
        refusal('a delegated path has a control character'),
      );
      expect(write(withName('tab-free\u007f'))).toBeInstanceOf(Buffer);
    }
  });
});
