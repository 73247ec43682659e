/** Key IDs as people type them: any unique beginning, as with git. */
import { isKeyId } from '../crypto/key-id.ts';
import { SignetError } from '../errors.ts';
import type { AgentKey } from '../rpc/messages.ts';
import type { AgentSession } from './session.ts';

/** Shorter beginnings are typing errors. */
const MIN_PREFIX = 4;
const MAX_CANDIDATES = 5;

/**
 * @param trustDir Where that is not the session's.
 * @throws {SignetError} INVALID_ARGUMENT if it is no beginning of a key ID, or of several; KEY_NOT_FOUND
 */
export async function findKey(
  session: AgentSession,
  text: string,
  trustDir: string | undefined = session.trustDir,
): Promise<AgentKey> {
  const call = { ...session.call, trustDir };
  if (isKeyId(text)) return await (await session.agent()).findKey(text, call);
  const prefix = requirePrefix(text);
  const found = new Map<string, AgentKey>();
  const agent = await session.agent();
  for await (const key of agent.listKeys(call)) {
    if (key.key_id.startsWith(prefix)) found.set(key.key_id, key);
  }
  const [key] = found.values();
  if (key === undefined) {
    const away = (await agent.listTokens(call)).tokens.filter(({ present }) => !present);
    const unseen = away.map(({ location }) => `${location} is not plugged in, and its keys are not seen; `);
    throw new SignetError('KEY_NOT_FOUND', `no key ID begins with ${prefix}`, {
      hint: `${unseen.join('')}signet key list shows ${away.length === 0 ? 'them' : 'the others'}`,
    });
  }
  if (found.size === 1) return key;
  const shown = [...found.values()].slice(0, MAX_CANDIDATES).map(candidate);
  const rest = found.size > shown.length ? `, and ${found.size - shown.length} more` : '';
  throw new SignetError('INVALID_ARGUMENT', `${found.size} key IDs begin with ${prefix}`, {
    hint: `type more of it: ${shown.join(', ')}${rest}`,
  });
}

function requirePrefix(text: string): string {
  const prefix = text.toLowerCase();
  if (/^[0-9a-f]{1,64}$/.test(prefix) && prefix.length >= MIN_PREFIX) return prefix;
  throw new SignetError('INVALID_ARGUMENT', `"${text.slice(0, 80)}" is not a key ID`, {
    hint: `a key ID has 64 hex characters, of which the first ${MIN_PREFIX} or more will do if they are unique`,
  });
}

function candidate({ key_id, role, gun }: AgentKey): string {
  const owner = [role, gun].filter((part) => part !== '').join(' ');
  return owner === '' ? key_id.slice(0, 12) : `${key_id.slice(0, 12)} (${owner})`;
}
