/** Where PKCS#11 modules are installed: by distributions, by their makers, by hand. */
import { realpath } from 'node:fs/promises';
import { join } from 'node:path';

export interface KnownModule {
  /** For people: `SoftHSM 2`. */
  readonly name: string;
  /** Absolute; as listed, before links. */
  readonly path: string;
}

/** Debian's names of machines (multiarch tuples). */
const TUPLES: Readonly<Record<string, string>> = {
  x64: 'x86_64-linux-gnu',
  arm64: 'aarch64-linux-gnu',
  arm: 'arm-linux-gnueabihf',
  ppc64: 'powerpc64le-linux-gnu',
  s390x: 's390x-linux-gnu',
  riscv64: 'riscv64-linux-gnu',
};

const TUPLE = TUPLES[process.arch] ?? `${process.arch}-linux-gnu`;
/** Debian and Ubuntu; Fedora, RHEL and SUSE; Alpine and Arch; built by hand; Homebrew on both kinds of Mac. */
const DIRECTORIES = [`/usr/lib/${TUPLE}`, '/usr/lib64', '/usr/lib', '/usr/local/lib', '/opt/homebrew/lib'];

/** `files` are looked for in every directory; `paths` are whole. */
const MODULES: readonly {
  readonly name: string;
  readonly files: readonly string[];
  readonly paths?: readonly string[];
}[] = [
  {
    name: 'SoftHSM 2',
    files: ['softhsm/libsofthsm2.so', 'pkcs11/libsofthsm2.so', 'libsofthsm2.so'],
  },
  {
    name: 'YubiKey (ykcs11)',
    files: ['libykcs11.so', 'libykcs11.so.2', 'libykcs11.dylib'],
    paths: ['/opt/yubico/lib/libykcs11.so', '/Library/OpenSC/lib/libykcs11.dylib'],
  },
  {
    name: 'OpenSC',
    files: ['opensc-pkcs11.so', 'pkcs11/opensc-pkcs11.so'],
    paths: ['/Library/OpenSC/lib/opensc-pkcs11.so'],
  },
  { name: 'TPM 2.0', files: ['libtpm2_pkcs11.so.1', 'pkcs11/libtpm2_pkcs11.so', 'libtpm2_pkcs11.so'] },
  { name: 'NSS softokn', files: ['libsoftokn3.so', 'nss/libsoftokn3.so'] },
  { name: 'p11-kit proxy', files: ['p11-kit-proxy.so'] },
  { name: 'YubiHSM 2', files: ['pkcs11/yubihsm_pkcs11.so', 'yubihsm_pkcs11.so'] },
  { name: 'openCryptoki', files: ['opencryptoki/libopencryptoki.so', 'pkcs11/libopencryptoki.so'] },
  { name: 'AWS CloudHSM', files: [], paths: ['/opt/cloudhsm/lib/libcloudhsm_pkcs11.so'] },
  { name: 'Thales Luna', files: [], paths: ['/usr/safenet/lunaclient/lib/libCryptoki2_64.so'] },
  { name: 'nCipher nShield', files: [], paths: ['/opt/nfast/toolkits/pkcs11/libcknfast.so'] },
];

/** @returns Those that are there, each once though several links lead to it. */
export async function wellKnownModules(): Promise<readonly KnownModule[]> {
  const found = new Map<string, KnownModule>();
  for (const { name, files, paths = [] } of MODULES) {
    const candidates = [...DIRECTORIES.flatMap((directory) => files.map((file) => join(directory, file))), ...paths];
    for (const path of candidates) {
      const real = await realpath(path).catch(() => undefined); // not there
      if (real !== undefined && !found.has(real)) found.set(real, { name, path });
    }
  }
  return [...found.values()];
}
