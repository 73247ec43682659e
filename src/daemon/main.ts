/** `signetd`: from the command line to a running daemon, and to its exit code. */
import cluster from 'node:cluster';
import { loadNative, type Native } from '../native.ts';
import { VERSION } from '../version.ts';
import { type Config, type Flags, loadConfig, parseFlags } from './config.ts';
import { Daemon } from './daemon.ts';
import { createLog, describeError, type LogHandle, writeFatal } from './log.ts';
import { endNow, handleSignals } from './signals.ts';
import { toSignetError } from './status.ts';
import { welcomeText } from './welcome.ts';
import { answerSupervisor, serveSupervisor, Workers } from './workers.ts';

const USAGE = `usage: signetd [-config FILE] [-debug] [-logf json|logfmt] [-version]

  -config FILE  notary-signer's configuration file, or one with Signet's additions (docs/configuration.md);
                without it: the agent's socket and key files under ~/.docker/trust/private
  -debug        metrics and health on http://localhost:8080, core dumps and debuggers allowed
  -logf FORMAT  json (default) or logfmt, on stderr
  -welcome      tell on stdout what is running, once it is ready
  -migrate      create what the SQL table lacks, then exit
  -rewrap -from ALIAS -to ALIAS
                seal every key of one passphrase alias under another, then exit; daemons may serve meanwhile
  -purge-deleted -older-than AGE
                remove keys that were deleted so long ago (30d, 12h) for good, then exit
  -version      print the version and exit
`;

/** How often an idle agent looks at the clock, milliseconds. */
const IDLE_CHECK_MS = 1000;

/** @returns The exit code: 0 after a graceful end, 1 if the daemon cannot start or loses a part, 2 for wrong usage. */
export async function main(argv: readonly string[]): Promise<number> {
  let flags: Flags;
  try {
    flags = parseFlags(argv);
  } catch (error) {
    const { message, hint } = toSignetError(error);
    process.stderr.write(`signetd: ${message}\n${hint === undefined ? '' : `signetd: hint: ${hint}\n`}${USAGE}`);
    return 2;
  }
  if (flags.help || flags.version) {
    process.stdout.write(flags.help ? USAGE : `signetd Version: ${VERSION}, Node version: ${process.version}\n`);
    return 0;
  }
  // The level is set again once the configuration is known.
  const log = createLog({ level: 'info', format: flags.logFormat });
  try {
    return await run(flags, log);
  } catch (error) {
    const failure = toSignetError(error);
    await log.flush();
    if (cluster.isWorker) return 1; // the supervisor tells
    const cause =
      failure.code === 'INTERNAL' && failure.cause !== undefined ? `: ${nameOf(failure.cause, flags, log)}` : '';
    writeFatal(`${failure.message}${cause}`, failure.hint);
    return 1;
  } finally {
    // Where nobody reads the log, a thread is stuck in writing it, and a normal exit would wait for it.
    if (!(await log.flush())) process.kill(process.pid, 'SIGKILL');
  }
}

/** What the text of an unforeseen error holds, nobody knows: it is for those who asked for details. */
function wantsDetails(flags: Flags, log: LogHandle): boolean {
  return flags.debug || log.logger.isLevelEnabled('debug');
}

function nameOf(error: unknown, flags: Flags, log: LogHandle): string {
  if (wantsDetails(flags, log)) return String(error);
  return error instanceof Error ? error.name : typeof error;
}

async function run(flags: Flags, log: LogHandle): Promise<number> {
  let end: (code: number) => void = () => undefined;
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  const actions = { drain: () => end(0), reload: () => undefined as undefined | Promise<void> };
  const print = (line: string) => process.stdout.write(`${line}\n`);
  process.stdout.on('error', () => undefined); // nobody reads any more: no reason to stop signing
  process.on('uncaughtException', (error) => {
    const details = wantsDetails(flags, log) ? { stack: error.stack } : {};
    log.logger.fatal({ ...describeError(error, log.logger), ...details }, 'this is a bug: ending');
    void endNow(log, 1);
  });
  if (cluster.isWorker) return runWorker(flags, log, ended, end);

  let workers: Workers | undefined;
  handleSignals(
    log,
    {
      drain: () => actions.drain(),
      reload: () => {
        workers?.order({ type: 'reload' });
        void actions.reload();
      },
      levelChanged: (level) => workers?.order({ type: 'level', level }),
    },
    print,
  );
  const { config, native } = await prepare(flags, log);
  if (flags.task !== undefined) {
    const controller = new AbortController();
    actions.drain = () => controller.abort();
    const { runMaintenance } = await import('./maintenance.ts');
    return runMaintenance({
      task: flags.task,
      config,
      env: process.env,
      log: log.logger,
      print,
      signal: controller.signal,
    });
  }
  log.logger.info(
    { version: VERSION, node: process.version, pid: process.pid, config: config.file ?? null },
    'signetd starts',
  );
  for (const warning of config.warnings) log.logger.warn(warning);
  const several = config.workers > 1 && config.server !== undefined;
  if (several) workers = new Workers(log);
  const starting = Daemon.start({
    config,
    log,
    native,
    env: process.env,
    serves: { agent: true, server: !several, metrics: true },
    requestStop: () => actions.drain(),
    ...(workers && { workers }),
  });
  // A start may wait for a database that does not answer; whoever ends the daemon meanwhile need not wait for that too.
  const daemon = await Promise.race([starting, ended]);
  if (typeof daemon === 'number') {
    starting.catch(() => undefined);
    return daemon;
  }
  actions.reload = () => daemon.reload();
  const drainMs = config.server?.drainTimeoutMs ?? 0;
  try {
    await workers?.start(config.workers);
    stopWhenIdle(config, daemon, () => end(0));
    const status = await daemon.status();
    const backends = status.backends.map(({ name, location }) => ({ name, location }));
    log.logger.info({ listeners: status.listeners, backends }, 'ready');
    if (flags.welcome) {
      const passphraseSource = await daemon.passphrases?.describe();
      print(welcomeText({ status, passphraseSource, warnings: config.warnings }));
    }
    const code = await ended;
    await Promise.all([workers?.stop(drainMs), daemon.stop()]);
    log.logger.info('stopped');
    return code;
  } catch (error) {
    await Promise.all([workers?.stop(0), daemon.stop(0)]);
    throw error;
  }
}

/** One of several processes behind the server's port. */
async function runWorker(
  flags: Flags,
  log: LogHandle,
  ended: Promise<number>,
  end: (code: number) => void,
): Promise<number> {
  let daemon: Daemon | undefined;
  const supervisor = serveSupervisor((order) => {
    switch (order.type) {
      case 'drain':
        return end(0);
      case 'reload':
        return void daemon?.reload();
      case 'level':
        return log.setLevel(order.level);
    }
  });
  // Ctrl-C reaches the whole group; only the supervisor decides.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const)
    process.on(signal, () => undefined);
  try {
    const { config, native } = await prepare(flags, log);
    daemon = await Daemon.start({
      config,
      log,
      native,
      env: process.env,
      serves: { agent: false, server: true, metrics: false },
      requestStop: () => end(0),
    });
    answerSupervisor(daemon);
    supervisor.ready(daemon.listeners[0]?.address ?? '');
  } catch (error) {
    supervisor.failed(error);
    throw error;
  }
  const code = await ended;
  await daemon.stop();
  return code;
}

async function prepare(flags: Flags, log: LogHandle): Promise<{ config: Config; native: Native | undefined }> {
  const config = await loadConfig({ file: flags.configFile, debug: flags.debug, env: process.env, cwd: process.cwd() });
  log.setLevel(config.logging.level);
  const native = await loadNative();
  if (flags.debug) return { config, native };
  if (native === undefined) {
    log.logger.warn('core dumps are not disabled and peers of the agent are not identified: koffi is not available');
  } else if (!native.protectMemory()) {
    log.logger.warn('the system refused to disable core dumps');
  }
  return { config, native };
}

function stopWhenIdle(config: Config, daemon: Daemon, stop: () => void): void {
  const limit = config.agent?.idleTimeoutMs ?? 0;
  if (limit === 0 || config.server !== undefined) return;
  setInterval(
    () => {
      if (daemon.idleMs >= limit) stop();
    },
    Math.min(IDLE_CHECK_MS, limit),
  ).unref();
}
