/** Messages as `definitions.ts` decodes and encodes them. The .proto files are their documentation. */

// proto/notary/signer.proto
export interface CreateKeyRequest {
  readonly algorithm: string;
  readonly gun: string;
  readonly role: string;
}
export interface KeyIdMessage {
  readonly ID: string;
}
export interface AlgorithmMessage {
  readonly algorithm: string;
}
export interface KeyInfoMessage {
  readonly keyID: KeyIdMessage;
  readonly algorithm: AlgorithmMessage;
}
export interface PublicKeyMessage {
  readonly keyInfo: KeyInfoMessage;
  readonly publicKey: Uint8Array;
}
export interface GetKeyInfoResponse extends PublicKeyMessage {
  readonly role: string;
}
export interface SignatureRequest {
  /** Null when the client sent none. */
  readonly keyID: KeyIdMessage | null;
  readonly content: Uint8Array;
}
export interface SignatureMessage {
  readonly keyInfo: KeyInfoMessage;
  readonly algorithm: AlgorithmMessage;
  readonly content: Uint8Array;
}
export type VoidMessage = Record<string, never>;

// proto/grpc/health/v1/health.proto
export const SERVING_STATUS = { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } as const;
export type ServingStatus = (typeof SERVING_STATUS)[keyof typeof SERVING_STATUS];
export interface HealthCheckRequest {
  readonly service: string;
}
export interface HealthCheckResponse {
  readonly status: ServingStatus;
}

// proto/signet/v1/agent.proto
export interface StatusResponse {
  readonly version: string;
  readonly pid: number;
  readonly started_at_ms: number;
  readonly listeners: readonly { readonly kind: string; readonly address: string }[];
  readonly backends: readonly {
    readonly name: string;
    readonly location: string;
    readonly ready: boolean;
    readonly reason: string;
  }[];
  readonly unlocked_keys: number;
  readonly log_level: string;
  readonly config_file: string;
}
export interface AgentPublicKey {
  readonly algorithm: string;
  readonly bytes: Uint8Array;
}
export interface AgentKey {
  readonly key_id: string;
  readonly role: string;
  readonly gun: string;
  readonly location: string;
  readonly backend: string;
  readonly needs_pin: boolean;
  readonly needs_touch: boolean;
  readonly needs_passphrase: boolean;
  readonly public_key: AgentPublicKey | null;
}
export interface KeyIdRequest {
  readonly key_id: string;
}
export interface GenerateKeyRequest {
  readonly algorithm: string;
  readonly role: string;
  readonly gun: string;
}
export interface RemoveKeyResponse {
  readonly removed: boolean;
}
export interface SignRequest {
  readonly key_id: string;
  readonly input?: 'message' | 'digest';
  readonly message?: Uint8Array;
  readonly digest?: { readonly hash: string; readonly value: Uint8Array };
}
export interface SignResponse {
  readonly signature: Uint8Array;
}
export interface UnlockRequest {
  readonly key_id: string;
  readonly passphrase: Uint8Array;
  readonly ttl_ms: number;
}
export interface LockResponse {
  readonly locked: number;
}
