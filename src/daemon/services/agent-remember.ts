/** Secrets that a person wants kept in the operating system's keyring, and no longer. */
import type { KeyBackend } from '../../backends/backend.ts';
import { requireSameToken } from '../../backends/same-token.ts';
import { type KeyId, parseKeyId } from '../../crypto/key-id.ts';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { Keyring } from '../../keyring/keyring.ts';
import { pinName, type SecretName, type SecretStore } from '../../keyring/secret-store.ts';
import type { ForgetRequest, ForgetResponse, RememberRequest } from '../../rpc/messages.ts';
import type { CallContext } from '../calls.ts';
import type { Logger } from '../log.ts';
import type { AgentCalls, AgentHandler } from './agent-calls.ts';
import { secretOf } from './agent-messages.ts';
import { tokenOf } from './agent-tokens.ts';

/** What a secret is for, how to ask for it, and how to see that it is the right one. */
interface Subject {
  readonly name: SecretName;
  ask(context: CallContext): Promise<Secret | undefined>;
  /** @throws {SignetError} PASSPHRASE_INCORRECT, PIN_INCORRECT, PIN_LOCKED */
  check(secret: Secret): Promise<void>;
}

export function rememberMethods(calls: AgentCalls, store: SecretStore, log: Logger) {
  const remember: AgentHandler<RememberRequest, object> = async (request, context, { keyring }) => {
    using given = secretOf(request.secret);
    const subject = await subjectOf(keyring, request);
    // First of all: nobody should type a secret for nothing.
    await store.check();
    using asked = given === undefined ? await subject.ask(context) : undefined;
    const secret = given ?? asked;
    if (secret === undefined) {
      const code = request.key_id === '' ? 'PIN_REQUIRED' : 'PASSPHRASE_REQUIRED';
      throw new SignetError(code, 'there is nothing to remember: no secret was given');
    }
    await subject.check(secret);
    await store.set(subject.name, secret);
    log.info({ caller: context.caller, ...idsOf(request) }, 'secret kept in the keyring');
    return {};
  };

  const forget: AgentHandler<ForgetRequest, ForgetResponse> = async (request, context, { keyring }) => {
    const name = await forgottenName(keyring, request);
    const forgotten = await store.delete(name);
    if (forgotten) log.info({ caller: context.caller, ...idsOf(request) }, 'secret removed from the keyring');
    return { forgotten };
  };

  return { Remember: calls.unary('Remember', remember), Forget: calls.unary('Forget', forget) };
}

function subjectOf(keyring: Keyring, request: ForgetRequest): Promise<Subject> {
  return isForKey(request) ? keySubject(keyring, parseKeyId(request.key_id)) : tokenSubject(keyring, request);
}

/** Also of a key that is gone, and of a token that is if its label is given. */
async function forgottenName(keyring: Keyring, request: ForgetRequest): Promise<SecretName> {
  if (isForKey(request)) return `passphrase:${parseKeyId(request.key_id)}`;
  const { serial, label, token: name } = request;
  if (serial !== '' && label && !name) return pinName({ serial, label });
  const { token } = await tokenOf(keyring, request, label || undefined);
  return pinName((await token.describe()).identity);
}

async function keySubject(keyring: Keyring, keyId: KeyId): Promise<Subject> {
  const { info, backend } = await keyring.locate(keyId);
  const { unlocker } = backend;
  if (backend.passphrases === undefined || unlocker === undefined) {
    throw new SignetError('UNSUPPORTED', `keys in ${backend.location} have no passphrase of their own`, {
      hint: backend.token === undefined ? 'their passphrases are configured' : 'name the token instead',
    });
  }
  if (!info.needs.passphrase) throw new SignetError('INVALID_ARGUMENT', `key ${keyId} has no passphrase`);
  return {
    name: `passphrase:${keyId}`,
    ask: async ({ interaction, signal }) => interaction?.passphrase(info, 0, signal),
    check: (secret) => unlocker.unlock(keyId, secret, undefined),
  };
}

async function tokenSubject(keyring: Keyring, request: ForgetRequest): Promise<Subject> {
  const { backend, token, which } = await tokenOf(keyring, request, request.label || undefined);
  const { identity } = await token.describe();
  requireSameToken(which, identity);
  return {
    name: pinName(identity),
    ask: async ({ interaction, signal }) => {
      if (interaction === undefined) return undefined;
      const { pinTriesLeft: triesLeft } = await token.status();
      return interaction.pin({ token: identity, secret: 'pin', isNew: false, triesLeft, key: undefined }, signal);
    },
    check: async (pin) => {
      // Another token may be in the place of the one that it was asked for.
      await backend.unlocker?.unlock(await anyKeyOf(backend), pin, undefined, identity);
    },
  };
}

/** A PIN is checked by opening a key with it. @throws {SignetError} UNSUPPORTED without a key */
async function anyKeyOf(backend: KeyBackend): Promise<KeyId> {
  if (backend.unlocker !== undefined) for await (const { keyId } of backend.list()) return keyId;
  throw new SignetError('UNSUPPORTED', `${backend.location} has no key to check the PIN with`, {
    hint: 'make a key on the token first',
  });
}

/** @throws {SignetError} INVALID_ARGUMENT unless the request names either a key or a token */
function isForKey({ key_id: keyId, serial, token = '' }: ForgetRequest): boolean {
  if ((keyId === '') !== (serial === '' && token === '')) return keyId !== '';
  throw new SignetError('INVALID_ARGUMENT', 'the request names neither a key nor a token, or both');
}

function idsOf({ key_id: keyId, serial, label, token }: ForgetRequest) {
  if (keyId !== '') return { keyId };
  return { ...(serial && { serial }), ...(label && { label }), ...(token && { token }) };
}
