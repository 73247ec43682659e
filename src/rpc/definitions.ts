/** What servers call: notary-signer's API and gRPC health. */
import { loadService, type Service } from './load.ts';

export const KEY_MANAGEMENT: Service = loadService('notary/signer.proto', 'proto.KeyManagement');
export const SIGNER: Service = loadService('notary/signer.proto', 'proto.Signer');
export const HEALTH: Service = loadService('grpc/health/v1/health.proto', 'grpc.health.v1.Health');
