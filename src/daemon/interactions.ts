/**
 * Sessions of `Interact`: questions that come up in a client's other calls, asked over one stream of that client.
 *
 * A session belongs to the connection that opened it. Its ID is random, and of no use on another connection.
 */
import { randomBytes } from 'node:crypto';
import type { Metadata, ServerDuplexStream } from '@grpc/grpc-js';
import { Secret } from '../crypto/secret.ts';
import { SignetError } from '../errors.ts';
import type { InteractionEvent, InteractionReply, QuestionMessage, TouchMessage } from '../rpc/messages.ts';
import { CallInteraction } from './call-interaction.ts';
import { CallSlots } from './call-slots.ts';
import type { CallContext } from './calls.ts';
import { fullStatusOf } from './status.ts';

/** A call that names a session may take this long: a person is asked. Milliseconds. */
export const INTERACTIVE_CALL_MS: number = 5 * 60_000;
/** The metadata key that names the session. */
export const INTERACTION_KEY = 'signet-interaction';

/** Sessions that one daemon keeps open. */
const MAX_SESSIONS = 1024;
/** Of these, what one client may have on all its connections. */
const CLIENT_SHARE = 1 / 4;
/** Questions and notices that one session has open; a connection has 100 calls at most. */
const MAX_OPEN = 256;
/** Events that a client has not taken yet. */
const MAX_UNREAD = 1024;
/** Longer answers are no passphrase or PIN. */
const MAX_ANSWER_BYTES = 1024;

type InteractCall = ServerDuplexStream<InteractionReply, InteractionEvent>;

export class Interactions {
  readonly #sessions = new Map<string, InteractionSession>();
  readonly #slots = new CallSlots(MAX_SESSIONS, { what: 'interactions', clientShare: CLIENT_SHARE });
  readonly #clientOf: (peer: string) => string;
  #isDraining = false;

  /** @param clientOf Whose a connection is, by grpc-js' name for it. */
  constructor(clientOf: (peer: string) => string) {
    this.#clientOf = clientOf;
  }

  /** How many sessions are open. */
  get size(): number {
    return this.#sessions.size;
  }

  /** Withdraws what is being asked, and asks nobody from now on: a person may think for minutes. */
  drain(): void {
    this.#isDraining = true;
    for (const session of this.#sessions.values()) session.drain();
  }

  /** Ends every session. */
  close(): void {
    this.drain();
    for (const session of this.#sessions.values()) session.end();
  }

  /** The handler of `Interact`. */
  readonly serve = (call: InteractCall): void => {
    const client = this.#clientOf(call.getPeer());
    const refusal = this.#isDraining ? shuttingDown() : this.#slots.refusal(client);
    if (refusal !== undefined) {
      call.on('error', () => undefined);
      call.emit('error', fullStatusOf(refusal));
      return;
    }
    const session = new InteractionSession(call, () => {
      this.#sessions.delete(session.id);
      this.#slots.giveBack(client);
    });
    this.#sessions.set(session.id, session);
    this.#slots.take(client);
    session.begin();
  };

  /**
   * Whom a call can ask.
   *
   * @returns Undefined if the call names no session.
   * @throws {SignetError} INVALID_ARGUMENT for a session that is not open on the call's own connection
   */
  of(context: CallContext): CallInteraction | undefined {
    const id = context.metadata.get(INTERACTION_KEY)[0];
    if (id === undefined) return undefined;
    const session = this.#sessions.get(String(id));
    if (session?.peer !== context.peer) {
      throw new SignetError('INVALID_ARGUMENT', 'no such interaction is open on this connection', {
        hint: 'open one with Interact, and make the call on the same connection',
      });
    }
    return new CallInteraction(session, context);
  }
}

function shuttingDown(): SignetError {
  return new SignetError('UNAVAILABLE', 'the daemon is shutting down');
}

/** Time limit of a call of the agent's API. */
export function patienceFor(metadata: Metadata): number {
  return metadata.get(INTERACTION_KEY).length > 0 ? INTERACTIVE_CALL_MS : 0;
}

/** One stream: numbers questions and notices, and brings the answers to those who asked. */
export class InteractionSession {
  readonly id: string = randomBytes(16).toString('hex');
  /** The connection, as grpc-js names it. */
  readonly peer: string;
  readonly #call: InteractCall;
  readonly #onEnd: () => void;
  /** Settles what is open under that number. */
  readonly #open = new Map<number, (answer: Secret | undefined) => void>();
  /** Aborts the questions. */
  readonly #drain = new AbortController();
  #lastNumber = 0;
  #hasEnded = false;

  constructor(call: InteractCall, onEnd: () => void) {
    this.#call = call;
    this.peer = call.getPeer();
    this.#onEnd = onEnd;
  }

  /** Nobody can be asked any more. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  begin(): void {
    const call = this.#call;
    call.on('data', (reply: InteractionReply) => this.#take(reply));
    call.on('end', () => this.end());
    call.on('cancelled', () => this.end());
    call.on('close', () => this.end());
    call.on('error', () => this.end());
    this.#send({ prompt_id: 0, session: this.id });
  }

  /** Withdraws the questions; what a token waits for, and progress, are told on. */
  drain(): void {
    this.#drain.abort();
  }

  /** Ends the stream; what is open counts as declined. */
  end(): void {
    if (this.#finish()) this.#call.end();
  }

  /**
   * Asks, until there is an answer or one of `signals` aborts.
   *
   * @returns Undefined if the person declined or cannot be asked any more. The caller disposes of the answer.
   * @throws {SignetError} OVERLOADED if too much is open already, UNAVAILABLE while the daemon shuts down
   */
  async ask(question: QuestionMessage, signals: readonly AbortSignal[]): Promise<Secret | undefined> {
    const answer = await this.#ask(question, [...signals, this.#drain.signal]);
    if (answer === undefined && this.#drain.signal.aborted) throw shuttingDown();
    return answer;
  }

  async #ask(question: QuestionMessage, signals: readonly AbortSignal[]): Promise<Secret | undefined> {
    if (this.#hasEnded || signals.some(({ aborted }) => aborted)) return undefined;
    const number = this.#number();
    return new Promise((resolve) => {
      const cancel = () => {
        settle(undefined);
        this.#send({ prompt_id: number, done: true });
      };
      const settle = (answer: Secret | undefined) => {
        this.#open.delete(number);
        for (const signal of signals) signal.removeEventListener('abort', cancel);
        resolve(answer);
      };
      this.#open.set(number, settle);
      for (const signal of signals) signal.addEventListener('abort', cancel, { once: true });
      this.#send({ prompt_id: number, question });
    });
  }

  /** Tells that a token waits for a touch, until the result is disposed of. Nobody is told if too much is open already. */
  touch(touch: TouchMessage): Disposable {
    if (this.#hasEnded || this.#open.size >= MAX_OPEN) return { [Symbol.dispose]: () => undefined };
    const number = this.#number();
    this.#open.set(number, () => this.#open.delete(number));
    this.#send({ prompt_id: number, touch });
    return {
      [Symbol.dispose]: () => {
        if (this.#open.delete(number)) this.#send({ prompt_id: number, done: true });
      },
    };
  }

  progress(done: number, total: number): void {
    this.#send({ prompt_id: 0, progress: { done, total } });
  }

  #number(): number {
    if (this.#open.size >= MAX_OPEN) throw new SignetError('OVERLOADED', 'too many questions are open');
    return ++this.#lastNumber;
  }

  #take({ prompt_id: number, answer, secret }: InteractionReply): void {
    if (secret !== undefined && secret.byteLength > MAX_ANSWER_BYTES) {
      secret.fill(0);
      const error = new SignetError('INVALID_ARGUMENT', `an answer is longer than ${MAX_ANSWER_BYTES} bytes`);
      if (this.#finish()) this.#call.emit('error', fullStatusOf(error));
      return;
    }
    const settle = this.#open.get(number);
    // An answer to what is not open any more: it crossed our `done`.
    if (settle === undefined || answer === undefined) secret?.fill(0);
    else settle(answer === 'secret' && secret !== undefined ? new Secret(secret) : undefined);
  }

  /** @returns False if it has ended before. */
  #finish(): boolean {
    if (this.#hasEnded) return false;
    this.#hasEnded = true;
    this.#onEnd();
    for (const settle of [...this.#open.values()]) settle(undefined);
    return true;
  }

  #send(event: InteractionEvent): void {
    if (this.#hasEnded) return;
    if (this.#call.writableLength < MAX_UNREAD) {
      this.#call.write(event);
      return;
    }
    const error = new SignetError('OVERLOADED', 'the client does not read its interaction');
    if (this.#finish()) this.#call.emit('error', fullStatusOf(error));
  }
}
