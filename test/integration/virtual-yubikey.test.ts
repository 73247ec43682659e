/** The virtual YubiKey, judged by the programs that people use with real ones. */
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runProgram } from '../support/processes.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../support/temp.ts';
import { startVirtualYubikeys, type VirtualYubikeys } from '../support/virtual-yubikey/virtual-yubikeys.ts';

let yubikeys: VirtualYubikeys;
let directory: TemporaryDirectory;
const at = (name: string) => join(directory.path, name);

beforeAll(async () => {
  directory = await temporaryDirectory();
  yubikeys = await startVirtualYubikeys();
});

afterAll(async () => {
  await yubikeys[Symbol.asyncDispose]();
  await directory[Symbol.asyncDispose]();
});

async function run(command: string, ...args: readonly string[]): Promise<string> {
  const { ending, stdout, stderr } = await runProgram(command, args, { env: yubikeys.env });
  expect(ending, `${command} ${args.join(' ')}: ${stdout}${stderr}`).toBe(0);
  return stdout;
}

test('yubico-piv-tool makes a key that libykcs11 signs with', async () => {
  expect(await run('yubico-piv-tool', '-a', 'status')).toContain('Serial Number:\t12345678');
  await run('yubico-piv-tool', '-a', 'generate', '-s', '9a', '-A', 'ECCP256', '-o', at('9a.pem'));
  await run('yubico-piv-tool', '-a', 'attest', '-s', '9a', '-o', at('attestation.pem'));
  const message = randomBytes(100);
  await writeFile(at('message'), message);
  const sign = ['--sign', '--mechanism', 'ECDSA-SHA256', '--id', '01', '--signature-format', 'openssl'];
  const files = ['--input-file', at('message'), '--output-file', at('signature')];
  await run('pkcs11-tool', '--module', 'libykcs11.so.2', '--login', '--pin', '123456', ...sign, ...files);
  const publicKey = createPublicKey(await readFile(at('9a.pem')));
  expect(verify('sha256', message, publicKey, await readFile(at('signature')))).toBe(true);
});
