/** What a look at something found: one line for the user. */

export type FindingState = 'ok' | 'note' | 'warning' | 'problem';

export interface Finding {
  /** What was looked at, for machines: `key files`. */
  readonly check: string;
  /** `problem`: something will fail. `warning`: it may. `note`: worth knowing. */
  readonly state: FindingState;
  /** One sentence without a full stop. */
  readonly text: string;
  /** The command, or the action, that mends it. */
  readonly remedy?: string;
}

/** Findings of one check. @param check Their name */
export function findings(check: string) {
  return {
    ok: (text: string): Finding => ({ check, state: 'ok', text }),
    note: (text: string): Finding => ({ check, state: 'note', text }),
    warning: (text: string, remedy: string): Finding => ({ check, state: 'warning', text, remedy }),
    problem: (text: string, remedy: string): Finding => ({ check, state: 'problem', text, remedy }),
  };
}
