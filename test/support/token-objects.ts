/** Objects on a SoftHSM token that other programs might have made (token-objects.mjs). */
import { fileURLToPath } from 'node:url';
import { runProgram } from './processes.ts';
import { SOFTHSM_MODULE, type SoftHsm, TEST_PIN } from './softhsm.ts';

const SCRIPT = fileURLToPath(new URL('token-objects.mjs', import.meta.url));

/** @param what The name of a maker in token-objects.mjs. */
export async function addObjects(hsm: SoftHsm, label: string, what: string, count: number): Promise<void> {
  const args = [SCRIPT, SOFTHSM_MODULE, label, TEST_PIN, what, String(count)];
  const { ending, stderr } = await runProgram(process.execPath, args, { env: hsm.env });
  if (ending !== 0 || stderr !== '') throw new Error(`token-objects.mjs failed: ${stderr}`);
}
