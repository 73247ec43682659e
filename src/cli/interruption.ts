/** Ctrl-C and its like: the first one lets the command end in order, the second ends it at once. */
import { SignetError } from '../errors.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** The shell's code for a program that Ctrl-C ended. */
const EXIT_CODE = 130;

/** @returns Aborts at the first signal. */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  for (const name of SIGNALS) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(EXIT_CODE);
      controller.abort(new SignetError('CANCELLED', 'cancelled'));
    });
  }
  return controller.signal;
}
