/** `signet key …`: signatures and public halves. */
import type { CommandSpec } from '../command.ts';
import { KEY_ID, MESSAGE, OUTPUT } from './shared.ts';

export const KEY_USE_COMMANDS: readonly CommandSpec[] = [
  {
    name: 'key sign',
    summary: 'sign a message',
    details: [
      'ecdsa and rsa keys sign the SHA-256 of the message, rsa with PSS; ed25519 keys sign the message itself. raw is the form of TUF metadata, r‖s for ecdsa; der is the form of X.509 and OpenSSL.',
    ],
    arguments: [KEY_ID],
    options: {
      in: MESSAGE,
      format: {
        value: 'FORMAT',
        choices: ['base64', 'raw', 'der'],
        help: 'of the signature (default: base64, of the raw form)',
      },
      ...OUTPUT,
    },
    examples: [
      { purpose: 'Sign a file', command: 'signet key sign 250486f --in release.json' },
      { purpose: 'Sign for OpenSSL', command: 'signet key sign 250486f --format der -o message.sig < message' },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-sign.ts')).keySign,
  },
  {
    name: 'key verify',
    summary: 'check a signature; exit code 6 if it is not valid',
    details: [
      "With --public no daemon is needed: the file is a public key (PEM or DER, notary's and docker's .pub files included) or a certificate.",
    ],
    arguments: [{ ...KEY_ID, optional: true }],
    options: {
      public: { value: 'FILE', completes: 'file', help: 'a public key or certificate, instead of a key ID' },
      signature: { short: 's', value: 'FILE', completes: 'file', help: 'the signature' },
      in: MESSAGE,
      format: {
        value: 'FORMAT',
        choices: ['base64', 'raw', 'der'],
        help: 'of the signature (default: what it looks like)',
      },
    },
    examples: [
      {
        purpose: 'Check a signature of one of your keys',
        command: 'signet key verify 250486f --signature message.sig --in message',
      },
      {
        purpose: 'Check one of somebody else',
        command: 'signet key verify --public alice.pub --signature message.sig < message',
      },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-sign.ts')).keyVerify,
  },
  {
    name: 'key public',
    summary: 'print the public half of a key',
    details: [
      "notary is the JSON of TUF metadata, with the key's ID as its hash; pem is what docker trust signer add takes.",
    ],
    arguments: [KEY_ID],
    options: {
      format: {
        value: 'FORMAT',
        choices: ['pem', 'spki', 'jwk', 'openssh', 'notary'],
        help: 'how it is written (default: pem)',
      },
      ...OUTPUT,
    },
    examples: [
      {
        purpose: "Give a signer's key to whoever keeps the repository",
        command: 'signet key public 250486f -o alice.pub',
      },
      { purpose: 'Print it for OpenSSH', command: 'signet key public 250486f --format openssh' },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/key-public.ts')).keyPublic,
  },
  {
    name: 'key attest',
    summary: 'show that a token made the key: print the certificate chain of the device',
    details: ['The chain is verified up to the root of the maker before it is printed.'],
    arguments: [KEY_ID],
    options: OUTPUT,
    examples: [
      { purpose: 'Keep the proof beside the public key', command: 'signet key attest 250486f -o attestation.pem' },
    ],
    json: true,
    asks: true,
    load: async () => (await import('../commands/token.ts')).keyAttest,
  },
];
