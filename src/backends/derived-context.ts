import type { Interaction, SignContext } from './backend.ts';
import type { WhichToken } from './token-facts.ts';

/** What may be said anew about a call that goes on. */
export type ContextParts = Pick<SignContext, 'interaction' | 'token' | 'onStart'>;

/** The same call with other parts. Delegates rather than copies: a caller goes away later, and `signal` may be made on first use. */
export function derivedContext(context: SignContext, parts: ContextParts): SignContext {
  return new DerivedContext(context, parts);
}

class DerivedContext implements SignContext {
  readonly #context: SignContext;
  readonly interaction: Interaction | undefined;
  readonly token: WhichToken | undefined;
  readonly onStart: (() => void) | undefined;

  constructor(context: SignContext, { interaction, token, onStart }: ContextParts) {
    this.#context = context;
    this.interaction = interaction ?? context.interaction;
    this.token = token ?? context.token;
    this.onStart = onStart ?? context.onStart;
  }

  get caller(): string {
    return this.#context.caller;
  }
  get client(): string | undefined {
    return this.#context.client;
  }
  get signal(): AbortSignal | undefined {
    return this.#context.signal;
  }
  get cancelled(): boolean | undefined {
    return this.#context.cancelled;
  }
  get deadline(): number | undefined {
    return this.#context.deadline;
  }
}
