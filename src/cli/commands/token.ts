/** `signet token …` and `signet key attest` */
import { SignetError } from '../../errors.ts';
import type { TokenStatusMessage } from '../../rpc/messages.ts';
import { requireNewFile, writeOutput } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { findKey } from '../key-ids.ts';
import { deviceToJson } from '../key-text.ts';
import { printable, printData, printJson, printNote, printTable } from '../output.ts';

export async function tokenList({ world: { session }, json }: Invocation): Promise<undefined> {
  const { tokens } = await (await session.agent()).listTokens(session.call);
  if (json) {
    printJson(tokens.map(tokenToJson));
    return;
  }
  if (tokens.length === 0) {
    printData('No tokens are configured.');
    return;
  }
  printTable(
    ['TOKEN', 'SERIAL', 'MODEL', 'FIRMWARE', 'PIN', 'PUK', 'LOCATION', 'STATE'],
    tokens.map((status) =>
      [
        status.token?.label ?? '',
        status.token?.serial ?? '',
        status.model,
        status.firmware,
        status.pin_locked ? 'locked' : triesText(status.pin_tries_left),
        triesText(status.puk_tries_left),
        status.location,
        stateText(status),
      ].map(printable),
    ),
  );
  for (const { location, warnings } of tokens) {
    for (const warning of warnings) printNote(`${location}: ${warning}`);
  }
}

/** @param triesLeft Negative: not known. */
function triesText(triesLeft: number): string {
  if (triesLeft < 0) return '-';
  if (triesLeft === 0) return 'locked';
  return triesLeft === 1 ? '1 try' : `${triesLeft} tries`;
}

function stateText({ problem, present, logged_in }: TokenStatusMessage): string {
  if (problem !== '') return problem;
  if (!present) return 'not there';
  return logged_in ? 'logged in' : 'ready';
}

function tokenToJson(status: TokenStatusMessage): object {
  const known = (tries: number) => (tries < 0 ? null : tries);
  return {
    backend: status.token?.backend ?? '',
    label: status.token?.label ?? '',
    serial: status.token?.serial ?? '',
    manufacturer: status.manufacturer,
    model: status.model,
    firmware: status.firmware,
    modulePath: status.module_path,
    location: status.location,
    present: status.present,
    loggedIn: status.logged_in,
    pinTriesLeft: known(status.pin_tries_left),
    pukTriesLeft: known(status.puk_tries_left),
    pinLocked: status.pin_locked,
    warnings: status.warnings,
    problem: status.problem === '' ? null : status.problem,
  };
}

export async function tokenChangePin(invocation: Invocation): Promise<undefined> {
  if (invocation.flag('puk') && invocation.flag('so-pin')) {
    throw new SignetError('INVALID_ARGUMENT', 'either --puk or --so-pin, not both');
  }
  const secret = invocation.flag('puk') ? 'puk' : invocation.flag('so-pin') ? 'so-pin' : 'pin';
  const token = invocation.argument(0);
  await invocation.world.session.asking((agent, call) => agent.changePin({ token, secret }, call));
  done(
    invocation,
    token,
    secret === 'pin' ? 'The PIN was changed.' : `The ${secret === 'puk' ? 'PUK' : 'SO PIN'} was changed.`,
  );
}

export async function tokenUnblock(invocation: Invocation): Promise<undefined> {
  const token = invocation.argument(0);
  await invocation.world.session.asking((agent, call) => agent.unblockPin({ token }, call));
  done(invocation, token, 'The token has a new PIN.');
}

export async function tokenInit(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const token = invocation.argument(0);
  const label = invocation.text('label');
  if (label === undefined) throw new SignetError('INVALID_ARGUMENT', 'the token needs a name', { hint: 'add --label' });
  if (!invocation.flag('really-erase-all-keys')) {
    const question = `Every key on the token ${printable(token)} will be erased. They cannot be recovered.`;
    await (await session.person()).confirm(question, 'erase', '--really-erase-all-keys');
  }
  await session.asking((agent, call) => agent.initialiseToken({ token, label }, call));
  done(invocation, token, `The token is empty, and its name is ${printable(label)}.`);
}

function done({ json }: Invocation, token: string, sentence: string): void {
  if (json) printJson({ token });
  else printData(sentence);
}

export async function keyAttest(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const output = invocation.text('output');
  if (output !== undefined) await requireNewFile(output, invocation.flag('force'));
  const key = await findKey(session, invocation.argument(0));
  const { chain, root, device } = await session.asking((agent, call) => agent.attestKey(key.key_id, call));
  const { formatPem } = await import('../../crypto/pem.ts');
  const pem = chain
    .map((bytes) => formatPem({ type: 'CERTIFICATE', headers: new Map(), bytes: Buffer.from(bytes) }))
    .join('');
  if (output !== undefined) await writeOutput(output, pem, invocation.flag('force'));
  if (invocation.json) {
    printJson({ keyId: key.key_id, root, device: device === null ? null : deviceToJson(device), chain: pem });
    return;
  }
  const facts = [
    `key ${key.key_id} was made on the token`,
    ...(device === null
      ? []
      : [`with serial ${device.serial}, firmware ${device.firmware || 'unknown'}, slot ${device.slot || 'unknown'}`]),
    `as a chain of ${chain.length} certificates up to "${root}" shows`,
  ];
  if (output === undefined) printData(pem);
  printNote(facts.map(printable).join(', '));
  for (const warning of device?.warnings ?? []) printNote(`warning: ${warning}`);
}
