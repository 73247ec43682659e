/** A D-Bus session with an unlocked gnome-keyring in it, of nobody but the test. */
import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { waitFor } from './conditions.ts';
import { runProgram, startProgram } from './processes.ts';
import { Resources } from './resources.ts';

export interface SecretService extends AsyncDisposable {
  /** For programs that are to find it. */
  readonly env: { readonly DBUS_SESSION_BUS_ADDRESS: string };
}

/**
 * @param directory Receives the keyring's files and sockets.
 * @param options.unlocked False: a bus on which no Secret Service is running.
 */
export async function startSecretService(
  directory: string,
  options: { readonly unlocked: boolean },
): Promise<SecretService> {
  const home = join(directory, 'keyring-home');
  const runtime = join(directory, 'keyring-run');
  for (const path of [home, runtime]) await mkdir(path, { mode: 0o700 });
  const env = { PATH: process.env['PATH'] ?? '', HOME: home, XDG_RUNTIME_DIR: runtime };
  // A configuration of its own: the system's would start services on demand, with prompts.
  const config = join(directory, 'bus.conf');
  await writeFile(config, busConfig(join(runtime, 'bus')));
  const resources = new Resources();
  try {
    const arguments_ = [`--config-file=${config}`, '--nofork', '--print-address'];
    const bus = resources.use(await startProgram('dbus-daemon', arguments_, { env }, { output: /unix:path=/ }));
    const address = await waitFor('the address of the bus', () => bus.stdout.match(/^unix:path=\S+/m)?.[0]);
    const session = { DBUS_SESSION_BUS_ADDRESS: address };
    if (options.unlocked) {
      // Its standard input is the password of the keyring that it makes.
      const command = 'exec gnome-keyring-daemon --foreground --unlock --components=secrets <<< password';
      resources.use(await startProgram('bash', ['-c', command], { env: { ...env, ...session } }));
      await waitFor('the Secret Service', async () => {
        const probe = await runProgram(process.execPath, ['-e', PROBE], { env: { ...env, ...session } });
        return probe.ending === 0;
      });
    }
    return { env: session, [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose]() };
  } catch (error) {
    await resources[Symbol.asyncDispose]();
    throw error;
  }
}

/** Keeps and removes a secret: it can be used. */
const PROBE = `
  const { Entry } = require(${JSON.stringify(createRequire(import.meta.url).resolve('@napi-rs/keyring'))});
  const entry = new Entry('probe', 'probe', { linux: { store: 'secret-service' } });
  entry.setPassword('x');
  entry.deletePassword();
`;

const busConfig = (socket: string) => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=${socket}</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`;
