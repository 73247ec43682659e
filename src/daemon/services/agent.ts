/** `signet.v1.Agent`: what command-line tools ask. Served on the Unix socket only. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import type { KeyDevice } from '../../backends/backend.ts';
import { DIGEST_BYTES, parseKeyAlgorithm, type SignatureHash } from '../../crypto/algorithms.ts';
import { type KeyId, parseKeyId } from '../../crypto/key-id.ts';
import { Secret } from '../../crypto/secret.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import { SignetError } from '../../errors.ts';
import type { Keyring, LocatedKey } from '../../keyring/keyring.ts';
import type {
  AgentKey,
  AgentPublicKey,
  DeviceMessage,
  GenerateKeyRequest,
  KeyIdRequest,
  LockResponse,
  RemoveKeyResponse,
  SignRequest,
  SignResponse,
  StatusResponse,
  UnlockRequest,
} from '../../rpc/messages.ts';
import type { SignService } from '../../signing/sign-service.ts';
import type { CallContext, Calls } from '../calls.ts';
import type { Logger } from '../log.ts';
import { checkOwner } from '../owner.ts';
import { logRemoval } from '../removal.ts';
import { fullStatusOf } from '../status.ts';

export interface AgentServices {
  readonly calls: Calls;
  readonly keyring: Keyring;
  readonly signing: SignService;
  readonly log: Logger;
  readonly status: () => Promise<StatusResponse>;
  /** Closes one key, or all, in every process. @returns How many were open. */
  readonly lock: (keyId: KeyId | undefined) => Promise<number>;
}

/** A day: nobody means more when unlocking a key by hand. */
const MAX_UNLOCK_MS = 24 * 60 * 60 * 1000;

export function agentService(services: AgentServices): UntypedServiceImplementation {
  const { calls, keyring, signing, log, status, lock } = services;
  const unary = <Request, Response>(
    method: string,
    handler: (request: Request, context: CallContext) => Promise<Response>,
  ) => calls.unary(method, handler, { toStatus: fullStatusOf });

  async function unlock(request: UnlockRequest, context: CallContext): Promise<object> {
    using passphrase = new Secret(request.passphrase);
    const keyId = parseKeyId(request.key_id);
    if (request.ttl_ms < 0 || request.ttl_ms > MAX_UNLOCK_MS) {
      throw new SignetError('INVALID_ARGUMENT', `ttl_ms must be between 0 and ${MAX_UNLOCK_MS}`);
    }
    await keyring.unlock(keyId, passphrase, request.ttl_ms === 0 ? undefined : request.ttl_ms);
    log.info({ caller: context.caller, keyId }, 'key unlocked');
    return {};
  }

  return {
    Status: unary('Status', status),
    ListKeys: calls.serverStream(
      'ListKeys',
      async function* () {
        for await (const located of keyring.list()) yield toMessage(located);
      },
      { toStatus: fullStatusOf },
    ),
    FindKey: unary('FindKey', async ({ key_id }: KeyIdRequest) => toMessage(await keyring.locate(parseKeyId(key_id)))),
    GetPublicKey: unary('GetPublicKey', async ({ key_id }: KeyIdRequest, context): Promise<AgentPublicKey> => {
      return keyring.publicKey(await keyring.locate(parseKeyId(key_id)), context);
    }),
    GenerateKey: unary('GenerateKey', async (request: GenerateKeyRequest, context) => {
      const algorithm = parseKeyAlgorithm(request.algorithm);
      const located = await keyring.generate({ algorithm, ...checkOwner(request) }, context);
      const { keyId, role, gun, location } = located.info;
      log.info({ caller: context.caller, keyId, role, gun, algorithm, location }, 'key created');
      return toMessage(located);
    }),
    RemoveKey: unary('RemoveKey', async ({ key_id }: KeyIdRequest, context): Promise<RemoveKeyResponse> => {
      const keyId = parseKeyId(key_id);
      const removal = await keyring.remove(keyId, context);
      logRemoval(log, context, keyId, removal);
      return { removed: removal.removed };
    }),
    Sign: unary('AgentSign', async (request: SignRequest, context): Promise<SignResponse> => {
      const keyId = parseKeyId(request.key_id);
      const { signature } = await signing.sign(keyId, inputOf(request), context);
      return { signature };
    }),
    Unlock: unary('Unlock', unlock),
    Lock: unary('Lock', async ({ key_id }: KeyIdRequest, context): Promise<LockResponse> => {
      const locked = await lock(key_id === '' ? undefined : parseKeyId(key_id));
      log.info({ caller: context.caller, locked }, 'keys locked');
      return { locked };
    }),
  };
}

function toMessage({ info, backend }: LocatedKey): AgentKey {
  return {
    key_id: info.keyId,
    role: info.role,
    gun: info.gun,
    location: info.location,
    backend: backend.name,
    needs_pin: info.needs.pin,
    needs_touch: info.needs.touch,
    needs_passphrase: info.needs.passphrase,
    public_key: info.publicKey ?? null,
    last_used_ms: info.lastUsedAt ?? 0,
    device: info.device === undefined ? null : deviceMessage(info.device),
  };
}

function deviceMessage(device: KeyDevice): DeviceMessage {
  const { serial, label, firmware = '', slot = '', pinPolicy = '', touchPolicy = '', attested, warnings = [] } = device;
  const known = attested === undefined ? '' : attested ? 'yes' : 'no';
  return {
    serial,
    label,
    firmware,
    slot,
    pin_policy: pinPolicy,
    touch_policy: touchPolicy,
    attested: known,
    warnings,
  };
}

function inputOf(request: SignRequest): SignInput {
  if (request.input === 'message' && request.message !== undefined) return { message: request.message };
  if (request.input !== 'digest' || request.digest === undefined) {
    throw new SignetError('INVALID_ARGUMENT', 'the request has neither a message nor a digest');
  }
  const { hash, value } = request.digest;
  if (!Object.hasOwn(DIGEST_BYTES, hash)) {
    throw new SignetError('INVALID_ARGUMENT', 'unknown digest', {
      hint: `use one of ${Object.keys(DIGEST_BYTES).join(', ')}`,
    });
  }
  return { digest: value, hash: hash as SignatureHash };
}
