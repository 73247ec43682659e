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
  readonly last_used_ms: number;
  readonly device: DeviceMessage | null;
  readonly passed_over: readonly string[];
}
export interface DeviceMessage {
  readonly serial: string;
  readonly label: string;
  readonly firmware: string;
  readonly slot: string;
  readonly pin_policy: string;
  readonly touch_policy: string;
  readonly attested: string;
  readonly warnings: readonly string[];
}
export interface KeyIdRequest {
  readonly key_id: string;
}
/** What GenerateKey and ImportKey have in common; absent fields take proto3's defaults. */
export interface PlaceMessage {
  readonly role: string;
  readonly gun: string;
  readonly backend?: string;
  readonly serial?: string;
  readonly token?: string;
  readonly passphrase?: Uint8Array;
  readonly slot?: string;
  readonly overwrite_slot?: boolean;
  readonly pin_policy?: string;
  readonly touch_policy?: string;
}
export interface GenerateKeyRequest extends PlaceMessage {
  readonly algorithm: string;
  readonly curve?: string;
  readonly modulus_bits?: number;
  readonly require_hardware?: boolean;
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

export interface InteractionReply {
  readonly prompt_id: number;
  readonly answer?: 'secret' | 'declined';
  readonly secret?: Uint8Array;
  readonly declined?: boolean;
}
export interface InteractionEvent {
  readonly prompt_id: number;
  readonly event?: 'session' | 'question' | 'touch' | 'done' | 'progress';
  readonly session?: string;
  readonly question?: QuestionMessage;
  readonly touch?: TouchMessage;
  readonly done?: boolean;
  readonly progress?: ProgressMessage;
}
export interface QuestionMessage {
  readonly kind: string;
  readonly key_id: string;
  readonly role: string;
  readonly gun: string;
  readonly token: TokenMessage | null;
  readonly attempt: number;
  readonly tries_left: number;
  readonly reason: string;
}
export interface TokenMessage {
  readonly backend: string;
  readonly label: string;
  readonly serial: string;
}
export interface TouchMessage {
  readonly token: TokenMessage | null;
  readonly key_id: string;
  readonly role: string;
  readonly gun: string;
}
export interface ProgressMessage {
  readonly done: number;
  readonly total: number;
}
export interface ImportKeyRequest extends PlaceMessage {
  readonly pkcs8: Uint8Array;
}
export interface ExportKeyResponse {
  readonly pem: string;
}
export interface ChangePassphraseRequest {
  readonly key_id: string;
  readonly new_passphrase: Uint8Array;
}
export interface RelabelKeyRequest {
  readonly key_id: string;
  readonly role: string;
  readonly gun: string;
}
export interface AttestKeyResponse {
  readonly chain: readonly Uint8Array[];
  readonly root: string;
  readonly device: DeviceMessage | null;
}
export interface RememberRequest {
  readonly key_id: string;
  readonly serial: string;
  readonly label?: string;
  readonly token?: string;
  readonly secret: Uint8Array;
}
export interface ForgetRequest {
  readonly key_id: string;
  readonly serial: string;
  readonly label?: string;
  readonly token?: string;
}
export interface ForgetResponse {
  readonly forgotten: boolean;
}
export interface ListTokensResponse {
  readonly tokens: readonly TokenStatusMessage[];
}
export interface TokenStatusMessage {
  readonly token: TokenMessage | null;
  readonly manufacturer: string;
  readonly model: string;
  readonly firmware: string;
  readonly module_path: string;
  readonly present: boolean;
  readonly logged_in: boolean;
  readonly pin_tries_left: number;
  readonly puk_tries_left: number;
  readonly pin_locked: boolean;
  readonly warnings: readonly string[];
  readonly location: string;
  readonly problem: string;
}
/** A token by its serial number or by any name; neither where only one is configured. */
export interface TokenRequest {
  readonly serial?: string;
  readonly token?: string;
}
export interface ChangePinRequest extends TokenRequest {
  readonly secret: string;
}
export interface InitialiseTokenRequest extends TokenRequest {
  readonly label: string;
}
export interface BackupRequest {
  readonly passphrase: Uint8Array;
}
export interface BackupPart {
  readonly archive: Uint8Array;
  readonly progress: ProgressMessage | null;
  readonly files: number;
  readonly files_left_out: number;
}
export interface RestoreRequest {
  readonly passphrase: Uint8Array;
  readonly replace: boolean;
  readonly dry_run: boolean;
}
export interface RestorePart {
  readonly part?: 'options' | 'archive';
  readonly options?: RestoreRequest;
  readonly archive?: Uint8Array;
}
export interface RestoreResponse {
  readonly restored: readonly string[];
  readonly unchanged: readonly string[];
  readonly replaced: readonly string[];
}
