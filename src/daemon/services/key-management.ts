/** `proto.KeyManagement`: notary-signer's key life cycle, with its codes and texts. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { algorithmRow, type KeyAlgorithm, parseKeyAlgorithm } from '../../crypto/algorithms.ts';
import { isKeyId } from '../../crypto/key-id.ts';
import { GRPC_STATUS, SignetError } from '../../errors.ts';
import type { Keyring } from '../../keyring/keyring.ts';
import type {
  CreateKeyRequest,
  GetKeyInfoResponse,
  KeyIdMessage,
  PublicKeyMessage,
  VoidMessage,
} from '../../rpc/messages.ts';
import { type CallContext, CallFailure, type Calls } from '../calls.ts';
import { describeError, type Logger } from '../log.ts';
import { checkOwner } from '../owner.ts';
import { logRemoval } from '../removal.ts';
import { echo, publicText, statusOf, toSignetError } from '../status.ts';

export function keyManagementService(calls: Calls, keyring: Keyring, log: Logger): UntypedServiceImplementation {
  async function createKey(request: CreateKeyRequest, context: CallContext): Promise<PublicKeyMessage> {
    const algorithm = creatable(request.algorithm);
    const owner = checkOwner(request);
    try {
      const { info, publicKey } = await keyring.generate({ algorithm, ...owner, reuseUnused: true }, context);
      log.info(
        { caller: context.caller, keyId: info.keyId, ...owner, algorithm, location: info.location },
        'key created',
      );
      return keyMessage(info.keyId, publicKey);
    } catch (thrown) {
      const error = toSignetError(thrown);
      log.error({ caller: context.caller, ...owner, algorithm, ...describeError(error, log) }, 'key creation failed');
      const code = error.code === 'UNAVAILABLE' ? GRPC_STATUS.UNAVAILABLE : GRPC_STATUS.INTERNAL;
      throw new CallFailure(error, statusOf(error, 'Key creation failed', code));
    }
  }

  async function getKeyInfo({ ID }: KeyIdMessage, context: CallContext): Promise<GetKeyInfoResponse> {
    if (!isKeyId(ID)) throw notFound(ID);
    try {
      const located = await keyring.locate(ID);
      const publicKey = await keyring.publicKey(located, context);
      return { ...keyMessage(ID, publicKey), role: located.info.role };
    } catch (thrown) {
      const error = toSignetError(thrown);
      if (error.code === 'KEY_NOT_FOUND') throw notFound(ID);
      log.error({ caller: context.caller, keyId: ID, ...describeError(error, log) }, 'key cannot be read');
      throw new CallFailure(error, statusOf(error, `key ${ID} cannot be read: ${publicText(error)}`));
    }
  }

  async function deleteKey({ ID }: KeyIdMessage, context: CallContext): Promise<VoidMessage> {
    if (!isKeyId(ID)) return {}; // matches nothing: no key has such an ID, and an absent key is deleted already
    try {
      logRemoval(log, context, ID, await keyring.remove(ID, context));
      return {};
    } catch (thrown) {
      const error = toSignetError(thrown);
      log.error({ caller: context.caller, keyId: ID, ...describeError(error, log) }, 'key deletion failed');
      const code = error.code === 'UNAVAILABLE' ? GRPC_STATUS.UNAVAILABLE : GRPC_STATUS.INTERNAL;
      throw new CallFailure(error, statusOf(error, `Key deletion for KeyID ${ID} failed`, code));
    }
  }

  return {
    CreateKey: calls.unary('CreateKey', createKey),
    GetKeyInfo: calls.unary('GetKeyInfo', getKeyInfo),
    DeleteKey: calls.unary('DeleteKey', deleteKey),
  };
}

function keyMessage(id: string, key: { algorithm: string; bytes: Uint8Array }): PublicKeyMessage {
  return { keyInfo: { keyID: { ID: id }, algorithm: { algorithm: key.algorithm } }, publicKey: key.bytes };
}

/** @throws {CallFailure} Unknown (2), as notary-signer answers: notary-server hands code and text to its clients */
function creatable(name: string): KeyAlgorithm {
  try {
    const algorithm = parseKeyAlgorithm(name);
    if (algorithmRow(algorithm).creatable) return algorithm;
  } catch {
    // not an algorithm at all: answered alike
  }
  const error = new SignetError('UNSUPPORTED', `algorithm ${echo(name)} not supported for create key`);
  throw new CallFailure(error, statusOf(error, error.message, GRPC_STATUS.UNKNOWN));
}

function notFound(id: string): CallFailure {
  const error = new SignetError('KEY_NOT_FOUND', `key ${echo(id)} not found`);
  return new CallFailure(error, statusOf(error, error.message));
}
