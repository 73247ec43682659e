/** notary-signer's signals (log level), and those it lacks (drain, re-read). */
import type { LogLevel } from './config.ts';
import type { LogHandle } from './log.ts';

/** The steps of SIGUSR1 and SIGUSR2, from quiet to loud. */
const STEPS: readonly LogLevel[] = ['panic', 'fatal', 'error', 'warn', 'info', 'debug'];
/** Ctrl-C under `npm start` arrives twice at once: from the terminal, and passed on by npm. Milliseconds. */
const ONE_KEYPRESS_MS = 100;
/** logrus' spelling of a level, in the answers below. */
const nameOf = (level: LogLevel) => (level === 'warn' ? 'warning' : level);

export interface SignalActions {
  /** SIGTERM and SIGINT. Called once; a second signal ends the process at once. */
  readonly drain: () => void;
  /** SIGHUP. */
  readonly reload: () => void;
  readonly levelChanged?: (level: LogLevel) => void;
}

/**
 * Call this before anything that takes time: until SIGUSR1 has a listener, Node answers it by opening its debugger.
 *
 * @param print Where the answers to SIGUSR1 and SIGUSR2 go: stdout, as notary-signer has it.
 */
export function handleSignals(log: LogHandle, actions: SignalActions, print: (line: string) => void): void {
  process.on('SIGUSR1', () => step(log, +1, actions, print));
  process.on('SIGUSR2', () => step(log, -1, actions, print));
  process.on('SIGHUP', () => actions.reload());
  let endingSince: number | undefined;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (endingSince !== undefined) {
        if (performance.now() - endingSince < ONE_KEYPRESS_MS) return;
        log.logger.warn({ signal }, 'second signal: ending at once');
        void endNow(log, 1);
        return;
      }
      endingSince = performance.now();
      log.logger.info({ signal }, 'shutting down');
      actions.drain();
    });
  }
}

/**
 * Ends the process once its log is written. Where nobody reads the log, a thread of Node's pool is stuck in writing it, and
 * `exit` would wait for that thread: then the process kills itself.
 */
export async function endNow(log: Pick<LogHandle, 'flush'>, code: number): Promise<never> {
  if (!(await log.flush())) process.kill(process.pid, 'SIGKILL');
  process.exit(code);
}

function step(log: LogHandle, direction: 1 | -1, actions: SignalActions, print: (line: string) => void): void {
  const now = log.level === 'trace' ? STEPS.length : STEPS.indexOf(log.level);
  const next = STEPS[now + direction];
  if (next !== undefined) {
    log.setLevel(next);
    actions.levelChanged?.(next);
    print(`Successfully setting log level to ${nameOf(next)}`);
    return;
  }
  const [verb, end, bound] = direction > 0 ? ['increase', 'higher', 'Debug'] : ['decrease', 'lower', 'Panic'];
  print(
    `Attempt to ${verb} log level failed, will remain at ${nameOf(log.level)} level, ` +
      `error: log level can not be set ${end} than ${bound}`,
  );
}
