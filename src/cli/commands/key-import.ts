/** `signet key import` */
import { type ImportedKey, type KeyFileKind, readPrivateKeys } from '../../crypto/key-file.ts';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { AgentKey } from '../../rpc/messages.ts';
import { inFile, readInput } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { keyToJson, ownerText, ROLES_WITH_GUN } from '../key-text.ts';
import { printable, printData, printJson, printNote } from '../output.ts';
import type { AgentSession } from '../session.ts';
import { placeOptions } from './key-generate.ts';

/** A bundle of ten thousand keys; anything longer is another file. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;
/** notary's for a key without a role. */
const DEFAULT_ROLE = 'delegation';

/** A key that was read, with the passphrase that it was sealed under in its file. */
interface OpenedKey {
  readonly entry: ImportedKey;
  readonly passphrase: Secret | undefined;
}

export async function keyImport(invocation: Invocation): Promise<undefined> {
  const { ProgressDisplay } = await import('../prompts/progress.ts');
  using progress = new ProgressDisplay('keys imported');
  const imported: AgentKey[] = [];
  const known: string[] = [];
  using opened = new OpenedKeys();
  // All files are read before the first key is stored: one that cannot be read stops the import before it begins.
  for (const file of invocation.args) await opened.read(file, invocation);
  if (opened.keys.length > 1 && invocation.text('slot') !== undefined) {
    throw new SignetError('INVALID_ARGUMENT', `${opened.keys.length} keys cannot go to one slot`, {
      hint: 'import them one by one, each with its --slot',
    });
  }
  try {
    for (const { entry, passphrase } of opened.keys) {
      const key = await store(entry, passphrase, invocation);
      if (key === undefined) known.push(entry.key.keyId);
      else imported.push(key);
      progress.show(imported.length + known.length, opened.keys.length);
    }
  } finally {
    progress[Symbol.dispose]();
    report(invocation, imported, known);
  }
  if (imported.length > 0) return;
  throw new SignetError('KEY_EXISTS', known.length === 1 ? 'the key is there already' : 'all keys are there already', {
    hint: 'nothing was changed; to import it anew, remove it first: signet key remove',
  });
}

/** @returns Undefined if it is there already. */
async function store(
  entry: ImportedKey,
  passphrase: Secret | undefined,
  invocation: Invocation,
): Promise<AgentKey | undefined> {
  const { session } = invocation.world;
  const role = entry.role || (invocation.text('role') ?? DEFAULT_ROLE);
  const gun = entry.gun || (invocation.text('gun') ?? '');
  const pkcs8 = entry.key.toPkcs8();
  try {
    (await session.person()).setNewPassphrase(passphrase);
    return await session.asking((agent, call) =>
      agent.importKey({ pkcs8, role, gun, ...placeOptions(invocation) }, call),
    );
  } catch (error) {
    if (error instanceof SignetError && error.code === 'KEY_EXISTS' && (await isThere(entry, session)))
      return undefined;
    throw error;
  } finally {
    pkcs8.fill(0);
  }
}

/** What exists may be another key, in the slot that was named. */
async function isThere({ key }: ImportedKey, session: AgentSession): Promise<boolean> {
  const agent = await session.agent();
  try {
    await agent.findKey(key.keyId, session.call);
    return true;
  } catch (error) {
    if (error instanceof SignetError && error.code === 'KEY_NOT_FOUND') return false;
    throw error;
  }
}

function report({ json }: Invocation, imported: readonly AgentKey[], known: readonly string[]): void {
  if (json) printJson({ imported: imported.map(keyToJson), existing: known });
  else if (imported.length > 0) {
    printData(imported.map((key) => `Imported ${key.key_id} (${printable(ownerText(key))})`).join('\n'));
  }
  if (!json) for (const id of known) printNote(`${id} is there already, and was left alone`);
}

class OpenedKeys implements Disposable {
  readonly keys: OpenedKey[] = [];
  readonly #secrets: Secret[] = [];

  async read(file: string, invocation: Invocation): Promise<void> {
    const { session, signal } = invocation.world;
    const person = await session.person();
    const bytes = await readInput(file, MAX_FILE_BYTES, signal);
    /** One for each sealed key, in their order; one for a whole PKCS#12 file. */
    const answers: Secret[] = [];
    try {
      const { kind, keys } = await readPrivateKeys(bytes, async ({ role, gun, path, attempt }) => {
        const owner = { role: role || (invocation.text('role') ?? DEFAULT_ROLE), gun, key_id: path };
        const answer = await person.passphrase(owner, attempt - 1, `${file}: `);
        if (answer === undefined) return undefined;
        this.#secrets.push(answer);
        answers[attempt === 1 ? answers.length : answers.length - 1] = answer;
        return answer;
      });
      this.#take(kind, keys, answers);
      for (const { role, gun, key } of keys)
        requireGun(role || invocation.text('role'), gun || invocation.text('gun'), key.keyId);
    } catch (error) {
      const reason = person.explain(error);
      throw reason === error ? inFile(error, file) : reason;
    } finally {
      bytes.fill(0);
    }
  }

  #take(kind: KeyFileKind, keys: readonly ImportedKey[], answers: readonly Secret[]): void {
    let sealed = 0;
    for (const entry of keys) {
      const passphrase = entry.sealed ? answers[kind === 'pkcs12' ? 0 : sealed++] : undefined;
      this.keys.push({ entry, passphrase });
    }
  }

  [Symbol.dispose](): void {
    for (const { entry } of this.keys) entry.key.dispose();
    for (const secret of this.#secrets) secret.dispose();
  }
}

/** As for notary, such a key without its collection would never be found. */
function requireGun(role: string | undefined, gun: string | undefined, keyId: string): void {
  if (role === undefined || !ROLES_WITH_GUN.has(role) || gun) return;
  throw new SignetError('INVALID_ARGUMENT', `the ${role} key ${keyId} does not say which collection it belongs to`, {
    hint: 'name it with --gun, or another role with --role',
  });
}
