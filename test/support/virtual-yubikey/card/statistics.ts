/** What happened to a card since it was made or the counts were last cleared. */
import { type InstructionName, instructionName } from './tables.ts';

export interface AttemptCount {
  /** A value was presented, right or wrong, whatever the command. */
  attempts: number;
  /** It was wrong, or nothing could be right any more. */
  failures: number;
}

export interface Statistics {
  /** Commands by instruction, also those that got an ordered answer; parts of a chain count one by one. */
  apdus: Partial<Record<InstructionName | 'UNKNOWN', number>>;
  readonly pin: AttemptCount;
  readonly puk: AttemptCount;
  readonly managementKey: AttemptCount;
  /** Private key operations that were answered with a signature. */
  signatures: number;
  /** How often the card began to wait for a touch. */
  touchesAwaited: number;
}

export function newStatistics(): Statistics {
  const none = () => ({ attempts: 0, failures: 0 });
  return { apdus: {}, pin: none(), puk: none(), managementKey: none(), signatures: 0, touchesAwaited: 0 };
}

/** Sets all counts to zero in place: others hold parts of it. */
export function clearStatistics(statistics: Statistics): void {
  const { pin, puk, managementKey, ...counts } = newStatistics();
  Object.assign(statistics, counts);
  Object.assign(statistics.pin, pin);
  Object.assign(statistics.puk, puk);
  Object.assign(statistics.managementKey, managementKey);
}

/** Counts one command. @param ins Its INS octet. */
export function countApdu(statistics: Statistics, ins: number): void {
  const name = instructionName(ins) ?? 'UNKNOWN';
  statistics.apdus[name] = (statistics.apdus[name] ?? 0) + 1;
}
