/** Changelist entries: one JSON file per change, shared with the notary program. */
import { SignetError } from '../errors.ts';
import { fileJson } from './canonical-json.ts';
import type { Change, EditDelegation } from './change.ts';
import { type FileMeta, fileMetaFromJson, fileMetaToJson } from './file-meta.ts';
import { type JsonOptions, type JsonSubject, type JsonValue, parseJson } from './json.ts';
import { JsonReader, malformed, toBase64 } from './json-reader.ts';
import { ALL_DELEGATIONS, isDelegation, isRoleName, isTargetsRole } from './roles.ts';
import { keyFromJson, type TufKey } from './tuf-key.ts';

/** Bounds one entry; it may hold certificates or custom data. */
export const MAX_CHANGE_BYTES = 4 * 1024 * 1024;

const SUBJECT: JsonSubject = { what: 'change', code: 'INVALID_ARGUMENT' };
const DATA: JsonSubject = { what: 'data of a change', code: 'INVALID_ARGUMENT' };
/** As Go: another program wrote them. But no number of custom data changes on its way. */
const OPTIONS: JsonOptions = { duplicates: 'last-wins', numbers: 'exact', maxBytes: MAX_CHANGE_BYTES };

/**
 * The file name of an entry; the order of names is the order of changes.
 *
 * @param nanoseconds Since the Unix epoch
 * @param uuid RFC 4122, to tell changes of one instant apart
 */
export function changeFileName(nanoseconds: bigint, uuid: string): string {
  return `${String(nanoseconds).padStart(20, '0')}_${uuid}.change`;
}

/**
 * Reads custom data that a person gives for a target.
 *
 * @returns Undefined for null, which Notary drops
 * @throws {SignetError} INVALID_ARGUMENT for what could not be kept as it is: duplicate members, fractions, large numbers
 */
export function parseCustom(json: Uint8Array): JsonValue | undefined {
  const subject: JsonSubject = { what: 'custom data', code: 'INVALID_ARGUMENT' };
  return parseJson(json, subject, { ...OPTIONS, duplicates: 'reject' }) ?? undefined;
}

/** The file. @throws {SignetError} INVALID_ARGUMENT for custom data with a fraction */
export function encodeChange(change: Change): Buffer {
  switch (change.type) {
    case 'add-target':
      return entry('create', change.role, 'target', change.name, targetData(change.meta));
    case 'remove-target':
      return entry('delete', change.role, 'target', change.name);
    case 'edit-delegation':
      return entry(change.create ? 'create' : 'update', change.role, 'delegation', '', delegationData(change));
    case 'delete-delegation':
      return entry('delete', change.role, 'delegation', '');
    case 'purge-delegation-keys':
      return entry('update', ALL_DELEGATIONS, 'delegation', '', `{"remove_keys":${text(change.keyIds)}}`);
    case 'witness':
      return entry('update', change.role, 'witness', '');
  }
}

/** Members in the order that Go writes them in. */
function entry(action: string, role: string, type: string, path: string, data?: string): Buffer {
  const base64 = data === undefined ? null : Buffer.from(data).toString('base64');
  return Buffer.from(
    `{"action":${text(action)},"role":${text(role)},"type":${text(type)},"path":${text(path)},"data":${text(base64)}}`,
  );
}

function targetData(meta: FileMeta): string {
  const json = fileMetaToJson(meta);
  const custom = meta.custom === undefined ? '' : `,"custom":${text(meta.custom)}`;
  return `{"length":${text(meta.length)},"hashes":${text(json.get('hashes') ?? null)}${custom}}`;
}

function delegationData(change: EditDelegation): string {
  const members = [
    change.threshold === undefined ? '' : `"threshold":${text(change.threshold)}`,
    change.addKeys?.length ? `"add_keys":[${change.addKeys.map(keyText).join(',')}]` : '',
    change.removeKeys?.length ? `"remove_keys":${text(change.removeKeys)}` : '',
    change.addPaths?.length ? `"add_paths":${text(change.addPaths)}` : '',
    change.removePaths?.length ? `"remove_paths":${text(change.removePaths)}` : '',
    change.clearPaths ? '"clear_paths":true' : '',
  ];
  return `{${members.filter((member) => member !== '').join(',')}}`;
}

function keyText(key: TufKey): string {
  return `{"keytype":${text(key.algorithm)},"keyval":{"public":${text(toBase64(key.bytes))},"private":null}}`;
}

function text(value: JsonValue): string {
  return fileJson(value, SUBJECT);
}

/** Reads an entry. @throws {SignetError} INVALID_ARGUMENT */
export function parseChange(bytes: Uint8Array): Change {
  const names = ['action', 'role', 'type', 'path', 'data'];
  const file = new JsonReader(parseJson(bytes, SUBJECT, OPTIONS), names, 'file', SUBJECT);
  const action = file.string('action');
  const role = file.string('role');
  const kind = file.string('type');
  switch (`${action} ${kind}`) {
    case 'create target':
      if (!isTargetsRole(role)) break;
      return { type: 'add-target', role, name: file.string('path'), meta: readTarget(file) };
    case 'delete target':
      if (!isTargetsRole(role)) break;
      return { type: 'remove-target', role, name: file.string('path') };
    case 'create delegation':
    case 'update delegation':
      if (role === ALL_DELEGATIONS) return { type: 'purge-delegation-keys', keyIds: readRemovedKeys(file) };
      if (!isDelegation(role)) break;
      return { type: 'edit-delegation', role, create: action === 'create', ...readDelegation(file) };
    case 'delete delegation':
      if (!isDelegation(role)) break;
      return { type: 'delete-delegation', role };
    case 'update witness':
      if (!isRoleName(role)) break;
      return { type: 'witness', role };
    default:
      throw malformed(SUBJECT, 'its action and type do not go together');
  }
  throw malformed(SUBJECT, 'its role is none that it could change');
}

function readData(file: JsonReader): JsonValue {
  return parseJson(file.base64('data'), DATA, OPTIONS);
}

function readTarget(file: JsonReader): FileMeta {
  return fileMetaFromJson(readData(file), 'target', DATA);
}

const DELEGATION_MEMBERS = [
  'new_name',
  'threshold',
  'add_keys',
  'remove_keys',
  'add_paths',
  'remove_paths',
  'clear_paths',
];

function readRemovedKeys(file: JsonReader): readonly string[] {
  return readDelegation(file).removeKeys ?? [];
}

function readDelegation(file: JsonReader): Omit<EditDelegation, 'type' | 'role' | 'create'> {
  const data = new JsonReader(readData(file), DELEGATION_MEMBERS, 'delegation', DATA);
  if (!data.isNull('new_name') && data.string('new_name') !== '') {
    throw new SignetError('UNSUPPORTED', 'a change renames a delegation, which nothing can apply');
  }
  const strings = (name: string) => (data.isNull(name) ? undefined : data.strings(name));
  const threshold = data.isNull('threshold') ? 0 : data.integer('threshold', 0);
  const addKeys = data.isNull('add_keys')
    ? undefined
    : data.array('add_keys').map((key) => keyFromJson(key, 'delegation.add_keys', DATA));
  const removeKeys = strings('remove_keys');
  const addPaths = strings('add_paths');
  const removePaths = strings('remove_paths');
  return {
    ...(threshold > 0 && { threshold }), // Go's zero value: not given
    ...(addKeys && { addKeys }),
    ...(removeKeys && { removeKeys }),
    ...(addPaths && { addPaths }),
    ...(removePaths && { removePaths }),
    ...(!data.isNull('clear_paths') && data.boolean('clear_paths') && { clearPaths: true }),
  };
}
