/** The daemon and what it says of its backends and tokens. Does not start it. */
import type { AgentClient } from '../../client/agent-client.ts';
import { SignetError } from '../../errors.ts';
import type { TokenStatusMessage } from '../../rpc/messages.ts';
import { VERSION } from '../../version.ts';
import { ownerText } from '../key-text.ts';
import type { AgentSession } from '../session.ts';
import { type Finding, findings } from './finding.ts';

const found = findings('daemon');
const ofTokens = findings('tokens');
const TIMEOUT_MS = 5000;

export async function checkDaemon(session: AgentSession): Promise<readonly Finding[]> {
  try {
    const agent = await session.running();
    if (agent === undefined) {
      return [
        found.note(`no signetd answers on ${session.socket}; commands start it when they need it`),
        ofTokens.note('tokens are looked at when signetd runs: signet daemon start'),
      ];
    }
    return [...(await checkStatus(agent)), ...(await checkTokens(agent))];
  } catch (error) {
    const { message, hint } = error instanceof SignetError ? error : new SignetError('INTERNAL', String(error));
    return [found.problem(message, hint ?? 'signet daemon logs')];
  }
}

async function checkStatus(agent: AgentClient): Promise<readonly Finding[]> {
  const status = await agent.status({ timeoutMs: TIMEOUT_MS });
  const name = `signetd ${status.version} (pid ${status.pid})`;
  const isCurrent = status.version === VERSION;
  return [
    isCurrent
      ? found.ok(`${name} answers`)
      : found.warning(`${name} answers, and this is signet ${VERSION}`, 'signet daemon stop'),
    ...status.backends.map(({ name: backend, location, ready, reason }) =>
      ready
        ? found.ok(`the ${backend} backend is up: ${location}`)
        : found.problem(`the ${backend} backend ${location} is down: ${reason}`, 'signet daemon logs'),
    ),
  ];
}

async function checkTokens(agent: AgentClient): Promise<readonly Finding[]> {
  const { tokens } = await agent.listTokens({ timeoutMs: TIMEOUT_MS });
  if (tokens.length === 0) return [ofTokens.note('no tokens are configured')];
  return [...tokens.flatMap((status) => checkToken(status, nameOf(status, tokens))), ...(await checkTokenKeys(agent))];
}

/** Where on its device a key is, and how it is guarded. */
async function checkTokenKeys(agent: AgentClient): Promise<readonly Finding[]> {
  const result: Finding[] = [];
  for await (const key of agent.listKeys({ timeoutMs: TIMEOUT_MS })) {
    if (key.device === null) continue;
    const { serial, slot, pin_policy, touch_policy, warnings } = key.device;
    const facts = [
      ...(slot === '' ? [] : [`slot ${slot}`]),
      ...(pin_policy === '' ? [] : [`PIN policy ${pin_policy}`]),
      ...(touch_policy === '' ? [] : [`touch policy ${touch_policy}`]),
    ];
    const name = `the ${ownerText(key)} ${key.key_id.slice(0, 12)}`;
    if (facts.length > 0) result.push(ofTokens.ok(`${name} is on ${serial}: ${facts.join(', ')}`));
    for (const warning of warnings)
      result.push(ofTokens.warning(`${name}: ${warning}`, `signet key show ${key.key_id.slice(0, 12)}`));
  }
  return result;
}

/** As commands take it. */
function nameOf({ token, location }: TokenStatusMessage, tokens: readonly TokenStatusMessage[]): string {
  const serial = token?.serial ?? '';
  const isUnique = serial !== '' && tokens.filter((other) => other.token?.serial === serial).length === 1;
  return isUnique ? serial : `"${location}"`;
}

function checkToken(status: TokenStatusMessage, nameForCommands: string): readonly Finding[] {
  const serial = status.token?.serial ?? '';
  const facts = [
    ...(serial === '' ? [] : [`serial ${serial}`]),
    ...(status.firmware === '' ? [] : [`firmware ${status.firmware}`]),
  ];
  const label = status.token?.label || status.model || 'the token';
  const name = facts.length === 0 ? label : `${label} (${facts.join(', ')})`;
  const unblock = `signet token unblock ${nameForCommands}`;
  const result: Finding[] = status.warnings.map((warning) =>
    ofTokens.warning(
      `${name}: ${warning}`,
      `read docs/${status.token?.backend === 'yubikey' ? 'yubikey' : 'tokens'}.md`,
    ),
  );
  if (status.problem !== '')
    result.push(ofTokens.problem(`${status.location}: ${status.problem}`, 'signet daemon logs'));
  else if (!status.present) result.push(ofTokens.problem(`${status.location} is not there`, 'plug it in'));
  else if (status.pin_locked) result.push(ofTokens.problem(`the PIN of ${name} is locked`, unblock));
  else if (status.pin_tries_left === 1) result.push(ofTokens.warning(`${name} has one PIN try left`, unblock));
  else result.push(ofTokens.ok(`${name} is there${triesText(status.pin_tries_left)}`));
  return result;
}

function triesText(tries: number): string {
  return tries < 0 ? '' : `, with ${tries} PIN tries left`;
}
