/** Loads the services of one file of `proto/`. */
import { fileURLToPath } from 'node:url';
import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { loadSync, type Options } from '@grpc/proto-loader';

export type Service = ServiceDefinition<UntypedServiceImplementation>;

const PROTO_DIRECTORY = fileURLToPath(new URL('../../proto/', import.meta.url));

const OPTIONS: Options = {
  includeDirs: [PROTO_DIRECTORY],
  keepCase: true, // Notary's field names are camel case in the .proto itself
  longs: Number,
  enums: Number,
  // Absent strings and bytes are '' and empty as proto3 says; absent messages stay null, which Sign must tell apart.
  defaults: true,
  oneofs: true,
};

/** @returns Services by their full names. */
export function loadServices(file: string): Readonly<Record<string, Service>> {
  return loadSync(file, OPTIONS) as unknown as Readonly<Record<string, Service>>;
}

/** One of them. A name that is not in its file is a bug that no test could miss. */
export function service(services: Readonly<Record<string, Service>>, name: string): Service {
  return services[name] as Service;
}
