/** Where the services are defined, and how their messages look once decoded, whoever decodes them. */
import { fileURLToPath } from 'node:url';
import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';

export type Service = ServiceDefinition<UntypedServiceImplementation>;

export const PROTO_DIRECTORY: string = fileURLToPath(new URL('../../proto/', import.meta.url));

/** Options that proto-loader and protobufjs understand alike. */
export const MESSAGE_FORM = {
  longs: Number,
  enums: Number,
  // Absent strings and bytes are '' and empty as proto3 says; absent messages stay null, which Sign must tell apart.
  defaults: true,
  oneofs: true,
} as const;

/** Notary's field names are camel case in the .proto itself. */
export const PARSING = { keepCase: true } as const;
