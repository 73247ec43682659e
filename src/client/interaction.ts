/** The client's side of `Interact`: hands questions to a person, one at a time, and brings the answers back. */
import type { ClientDuplexStream } from '@grpc/grpc-js';
import type { InteractionEvent, InteractionReply, QuestionMessage, TouchMessage } from '../rpc/messages.ts';

export interface InteractionHandlers {
  /**
   * Asks a person. Questions come one after the other, also when several calls ask at once.
   *
   * @param signal Aborts when the answer is not wanted any more: the prompt should go.
   * @returns The answer, which is zeroed once it is on its way; undefined if the person declines.
   */
  question(question: QuestionMessage, signal: AbortSignal): Promise<Uint8Array | undefined>;
  /** A token waits for a touch. @returns What takes the notice away. */
  touch?(touch: TouchMessage): Disposable;
  /** @param total 0 when it is not known. */
  progress?(done: number, total: number): void;
}

/** Name it in `CallOptions.interaction`. Disposing ends the session; open questions count as declined. */
export interface AgentInteraction extends Disposable {
  readonly id: string;
}

type InteractStream = ClientDuplexStream<InteractionReply, InteractionEvent>;

/**
 * @param normalise Makes errors of the connection ours.
 * @throws {SignetError} what the daemon answers instead of a session
 */
export function openInteraction(
  stream: InteractStream,
  handlers: InteractionHandlers,
  normalise: (error: unknown) => Error,
): Promise<AgentInteraction> {
  return new Promise((resolve, reject) => {
    const conversation = new Conversation(stream, handlers);
    stream.on('data', (event: InteractionEvent) => {
      if (event.session !== undefined && event.event === 'session') {
        resolve({ id: event.session, [Symbol.dispose]: () => conversation.end() });
      } else {
        conversation.take(event);
      }
    });
    stream.on('error', (error) => {
      conversation.end();
      reject(normalise(error));
    });
    stream.on('end', () => conversation.end());
  });
}

class Conversation {
  readonly #stream: InteractStream;
  readonly #handlers: InteractionHandlers;
  readonly #questions = new Map<number, AbortController>();
  readonly #touches = new Map<number, Disposable>();
  /** The question before has been answered. */
  #turn: Promise<void> = Promise.resolve();
  #hasEnded = false;

  constructor(stream: InteractStream, handlers: InteractionHandlers) {
    this.#stream = stream;
    this.#handlers = handlers;
  }

  take({ prompt_id: number, event, question, touch, progress }: InteractionEvent): void {
    if (this.#hasEnded) return;
    if (event === 'question' && question !== undefined) {
      const controller = new AbortController();
      this.#questions.set(number, controller);
      this.#turn = this.#turn.then(() => this.#answer(number, question, controller.signal));
    } else if (event === 'touch' && touch !== undefined) {
      const notice = this.#handlers.touch?.(touch);
      if (notice !== undefined) this.#touches.set(number, notice);
    } else if (event === 'done') {
      this.#close(number);
    } else if (event === 'progress' && progress !== undefined) {
      this.#handlers.progress?.(progress.done, progress.total);
    }
  }

  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    for (const number of [...this.#questions.keys(), ...this.#touches.keys()]) this.#close(number);
    this.#stream.end();
  }

  async #answer(number: number, question: QuestionMessage, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    // A prompt that fails is one that was not answered; who shows it tells the person why.
    const secret = await this.#handlers.question(question, signal).catch(() => undefined);
    this.#questions.delete(number);
    if (this.#hasEnded || signal.aborted) {
      secret?.fill(0);
      return;
    }
    const reply = secret === undefined ? { prompt_id: number, declined: true } : { prompt_id: number, secret };
    this.#stream.write(reply, () => secret?.fill(0));
  }

  #close(number: number): void {
    this.#questions.get(number)?.abort();
    this.#questions.delete(number);
    this.#touches.get(number)?.[Symbol.dispose]();
    this.#touches.delete(number);
  }
}
