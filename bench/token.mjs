/** Signatures on a token: the module alone, and through the daemon; a slow token and two clients; recovery. */
import { execFile } from 'node:child_process';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { LOADS, latencies, loadRows, measureSign, sendSign } from './load.mjs';
import { childrenOf } from './processes.mjs';
import { startSignet } from './servers.mjs';
import { SignerClient, withSigner } from './signer-client.mjs';
import { makeToken, TOKEN_LABEL } from './token-module.mjs';

const run = promisify(execFile);

const LOOP = fileURLToPath(new URL('token-loop.mjs', import.meta.url));
const WARM_UP_SECONDS = 2;
const HOSTS = [1, 2];
const SLOW_MS = 100;
/** Calls of the client that asks now and then. */
const QUIET_CALLS = 40;
const FLOOD = { connections: 1, streams: 64 };

/** @typedef {import('./sql.mjs').Table} Table */

/**
 * @param {object} options
 * @param {string} options.directory A temporary one.
 * @param {{ certFile: string, keyFile: string }} options.certificate
 * @param {number} options.rounds
 * @param {number} options.seconds Per measurement.
 * @param {(text: string) => void} options.progress
 * @returns {Promise<{ tables: Table[] }>}
 */
export async function benchToken({ directory, ...options }) {
  const context = { ...options, directory: join(directory, 'token') };
  const token = await makeToken(context.directory);
  const columns = ['module alone', ...HOSTS.map(nameOf)];
  const fast = await benchFast(context, token);
  const slow = await benchSlow(context, token);
  const recovery = await benchRecovery(context, token);
  return {
    tables: [
      { title: 'P-256 signatures on SoftHSM', columns, rows: loadRows(LOADS, fast) },
      { title: `A token that takes ${SLOW_MS} ms for a signature`, columns: HOSTS.map(nameOf), rows: slow },
      { title: 'Recovery, milliseconds to the next signature', columns: ['signet'], rows: recovery },
    ],
  };
}

const nameOf = (hosts) => `signet, ${hosts} host${hosts === 1 ? '' : 's'}`;

function starter({ directory, certificate }, token, { modulePath, hosts = 1, name }) {
  const own = join(directory, name);
  return () =>
    startSignet({
      directory: own,
      storage: { backend: 'file', path: join(own, 'keys') },
      certificate,
      name,
      more: {
        tokens: [
          { uri: `pkcs11:token=${TOKEN_LABEL}?module-path=${modulePath}&pin-source=file:${token.pinFile}`, hosts },
        ],
        placement: { timestamp: ['pkcs11'] },
      },
      env: token.env,
    });
}

async function benchFast(context, token) {
  const { certificate, directory, rounds, seconds, progress } = context;
  const targets = [];
  try {
    for (const hosts of HOSTS) {
      const name = nameOf(hosts);
      const server = await starter(context, token, { modulePath: token.modulePath, hosts, name })();
      targets.push(server);
      Object.assign(server, await prepare(server, certificate, directory));
    }
    for (const target of targets) await measureSign(target, LOADS.at(-1), WARM_UP_SECONDS);
    const results = ['module alone', ...targets.map(({ name }) => name)].map((name) => ({
      name,
      loads: LOADS.map(() => []),
    }));
    for (let round = 0; round < rounds; round++) {
      progress(`SoftHSM: round ${round + 1} of ${rounds}`);
      for (const which of LOADS.keys()) {
        results[0].loads[which].push(await measureAlone(token, seconds));
        for (const [index, target] of targets.entries()) {
          results[index + 1].loads[which].push(await measureSign(target, LOADS[which], seconds));
        }
      }
    }
    return results;
  } finally {
    for (const { stop } of targets) await stop();
  }
}

/** The bare module has one signature in flight, whatever the load of the others. */
async function measureAlone({ modulePath, pinFile, env }, seconds) {
  const { stdout } = await run(process.execPath, [LOOP, modulePath, TOKEN_LABEL, pinFile, String(seconds)], {
    env: { ...process.env, ...env },
    maxBuffer: 1 << 28,
  });
  const { latenciesUs, cpuSeconds } = JSON.parse(stdout);
  return {
    ...latencies(latenciesUs.map((latencyUs) => ({ latencyUs }))),
    perSecond: latenciesUs.length / seconds,
    cpuUs: (cpuSeconds / latenciesUs.length) * 1e6,
  };
}

/** Makes a key, checks a signature of it, and stores the request for h2load. */
async function prepare({ port, name }, { certFile }, directory) {
  const client = await SignerClient.connect({ port, certFile });
  try {
    const key = await client.createKey();
    const { frame, responseBytes } = await client.signAndVerify(key);
    const frameFile = join(directory, `${name.replaceAll(/\W/g, '-')}.bin`);
    await writeFile(frameFile, frame);
    return { frameFiles: [frameFile], responseBytes, directory, keyId: key.keyId };
  } finally {
    client.close();
  }
}

async function benchSlow(context, token) {
  const { certificate, directory, progress } = context;
  await token.slowDown(SLOW_MS);
  const device = await measureAlone({ ...token, modulePath: token.slowModulePath }, (QUIET_CALLS * SLOW_MS) / 1000);
  const deviceMs = device.p50Us / 1000;
  const columns = [];
  for (const hosts of HOSTS) {
    progress(`slow token: ${nameOf(hosts)}`);
    const name = `slow, ${nameOf(hosts)}`;
    const start = starter(context, token, { modulePath: token.slowModulePath, hosts, name });
    await token.slowDown(0);
    columns.push(
      await withSigner(start, certificate, async (_, server) => {
        const target = { ...server, ...(await prepare(server, certificate, directory)) };
        await askNowAndThen(target, QUIET_CALLS); // whatever is loaded at the first call
        await token.slowDown(SLOW_MS);
        const alone = await askNowAndThen(target, QUIET_CALLS);
        const [flood, meanwhile] = await flooded(target);
        return { alone, meanwhile, flood };
      }),
    );
  }
  const row = (label, unit, pick) => ({ label, unit, series: columns.map((column) => [pick(column)]) });
  return [
    row('the module alone: p50', 'ms', () => deviceMs),
    row('the module alone: p99', 'ms', () => device.p99Us / 1000),
    row('one client, over the p50 of the module alone: p50', 'ms', ({ alone }) => alone.p50Us / 1000 - deviceMs),
    row('one client, over the p50 of the module alone: p99', 'ms', ({ alone }) => alone.p99Us / 1000 - deviceMs),
    row('a client floods: signatures for it', '/s', ({ flood }) => flood),
    row('meanwhile another one asks now and then: p50', 'ms', ({ meanwhile }) => meanwhile.p50Us / 1000),
    row('meanwhile another one asks now and then: p99', 'ms', ({ meanwhile }) => meanwhile.p99Us / 1000),
  ];
}

/** h2load keeps 64 calls in flight while a client on the agent's socket asks now and then. */
async function flooded(target) {
  const seconds = Math.ceil((QUIET_CALLS * 3 * SLOW_MS) / 1000) + 2;
  const flood = sendSign(target, FLOOD, seconds);
  await delay(1000);
  const meanwhile = await askNowAndThen(target, QUIET_CALLS);
  return [(await flood).length / seconds, meanwhile];
}

async function askNowAndThen({ socket, keyId }, calls) {
  const client = SignerClient.overSocket(socket);
  const answers = [];
  try {
    for (let call = 0; call < calls; call++) {
      const startedAt = performance.now();
      await client.sign(keyId, Buffer.from('now and then'));
      answers.push({ latencyUs: (performance.now() - startedAt) * 1000 });
      await delay(Math.random() * SLOW_MS);
    }
  } finally {
    client.close();
  }
  return latencies(answers);
}

async function benchRecovery(context, token) {
  const { certificate, rounds, progress } = context;
  const measured = { start: [], kill: [], back: [] };
  const start = starter(context, token, { modulePath: token.modulePath, name: 'recovery' });
  for (let round = 0; round < rounds; round++) {
    progress(`recovery: round ${round + 1} of ${rounds}`);
    await withSigner(start, certificate, async (client, { pid, readyMs }) => {
      const { keyId } = await client.createKey();
      const sign = () => client.sign(keyId, Buffer.from('again'));
      await sign();
      measured.start.push(readyMs);
      const [host] = childrenOf(pid);
      measured.kill.push(await untilItWorks(sign, () => process.kill(host, 'SIGKILL')));
      const storage = await token.storage();
      await rename(storage, `${storage}.away`);
      await sign().catch(() => undefined); // it is noticed
      await delay(1500);
      measured.back.push(await untilItWorks(sign, () => rename(`${storage}.away`, storage)));
    });
  }
  return [
    { label: 'start of the daemon to listening, with a token', unit: 'ms', series: [measured.start] },
    { label: 'kill -9 of the token host to the next signature', unit: 'ms', series: [measured.kill] },
    { label: 'return of a token to the next signature', unit: 'ms', series: [measured.back] },
  ];
}

async function untilItWorks(sign, event) {
  await event();
  const startedAt = performance.now();
  for (;;) {
    try {
      await sign();
      return performance.now() - startedAt;
    } catch {
      await delay(1);
    }
  }
}
