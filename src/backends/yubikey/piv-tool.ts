/**
 * yubico-piv-tool, for what Yubico's library does not do before version 2.3: keys with a PIN or touch policy of their own.
 * The management key goes through its standard input; its arguments hold nothing secret.
 */
import { spawn } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { type PublicKey, publicKeyOf } from '../../crypto/public-key.ts';
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { DeviceRequest } from '../backend.ts';
import { moduleEnvironment } from '../pkcs11/child-environment.ts';
import type { TokenFacts } from '../pkcs11/host-protocol.ts';
import type { KeyKind } from '../pkcs11/key-kinds.ts';
import type { PivSlot } from './piv-slots.ts';

const TOOL = 'yubico-piv-tool';
/** Making a large RSA key takes minutes; milliseconds. */
const TIMEOUT_MS = 180_000;
const MAX_OUTPUT_CHARACTERS = 64 * 1024;
const ALGORITHMS: Record<KeyKind, string> = {
  'P-256': 'ECCP256',
  'P-384': 'ECCP384',
  Ed25519: 'ED25519',
  'RSA-2048': 'RSA2048',
  'RSA-3072': 'RSA3072',
  'RSA-4096': 'RSA4096',
};

export interface ToolGeneration {
  readonly slot: PivSlot;
  readonly kind: KeyKind;
  readonly policies: Pick<DeviceRequest, 'pinPolicy' | 'touchPolicy'>;
  /** Which YubiKey, as the library knows it. */
  readonly token: Pick<TokenFacts, 'serial' | 'slotDescription'>;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Makes a key, over whatever is in the slot.
 *
 * @param managementKey Hex digits.
 * @throws {SignetError} UNSUPPORTED without the tool, TOKEN_NOT_PRESENT, PIN_INCORRECT, UNAVAILABLE
 */
export async function generateWithTool(generation: ToolGeneration, managementKey: Secret): Promise<PublicKey> {
  const { slot, kind, policies, token, env } = generation;
  // The tool goes by the name of the reader, in which another YubiKey may be by now.
  const reader = ['--reader', token.slotDescription];
  const status = await run([...reader, '--action', 'status'], undefined, env);
  if (/^Serial Number:\s*(\d+)$/m.exec(status.stdout)?.[1] !== token.serial) {
    throw new SignetError('TOKEN_NOT_PRESENT', `YubiKey ${token.serial} is not in its reader any more`);
  }
  const { pinPolicy, touchPolicy } = policies;
  const args = [
    ...reader,
    ...['--action', 'generate', '--slot', slot, '--algorithm', ALGORITHMS[kind]],
    ...(pinPolicy === undefined ? [] : [`--pin-policy=${pinPolicy}`]),
    ...(touchPolicy === undefined ? [] : [`--touch-policy=${touchPolicy}`]),
    ...['--key', '--stdin-input'],
  ];
  const { exitCode, stdout, stderr } = await run(args, managementKey, env);
  if (exitCode === 0) return publicKeyIn(stdout);
  if (/authentication/i.test(stderr)) {
    throw new SignetError('PIN_INCORRECT', `YubiKey ${token.serial} refused the management key`);
  }
  throw failed(stderr);
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

interface ToolResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(args: readonly string[], secret: Secret | undefined, env: NodeJS.ProcessEnv): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(TOOL, args, { env: moduleEnvironment(env), stdio: 'pipe', timeout: TIMEOUT_MS });
    const output = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        output[stream] = (output[stream] + text).slice(0, MAX_OUTPUT_CHARACTERS);
      });
    }
    child.once('error', (cause: NodeJS.ErrnoException) => reject(notStarted(cause)));
    child.once('close', (exitCode) => resolve({ exitCode, ...output }));
    child.stdin.on('error', () => undefined); // it ended without reading; its exit code tells
    const line = Buffer.alloc((secret?.bytes().byteLength ?? 0) + 1, '\n');
    line.set(secret?.bytes() ?? []);
    child.stdin.end(line, () => line.fill(0));
  });
}

function notStarted(cause: NodeJS.ErrnoException): SignetError {
  if (cause.code !== 'ENOENT') return new SignetError('UNAVAILABLE', `${TOOL} cannot be started`, { cause });
  return new SignetError(
    'UNSUPPORTED',
    `PIN and touch policies need libykcs11 2.3 or ${TOOL}, which is not installed`,
    {
      hint: 'install either, or make the key without policies of its own',
      cause,
    },
  );
}
