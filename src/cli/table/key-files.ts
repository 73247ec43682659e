/** `signet key …`: keys that come and go in files. */
import type { CommandSpec } from '../command.ts';
import { OUTPUT, PLACE } from './shared.ts';

const { output, force } = OUTPUT;

export const KEY_FILE_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'key import',
    summary: 'store keys that were made elsewhere',
    details: [
      'Reads PEM of every kind that notary, docker and OpenSSL write (PKCS#8, PKCS#1, SEC1, encrypted or not), PKCS#12, JWK, and bundles of several keys by notary key export. A key that was encrypted keeps its passphrase; for one that was not, you choose one. A key that is there already is never replaced. An import of nothing is an error.',
    ],
    arguments: [{ name: 'FILE', many: true, completes: 'file' }],
    options: {
      role: {
        short: 'r',
        value: 'ROLE',
        completes: 'role',
        help: "the key's role, where the file names none (default: delegation)",
      },
      gun: {
        short: 'g',
        value: 'GUN',
        help: 'the trusted collection that the key belongs to, where the file names none',
      },
      ...PLACE,
    },
    examples: [
      { purpose: 'Take over the keys of another machine', command: 'signet key import bundle.pem' },
      {
        purpose: 'Store a key that OpenSSL made, for signer alice',
        command: 'signet key import alice.key --role alice',
      },
      {
        purpose: 'Put an existing root key on a token',
        command: 'signet key import root.pem --role root --backend yubikey',
      },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-import.ts')).keyImport,
  },
  {
    name: 'key export',
    summary: 'write keys, sealed as they are stored, for notary key import and signet key import',
    details: [
      'Without --key and --gun: every key. Keys on tokens and in databases cannot be exported. A key that is stored without a passphrase gets one.',
    ],
    options: {
      key: { short: 'k', value: 'ID', multiple: true, completes: 'key', help: 'a key' },
      gun: { short: 'g', value: 'GUN', help: 'the keys of one trusted collection' },
      ...(output && { output }),
      ...(force && { force }),
    },
    examples: [
      { purpose: 'Export one key', command: 'signet key export --key 250486f -o root.pem' },
      {
        purpose: 'Export the keys of one collection',
        command: 'signet key export --gun registry.example.com/team/app -o app.pem',
      },
    ],
    asks: true,
    load: async () => (await import('../commands/key-export.ts')).keyExport,
  },
  {
    name: 'key backup',
    summary: 'write all keys and metadata of the storage into one encrypted archive',
    details: [
      'The archive has a passphrase of its own and cannot be changed unnoticed. Keys on tokens are not in it.',
      'Of a trust directory it holds what is in tuf too: kept metadata, and changes that are not published.',
    ],
    options: {
      output: { short: 'o', value: 'FILE', completes: 'file', help: 'the new archive' },
      force: { help: 'replace FILE if it exists' },
    },
    examples: [{ purpose: 'Back up everything', command: 'signet key backup -o keys-2026-11.signet' }],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-archive.ts')).keyBackup,
  },
  {
    name: 'key restore',
    summary: 'take back what is in an archive: all of it or nothing',
    arguments: [{ name: 'FILE', completes: 'file' }],
    options: {
      'dry-run': { help: 'check the archive and say what would be done' },
      'really-replace': {
        help: 'replace keys and files that are there with another content; otherwise they stop the restore',
      },
    },
    examples: [
      { purpose: 'Look first', command: 'signet key restore --dry-run keys-2026-11.signet' },
      { purpose: 'Restore', command: 'signet key restore keys-2026-11.signet' },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-archive.ts')).keyRestore,
  },
];
