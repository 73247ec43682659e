/** `signet key sign` and `signet key verify` */
import { type KeyAlgorithm, parseKeyAlgorithm } from '../../crypto/algorithms.ts';
import { ecdsaSignatureFromDer, ecdsaSignatureToDer } from '../../crypto/ecdsa-signature.ts';
import { curveByOpensslName } from '../../crypto/named-curves.ts';
import { type PublicKey, toKeyObject, verifySignature } from '../../crypto/public-key.ts';
import { SignetError } from '../../errors.ts';
import { inFile, readInput, requireNewFile, writeOutput } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { findKey } from '../key-ids.ts';
import { type MessageInput, readMessage, tooLongForEd25519 } from '../message.ts';
import { printBytes, printData, printJson } from '../output.ts';

/** RSA of 16384 bits, in base64, with room to spare. */
const MAX_SIGNATURE_BYTES = 16 * 1024;
const MAX_PUBLIC_KEY_BYTES = 64 * 1024;

export async function keySign(invocation: Invocation): Promise<undefined> {
  const { session, signal } = invocation.world;
  const format = invocation.text('format') ?? 'base64';
  const output = invocation.text('output');
  if (output !== undefined) await requireNewFile(output, invocation.flag('force'));
  const key = await findKey(session, invocation.argument(0));
  const message = await readMessage(invocation.text('in') ?? '-', signal);
  const { signature, algorithm } = await session.asking(async (agent, call) => {
    const wantsAlgorithm = format === 'der' || invocation.json || message.whole === undefined;
    const algorithm = wantsAlgorithm
      ? parseKeyAlgorithm((key.public_key ?? (await agent.getPublicKey(key.key_id, call))).algorithm)
      : undefined;
    const answer = await agent.sign({ key_id: key.key_id, ...inputOf(message, algorithm) }, call);
    return { signature: Buffer.from(answer.signature), algorithm };
  });
  const encoded = format === 'der' && algorithm === 'ecdsa' ? ecdsaSignatureToDer(signature) : signature;
  if (invocation.json) {
    printJson({ keyId: key.key_id, algorithm, format, signature: encoded.toString('base64') });
    return;
  }
  const content = format === 'base64' ? `${encoded.toString('base64')}\n` : encoded;
  if (output !== undefined) await writeOutput(output, content, invocation.flag('force'));
  else if (typeof content === 'string') printData(content);
  else printBytes(content);
}

function inputOf({ whole, sha256 }: MessageInput, algorithm: KeyAlgorithm | undefined) {
  if (whole !== undefined) return { message: whole };
  if (algorithm === 'ed25519') throw tooLongForEd25519();
  return { digest: { hash: 'sha256', value: sha256 } };
}

export async function keyVerify(invocation: Invocation): Promise<undefined> {
  const { signal } = invocation.world;
  if ((invocation.text('public') === undefined) === (invocation.argument(0) === '')) {
    throw new SignetError('INVALID_ARGUMENT', 'name either a key ID, or a public key with --public');
  }
  const signatureFile = invocation.text('signature');
  if (signatureFile === undefined) {
    throw new SignetError('INVALID_ARGUMENT', 'no signature given', { hint: 'name its file with --signature' });
  }
  const content = await readInput(signatureFile, MAX_SIGNATURE_BYTES, signal);
  const key = await publicKeyFor(invocation);
  const signature = decodeSignature(content, invocation.text('format'), key);
  const message = await readMessage(invocation.text('in') ?? '-', signal);
  if (!(await isValid(key, message, signature))) {
    throw new SignetError('INTEGRITY', 'the signature is not valid: not of this key, or not over this message');
  }
  if (invocation.json) printJson({ valid: true, algorithm: key.algorithm });
  else printData('The signature is valid.');
}

async function isValid(key: PublicKey, { whole, sha256 }: MessageInput, signature: Uint8Array): Promise<boolean> {
  if (whole !== undefined) return verifySignature(key, whole, signature);
  if (key.algorithm === 'ed25519') throw tooLongForEd25519();
  const { verifyDigest } = await import('../../crypto/verify-digest.ts');
  return await verifyDigest(key, sha256, 'sha256', signature);
}

/** Of a file, without a daemon; or of a key that the agent has. */
async function publicKeyFor(invocation: Invocation): Promise<PublicKey> {
  const { session, signal } = invocation.world;
  const file = invocation.text('public');
  if (file !== undefined) return await publicKeyIn(file, signal);
  const key = await findKey(session, invocation.argument(0));
  const found = key.public_key ?? (await session.asking((agent, call) => agent.getPublicKey(key.key_id, call)));
  return { algorithm: parseKeyAlgorithm(found.algorithm), bytes: found.bytes };
}

async function publicKeyIn(file: string, signal: AbortSignal): Promise<PublicKey> {
  const { readPublicKeys } = await import('../../crypto/public-key-file.ts');
  const bytes = await readInput(file, MAX_PUBLIC_KEY_BYTES, signal);
  try {
    const [entry, second] = readPublicKeys(bytes, new Date());
    if (entry !== undefined && second === undefined) return entry.publicKey;
  } catch (error) {
    throw inFile(error, file);
  }
  throw new SignetError('INVALID_ARGUMENT', `${file} does not hold one public key`, { hint: 'name a file with one' });
}

/** Takes base64 or bytes, and for ecdsa r‖s or DER, told apart by their form unless `--format` says which. */
function decodeSignature(content: Buffer, format: string | undefined, key: PublicKey): Uint8Array {
  const text = content.toString('latin1').replace(/\s/g, '');
  const looksLikeBase64 = /^[A-Za-z0-9+/]+={0,2}$/.test(text) && text.length % 4 === 0;
  const bytes =
    format === 'base64' || (format === undefined && looksLikeBase64) ? Buffer.from(text, 'base64') : content;
  if (key.algorithm !== 'ecdsa' || format === 'raw') return bytes;
  const scalarBytes = curveByOpensslName(toKeyObject(key).asymmetricKeyDetails?.namedCurve)?.scalarBytes ?? 0;
  if (bytes.byteLength === 2 * scalarBytes && format !== 'der') return bytes;
  try {
    return ecdsaSignatureFromDer(bytes, scalarBytes);
  } catch {
    return bytes; // neither: it will not verify
  }
}
