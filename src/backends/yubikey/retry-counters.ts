/**
 * How many tries PIN and PUK of a YubiKey have left, and whether they are still the factory's. The card tells without a try
 * being spent, but libykcs11 does not hand it on: programs that share the card ask. Nothing that is secret is involved.
 */
import { SignetError } from '../../errors.ts';
import type { RetryCounters } from '../pkcs11/hooks.ts';
import type { TokenFacts } from '../pkcs11/host-protocol.ts';
import { type CardAnswer, sendToCard } from './opensc-tool.ts';
import { pinTriesWithTool } from './piv-tool.ts';
import { findValue } from './short-tlv.ts';
import { CARD_TIMEOUT_MS, GET_SERIAL, getMetadata, isSerial, SUCCESS } from './yubico-commands.ts';

/** SELECT by name: PIV (NIST SP 800-73-4 part 2, 3.1.1). It ends every login. */
const SELECT = '00A4040005A000000308';
/** Of PIN, PUK and management key. */
const METADATA = ['80', '81', '9b'].map(getMetadata);
/** VERIFY without data: 63Cx has the tries that are left (NIST SP 800-73-4 part 2, 3.2.1). */
const PIN_STATUS = '00200080';
const PIN_BLOCKED = 0x6983;

export interface RetryCountersRequest {
  /** Which YubiKey, as the library knows it. */
  readonly token: Pick<TokenFacts, 'serial' | 'slotDescription'>;
  readonly env: NodeJS.ProcessEnv;
  /** Whether somebody is logged in at the library: then nothing is sent that would end it. */
  isLoggedIn(): boolean;
}

interface Reading {
  readonly serial: string;
  readonly counters: Promise<RetryCounters>;
}

export class RetryCounterReader {
  #current: Reading | undefined;
  /** Begins after the current one. Who joins it is told nothing that is older than the question. */
  #next: Reading | undefined;

  /** Never throws: what cannot be found out is undefined, and a warning says why. */
  async read(request: RetryCountersRequest): Promise<RetryCounters> {
    const { serial } = request.token;
    if (this.#current === undefined) return await this.#begin(request);
    if (this.#next === undefined) {
      const counters = this.#current.counters.then(() => {
        this.#next = undefined;
        return this.#begin(request);
      });
      this.#next = { serial, counters };
    }
    if (this.#next.serial === serial) return await this.#next.counters;
    return countersOf({}, 'another YubiKey is being asked');
  }

  #begin(request: RetryCountersRequest): Promise<RetryCounters> {
    const counters = read(request).finally(() => {
      this.#current = undefined;
    });
    this.#current = { serial: request.token.serial, counters };
    return counters;
  }
}

async function read(request: RetryCountersRequest): Promise<RetryCounters> {
  let problem = 'the firmware tells them since version 5.3 only';
  const told = await askWithOpensc(request).catch((error: unknown) => {
    problem = problemOf(error);
    return undefined;
  });
  if (told !== undefined || request.isLoggedIn()) return countersOf(told ?? {}, problem);
  const { token, env } = request;
  // It selects PIV, which nobody loses anything by now, and cannot ask for the PUK.
  const triesLeft = await pinTriesWithTool({ token, env }, CARD_TIMEOUT_MS).catch(() => undefined);
  return countersOf({ pin: triesLeft === undefined ? undefined : { triesLeft } }, problem);
}

/** @returns Undefined if it is not this YubiKey that answers. @throws {SignetError} as `sendToCard` */
async function askWithOpensc({ token, env, isLoggedIn }: RetryCountersRequest): Promise<PivFacts | undefined> {
  const { serial, slotDescription: reader } = token;
  const ask = async (...commands: readonly string[]) =>
    sendToCard({ reader, commands, env, timeoutMs: CARD_TIMEOUT_MS });
  // The library has selected PIV, unless another program selected something else since then.
  let [number, ...metadata] = await ask(GET_SERIAL, ...METADATA);
  if (number?.statusWord !== SUCCESS && !isLoggedIn()) {
    [, number, ...metadata] = await ask(SELECT, GET_SERIAL, ...METADATA);
  }
  if (!isSerial(number, serial)) return undefined;
  const facts = readMetadata(metadata);
  if (facts.pin !== undefined || isLoggedIn()) return facts;
  const [same, status] = await ask(GET_SERIAL, PIN_STATUS);
  return isSerial(same, serial) ? { ...facts, pin: readPinStatus(status) } : undefined;
}

function problemOf(error: unknown): string {
  if (!(error instanceof SignetError)) return 'they could not be asked for';
  return error.code === 'UNSUPPORTED' ? 'install opensc-tool (package opensc)' : error.message;
}

function countersOf({ pin, puk, isManagementKeyFactory }: PivFacts, problem: string): RetryCounters {
  const unknown = [...(pin === undefined ? ['PIN'] : []), ...(puk === undefined ? ['PUK'] : [])];
  return {
    pinTriesLeft: pin?.triesLeft,
    pukTriesLeft: puk?.triesLeft,
    warnings: [
      ...(unknown.length === 0 ? [] : [`how many tries of ${unknown.join(' and ')} are left is not known: ${problem}`]),
      ...(pin?.isFactory ? ["the PIN is still the factory's: signet token change-pin"] : []),
      ...(puk?.isFactory ? ["the PUK is still the factory's: signet token change-pin --puk"] : []),
      ...(isManagementKeyFactory
        ? ["the management key is still the factory's: ykman piv access change-management-key --protect"]
        : []),
    ],
  };
}

/** Undefined: not told. */
export interface PivFacts {
  readonly pin?: ReferenceCounter | undefined;
  readonly puk?: ReferenceCounter | undefined;
  readonly isManagementKeyFactory?: boolean | undefined;
}

export interface ReferenceCounter {
  readonly triesLeft: number;
  readonly isFactory?: boolean | undefined;
}

/** @param answers Of GET METADATA for PIN, PUK and management key. */
export function readMetadata([pin, puk, managementKey]: readonly CardAnswer[]): PivFacts {
  return {
    pin: readReference(pin),
    puk: readReference(puk),
    isManagementKeyFactory: isFactory(managementKey),
  };
}

/** 01: FF for a PIN or PUK; 06: tries in all, and left. */
function readReference(answer: CardAnswer | undefined): ReferenceCounter | undefined {
  if (answer?.statusWord !== SUCCESS || !findValue(answer.data, 0x01)?.equals(Buffer.of(0xff))) return undefined;
  const tries = findValue(answer.data, 0x06);
  if (tries?.length !== 2) return undefined;
  const [total = 0, triesLeft = 0] = tries;
  return triesLeft > total ? undefined : { triesLeft, isFactory: isFactory(answer) };
}

/** 05: 01 for the value that it left the factory with. */
function isFactory(answer: CardAnswer | undefined): boolean | undefined {
  if (answer?.statusWord !== SUCCESS) return undefined;
  const value = findValue(answer.data, 0x05);
  return value?.length === 1 ? value[0] === 1 : undefined;
}

/** @param answer Of VERIFY without data. */
function readPinStatus(answer: CardAnswer | undefined): ReferenceCounter | undefined {
  const statusWord = answer?.statusWord ?? 0;
  if (statusWord === PIN_BLOCKED) return { triesLeft: 0 };
  return statusWord >> 4 === 0x63c ? { triesLeft: statusWord & 0xf } : undefined;
}
