/** An agent that says what a test tells it to: tokens that ask and wait for a touch, and daemons of another version. */
import { chmod } from 'node:fs/promises';
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { AGENT } from '../../src/rpc/agent-definition.ts';
import type { InteractionEvent, InteractionReply, QuestionMessage, TouchMessage } from '../../src/rpc/messages.ts';

const SESSION = 'the-session';

/** What a call of the script can do to the person. */
export interface Asking {
  /** @returns The answer as text; undefined if it was declined. */
  question(question: Partial<QuestionMessage>): Promise<string | undefined>;
  /** @returns Takes the notice away. */
  touch(touch: TouchMessage): () => void;
}

/**
 * By method name; what it returns is the answer, or a list of them, what it throws the status. Methods without an entry are
 * UNIMPLEMENTED.
 */
export type Script = Readonly<Record<string, (request: never, asking: Asking) => Promise<object>>>;

/** Listens on a Unix socket, which only this user can use. */
export async function startScriptedAgent(socket: string, script: Script): Promise<AsyncDisposable> {
  const conversation = new Conversation();
  const server = new Server();
  server.addService(AGENT, {
    Interact: (stream: ServerDuplexStream<InteractionReply, InteractionEvent>) => conversation.begin(stream),
    ...Object.fromEntries(
      Object.entries(script).map(([name, method]) => [
        name,
        (
          call: ServerUnaryCall<object, object> & ServerWritableStream<object, object>,
          callback: sendUnaryData<object>,
        ) => {
          if (AGENT[name]?.responseStream === true) {
            void method(call.request as never, conversation).then((items) => {
              for (const item of items as readonly object[]) call.write(item);
              call.end();
            });
            return;
          }
          method(call.request as never, conversation).then(
            (answer) => callback(null, answer),
            (error: unknown) => callback(error as ServiceError),
          );
        },
      ]),
    ),
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  await chmod(socket, 0o600);
  return {
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  };
}

class Conversation implements Asking {
  #stream: ServerDuplexStream<InteractionReply, InteractionEvent> | undefined;
  readonly #waiting = new Map<number, (answer: string | undefined) => void>();
  #last = 0;

  begin(stream: ServerDuplexStream<InteractionReply, InteractionEvent>): void {
    this.#stream = stream;
    stream.on('data', ({ prompt_id, answer, secret }: InteractionReply) => {
      this.#waiting.get(prompt_id)?.(answer === 'secret' ? Buffer.from(secret ?? []).toString() : undefined);
    });
    stream.on('error', () => undefined); // the client has gone
    stream.on('end', () => stream.end());
    stream.write({ prompt_id: 0, session: SESSION });
  }

  question(question: Partial<QuestionMessage>): Promise<string | undefined> {
    const number = ++this.#last;
    const defaults = { kind: '', key_id: '', role: '', gun: '', token: null, attempt: 0, tries_left: -1, reason: '' };
    return new Promise((resolve) => {
      this.#waiting.set(number, resolve);
      this.#stream?.write({ prompt_id: number, question: { ...defaults, ...question } });
    });
  }

  touch(touch: TouchMessage): () => void {
    const number = ++this.#last;
    this.#stream?.write({ prompt_id: number, touch });
    return () => this.#stream?.write({ prompt_id: number, done: true });
  }
}
