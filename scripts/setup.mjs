/**
 * What `npm start`, `npm test` and the CI script share: a fresh clone becomes a built program without a step by hand.
 *
 * Runs before anything is installed, so it uses Node's own modules only. Every function does nothing, silently, when
 * there is nothing to do; otherwise it prints one line and shows a tool's output only if that tool fails.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, readdir, readFile, rm, unlink, writeFile } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The repository, absolute, with a trailing slash. */
export const ROOT = fileURLToPath(new URL('..', import.meta.url));

const OLDEST_NODE = [20, 19];
const LOCK_TIMEOUT_MS = 10 * 60_000;

/** Something that a person can put right: printed as one sentence, without a stack trace. */
export class SetupError extends Error {
  name = 'SetupError';
}

/**
 * Debian packages the integration tests need, with what tells that each one is there: commands, or files below
 * /usr/lib or its directory for this architecture.
 *
 * @typedef {{ readonly name: string, readonly commands?: readonly string[], readonly files?: readonly string[] }} DebianPackage
 * @type {readonly DebianPackage[]}
 */
export const TEST_PACKAGES = [
  { name: 'notary', commands: ['notary', 'notary-server', 'notary-signer'] },
  { name: 'nghttp2-client', commands: ['nghttp', 'h2load'] },
  { name: 'openssl', commands: ['openssl'] },
  { name: 'curl', commands: ['curl'] },
  { name: 'docker.io', commands: ['docker'] },
  { name: 'mariadb-server-core', commands: ['mariadbd', 'mariadb-install-db'] },
  { name: 'mariadb-client-core', commands: ['mariadb'] },
  { name: 'postgresql', commands: ['pg_lsclusters'] },
  { name: 'softhsm2', commands: ['softhsm2-util'] },
  { name: 'opensc', commands: ['pkcs11-tool'] },
  { name: 'busybox', commands: ['busybox'] },
  { name: 'dbus-daemon', commands: ['dbus-daemon'] },
  { name: 'gnome-keyring', commands: ['gnome-keyring-daemon'] },
  // the virtual YubiKey, and Yubico's own programs
  { name: 'pcscd', files: ['../sbin/pcscd'] },
  { name: 'vsmartcard-vpcd', files: ['pcsc/drivers/serial/libifdvpcd.so'] },
  { name: 'ykcs11', files: ['libykcs11.so.2'] },
  { name: 'yubico-piv-tool', commands: ['yubico-piv-tool'] },
  { name: 'iproute2', commands: ['ip'] },
  // other PKCS#11 modules
  { name: 'libnss3', files: ['libsoftokn3.so'] },
  { name: 'libnss3-tools', commands: ['certutil'] },
  { name: 'p11-kit', commands: ['p11-kit'] },
  { name: 'p11-kit-modules', files: ['pkcs11/p11-kit-client.so'] },
  { name: 'swtpm', commands: ['swtpm'] },
  { name: 'tpm2-tools', commands: ['tpm2_flushcontext'] },
  { name: 'libtpm2-pkcs11-1', files: ['libtpm2_pkcs11.so.1'] },
  { name: 'libtss2-tcti-swtpm0', files: ['libtss2-tcti-swtpm.so.0'] },
  { name: 'libtss2-tcti-tabrmd0', files: ['libtss2-tcti-tabrmd.so.0'] },
  { name: 'tpm2-abrmd', files: ['../../sbin/tpm2-abrmd'] }, // not in every PATH
  { name: 'systemd', commands: ['systemd-analyze'] },
  // for the packages that are compiled
  { name: 'g++', commands: ['g++'] },
  { name: 'make', commands: ['make'] },
  { name: 'python3', commands: ['python3'] },
];

const NATIVE_PACKAGES = [
  { name: 'better-sqlite3', binary: 'better_sqlite3.node', what: 'the SQLite driver' },
  { name: 'pkcs11js', binary: 'pkcs11.node', what: 'the PKCS#11 bindings' },
];

/**
 * Installs the npm dependencies if they are missing or package-lock.json changed since.
 *
 * @throws {SetupError} Node is too old, or npm failed (its output is in the message).
 */
export async function ensureInstalled() {
  requireNode();
  const stampFile = join(ROOT, 'node_modules', '.signet-lock-hash');
  const stamp = await fingerprint([join(ROOT, 'package-lock.json')]);
  if ((await readText(stampFile)) === stamp) return;
  await alone(async () => {
    if ((await readText(stampFile)) === stamp) return; // another process was faster
    say('installing the npm dependencies');
    await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund']);
    await writeFile(stampFile, stamp);
  });
}

/**
 * Compiles the packages whose native part does not come ready-made. Nobody needs them but `storage.backend: "sqlite3"`, PKCS#11
 * tokens, and the tests of both.
 *
 * @throws {SetupError} The compiler failed (its output is in the message).
 */
export async function ensureNativeDrivers() {
  for (const { name, binary, what } of NATIVE_PACKAGES) {
    const path = join(ROOT, 'node_modules', name, 'build', 'Release', binary);
    if (await exists(path)) continue;
    await alone(async () => {
      if (await exists(path)) return;
      say(`compiling ${what} (about a minute)`);
      await run('npm', ['rebuild', name, '--ignore-scripts=false'], { ...process.env, ...(await nodeHeaders()) });
    });
  }
}

/** Node's own headers, where they came with it: node-gyp would download them, and some machines cannot. */
async function nodeHeaders() {
  const prefix = dirname(dirname(process.execPath));
  const found = await exists(join(prefix, 'include', 'node', 'node.h'));
  return found && process.env.npm_config_nodedir === undefined ? { npm_config_nodedir: prefix } : {};
}

/**
 * Compiles src/ into dist/ unless dist/ was built from these very sources. Goes by content, not by time: a deleted file
 * and a restored backup count too.
 *
 * @throws {SetupError} The compiler failed (its output is in the message).
 */
export async function ensureBuilt() {
  const stampFile = join(ROOT, 'dist', '.built');
  const inputs = () => fingerprint([...['package-lock.json', 'tsconfig.json', 'src'].map((name) => join(ROOT, name))]);
  if ((await readText(stampFile)) === (await inputs())) return;
  await alone(async () => {
    const stamp = await inputs(); // before the compiler reads them: an edit during the build means another build
    if ((await readText(stampFile)) === stamp) return;
    say('building dist/');
    await rm(join(ROOT, 'dist'), { recursive: true, force: true });
    await run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.json']);
    await writeFile(stampFile, stamp);
  });
}

/**
 * Installs Debian packages whose commands are missing, where that is possible: as root on a system with apt-get.
 *
 * @param {readonly DebianPackage[]} packages
 * @returns {Promise<{ missing: string[], command: string } | undefined>} The packages that are still missing and the
 *   command that installs them, or undefined when all is there.
 * @throws {SetupError} apt-get failed (its output is in the message).
 */
export async function ensureDebianPackages(packages) {
  const missing = await missingPackages(packages);
  if (missing.length === 0) return undefined;
  const install = ['install', '-y', '--no-install-recommends', ...missing];
  if (process.getuid?.() === 0 && (await hasCommand('apt-get'))) {
    say(`installing the Debian packages ${missing.join(', ')}`);
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    await run('apt-get', ['update'], env);
    await run('apt-get', install, env);
    if ((await missingPackages(packages)).length === 0) return undefined;
  }
  return { missing, command: `sudo apt-get update && sudo apt-get ${install.join(' ')}` };
}

/**
 * Runs a script's `main` and turns a SetupError into one sentence on stderr and exit code 1.
 *
 * @param {() => Promise<number | undefined>} main Its result is the exit code; undefined leaves it alone.
 */
export async function runScript(main) {
  try {
    const code = await main();
    if (code !== undefined) process.exitCode = code;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`signet: ${error.message}\n`);
    process.exitCode = 1;
  }
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_NODE;
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return;
  throw new SetupError(
    `Signet needs Node.js ${OLDEST_NODE.join('.')} or newer, and this is ${process.version} (${process.execPath}).`,
  );
}

function say(text) {
  process.stderr.write(`signet: ${text}\n`);
}

async function exists(path) {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** SHA-256 over the names and contents of files, and of all files below directories. */
async function fingerprint(paths) {
  const hash = createHash('sha256');
  for (const path of paths) {
    for (const file of await filesBelow(path)) {
      const content = await readFile(file);
      hash.update(`${file.slice(ROOT.length)}\0${content.length}\0`).update(content);
    }
  }
  return hash.digest('hex');
}

async function filesBelow(path) {
  const entries = await readdir(path, { withFileTypes: true, recursive: true }).catch((error) => {
    if (error.code === 'ENOTDIR') return undefined;
    throw error;
  });
  if (entries === undefined) return [path];
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

async function readText(path) {
  return await readFile(path, 'utf8').catch((error) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

/** Runs `work` while no other process of this repository does; a lock whose owner died is taken over. */
async function alone(work) {
  const lock = join(ROOT, '.signet', 'setup.lock');
  await mkdir(join(ROOT, '.signet'), { recursive: true });
  const giveUpAt = Date.now() + LOCK_TIMEOUT_MS;
  while (!(await claim(lock))) {
    const owner = Number(await readText(lock));
    if (owner > 0 && !isRunning(owner)) await rm(lock, { force: true });
    if (Date.now() > giveUpAt) throw new SetupError(`process ${owner} holds ${lock}; stop it or delete that file.`);
    await delay(100);
  }
  try {
    await work();
  } finally {
    await unlink(lock);
  }
}

async function claim(lock) {
  try {
    await writeFile(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

async function missingPackages(packages) {
  const missing = [];
  for (const { name, commands = [], files = [] } of packages) {
    const present = await Promise.all([...commands.map(hasCommand), ...files.map(hasFile)]);
    if (present.includes(false)) missing.push(name);
  }
  return missing;
}

/** Debian keeps libraries in /usr/lib and, by architecture, in directories like /usr/lib/x86_64-linux-gnu. */
async function hasFile(file) {
  const entries = await readdir('/usr/lib').catch(() => []);
  const directories = ['', ...entries.filter((entry) => entry.includes('-linux-gnu'))];
  const found = await Promise.all(directories.map((directory) => exists(join('/usr/lib', directory, file))));
  return found.includes(true);
}

async function hasCommand(command) {
  const directories = (process.env.PATH ?? '').split(delimiter).filter((directory) => directory !== '');
  const found = await Promise.all(
    directories.map((directory) =>
      access(join(directory, command), constants.X_OK).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.includes(true);
}

/** Runs a tool in the repository; its output becomes the error's text if it fails. */
async function run(command, args, env = process.env) {
  const child = spawn(command, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const ending = await new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new SetupError(`cannot run ${command}: ${error.message}`)));
    child.once('close', (code, signal) => resolve(signal ?? code));
  });
  if (ending !== 0) throw new SetupError(`\`${[command, ...args].join(' ')}\` failed (${ending}):\n${output}`);
}
