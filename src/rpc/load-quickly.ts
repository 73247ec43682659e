/**
 * Loads a service by protobufjs alone, for programs whose start must be quick: proto-loader, which does the same with
 * protobufjs, makes descriptors for server reflection too, and that costs every command 20 ms.
 */
import type { MethodDefinition } from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { SignetError } from '../errors.ts';
import { MESSAGE_FORM, PARSING, PROTO_DIRECTORY, type Service } from './message-form.ts';

/** @param file In `proto/`. @param name The service's full name. A name that is not in its file is a bug that no test could miss. */
export function loadServiceQuickly(file: string, name: string): Service {
  const root = new protobuf.Root().loadSync(PROTO_DIRECTORY + file, PARSING);
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
    deserialize: (bytes: Buffer): object => type.toObject(type.decode(bytes), MESSAGE_FORM),
  };
}
