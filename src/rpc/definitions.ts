/** What servers call: notary-signer's API and gRPC health. */
import { loadService } from './load.ts';
import type { Service } from './message-form.ts';

export const KEY_MANAGEMENT: Service = loadService('notary/signer.proto', 'proto.KeyManagement');
export const SIGNER: Service = loadService('notary/signer.proto', 'proto.Signer');
export const HEALTH: Service = loadService('grpc/health/v1/health.proto', 'grpc.health.v1.Health');
