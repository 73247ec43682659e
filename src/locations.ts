/** Where things are when nobody said otherwise. The command-line tools look in the same places. */
import { existsSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { SignetError } from './errors.ts';

/** Where Linux distributions keep the certificates they trust, in the order in which Go looks. */
const SYSTEM_CA_FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/tls/cacert.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/**
 * Docker's trust directory: `$DOCKER_CONFIG/trust`, else `~/.docker/trust`. Keys are in its folder `private`.
 *
 * @returns Relative if `DOCKER_CONFIG` is, as for Docker itself.
 * @throws {SignetError} CONFIGURATION without `DOCKER_CONFIG` and `HOME`
 */
export function defaultTrustDir(env: NodeJS.ProcessEnv): string {
  const dockerConfig = env['DOCKER_CONFIG'];
  if (dockerConfig) return join(dockerConfig, 'trust');
  return join(home(env, 'the default trust directory', 'HOME, DOCKER_CONFIG or storage.path'), '.docker', 'trust');
}

/**
 * The agent's socket: `$SIGNET_SOCKET`, else `$XDG_RUNTIME_DIR/signet/signetd.sock`, else `~/.signet/run/signetd.sock`.
 *
 * @throws {SignetError} CONFIGURATION if `SIGNET_SOCKET` is relative (daemon and tools run in different folders), or if
 *   none of the three variables is set
 */
export function defaultAgentSocket(env: NodeJS.ProcessEnv): string {
  const socket = env['SIGNET_SOCKET'];
  if (socket) {
    if (isAbsolute(socket)) return socket;
    throw new SignetError('CONFIGURATION', 'SIGNET_SOCKET is not an absolute path', {
      hint: 'set SIGNET_SOCKET to the full path of the socket',
    });
  }
  const runtimeDir = env['XDG_RUNTIME_DIR'];
  // XDG Base Directory Specification 0.8: a relative path there is invalid and must be ignored.
  if (runtimeDir && isAbsolute(runtimeDir)) return join(runtimeDir, 'signet', 'signetd.sock');
  const remedy = 'HOME, XDG_RUNTIME_DIR, SIGNET_SOCKET or agent.socket';
  return join(home(env, "the default place of the agent's socket", remedy), '.signet', 'run', 'signetd.sock');
}

/**
 * Where the daemon keeps what must outlive it: `$STATE_DIRECTORY` (set by systemd), else `$XDG_STATE_HOME/signet`, else
 * `~/.signet/state`.
 *
 * @throws {SignetError} CONFIGURATION if none of the three variables is set
 */
export function defaultStateDir(env: NodeJS.ProcessEnv): string {
  // systemd.exec(5): several directories are separated by colons.
  const [stateDirectory = ''] = (env['STATE_DIRECTORY'] ?? '').split(':');
  if (isAbsolute(stateDirectory)) return stateDirectory;
  const stateHome = env['XDG_STATE_HOME'];
  if (stateHome && isAbsolute(stateHome)) return join(stateHome, 'signet');
  return join(
    home(env, 'the place of what the daemon remembers', 'HOME, XDG_STATE_HOME or STATE_DIRECTORY'),
    '.signet',
    'state',
  );
}

/**
 * The certificates of the authorities that this system trusts, PEM: `$SSL_CERT_FILE`, as for Go and OpenSSL, else where Linux
 * distributions have them.
 *
 * @returns Undefined where there is no such file: then only those are left that come with Node
 */
export function systemCaFile(env: NodeJS.ProcessEnv): string | undefined {
  return env['SSL_CERT_FILE'] || SYSTEM_CA_FILES.find((path) => existsSync(path));
}

function home(env: NodeJS.ProcessEnv, what: string, remedy: string): string {
  const directory = env['HOME'];
  if (directory) return directory;
  throw new SignetError('CONFIGURATION', `HOME is not set, ${what} is unknown`, { hint: `set ${remedy}` });
}
