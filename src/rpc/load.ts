/**
 * Loads the services of one file of `proto/`, by protobufjs alone: proto-loader makes descriptors for server reflection
 * too, which costs every command 20 ms.
 */
import { fileURLToPath } from 'node:url';
import type { MethodDefinition, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { SignetError } from '../errors.ts';

export type Service = ServiceDefinition<UntypedServiceImplementation>;

const PROTO_DIRECTORY = fileURLToPath(new URL('../../proto/', import.meta.url));

/** How decoded messages look. */
const CONVERSION: protobuf.IConversionOptions = {
  longs: Number,
  enums: Number,
  // Absent strings and bytes are '' and empty as proto3 says; absent messages stay null, which Sign must tell apart.
  defaults: true,
  oneofs: true,
};

/** @param file In `proto/`. @param name The service's full name. A name that is not in its file is a bug that no test could miss. */
export function loadService(file: string, name: string): Service {
  // Notary's field names are camel case in the .proto itself.
  const root = new protobuf.Root().loadSync(PROTO_DIRECTORY + file, { keepCase: true });
  return Object.fromEntries(
    root.lookupService(name).methodsArray.map((method) => {
      method.resolve();
      return [method.name, methodDefinition(name, method)];
    }),
  );
}

function methodDefinition(service: string, method: protobuf.Method): MethodDefinition<object, object> {
  const request = codec(method.resolvedRequestType);
  const response = codec(method.resolvedResponseType);
  return {
    path: `/${service}/${method.name}`,
    originalName: method.name.charAt(0).toLowerCase() + method.name.slice(1),
    requestStream: method.requestStream === true,
    responseStream: method.responseStream === true,
    requestSerialize: request.serialize,
    requestDeserialize: request.deserialize,
    responseSerialize: response.serialize,
    responseDeserialize: response.deserialize,
  };
}

function codec(type: protobuf.Type | null) {
  if (type === null) throw new SignetError('INTERNAL', 'a method has a message that its .proto does not define');
  return {
    serialize: (message: object): Buffer => type.encode(type.fromObject(message)).finish() as Buffer,
    deserialize: (bytes: Buffer): object => type.toObject(type.decode(bytes), CONVERSION),
  };
}
