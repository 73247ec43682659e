/** `signet unlock`, `signet lock`, `signet key remember`, `signet key forget` */
import { parseDuration } from '../../duration.ts';
import { SignetError } from '../../errors.ts';
import type { AgentKey, DeviceMessage } from '../../rpc/messages.ts';
import type { Invocation } from '../invocation.ts';
import { findKey } from '../key-ids.ts';
import { inNotarysOrder, ownerText } from '../key-text.ts';
import { printable, printData, printJson, printNote } from '../output.ts';
import type { AgentSession } from '../session.ts';

export async function unlock(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const ttlMs = timeLimit(invocation.text('for'));
  const keys = await chosenKeys(invocation);
  for (const key of keys) {
    if (key.device === null) await openKey(session, key, ttlMs);
    else await openToken(session, key, key.device);
    if (!invocation.json) printData(`Unlocked ${key.key_id} (${printable(ownerText(key))})`);
  }
  if (ttlMs > 0 && keys.some(({ device }) => device !== null)) {
    printNote('a token stays open until it is locked or taken out');
  }
  if (invocation.json) printJson(keys.map(({ key_id }) => ({ keyId: key_id })));
}

async function openKey(session: AgentSession, key: AgentKey, ttlMs: number): Promise<void> {
  const agent = await session.agent();
  const person = await session.person();
  for (let attempt = 0; ; attempt++) {
    using passphrase = await person.passphrase(key, attempt);
    if (passphrase === undefined) throw person.refusal ?? new SignetError('CANCELLED', 'nothing was typed');
    try {
      await agent.unlock({ key_id: key.key_id, passphrase: passphrase.bytes(), ttl_ms: ttlMs }, session.call);
      return;
    } catch (error) {
      if (!(error instanceof SignetError) || error.code !== 'PASSPHRASE_INCORRECT') throw error;
    }
  }
}

/** One try of the token's PIN, which is never what is meant as a passphrase. */
async function openToken(
  session: AgentSession,
  { key_id, role, gun, backend }: AgentKey,
  { label, serial }: DeviceMessage,
): Promise<void> {
  const agent = await session.agent();
  const person = await session.person();
  const { tokens } = await agent.listTokens(session.call);
  const status = tokens.find(({ token }) => token?.serial === serial && token.label === label);
  const question = {
    ...{ kind: 'pin', key_id, role, gun, token: { backend, label, serial }, attempt: 0, reason: '' },
    tries_left: status?.pin_tries_left ?? -1,
  };
  using pin = await person.answer(question, session.call.signal ?? new AbortController().signal);
  if (pin === undefined || pin.bytes().byteLength === 0) {
    throw person.refusal ?? new SignetError('CANCELLED', 'nothing was typed');
  }
  await agent.unlock({ key_id, passphrase: pin.bytes(), ttl_ms: 0 }, session.call);
}

async function chosenKeys(invocation: Invocation): Promise<readonly AgentKey[]> {
  const { session } = invocation.world;
  if (invocation.args.length > 0 && invocation.flag('all')) {
    throw new SignetError('INVALID_ARGUMENT', 'either key IDs or --all, not both');
  }
  if (invocation.args.length > 0) return await Promise.all(invocation.args.map((id) => findKey(session, id)));
  if (!invocation.flag('all')) {
    throw new SignetError('INVALID_ARGUMENT', 'no key ID given', {
      hint: 'name keys, or add --all for every sealed key',
    });
  }
  const keys: AgentKey[] = [];
  for await (const key of (await session.agent()).listKeys(session.call)) if (key.needs_passphrase) keys.push(key);
  if (keys.length === 0) throw new SignetError('KEY_NOT_FOUND', 'no key needs a passphrase');
  return keys.sort(inNotarysOrder);
}

/** @returns Milliseconds; 0 for the daemon's own. */
function timeLimit(text: string | undefined): number {
  if (text === undefined) return 0;
  const ms = parseDuration(text);
  if (ms !== undefined && ms > 0) return ms;
  throw new SignetError('INVALID_ARGUMENT', `--for cannot be "${text}"`, {
    hint: 'write a number with its unit, as "30m" or "8h"',
  });
}

export async function lock(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const agent = await session.running();
  let locked = 0;
  if (agent === undefined) {
    printNote('signetd does not run, so nothing is unlocked');
  } else if (invocation.args.length === 0) {
    ({ locked } = await agent.lock('', session.call));
  } else {
    for (const id of invocation.args) {
      const key = await findKey(session, id);
      locked += (await agent.lock(key.key_id, session.call)).locked;
    }
  }
  if (invocation.json) printJson({ locked });
  else printData(`Locked ${locked === 1 ? 'one key' : `${locked} keys`}`);
}

export async function keyRemember(invocation: Invocation): Promise<undefined> {
  const subject = await rememberedSubject(invocation);
  await invocation.world.session.asking((agent, call) =>
    agent.remember({ ...subject, secret: new Uint8Array() }, call),
  );
  if (invocation.json) printJson(subjectToJson(subject));
  else printData(`The system's keyring keeps the ${subjectText(subject)}`);
}

export async function keyForget(invocation: Invocation): Promise<undefined> {
  const subject = await rememberedSubject(invocation);
  const { session } = invocation.world;
  const { forgotten } = await (await session.agent()).forget(subject, session.call);
  if (!forgotten) throw new SignetError('KEY_NOT_FOUND', `the system's keyring has no ${subjectText(subject)}`);
  if (invocation.json) printJson(subjectToJson(subject));
  else printData(`The system's keyring does not keep the ${subjectText(subject)} any more`);
}

interface Subject {
  readonly key_id: string;
  readonly serial: string;
  /** Of the token; '' if not given. */
  readonly label: string;
  /** Another name of it; '' if not given. */
  readonly token: string;
}

/** A key, or a token by `--token` or `--serial`: never both, because a PIN is kept only when its token is named. */
async function rememberedSubject(invocation: Invocation): Promise<Subject> {
  const serial = invocation.text('serial') ?? '';
  const label = invocation.text('label') ?? '';
  const token = invocation.text('token') ?? '';
  const id = invocation.argument(0);
  const isToken = serial !== '' || token !== '';
  if ((id === '') !== isToken || (serial === '' && label !== '')) {
    throw new SignetError('INVALID_ARGUMENT', 'name either a key ID, or a token with --token or --serial');
  }
  if (isToken) return { key_id: '', serial, label, token };
  return { key_id: (await findKey(invocation.world.session, id)).key_id, serial: '', label: '', token: '' };
}

function subjectToJson({ key_id: keyId, serial, token }: Subject): object {
  return { keyId: keyId || null, serial: serial || null, token: token || null };
}

function subjectText({ key_id, serial, label, token }: Subject): string {
  if (key_id !== '') return `passphrase of key ${key_id}`;
  if (serial === '') return `PIN of the token ${printable(token)}`;
  return `PIN of the token with serial ${printable(serial)}${label === '' ? '' : ` and label ${printable(label)}`}`;
}
