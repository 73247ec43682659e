/** A command's way to the agent: the daemon is started when none answers, and the person at the terminal can be asked. */
import type { AgentClient, CallOptions } from '../client/agent-client.ts';
import { SignetError } from '../errors.ts';
import type { Person } from './prompts/person.ts';
import type { SecretOptions } from './prompts/sources.ts';
import { isAnswering } from './socket.ts';

export interface SessionOptions {
  readonly socket: string;
  /** Absolute; undefined: what the daemon is configured for. */
  readonly trustDir: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  /** Who asks, as `signet key sign`. */
  readonly program: string;
  readonly mayAsk: boolean;
  readonly secrets: SecretOptions;
}

export class AgentSession implements Disposable {
  readonly #options: SessionOptions;
  #agent: AgentClient | undefined;
  #person: Person | undefined;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  get socket(): string {
    return this.#options.socket;
  }

  get trustDir(): string | undefined {
    return this.#options.trustDir;
  }

  /** For calls that ask nobody. */
  get call(): CallOptions {
    const { signal, trustDir } = this.#options;
    return { signal, trustDir };
  }

  /** The daemon if it runs. @throws {SignetError} PERMISSION_DENIED */
  async running(): Promise<AgentClient | undefined> {
    return (await isAnswering(this.socket)) ? await this.#connect(this.socket) : undefined;
  }

  /** The daemon, started if it does not run. @throws {SignetError} What `startDaemon` throws, PERMISSION_DENIED */
  async agent(): Promise<AgentClient> {
    if (this.#agent !== undefined) return this.#agent;
    const running = await this.running();
    if (running !== undefined) return running;
    const { startDaemon } = await import('./start-daemon.ts');
    const { env, signal, socket } = this.#options;
    const started = await startDaemon({ env, signal, socket });
    if (started.socket !== undefined) return await this.#connect(started.socket);
    throw new SignetError('CONFIGURATION', 'the signetd that was started serves no agent', {
      hint: 'add "agent": {} to its configuration, then: signet daemon stop',
    });
  }

  async #connect(socket: string): Promise<AgentClient> {
    const { AgentClient } = await import('../client/agent-client.ts');
    this.#agent = new AgentClient(socket);
    return this.#agent;
  }

  /** Whom to ask. */
  async person(): Promise<Person> {
    if (this.#person !== undefined) return this.#person;
    const [{ Person }, { SecretSources }] = await Promise.all([
      import('./prompts/person.ts'),
      import('./prompts/sources.ts'),
    ]);
    const { secrets, env, ...options } = this.#options;
    this.#person = new Person({ ...options, env, sources: new SecretSources(secrets, env) });
    return this.#person;
  }

  /**
   * Calls the agent while its questions are answered.
   *
   * @throws {SignetError} What the call throws; where it failed for want of an answer, why there was none
   */
  async asking<T>(work: (agent: AgentClient, call: CallOptions) => Promise<T>): Promise<T> {
    const agent = await this.agent();
    const person = await this.person();
    using interaction = await agent.interact({
      question: async (question, signal) => (await person.answer(question, signal))?.bytes(),
      touch: (touch) => person.touch(touch),
      progress: (done, total) => person.progress(done, total),
    });
    try {
      return await work(agent, { ...this.call, interaction: interaction.id });
    } catch (error) {
      throw person.explain(error);
    } finally {
      person.endCall();
    }
  }

  [Symbol.dispose](): void {
    this.#person?.[Symbol.dispose]();
    this.#agent?.[Symbol.dispose]();
  }
}
