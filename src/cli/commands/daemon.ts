/** `signet daemon …` */
import type { AgentClient } from '../../client/agent-client.ts';
import { printable, printData, printJson } from '../output.ts';

export async function daemonStatus(agent: AgentClient, options: { readonly json: boolean }): Promise<void> {
  const status = await agent.status();
  if (options.json) {
    printJson(status);
    return;
  }
  const lines = [
    `signetd ${status.version}, pid ${status.pid}, since ${new Date(status.started_at_ms).toISOString()}`,
    ...status.listeners.map(({ kind, address }) => `listener  ${kind}  ${address}`),
    ...status.backends.map(({ name, location, ready, reason }) => {
      return `backend   ${name}  ${location}  ${ready ? 'up' : `down: ${reason}`}`;
    }),
    `unlocked  ${status.unlocked_keys} keys`,
    `log level ${status.log_level}`,
  ];
  if (status.config_file !== '') lines.push(`settings  ${status.config_file}`);
  printData(lines.map(printable).join('\n'));
}
