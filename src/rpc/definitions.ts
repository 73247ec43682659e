/** The services of `proto/`, loaded once, for the daemon and the client. */
import { fileURLToPath } from 'node:url';
import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { loadSync, type Options } from '@grpc/proto-loader';

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

const PACKAGES = loadSync(['notary/signer.proto', 'grpc/health/v1/health.proto', 'signet/v1/agent.proto'], OPTIONS);

function service(name: string): ServiceDefinition<UntypedServiceImplementation> {
  return PACKAGES[name] as ServiceDefinition<UntypedServiceImplementation>;
}

export const KEY_MANAGEMENT: ServiceDefinition<UntypedServiceImplementation> = service('proto.KeyManagement');
export const SIGNER: ServiceDefinition<UntypedServiceImplementation> = service('proto.Signer');
export const HEALTH: ServiceDefinition<UntypedServiceImplementation> = service('grpc.health.v1.Health');
export const AGENT: ServiceDefinition<UntypedServiceImplementation> = service('signet.v1.Agent');
