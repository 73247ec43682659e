/** `proto.Signer`: notary-signer's Sign, with its codes and texts (docs/notary-signer.md lists what differs). */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { algorithmRow } from '../../crypto/algorithms.ts';
import { isKeyId } from '../../crypto/key-id.ts';
import { SignetError } from '../../errors.ts';
import type { SignatureMessage, SignatureRequest } from '../../rpc/messages.ts';
import type { SignService } from '../../signing/sign-service.ts';
import { type CallContext, CallFailure, type Calls } from '../calls.ts';
import { echo, publicText, statusOf, toSignetError } from '../status.ts';

export function signerService(calls: Calls, signing: SignService): UntypedServiceImplementation {
  async function sign(request: SignatureRequest, context: CallContext): Promise<SignatureMessage> {
    // notary-signer dies of this request
    if (request.keyID === null) throw invalid('the request names no key');
    const id = request.keyID.ID;
    if (!isKeyId(id)) throw notFound(id);
    try {
      const { signature, algorithm } = await signing.sign(id, { message: request.content }, context);
      return {
        keyInfo: { keyID: { ID: id }, algorithm: { algorithm } },
        algorithm: { algorithm: algorithmRow(algorithm).signatureMethod },
        content: signature,
      };
    } catch (thrown) {
      const error = toSignetError(thrown);
      if (error.code === 'KEY_NOT_FOUND') throw notFound(id);
      throw new CallFailure(error, statusOf(error, `Signing failed for KeyID ${id}: ${publicText(error)}`));
    }
  }
  return { Sign: calls.unary('Sign', sign) };
}

function invalid(message: string): CallFailure {
  const error = new SignetError('INVALID_ARGUMENT', message);
  return new CallFailure(error, statusOf(error, message));
}

function notFound(id: string): CallFailure {
  const error = new SignetError('KEY_NOT_FOUND', `no key ${echo(id)}`);
  return new CallFailure(error, statusOf(error, `signing key not found: ${echo(id)}`));
}
