/** The one screen of `npm start`: what runs, where, and what to try next. */
import type { StatusResponse } from '../rpc/messages.ts';

export interface WelcomeFacts {
  readonly status: StatusResponse;
  /** Where keys that servers ask for get their passphrase: the name of a variable or file, never its value. */
  readonly passphraseSource: string | undefined;
  readonly warnings: readonly string[];
}

const LISTENS: Readonly<Record<string, string>> = {
  agent: 'agent socket, for tools of this user',
  grpc: 'gRPC with TLS, for notary-server',
  metrics: 'metrics and health over HTTP',
};

export function welcomeText({ status, passphraseSource, warnings }: WelcomeFacts): string {
  const lines = [`signetd ${status.version} is ready (pid ${status.pid})`, ''];
  for (const { kind, address } of status.listeners) lines.push(`  listens on  ${address}  (${LISTENS[kind] ?? kind})`);
  for (const { name, location, ready, reason } of status.backends) {
    lines.push(`  keys        ${location}  (${name} backend, ${ready ? 'up' : `down: ${reason}`})`);
  }
  if (passphraseSource !== undefined)
    lines.push(`  passphrase  ${passphraseSource}  (for keys that servers ask for; back it up too, in another place)`);
  if (status.config_file !== '') lines.push(`  settings    ${status.config_file}`);
  for (const warning of warnings) lines.push(`  warning     ${warning}`);
  const hasAgent = status.listeners.some(({ kind }) => kind === 'agent');
  lines.push(
    '',
    hasAgent ? 'Try, in another terminal:  bin/signet key list' : 'Try:  point notary-server at it, see README.md',
  );
  lines.push('Stop with Ctrl-C.', '');
  return lines.join('\n');
}
