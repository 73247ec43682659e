/** The messages of notary-signer's API as protobufjs reads the contract: an encoding independent of the daemon's. */
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';

export const CREATE_KEY = '/proto.KeyManagement/CreateKey';
export const DELETE_KEY = '/proto.KeyManagement/DeleteKey';
export const GET_KEY_INFO = '/proto.KeyManagement/GetKeyInfo';
export const SIGN = '/proto.Signer/Sign';
export const HEALTH_CHECK = '/grpc.health.v1.Health/Check';

const proto = (name: string) => fileURLToPath(new URL(`../../proto/${name}`, import.meta.url));
const root = new protobuf.Root().loadSync([proto('notary/signer.proto'), proto('grpc/health/v1/health.proto')], {
  keepCase: true,
});

/** Method → types of its request and response. */
const TYPES: Readonly<Record<string, readonly [string, string]>> = {
  [CREATE_KEY]: ['proto.CreateKeyRequest', 'proto.PublicKey'],
  [DELETE_KEY]: ['proto.KeyID', 'proto.Void'],
  [GET_KEY_INFO]: ['proto.KeyID', 'proto.GetKeyInfoResponse'],
  [SIGN]: ['proto.SignatureRequest', 'proto.Signature'],
  [HEALTH_CHECK]: ['grpc.health.v1.HealthCheckRequest', 'grpc.health.v1.HealthCheckResponse'],
};

/** A message as a plain tree; bytes are Buffers. */
export type Tree = { readonly [field: string]: Tree | string | number | Uint8Array };

function typeOf(method: string, index: 0 | 1): protobuf.Type {
  const names = TYPES[method];
  if (names === undefined) throw new Error(`no method ${method}`);
  return root.lookupType(names[index]);
}

export function encodeRequest(method: string, request: Tree): Buffer {
  return Buffer.from(typeOf(method, 0).encode(request).finish());
}

export function decodeRequest(method: string, bytes: Uint8Array): Tree {
  const type = typeOf(method, 0);
  return type.toObject(type.decode(bytes)) as Tree;
}

/** @throws {Error} `bytes` are not the one encoding that protobuf writers agree on: they encode differently again */
export function decodeResponse(method: string, bytes: Buffer): Tree {
  const type = typeOf(method, 1);
  const message = type.decode(bytes);
  if (!bytes.equals(type.encode(message).finish())) throw new Error(`${method}: the answer re-encodes differently`);
  return type.toObject(message) as Tree;
}

/** Request of GetKeyInfo and DeleteKey. */
export function keyId(ID: string): Tree {
  return { ID };
}

/** Request of Sign. */
export function signatureRequest(ID: string, content: Uint8Array): Tree {
  return { keyID: { ID }, content };
}
