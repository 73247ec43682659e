/** GENERAL AUTHENTICATE (NIST SP 800-73-4 Part 2 §3.2.4): the host's proof of the management key, and signatures. */
import { randomBytes } from 'node:crypto';
import type { CommandApdu } from '../apdu.ts';
import type { CardState, SlotKey } from '../state.ts';
import { refuse } from '../status-word.ts';
import { keyAlgorithm, MANAGEMENT_KEY_SLOT } from '../tables.ts';
import { findTlv, parseTlvs, requireTlv, type Tlv, tlv } from '../tlv.ts';

/** Dynamic Authentication Template and the objects in it (table 7). */
const TEMPLATE = 0x7c;
const WITNESS = 0x80;
const CHALLENGE = 0x81;
const RESPONSE = 0x82;

/** How long one touch serves a key of touch policy `cached`. */
const TOUCH_CACHED_MS = 15_000;

/** P1 is the algorithm, P2 the key. */
export async function generalAuthenticate(state: CardState, command: CommandApdu): Promise<Buffer> {
  const objects = parseTlvs(requireTlv(parseTlvs(command.data), TEMPLATE));
  if (command.p2 === MANAGEMENT_KEY_SLOT) return await authenticate(state, command.p1, objects);
  return tlv(TEMPLATE, tlv(RESPONSE, await sign(state, command, objects)));
}

/** Mutual authentication begins with an empty witness, single authentication with an empty challenge. */
async function authenticate(state: CardState, algorithmId: number, objects: readonly Tlv[]): Promise<Buffer> {
  const { managementKey, session } = state;
  // Appendix A.1 of NIST SP 800-78-4 lets 00 stand for 3DES.
  if ((algorithmId || 0x03) !== managementKey.algorithmId) refuse('WRONG_DATA');
  const { witness, challenge } = session;
  session.witness = undefined;
  session.challenge = undefined;

  const presentedWitness = findTlv(objects, WITNESS);
  const presentedResponse = findTlv(objects, RESPONSE);
  const presentedChallenge = findTlv(objects, CHALLENGE);
  if (presentedWitness?.length === 0) {
    session.witness = randomBytes(managementKey.blockBytes);
    return tlv(TEMPLATE, tlv(WITNESS, managementKey.encrypt(session.witness)));
  }
  if (presentedChallenge?.length === 0) {
    session.challenge = randomBytes(managementKey.blockBytes);
    return tlv(TEMPLATE, tlv(CHALLENGE, session.challenge));
  }
  if (presentedWitness !== undefined && presentedChallenge !== undefined && witness !== undefined) {
    if (presentedChallenge.length !== managementKey.blockBytes) refuse('WRONG_DATA');
    await admit(state, presentedWitness.equals(witness));
    return tlv(TEMPLATE, tlv(RESPONSE, managementKey.encrypt(presentedChallenge)));
  }
  if (presentedResponse !== undefined && challenge !== undefined) {
    await admit(state, managementKey.proves(challenge, presentedResponse));
    return Buffer.alloc(0);
  }
  return refuse('CONDITIONS_NOT_SATISFIED');
}

async function admit(state: CardState, isProven: boolean): Promise<void> {
  const count = state.statistics.managementKey;
  count.attempts++;
  if (!isProven) count.failures++;
  if (!isProven || (state.managementKey.needsTouch && !(await isTouched(state))))
    refuse('SECURITY_STATUS_NOT_SATISFIED');
  state.session.isManagementAuthenticated = true;
}

async function sign(state: CardState, { p1, p2 }: CommandApdu, objects: readonly Tlv[]): Promise<Buffer> {
  const key = state.keys.get(p2) ?? refuse('REFERENCE_DATA_NOT_FOUND');
  if (keyAlgorithm(p1, state.firmware) !== key.pair.algorithm) refuse('WRONG_PARAMETERS');
  const challenge = requireTlv(objects, CHALLENGE);
  if (findTlv(objects, RESPONSE)?.length !== 0) refuse('WRONG_DATA');
  requirePin(state, key);
  await requireTouch(state, key);
  const signature = key.pair.use(whatIsSigned(state, challenge));
  state.statistics.signatures++;
  return signature;
}

function requirePin({ session }: CardState, { pinPolicy }: SlotKey): void {
  const { isPinFresh, isPinVerified } = session;
  session.isPinFresh = false;
  const isAllowed = pinPolicy === 'never' || (pinPolicy === 'once' ? isPinVerified : isPinFresh);
  if (!isAllowed) refuse('SECURITY_STATUS_NOT_SATISFIED');
}

async function requireTouch(state: CardState, { touchPolicy }: SlotKey): Promise<void> {
  if (touchPolicy === 'never') return;
  if (touchPolicy === 'cached' && Date.now() - state.touchedAt < TOUCH_CACHED_MS) return;
  if (!(await isTouched(state))) refuse('SECURITY_STATUS_NOT_SATISFIED');
  if (touchPolicy === 'cached') state.touchedAt = Date.now();
}

async function isTouched(state: CardState): Promise<boolean> {
  state.statistics.touchesAwaited++;
  return await state.touch.touched();
}

/** On a test's demand the input with its last octet changed, which makes a signature that is well-formed and wrong. */
function whatIsSigned(state: CardState, input: Buffer): Buffer {
  if (state.wrongSignatures === 0) return input;
  state.wrongSignatures--;
  const other = Buffer.from(input);
  other[other.length - 1] = (input.at(-1) ?? 0) ^ 1;
  return other;
}
