/** Typed client of the agent's socket. */
import { type Client, credentials, Metadata, makeGenericClientConstructor, type ServiceError } from '@grpc/grpc-js';
import { type ErrorCode, SignetError } from '../errors.ts';
import { AGENT } from '../rpc/agent-definition.ts';
import { DETAILS_TRAILER, decodeErrorInfo } from '../rpc/error-info.ts';
import type {
  AgentKey,
  AgentPublicKey,
  AttestKeyResponse,
  BackupPart,
  BackupRequest,
  ChangePassphraseRequest,
  ChangePinRequest,
  ExportKeyResponse,
  ForgetRequest,
  ForgetResponse,
  GenerateKeyRequest,
  ImportKeyRequest,
  InitialiseTokenRequest,
  InteractionEvent,
  InteractionReply,
  KeyIdRequest,
  ListTokensResponse,
  LockResponse,
  RelabelKeyRequest,
  RememberRequest,
  RemoveKeyResponse,
  RestorePart,
  RestoreRequest,
  RestoreResponse,
  SignRequest,
  SignResponse,
  StatusResponse,
  TokenRequest,
  UnlockRequest,
} from '../rpc/messages.ts';
import { type AgentInteraction, type InteractionHandlers, openInteraction } from './interaction.ts';
import { sendStream } from './send-stream.ts';
import { checkSocketOwner } from './socket-owner.ts';

/** Calls without a limit of their own end after this, milliseconds. */
const DEFAULT_TIMEOUT_MS = 30_000;
/** As the daemon has it: a person is asked. */
const INTERACTIVE_TIMEOUT_MS = 5 * 60_000;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  /** Session of an interaction: questions that come up are asked there. */
  readonly interaction?: string | undefined;
  /** Absolute path of the trust directory that takes the place of the configured storage. */
  readonly trustDir?: string | undefined;
}

const AgentStub = makeGenericClientConstructor(AGENT, 'Agent');

/** gRPC's own status codes, for answers that carry no code of ours: the connection failed, or some other server answered. */
const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  1: 'CANCELLED',
  3: 'INVALID_ARGUMENT',
  4: 'DEADLINE_EXCEEDED',
  5: 'KEY_NOT_FOUND',
  7: 'PERMISSION_DENIED',
  8: 'OVERLOADED',
  14: 'UNAVAILABLE',
  16: 'UNAUTHENTICATED',
};

export class AgentClient implements Disposable {
  readonly #client: Client;
  readonly #socket: string;
  #ownerCheck: Promise<void> | undefined;

  /** Does not connect yet: the first call does. */
  constructor(socketPath: string) {
    this.#socket = socketPath;
    this.#client = new AgentStub(`unix:${socketPath}`, credentials.createInsecure(), {
      // One's own daemon on the same machine: no proxy, no service configuration from DNS.
      'grpc.enable_http_proxy': 0,
      'grpc.service_config_disable_resolution': 1,
      // A connection of its own: interactions belong to it, and the back-off of another client does not delay it.
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  status(options?: CallOptions): Promise<StatusResponse> {
    return this.#unary('Status', {}, options);
  }

  /** Opens a session in which this client's calls can ask a person. */
  async interact(handlers: InteractionHandlers): Promise<AgentInteraction> {
    await this.#checkOwner();
    const { path, requestSerialize, responseDeserialize } = this.#method('Interact');
    const stream = this.#client.makeBidiStreamRequest<InteractionReply, InteractionEvent>(
      path,
      requestSerialize,
      responseDeserialize as (bytes: Buffer) => InteractionEvent,
    );
    return openInteraction(stream, handlers, (error) => this.#normalise(error));
  }

  listKeys(options?: CallOptions): AsyncIterable<AgentKey> {
    return this.#stream('ListKeys', {}, options);
  }

  async *#stream<Request, Item>(name: string, request: Request, options: CallOptions = {}): AsyncIterable<Item> {
    await this.#checkOwner();
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    const call = this.#client.makeServerStreamRequest<Request, Item>(
      path,
      requestSerialize,
      responseDeserialize as (bytes: Buffer) => Item,
      request,
      metadataOf(options),
    );
    const abort = () => call.cancel();
    options.signal?.addEventListener('abort', abort, { once: true });
    if (options.signal?.aborted) abort();
    // A listing may be long: what counts is the time without a sign of life.
    const timeoutMs = timeoutOf(options);
    let isSilent = false;
    const silence = setTimeout(() => {
      isSilent = true;
      call.cancel();
    }, timeoutMs);
    try {
      for await (const item of call) {
        silence.refresh();
        yield item as Item;
      }
    } catch (error) {
      if (!isSilent) throw this.#normalise(error);
      const hint = 'look at its log, or restart it';
      throw new SignetError('DEADLINE_EXCEEDED', `signetd was silent for ${timeoutMs} ms`, { hint, cause: error });
    } finally {
      clearTimeout(silence);
      options.signal?.removeEventListener('abort', abort);
      call.cancel();
    }
  }

  findKey(keyId: string, options?: CallOptions): Promise<AgentKey> {
    return this.#unary<KeyIdRequest, AgentKey>('FindKey', { key_id: keyId }, options);
  }

  getPublicKey(keyId: string, options?: CallOptions): Promise<AgentPublicKey> {
    return this.#unary<KeyIdRequest, AgentPublicKey>('GetPublicKey', { key_id: keyId }, options);
  }

  generateKey(request: GenerateKeyRequest, options?: CallOptions): Promise<AgentKey> {
    return this.#unary('GenerateKey', request, options);
  }

  removeKey(keyId: string, options?: CallOptions): Promise<RemoveKeyResponse> {
    return this.#unary<KeyIdRequest, RemoveKeyResponse>('RemoveKey', { key_id: keyId }, options);
  }

  sign(request: SignRequest, options?: CallOptions): Promise<SignResponse> {
    return this.#unary('Sign', request, options);
  }

  unlock(request: UnlockRequest, options?: CallOptions): Promise<Record<string, never>> {
    return this.#unary('Unlock', request, options);
  }

  /** @param keyId '' locks every key. */
  lock(keyId: string, options?: CallOptions): Promise<LockResponse> {
    return this.#unary<KeyIdRequest, LockResponse>('Lock', { key_id: keyId }, options);
  }

  importKey(request: ImportKeyRequest, options?: CallOptions): Promise<AgentKey> {
    return this.#unary('ImportKey', request, options);
  }

  exportKey(keyId: string, options?: CallOptions): Promise<ExportKeyResponse> {
    return this.#unary<KeyIdRequest, ExportKeyResponse>('ExportKey', { key_id: keyId }, options);
  }

  changePassphrase(request: ChangePassphraseRequest, options?: CallOptions): Promise<object> {
    return this.#unary('ChangePassphrase', request, options);
  }

  relabelKey(request: RelabelKeyRequest, options?: CallOptions): Promise<AgentKey> {
    return this.#unary('RelabelKey', request, options);
  }

  attestKey(keyId: string, options?: CallOptions): Promise<AttestKeyResponse> {
    return this.#unary<KeyIdRequest, AttestKeyResponse>('AttestKey', { key_id: keyId }, options);
  }

  remember(request: RememberRequest, options?: CallOptions): Promise<object> {
    return this.#unary('Remember', request, options);
  }

  forget(request: ForgetRequest, options?: CallOptions): Promise<ForgetResponse> {
    return this.#unary('Forget', request, options);
  }

  listTokens(options?: CallOptions): Promise<ListTokensResponse> {
    return this.#unary('ListTokens', {}, options);
  }

  changePin(request: ChangePinRequest, options?: CallOptions): Promise<object> {
    return this.#unary('ChangePin', request, options);
  }

  unblockPin(request: TokenRequest, options?: CallOptions): Promise<object> {
    return this.#unary('UnblockPin', request, options);
  }

  initialiseToken(request: InitialiseTokenRequest, options?: CallOptions): Promise<object> {
    return this.#unary('InitialiseToken', request, options);
  }

  /** The archive in parts, with the progress so far. */
  backup(request: BackupRequest, options?: CallOptions): AsyncIterable<BackupPart> {
    return this.#stream('Backup', request, options);
  }

  /**
   * @param archive Read as fast as the daemon takes it.
   * @throws {SignetError} as the daemon, or whatever reading `archive` throws
   */
  async restore(
    request: RestoreRequest,
    archive: AsyncIterable<Uint8Array>,
    options: CallOptions = {},
  ): Promise<RestoreResponse> {
    await this.#checkOwner();
    const { path, requestSerialize, responseDeserialize } = this.#method('Restore');
    return sendStream(
      (callback) =>
        this.#client.makeClientStreamRequest<RestorePart, RestoreResponse>(
          path,
          requestSerialize,
          responseDeserialize as (bytes: Buffer) => RestoreResponse,
          metadataOf(options),
          callback,
        ),
      restoreParts(request, archive),
      // The work comes after the last part.
      {
        signal: options.signal,
        timeoutMs: options.timeoutMs ?? INTERACTIVE_TIMEOUT_MS,
        normalise: (error) => this.#normalise(error),
      },
    );
  }

  stop(options?: CallOptions): Promise<object> {
    return this.#unary('Stop', {}, options);
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #method(name: string) {
    const definition = AGENT[name];
    if (definition === undefined) throw new SignetError('INTERNAL', `no method ${name} in the agent's API`);
    return definition;
  }

  #checkOwner(): Promise<void> {
    this.#ownerCheck ??= checkSocketOwner(this.#socket).catch((error: unknown) => {
      this.#ownerCheck = undefined;
      throw error;
    });
    return this.#ownerCheck;
  }

  async #unary<Request, Response>(name: string, request: Request, options: CallOptions = {}): Promise<Response> {
    await this.#checkOwner();
    const { path, requestSerialize, responseDeserialize } = this.#method(name);
    return new Promise((resolve, reject) => {
      if (options.signal?.aborted) {
        reject(new SignetError('CANCELLED', 'the call was cancelled'));
        return;
      }
      const abort = () => call.cancel();
      const call = this.#client.makeUnaryRequest<Request, Response>(
        path,
        requestSerialize,
        responseDeserialize as (bytes: Buffer) => Response,
        request,
        metadataOf(options),
        { deadline: Date.now() + timeoutOf(options) },
        (error, response) => {
          options.signal?.removeEventListener('abort', abort);
          if (error !== null) reject(this.#normalise(error));
          else resolve(response as Response);
        },
      );
      options.signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** The only place where grpc-js' errors become ours. */
  #normalise(error: unknown): SignetError {
    if (error instanceof SignetError) return error;
    const { code, details, metadata } = error as ServiceError;
    const trailer = metadata?.get(DETAILS_TRAILER)[0];
    const info = trailer instanceof Buffer ? decodeErrorInfo(trailer) : undefined;
    if (info !== undefined) {
      const { hint, retriesLeft } = info;
      return new SignetError(info.code, details, {
        cause: error,
        ...(hint !== undefined && { hint }),
        ...(retriesLeft !== undefined && { retriesLeft }),
      });
    }
    if (code === 14) {
      return new SignetError('UNAVAILABLE', `no signetd answers on ${this.#socket}`, {
        hint: 'start it with: signet daemon start',
        cause: error,
      });
    }
    if (code === 12) {
      const hint = 'restart it: it is of another version';
      return new SignetError('UNSUPPORTED', 'the running signetd does not know this call', { hint, cause: error });
    }
    return new SignetError(CODE_OF_STATUS[code] ?? 'INTERNAL', details, { cause: error });
  }
}

function timeoutOf({ timeoutMs, interaction }: CallOptions): number {
  return timeoutMs ?? (interaction === undefined ? DEFAULT_TIMEOUT_MS : INTERACTIVE_TIMEOUT_MS);
}

function metadataOf({ interaction, trustDir }: CallOptions): Metadata {
  const metadata = new Metadata();
  if (interaction !== undefined) metadata.set('signet-interaction', interaction);
  if (trustDir !== undefined) metadata.set('signet-trust-dir-bin', Buffer.from(trustDir));
  return metadata;
}

/** A part holds a whole chunk of the archive, far below the largest message. */
const PART_BYTES = 256 * 1024;

async function* restoreParts(options: RestoreRequest, archive: AsyncIterable<Uint8Array>): AsyncIterable<RestorePart> {
  yield { options };
  for await (const piece of archive) {
    for (let at = 0; at < piece.byteLength; at += PART_BYTES) yield { archive: piece.subarray(at, at + PART_BYTES) };
  }
}
