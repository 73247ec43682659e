/** What Yubico's library does not do, or not in every version: keys with policies of their own, data objects. */
import { createPublicKey } from 'node:crypto';
import { formatPem } from '../../crypto/pem.ts';
import { type PublicKey, publicKeyOf } from '../../crypto/public-key.ts';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { TokenFacts } from '../pkcs11/host-protocol.ts';
import type { KeyKind } from '../pkcs11/key-kinds.ts';
import type { DeviceRequest } from '../token-facts.ts';
import type { PivSlot } from './piv-slots.ts';
import { runTool, type ToolResult, type ToolRun } from './run-tool.ts';

const TOOL = 'yubico-piv-tool';
/** Making a large RSA key takes minutes; milliseconds. */
const TIMEOUT_MS = 180_000;

const ALGORITHMS: Record<KeyKind, string> = {
  'P-256': 'ECCP256',
  'P-384': 'ECCP384',
  Ed25519: 'ED25519',
  'RSA-2048': 'RSA2048',
  'RSA-3072': 'RSA3072',
  'RSA-4096': 'RSA4096',
};

/** Which YubiKey the tool is to work on. */
export interface ToolTarget {
  /** As the library knows it. */
  readonly token: Pick<TokenFacts, 'serial' | 'slotDescription'>;
  readonly env: NodeJS.ProcessEnv;
}

/** Where a new key goes, and how it is guarded. */
export interface ToolPlace extends ToolTarget {
  readonly slot: PivSlot;
  readonly policies: Pick<DeviceRequest, 'pinPolicy' | 'touchPolicy'>;
}

/**
 * Makes a key, over whatever is in the slot.
 *
 * @param managementKey Hex digits.
 * @throws {SignetError} UNSUPPORTED without the tool, TOKEN_NOT_PRESENT, PIN_INCORRECT, UNAVAILABLE
 */
export async function generateWithTool(place: ToolPlace, kind: KeyKind, managementKey: Secret): Promise<PublicKey> {
  return publicKeyIn(await write(['generate', '--algorithm', ALGORITHMS[kind]], place, managementKey));
}

/**
 * Stores a key that was made elsewhere, over whatever is in the slot. It goes through the tool's standard input.
 *
 * @param pkcs8 DER PrivateKeyInfo (RFC 5208); neither kept nor changed.
 * @param managementKey Hex digits.
 * @throws {SignetError} as `generateWithTool`
 */
export async function importWithTool(place: ToolPlace, pkcs8: Uint8Array, managementKey: Secret): Promise<void> {
  const pem = Buffer.from(formatPem({ type: 'PRIVATE KEY', headers: {}, bytes: pkcs8 }));
  try {
    await write(['import-key', '--key-format', 'PEM', '--input', '-'], place, managementKey, pem);
  } finally {
    pem.fill(0);
  }
}

/** @param action With its own options. @returns What the tool printed. */
async function write(
  action: readonly string[],
  { slot, policies: { pinPolicy, touchPolicy }, token, env }: ToolPlace,
  managementKey: Secret,
  input?: Uint8Array,
): Promise<string> {
  const args = [
    ...(await readerOf({ token, env })),
    ...['--action', ...action, '--slot', slot],
    ...(pinPolicy === undefined ? [] : [`--pin-policy=${pinPolicy}`]),
    ...(touchPolicy === undefined ? [] : [`--touch-policy=${touchPolicy}`]),
    ...['--key', '--stdin-input'],
  ];
  const { exitCode, stdout, stderr } = await runPivTool({ args, secret: managementKey, more: input, env });
  if (exitCode === 0) return stdout;
  if (/authentication/i.test(stderr)) {
    throw new SignetError('PIN_INCORRECT', `YubiKey ${token.serial} refused the management key`);
  }
  throw failed(stderr);
}

/**
 * Reads one of PIV's data objects.
 *
 * @param id As `5fc109`.
 * @param pin For objects that want it. One try.
 * @returns Undefined if there is no such object.
 * @throws {SignetError} UNSUPPORTED without the tool, TOKEN_NOT_PRESENT, PIN_INCORRECT, UNAVAILABLE
 */
export async function readObjectWithTool(
  id: string,
  { token, env }: ToolTarget,
  pin: Secret | undefined,
): Promise<Buffer | undefined> {
  const reader = await readerOf({ token, env });
  const verify = pin === undefined ? [] : ['--action', 'verify-pin', '--stdin-input'];
  const args = [...reader, ...verify, '--action', 'read-object', `--id=0x${id}`, '--format', 'hex'];
  const { exitCode, stdout, stderr } = await runPivTool({ args, secret: pin, env });
  if (/pin (?:code )?verification failed/i.test(stderr)) {
    throw new SignetError('PIN_INCORRECT', `YubiKey ${token.serial} refused the PIN`);
  }
  if (/pin code (?:is )?blocked/i.test(stderr)) {
    throw new SignetError('PIN_LOCKED', `the PIN of YubiKey ${token.serial} is blocked`, {
      hint: 'set a new one with the PUK: signet token unblock',
    });
  }
  // Whether it was the right one is not known.
  if (pin !== undefined && !/successfully verified pin/i.test(`${stdout}\n${stderr}`)) throw failed(stderr);
  const hex = /^(?:[0-9a-f]{2})+$/im.exec(stdout)?.[0];
  return exitCode === 0 && hex !== undefined ? Buffer.from(hex, 'hex') : undefined;
}

/**
 * Selects the card's application anew, which ends a login.
 *
 * @returns PIN tries that are left; undefined if the tool does not tell.
 * @throws {SignetError} UNSUPPORTED without the tool, TOKEN_NOT_PRESENT, UNAVAILABLE
 */
export async function pinTriesWithTool(target: ToolTarget, timeoutMs: number): Promise<number | undefined> {
  const { stdout } = await statusOf(target, timeoutMs);
  const tries = /^PIN tries left:\s*(\d{1,3})$/m.exec(stdout)?.[1];
  return tries === undefined ? undefined : Number(tries);
}

async function readerOf(target: ToolTarget): Promise<readonly string[]> {
  return (await statusOf(target)).reader;
}

/** The tool goes by the name of the reader, in which another YubiKey may be by now. */
async function statusOf(
  { token: { slotDescription, serial }, env }: ToolTarget,
  timeoutMs = TIMEOUT_MS,
): Promise<{ readonly reader: readonly string[]; readonly stdout: string }> {
  const reader = ['--reader', slotDescription];
  const { stdout } = await runPivTool({ args: [...reader, '--action', 'status'], env, timeoutMs });
  if (/^Serial Number:\s*(\d+)$/m.exec(stdout)?.[1] === serial) return { reader, stdout };
  throw new SignetError('TOKEN_NOT_PRESENT', `YubiKey ${serial} is not in its reader any more`);
}

function runPivTool(run: Omit<ToolRun, 'timeoutMs' | 'remedy'> & { readonly timeoutMs?: number }): Promise<ToolResult> {
  const remedy = 'install it; libykcs11 sets PIN and touch policies by itself since version 2.3';
  return runTool(TOOL, { timeoutMs: TIMEOUT_MS, remedy, ...run });
}

function publicKeyIn(stdout: string): PublicKey {
  const pem = /-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/.exec(stdout)?.[0];
  try {
    return publicKeyOf(createPublicKey(pem ?? ''));
  } catch (cause) {
    throw new SignetError('UNAVAILABLE', `${TOOL} made a key and did not tell its public half`, { cause });
  }
}

/** @param output Of the tool, which may be anything. */
function failed(output: string): SignetError {
  const [line = ''] = output.trim().split('\n');
  const shown = line.replace(/[^\x20-\x7e]/g, '?').slice(0, 200);
  return new SignetError('UNAVAILABLE', `${TOOL} failed${shown === '' ? '' : `: ${shown}`}`);
}
