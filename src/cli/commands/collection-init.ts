/** `signet init` */
import { initialise } from '../../repository/initialise.ts';
import { isOnToken, type RootKey } from '../../repository/root-key.ts';
import type { SigningKey } from '../../repository/signing-keys.ts';
import { openCollection, withKeys } from '../collections.ts';
import { readInput } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { findKey } from '../key-ids.ts';
import { keyToJson } from '../key-text.ts';
import { printData, printJson, printNote } from '../output.ts';
import { placeOptions } from './key-generate.ts';

const MAX_CERTIFICATE_BYTES = 1024 * 1024;

export async function init(invocation: Invocation): Promise<undefined> {
  const { signal } = invocation.world;
  using opened = await openCollection(invocation);
  const { collection, trustDir } = opened;
  const { gun } = collection.local;
  const certificateFile = invocation.text('root-cert');
  const certificate =
    certificateFile === undefined ? undefined : await readInput(certificateFile, MAX_CERTIFICATE_BYTES, signal);
  const keyId = await rootKeyId(invocation, trustDir);
  const isPublished = invocation.flag('publish');
  const options = {
    root: {
      keyId,
      certificate,
      requireHardware: invocation.flag('require-hardware'),
      generate: { algorithm: 'ecdsa', ...placeOptions(invocation) },
    },
    serverSnapshot: invocation.flag('server-snapshot'),
    publish: isPublished,
  };
  const announce = ({ key, isNew }: RootKey) => {
    if (!isNew && !invocation.json) printData(`Root key found, using: ${key.info.key_id}`);
  };
  const made = await withKeys(invocation, trustDir, (keys) => initialise(collection, keys, options, announce));
  if (invocation.json) {
    const { root, targets, snapshot } = made;
    printJson({
      gun,
      server: collection.server.url.href,
      published: isPublished,
      root: { ...keyToJson(root.key.info), isNew: root.isNew },
      targets: keyToJson(targets.info),
      snapshot: snapshot === undefined ? null : keyToJson(snapshot.info),
    });
    return;
  }
  if (isPublished) {
    printData(`Auto-publishing changes to ${gun}\nSuccessfully published changes for repository ${gun}`);
  }
  explain(gun, made, collection.server.url.host, isPublished);
}

async function rootKeyId(invocation: Invocation, trustDir: string | undefined): Promise<string | undefined> {
  const text = invocation.text('root-key');
  return text === undefined ? undefined : (await findKey(invocation.world.session, text, trustDir)).key_id;
}

function explain(
  gun: string,
  { root, targets, snapshot }: Awaited<ReturnType<typeof initialise>>,
  host: string,
  isPublished: boolean,
): void {
  const made = (role: string, { info }: SigningKey, isNew: boolean) =>
    printNote(`${isNew ? 'new ' : ''}${role} key ${info.key_id} in ${info.location}`);
  made('root', root.key, root.isNew);
  for (const home of root.key.info.passed_over) printNote(`${home} comes first for root keys, but does not make them`);
  for (const warning of root.key.info.device?.warnings ?? []) printNote(`warning: ${warning}`);
  made('targets', targets, true);
  if (snapshot !== undefined) made('snapshot', snapshot, true);
  printNote(`${snapshot === undefined ? 'snapshot and timestamp keys' : 'timestamp key'} at ${host}`);
  if (isOnToken(root.key.info)) {
    printNote('the root key cannot leave its token: if the token is lost, clients must be told to trust another root');
  }
  printNote('back up the keys that are in files: signet key backup -o FILE');
  if (!isPublished) printNote(`nothing is published yet: signet publish ${gun}`);
}
