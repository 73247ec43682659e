/** A command's way to the agent: the daemon is started when none answers, and the person at the terminal can be asked. */
import type { AgentClient, CallOptions } from '../client/agent-client.ts';
import { SignetError } from '../errors.ts';
import type { Person } from './prompts/person.ts';
import type { SecretOptions } from './prompts/sources.ts';
import { isAnswering, requireOwnSocket } from './socket.ts';

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

/** A person types, looks for a token, is called away; the daemon has a limit of its own. Milliseconds. */
const ASKING_TIMEOUT_MS = 10 * 60_000;

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

  /** The daemon if it runs. @throws {SignetError} PERMISSION_DENIED for a socket of somebody else */
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
    return await this.#connect((await startDaemon({ env, signal, socket })).socket);
  }

  async #connect(socket: string): Promise<AgentClient> {
    await requireOwnSocket(socket);
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
    await using interaction = await agent.interact({
      question: async (question) => await person.answer(question),
      touch: (touch) => person.touch(touch),
      progress: (progress) => person.progress(progress),
    });
    try {
      return await work(agent, { ...this.call, interaction: interaction.session, timeoutMs: ASKING_TIMEOUT_MS });
    } catch (error) {
      throw isForWantOfAnswer(error) ? (person.refusal ?? error) : error;
    }
  }

  /** A daemon of another version may lack what was asked for: then that is what the user should know. */
  async explain(error: SignetError): Promise<SignetError> {
    if (this.#agent === undefined || (error.code !== 'UNSUPPORTED' && error.code !== 'INTERNAL')) return error;
    const status = await this.#agent.status({ timeoutMs: 1000 }).catch(() => undefined);
    const { VERSION } = await import('../version.ts');
    if (status === undefined || status.version === VERSION) return error;
    const versions = `this is signet ${VERSION}, and the daemon is signetd ${status.version}`;
    return new SignetError(error.code, `${error.message} (${versions})`, {
      hint: 'restart it: signet daemon stop',
      cause: error,
    });
  }

  [Symbol.dispose](): void {
    this.#person?.[Symbol.dispose]();
    this.#agent?.[Symbol.dispose]();
  }
}

/** Errors by which a declined question comes back. */
const UNANSWERED: ReadonlySet<string> = new Set([
  'PASSPHRASE_REQUIRED',
  'PASSPHRASE_INCORRECT',
  'PIN_REQUIRED',
  'PIN_INCORRECT',
  'CANCELLED',
]);

function isForWantOfAnswer(error: unknown): boolean {
  return error instanceof SignetError && UNANSWERED.has(error.code);
}
