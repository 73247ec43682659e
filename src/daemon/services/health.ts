/**
 * `grpc.health.v1.Health`, true to the backends: NOT_SERVING while none can sign, and first of all when draining.
 *
 * Not the `grpc-health-check` package, because notary-server's contract wants its own text for unknown services.
 */
import type { ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import { GRPC_STATUS, SignetError } from '../../errors.ts';
import {
  type HealthCheckRequest,
  type HealthCheckResponse,
  SERVING_STATUS,
  type ServingStatus,
} from '../../rpc/messages.ts';
import { CallFailure, type Calls } from '../calls.ts';
import { statusOf } from '../status.ts';

/** The whole daemon, and the two names that notary-server asks for. */
const SERVICES: ReadonlySet<string> = new Set([
  '',
  'grpc.health.v1.Health.KeyManagement',
  'grpc.health.v1.Health.Signer',
]);
/** Watches that one daemon keeps open; they hold memory without being calls in flight. */
const MAX_WATCHES = 1024;

type WatchCall = ServerWritableStream<HealthCheckRequest, HealthCheckResponse>;

export class Health {
  #status: ServingStatus = SERVING_STATUS.NOT_SERVING;
  readonly #watches = new Set<WatchCall>();

  get serving(): boolean {
    return this.#status === SERVING_STATUS.SERVING;
  }

  set(serving: boolean): void {
    const status = serving ? SERVING_STATUS.SERVING : SERVING_STATUS.NOT_SERVING;
    if (status === this.#status) return;
    this.#status = status;
    for (const call of this.#watches) if (SERVICES.has(call.request.service)) call.write({ status });
  }

  /** Ends every watch, so that connections can close. */
  close(): void {
    for (const call of this.#watches) call.end();
    this.#watches.clear();
  }

  service(calls: Calls): UntypedServiceImplementation {
    return {
      Check: calls.unary('Check', (request: HealthCheckRequest) => this.#check(request), { always: true }),
      Watch: (call: WatchCall) => this.#watch(call),
    };
  }

  async #check({ service }: HealthCheckRequest): Promise<HealthCheckResponse> {
    if (SERVICES.has(service)) return { status: this.#status };
    const error = new SignetError('KEY_NOT_FOUND', 'unknown service');
    throw new CallFailure(error, { code: GRPC_STATUS.NOT_FOUND, details: 'unknown service' });
  }

  #watch(call: WatchCall): void {
    if (this.#watches.size >= MAX_WATCHES) {
      call.emit('error', statusOf(new SignetError('OVERLOADED', 'too many watches')));
      return;
    }
    this.#watches.add(call);
    const forget = () => this.#watches.delete(call);
    call.on('cancelled', forget);
    call.on('close', forget);
    call.on('error', forget);
    // An unknown service is not an error here: it may come into being (gRPC health checking protocol).
    call.write({ status: SERVICES.has(call.request.service) ? this.#status : SERVING_STATUS.SERVICE_UNKNOWN });
  }
}
