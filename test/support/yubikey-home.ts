/** YubiKey backends over virtual YubiKeys, with the token host as built. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { YubikeyBackend, type YubikeyOptions } from '../../src/backends/yubikey/yubikey-backend.ts';
import type { AttestationAuthorities } from '../../src/crypto/attestation-authorities.ts';
import { parseCertificate } from '../../src/crypto/certificate.ts';
import { HOST_ENTRY, writePinFile } from './pkcs11-home.ts';
import { Resources } from './resources.ts';
import { temporaryDirectory } from './temp.ts';
import { yubicoLibrary } from './virtual-yubikey/library.ts';
import {
  startVirtualYubikeys,
  type VirtualYubikeys,
  type VirtualYubikeysOptions,
} from './virtual-yubikey/virtual-yubikeys.ts';

export { FACTORY_MANAGEMENT_KEY, FACTORY_PIN, FACTORY_PUK } from './virtual-yubikey/card/settings.ts';

/** The sources run in vitest; a child process needs them compiled. */
const USB_WATCHER = fileURLToPath(new URL('../../dist/backends/yubikey/usb-watcher.js', import.meta.url));

export interface YubikeyHome extends AsyncDisposable {
  readonly yubikeys: VirtualYubikeys;
  readonly directory: string;
  /** The root that the cards' attestations lead to. */
  readonly authorities: AttestationAuthorities;
  /** What the backends told the log. */
  readonly events: readonly string[];
  /** A file of mode 0600 with a PIN. */
  pinFile(pin: string): Promise<string>;
  /** A file of mode 0600. */
  secretFile(name: string, content: string): Promise<string>;
  /** A backend that the home disposes of; what cannot be read on the card is an error. */
  open(options?: Partial<YubikeyOptions>): Promise<YubikeyBackend>;
}

export async function yubikeyHome(options: VirtualYubikeysOptions = {}): Promise<YubikeyHome> {
  const resources = new Resources();
  try {
    const { path: directory } = resources.use(await temporaryDirectory());
    const yubikeys = resources.use(await startVirtualYubikeys(options));
    const modulePath = await yubicoLibrary();
    const events: string[] = [];
    return {
      yubikeys,
      directory,
      authorities: { roots: [parseCertificate(yubikeys.attestationRoot.der)], intermediates: [] },
      events,
      pinFile: (pin) => writePinFile(directory, pin),
      secretFile: async (name, content) => {
        const path = join(directory, name);
        await writeFile(path, content, { mode: 0o600 });
        return path;
      },
      open: async (more = {}) =>
        resources.use(
          await YubikeyBackend.open({
            serial: undefined,
            modulePath,
            pinFile: undefined,
            operationTimeoutMs: 20_000,
            env: yubikeys.env,
            entry: HOST_ENTRY,
            usbWatcher: USB_WATCHER,
            onEvent: (what) => events.push(what),
            onUnreadable: (what, error) => {
              throw new Error(`unreadable: ${what}`, { cause: error });
            },
            ...more,
          }),
        ),
      [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
    };
  } catch (error) {
    await resources[Symbol.asyncDispose]();
    throw error;
  }
}
