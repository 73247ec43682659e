/** `signet key public` */
import { parseKeyAlgorithm } from '../../crypto/algorithms.ts';
import { formatPublicKey, type PublicKeyFormat } from '../../crypto/public-key-formats.ts';
import { requireNewFile, writeOutput } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { findKey } from '../key-ids.ts';
import { printBytes, printJson } from '../output.ts';

/** `--format` → what the formatter calls it. */
const FORMATS: Readonly<Record<string, PublicKeyFormat>> = {
  pem: 'pem',
  spki: 'der',
  jwk: 'jwk',
  openssh: 'openssh',
  notary: 'notary',
};

export async function keyPublic(invocation: Invocation): Promise<undefined> {
  const { session } = invocation.world;
  const format = FORMATS[invocation.text('format') ?? 'pem'] ?? 'pem';
  const output = invocation.text('output');
  if (output !== undefined) await requireNewFile(output, invocation.flag('force'));
  const key = await findKey(session, invocation.argument(0));
  const found = key.public_key ?? (await session.asking((agent, call) => agent.getPublicKey(key.key_id, call)));
  const publicKey = { algorithm: parseKeyAlgorithm(found.algorithm), bytes: found.bytes };
  // No header with the role, as docker writes it: OpenSSL reads no PEM with headers, and docker needs none.
  const content = formatPublicKey(publicKey, format, { comment: key.key_id });
  if (invocation.json) {
    const text = content.toString(format === 'der' ? 'base64' : 'utf8');
    printJson({
      keyId: key.key_id,
      algorithm: publicKey.algorithm,
      format: invocation.text('format') ?? 'pem',
      publicKey: text,
    });
    return;
  }
  if (output !== undefined) await writeOutput(output, content, invocation.flag('force'));
  else printBytes(content);
}
