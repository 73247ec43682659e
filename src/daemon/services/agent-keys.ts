/** The agent's calls on one key. */
import type { KeyBackend } from '../../backends/backend.ts';
import { parseKeyAlgorithm } from '../../crypto/algorithms.ts';
import { type KeyId, parseKeyId } from '../../crypto/key-id.ts';
import { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { Keyring } from '../../keyring/keyring.ts';
import type {
  AgentKey,
  AgentPublicKey,
  AttestKeyResponse,
  ChangePassphraseRequest,
  ExportKeyResponse,
  GenerateKeyRequest,
  ImportKeyRequest,
  KeyIdRequest,
  RelabelKeyRequest,
  RemoveKeyResponse,
  SignRequest,
  SignResponse,
  UnlockRequest,
} from '../../rpc/messages.ts';
import type { Logger } from '../log.ts';
import { checkOwner } from '../owner.ts';
import { logRemoval } from '../removal.ts';
import type { AgentCalls, AgentHandler } from './agent-calls.ts';
import {
  deviceMessage,
  deviceRequestOf,
  keyMessage,
  keySizeOf,
  secretOf,
  signInputOf,
  targetOf,
} from './agent-messages.ts';

/** A day: nobody means more when unlocking a key by hand. */
const MAX_UNLOCK_MS = 24 * 60 * 60 * 1000;

/** Handlers of every method that is about one key, by name. */
export function keyMethods(calls: AgentCalls, log: Logger) {
  const generate: AgentHandler<GenerateKeyRequest, AgentKey> = async (request, context, { keyring }) => {
    using passphrase = secretOf(request.passphrase);
    const algorithm = parseKeyAlgorithm(request.algorithm);
    const created = await keyring.generate(
      {
        algorithm,
        ...checkOwner(request),
        ...keySizeOf(request),
        ...deviceRequestOf(request),
        ...(passphrase && { passphrase }),
      },
      context,
      targetOf(request),
    );
    const { keyId, role, gun, location } = created.info;
    const passedOver = created.passedOver.map(({ location }) => location);
    log.info({ caller: context.caller, keyId, role, gun, algorithm, location, passedOver }, 'key created');
    return keyMessage(created, passedOver);
  };

  const importKey: AgentHandler<ImportKeyRequest, AgentKey> = async (request, context, { keyring }) => {
    using passphrase = secretOf(request.passphrase);
    const imported = await keyring.import(
      request.pkcs8,
      { ...checkOwner(request), ...deviceRequestOf(request), ...(passphrase && { passphrase }) },
      context,
      targetOf(request),
    );
    const { keyId, role, gun, location } = imported.info;
    log.info({ caller: context.caller, keyId, role, gun, location }, 'key imported');
    return keyMessage(imported);
  };

  const unlock: AgentHandler<UnlockRequest, object> = async (request, context, { keyring }) => {
    using passphrase = new Secret(request.passphrase);
    const keyId = parseKeyId(request.key_id);
    if (request.ttl_ms < 0 || request.ttl_ms > MAX_UNLOCK_MS) {
      throw new SignetError('INVALID_ARGUMENT', `ttl_ms must be between 0 and ${MAX_UNLOCK_MS}`);
    }
    await keyring.unlock(keyId, passphrase, request.ttl_ms === 0 ? undefined : request.ttl_ms);
    log.info({ caller: context.caller, keyId }, 'key unlocked');
    return {};
  };

  const changePassphrase: AgentHandler<ChangePassphraseRequest, object> = async (request, context, { keyring }) => {
    using passphrase = secretOf(request.new_passphrase);
    const { keyId, backend } = await locate(keyring, request.key_id);
    if (backend.passphrases === undefined) {
      throw new SignetError('UNSUPPORTED', `keys in ${backend.location} have no passphrase of their own`, {
        hint: backend.token === undefined ? 'signetd -rewrap changes the one of all' : "change the token's PIN instead",
      });
    }
    await backend.passphrases.changePassphrase(keyId, passphrase, context);
    log.info({ caller: context.caller, keyId }, 'passphrase changed');
    return {};
  };

  return {
    FindKey: calls.unary('FindKey', async ({ key_id }: KeyIdRequest, _context, { keyring }) =>
      keyMessage(await keyring.locate(parseKeyId(key_id))),
    ),
    GetPublicKey: calls.unary(
      'GetPublicKey',
      async ({ key_id }: KeyIdRequest, context, { keyring }): Promise<AgentPublicKey> =>
        keyring.publicKey(await keyring.locate(parseKeyId(key_id)), context),
    ),
    GenerateKey: calls.unary('GenerateKey', generate),
    ImportKey: calls.unary('ImportKey', importKey),
    ExportKey: calls.unary(
      'ExportKey',
      async ({ key_id }: KeyIdRequest, context, { keyring }): Promise<ExportKeyResponse> => {
        const { keyId, backend } = await locate(keyring, key_id);
        if (backend.exporter === undefined) {
          throw new SignetError('UNSUPPORTED', `keys in ${backend.location} are not exported`, {
            hint: backend.token === undefined ? 'back up the database instead' : 'a key on a token stays there',
          });
        }
        const pem = await backend.exporter.export(keyId, context);
        log.info({ caller: context.caller, keyId }, 'key exported');
        return { pem };
      },
    ),
    RemoveKey: calls.unary(
      'RemoveKey',
      async ({ key_id }: KeyIdRequest, context, { keyring }): Promise<RemoveKeyResponse> => {
        const keyId = parseKeyId(key_id);
        const removal = await keyring.remove(keyId, context);
        logRemoval(log, context, keyId, removal);
        return { removed: removal.removed };
      },
    ),
    Sign: calls.unary('AgentSign', async (request: SignRequest, context, { signing }): Promise<SignResponse> => {
      const { signature } = await signing.sign(parseKeyId(request.key_id), signInputOf(request), context);
      return { signature };
    }),
    Unlock: calls.unary('Unlock', unlock),
    ChangePassphrase: calls.unary('ChangePassphrase', changePassphrase),
    RelabelKey: calls.unary(
      'RelabelKey',
      async (request: RelabelKeyRequest, context, { keyring }): Promise<AgentKey> => {
        const { keyId, backend } = await locate(keyring, request.key_id);
        const owner = checkOwner(request);
        if (backend.relabeller === undefined) {
          throw new SignetError('UNSUPPORTED', `keys in ${backend.location} keep their role and GUN`);
        }
        const info = await backend.relabeller.relabel(keyId, owner, context);
        log.info({ caller: context.caller, keyId, ...owner }, 'key relabelled');
        return keyMessage({ info, backend });
      },
    ),
    AttestKey: calls.unary(
      'AttestKey',
      async ({ key_id }: KeyIdRequest, context, { keyring }): Promise<AttestKeyResponse> => {
        const { keyId, backend } = await locate(keyring, key_id);
        if (backend.attester === undefined) {
          throw new SignetError('UNSUPPORTED', `keys in ${backend.location} cannot be attested`, {
            hint: 'a YubiKey attests the keys that it made',
          });
        }
        const { chain, root, device } = await backend.attester.attest(keyId, context);
        return { chain, root, device: deviceMessage(device) };
      },
    ),
  };
}

async function locate(
  keyring: Keyring,
  text: string,
): Promise<{ readonly keyId: KeyId; readonly backend: KeyBackend }> {
  const keyId = parseKeyId(text);
  const { backend } = await keyring.locate(keyId);
  return { keyId, backend };
}
