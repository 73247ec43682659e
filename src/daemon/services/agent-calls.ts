/** What every call of the agent's API gets beside its request: whom it may ask, and the keys it works on. */
import type { handleServerStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import type { Keyring } from '../../keyring/keyring.ts';
import { type SignRecord, SignService } from '../../signing/sign-service.ts';
import type { CallContext, Calls, MethodOptions } from '../calls.ts';
import { INTERACTIVE_CALL_MS, type Interactions, patienceFor } from '../interactions.ts';
import { fullStatusOf } from '../status.ts';
import type { TrustDirectories } from '../trust-directories.ts';

/** The configured keyring, or that of the trust directory that the call names. */
export interface Homes {
  readonly keyring: Keyring;
  readonly signing: SignService;
}

export type AgentHandler<Request, Response> = (
  request: Request,
  context: CallContext,
  homes: Homes,
) => Promise<Response>;

const OPTIONS: MethodOptions = { toStatus: fullStatusOf, patienceMs: patienceFor, wipe: wipeSecrets };

/** Members of requests that are secrets; `RestoreRequest` comes within a stream. */
const SECRETS: ReadonlySet<string> = new Set(['passphrase', 'new_passphrase', 'secret', 'pkcs8']);

/** Zeroes what a request holds of secrets, also where no handler took it over. */
function wipeSecrets(request: object): void {
  for (const [name, value] of Object.entries(request)) {
    if (SECRETS.has(name) && value instanceof Uint8Array) value.fill(0);
  }
}

export interface AgentCallsOptions {
  readonly calls: Calls;
  readonly interactions: Interactions;
  readonly trustDirectories: TrustDirectories;
  readonly record: (record: SignRecord) => void;
}

export class AgentCalls {
  readonly #options: AgentCallsOptions;

  constructor(options: AgentCallsOptions) {
    this.#options = options;
  }

  /** @param name Of the method, for metrics and the log. */
  unary<Request, Response>(name: string, handler: AgentHandler<Request, Response>): handleUnaryCall<Request, Response> {
    return this.#options.calls.unary(
      name,
      async (request: Request, context) => {
        try {
          using homes = await this.#homesOf(context);
          return await handler(request, context, homes);
        } finally {
          wipeSecrets(request as object);
        }
      },
      OPTIONS,
    );
  }

  serverStream<Request, Item>(
    name: string,
    handler: (request: Request, context: CallContext, homes: Homes) => AsyncIterable<Item>,
  ): handleServerStreamingCall<Request, Item> {
    const homesOf = (context: CallContext) => this.#homesOf(context);
    return this.#options.calls.serverStream(
      name,
      async function* (request: Request, context) {
        try {
          using homes = await homesOf(context);
          yield* handler(request, context, homes);
        } finally {
          wipeSecrets(request as object);
        }
      },
      OPTIONS,
    );
  }

  /** Such a call may take as long as one in which a person is asked: the work comes after the last item. */
  clientStream<Item, Response>(name: string, handler: AgentHandler<AsyncIterable<Item>, Response>) {
    return this.#options.calls.clientStream(
      name,
      async (items: AsyncIterable<Item>, context) => {
        using homes = await this.#homesOf(context);
        return await handler(items, context, homes);
      },
      { ...OPTIONS, patienceMs: () => INTERACTIVE_CALL_MS },
    );
  }

  async #homesOf(context: CallContext): Promise<Homes & Disposable> {
    const { interactions, trustDirectories, record } = this.#options;
    context.interaction = interactions.of(context);
    const lease = await trustDirectories.lease(context);
    const { keyring } = lease;
    return { keyring, signing: new SignService(keyring, record), [Symbol.dispose]: () => lease[Symbol.dispose]() };
  }
}
