/** `signet key rotate` */
import { type KeyId, parseKeyId } from '../../crypto/key-id.ts';
import { SignetError } from '../../errors.ts';
import { checkRotation, type RotateOptions, rotate } from '../../repository/rotate.ts';
import { isBaseRole } from '../../tuf/roles.ts';
import { openCollection, requireYes, withKeys } from '../collections.ts';
import type { Invocation } from '../invocation.ts';
import { findKey } from '../key-ids.ts';
import { keyToJson } from '../key-text.ts';
import { printable, printData, printJson, printNote } from '../output.ts';
import { placeOptions } from './key-generate.ts';

const ROOT_WARNING =
  'Warning: you are about to rotate your root key.\n\nYou must use your old key to sign this root rotation.\nAre you sure you want to proceed?';

export async function keyRotate(invocation: Invocation): Promise<undefined> {
  const role = invocation.argument(1);
  if (!isBaseRole(role)) {
    throw new SignetError('INVALID_ARGUMENT', `notary does not currently permit rotating the ${printable(role)} key`);
  }
  using opened = await openCollection(invocation);
  const { collection, trustDir } = opened;
  const options: RotateOptions = {
    role,
    serverManaged: invocation.flag('server-managed'),
    keyIds: await keyIds(invocation, trustDir),
    legacy: legacyOf(invocation.text('legacy')),
    requireHardware: invocation.flag('require-hardware'),
    generate: { algorithm: 'ecdsa', ...placeOptions(invocation) },
  };
  checkRotation(options);
  if (role === 'root') await requireYes(invocation, ROOT_WARNING);
  const { keys, removed } = await withKeys(invocation, trustDir, (signing) => rotate(collection, signing, options));
  const { gun } = collection.local;
  if (invocation.json) {
    printJson({ gun, role, keys: keys.map(({ info }) => keyToJson(info)), removed: removed.map(keyToJson) });
    return;
  }
  printData(`Successfully rotated ${role} key for repository ${gun}`);
  for (const { info } of keys) printNote(`the ${role} key is ${info.key_id} in ${info.location}`);
  for (const { key_id, location } of removed) printNote(`the former key ${key_id} was removed from ${location}`);
  if (role === 'root') {
    printNote('keep the former root key: clients that missed this rotation need what it signed');
  }
}

async function keyIds(invocation: Invocation, trustDir: string | undefined): Promise<readonly KeyId[]> {
  const ids: KeyId[] = [];
  for (const text of invocation.texts('key')) {
    ids.push(parseKeyId((await findKey(invocation.world.session, text, trustDir)).key_id));
  }
  return ids;
}

function legacyOf(text = '0'): number {
  if (/^(-1|\d{1,6})$/.test(text)) return Number(text);
  throw new SignetError('INVALID_ARGUMENT', `--legacy cannot be "${text.slice(0, 20)}"`, {
    hint: 'give a number of versions, or -1 for all',
  });
}
