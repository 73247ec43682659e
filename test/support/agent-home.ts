/** One daemon and one client for the tests of a file, with people who answer; the daemon's log is held to keep no secret. */
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type { AgentClient } from '../../src/client/agent-client.ts';
import { type AgentDaemon, startAgentDaemon } from './agent-daemon.ts';
import { person } from './conversation.ts';
import { Resources } from './resources.ts';
import { temporaryDirectory } from './temp.ts';

export interface AgentHome {
  readonly daemon: AgentDaemon;
  readonly agent: AgentClient;
  /** A person behind a client, until the end of the test. */
  session(
    answer: Parameters<typeof person>[0],
    client?: AgentClient,
  ): Promise<{ readonly who: ReturnType<typeof person>; readonly interaction: string; readonly end: () => void }>;
}

/**
 * Called at the top of a file: starts before its tests and ends after them.
 *
 * @param secrets What the log must not have at the end, whatever happened.
 */
export function agentHome(secrets: readonly string[]): AgentHome {
  let daemon: AgentDaemon;
  let agent: AgentClient;
  const resources = new Resources();
  const opened: Disposable[] = [];

  beforeAll(async () => {
    const { path } = resources.use(await temporaryDirectory());
    daemon = resources.use(await startAgentDaemon(path));
    agent = daemon.agent();
  });
  afterEach(() => {
    for (const session of opened.splice(0)) session[Symbol.dispose]();
  });
  afterAll(async () => {
    await resources[Symbol.asyncDispose]();
    for (const secret of secrets) expect(daemon.program.stderr).not.toContain(secret);
  });

  return {
    get daemon() {
      return daemon;
    },
    get agent() {
      return agent;
    },
    session: async (answer, client = agent) => {
      const who = person(answer);
      const interaction = await client.interact(who);
      opened.push(interaction);
      return { who, interaction: interaction.id, end: () => interaction[Symbol.dispose]() };
    },
  };
}
