/** The PEM blocks of key files, all or none: what cannot be read is said, never skipped. */
import { SignetError } from '../errors.ts';
import { SSH_HINT } from './key-file-kind.ts';
import { isPrivateKeyType, quoteType } from './key-pem.ts';
import { type PemBlock, parsePemBlocks, pemLabels } from './pem.ts';

const MAX_BLOCKS = 1024;
const PUBLIC_TYPES: ReadonlySet<string> = new Set(['PUBLIC KEY', 'RSA PUBLIC KEY']);
/** What `openssl ecparam -genkey` writes before the key, which names its curve itself. */
const IGNORED_TYPE = 'EC PARAMETERS';

/**
 * @returns Blocks of private keys (`isPrivateKeyType`), of type PUBLIC KEY, RSA PUBLIC KEY and CERTIFICATE, in order. The
 *   private ones are the caller's to zero.
 * @throws {SignetError} INVALID_ARGUMENT if a block is malformed or of an unknown type, UNSUPPORTED for keys in formats
 *   that are not read
 */
export function readKeyBlocks(text: Uint8Array): readonly PemBlock[] {
  const labels = pemLabels(text);
  for (const label of labels) {
    const problem = refusal(label);
    if (problem !== undefined) throw problem;
  }
  if (labels.length > MAX_BLOCKS) throw new SignetError('INVALID_ARGUMENT', `more than ${MAX_BLOCKS} PEM blocks`);
  const blocks = parsePemBlocks(text);
  if (blocks.length !== labels.length) {
    for (const block of blocks) block.bytes.fill(0);
    throw new SignetError(
      'INVALID_ARGUMENT',
      `${labels.length - blocks.length} of ${labels.length} PEM blocks malformed`,
      {
        hint: 'check that the file is complete, base64 in every block and END lines included',
      },
    );
  }
  return blocks.filter(({ type }) => type !== IGNORED_TYPE);
}

function refusal(label: string): SignetError | undefined {
  if (isPrivateKeyType(label) || PUBLIC_TYPES.has(label) || label === 'CERTIFICATE' || label === IGNORED_TYPE) {
    return undefined;
  }
  if (label === 'OPENSSH PRIVATE KEY') {
    return new SignetError('UNSUPPORTED', 'private keys in the format of OpenSSH are not supported', {
      hint: SSH_HINT,
    });
  }
  if (label.startsWith('PGP ')) return new SignetError('UNSUPPORTED', 'OpenPGP keys are not supported');
  if (label.startsWith('DSA ')) return new SignetError('UNSUPPORTED', 'DSA keys are not supported');
  return new SignetError('INVALID_ARGUMENT', `the file has a PEM block of type ${quoteType(label)}, which is no key`);
}
