/** What servers call: notary-signer's API and gRPC health. */
import { loadServices, type Service, service } from './load.ts';

const NOTARY = loadServices('notary/signer.proto');

export const KEY_MANAGEMENT: Service = service(NOTARY, 'proto.KeyManagement');
export const SIGNER: Service = service(NOTARY, 'proto.Signer');
export const HEALTH: Service = service(loadServices('grpc/health/v1/health.proto'), 'grpc.health.v1.Health');
