/** What is special about modules other than SoftHSM: a TPM that locks, a module in another process that dies. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { KeyInfo, SignContext } from '../../src/backends/backend.ts';
import { TokenHost } from '../../src/backends/pkcs11/token-host.ts';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { SignetError } from '../../src/errors.ts';
import { waitFor } from '../support/conditions.ts';
import { NSS_TOKEN, nss } from '../support/nss.ts';
import { p11Kit } from '../support/p11-kit.ts';
import { pinPerson } from '../support/pin-person.ts';
import { Resources } from '../support/resources.ts';
import { tokenUri } from '../support/softhsm.ts';
import { tpm } from '../support/tpm.ts';

const CONTEXT: SignContext = { caller: 'test' };
const OWNER = { role: 'timestamp', gun: 'example.com/a' };
const MESSAGE = Buffer.from('to be signed');

let resources: Resources;

beforeEach(() => {
  resources = new Resources();
});
afterEach(() => resources[Symbol.asyncDispose]());

const failure = (promise: Promise<unknown>): Promise<SignetError> =>
  promise.then(
    () => {
      throw new Error('expected a failure');
    },
    (error: unknown) => {
      if (error instanceof SignetError) return error;
      throw error;
    },
  );

describe('a token that locks and does not tell how many tries are left', () => {
  it('is never locked by a wrong PIN that was configured, whatever happens', async () => {
    const device = resources.use(await tpm());
    await device.setMaxWrongPins(3);
    await device.createToken('tpm');
    const stateDirectory = `${device.directory}/state-of-signet`;
    const pinFile = await device.pinFile('000000');
    const open = () => device.open(tokenUri('tpm'), { pinFile, stateDirectory });
    for (let restart = 0; restart < 4; restart++) {
      await using backend = await open();
      const attempts = Array.from({ length: 25 }, () =>
        failure(backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT)),
      );
      for (const { code } of await Promise.all(attempts)) expect(code).toBe('PIN_INCORRECT');
      expect(await backend.health()).toMatchObject({ ready: false });
    }
    expect(await device.wrongPins()).toBe(1);

    await using backend = await open();
    const person = pinPerson(() => device.pin);
    const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, person.context);
    expect(person.questions).toMatchObject([{ secret: 'pin', isNew: false, triesLeft: undefined }]);
    const signature = await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
    expect(verifySignature(key.publicKey, MESSAGE, signature)).toBe(true);
    expect(await device.wrongPins()).toBe(1);
  });

  it('is locked by a person alone, and then asks nobody', async () => {
    const device = resources.use(await tpm());
    await device.setMaxWrongPins(2);
    await device.createToken('tpm');
    const backend = resources.use(await device.open(tokenUri('tpm')));
    const generate = (context: SignContext) => backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, context);
    const person = pinPerson(() => '000000');
    const codes: string[] = [];
    for (let i = 0; i < 3; i++) codes.push((await failure(generate(person.context))).code);
    expect(codes.slice(0, 2)).toEqual(['PIN_INCORRECT', 'PIN_INCORRECT']);
    expect(codes[2]).toBe('PIN_LOCKED');
    expect(await backend.token.status()).toMatchObject({
      present: true,
      loggedIn: false,
      pinTriesLeft: undefined,
      warnings: ['this module does not tell when PIN tries run out'],
    });
  });

  it('makes keys on P-384 and no RSA keys, which it cannot sign with', async () => {
    const device = resources.use(await tpm());
    await device.createToken('tpm');
    const pinFile = await device.pinFile();
    const backend = resources.use(await device.open(tokenUri('tpm'), { pinFile }));
    const key = await backend.generator.generate({ algorithm: 'ecdsa', curve: 'P-384', ...OWNER }, CONTEXT);
    const signature = await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
    expect(verifySignature(key.publicKey, MESSAGE, signature)).toBe(true);
    expect(await failure(backend.generator.generate({ algorithm: 'rsa', ...OWNER }, CONTEXT))).toMatchObject({
      code: 'UNSUPPORTED',
      message: 'pkcs11:token=tpm makes no RSA-3072 keys that Signet can use',
    });
    expect(await backend.count()).toBe(1);
    expect(backend.importer).toBeUndefined();
  });
});

describe('a module in another process', () => {
  it('that dies is told as UNAVAILABLE, and works again at the next call', async () => {
    const kit = resources.use(await p11Kit());
    await kit.hsm.createToken('far');
    const pinFile = await kit.hsm.pinFile();
    const backend = resources.use(await kit.open(tokenUri('far'), { pinFile }));
    const key = await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const sign = () => backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
    for (let round = 0; round < 3; round++) {
      const remotes = await kit.remotes();
      expect(remotes).not.toEqual([]);
      for (const pid of remotes) process.kill(pid, 'SIGKILL');
      const error = await failure(sign());
      expect(error).toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringMatching(/^p11-kit-client\.so: the module of token "far" failed \(CKR_DEVICE_ERROR\)$/),
      });
      await waitFor('the next signature', () =>
        sign().then(
          (signature) => verifySignature(key.publicKey, MESSAGE, signature),
          () => false,
        ),
      );
    }
  });
});

describe('NSS softokn', () => {
  it('is refused with a hint when its parameters are missing', async () => {
    const home = resources.use(await nss());
    const opening = home.open(NSS_TOKEN, { libraryParameters: undefined });
    expect(await failure(opening)).toMatchObject({
      code: 'CONFIGURATION',
      message: `the PKCS#11 module ${home.modulePath} wants parameters`,
      hint: expect.stringContaining('library_parameters'),
    });
  });

  it('gets its parameters whole: the database that they name, and no other', async () => {
    const home = resources.use(await nss());
    const backend = resources.use(await home.open(NSS_TOKEN, { pinFile: await home.pinFile() }));
    await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    const other = resources.use(await nss());
    const second = resources.use(await other.open(NSS_TOKEN));
    expect(await second.count()).toBe(0);
    await expect(
      failure(second.unlocker.unlock('0'.repeat(64) as never, Secret.fromText('x'), 1)),
    ).resolves.toMatchObject({ code: 'KEY_NOT_FOUND' });
  });

  it('without a password lists and signs without a login, and its keys are not read again for that', async () => {
    const home = resources.use(await nss({ hasPin: false }));
    const key = await (async () => {
      await using backend = await home.open(NSS_TOKEN);
      return await backend.generator.generate({ algorithm: 'ecdsa', ...OWNER }, CONTEXT);
    })();
    const backend = resources.use(await home.open(NSS_TOKEN));
    const keys: KeyInfo[] = [];
    for await (const listed of backend.list()) keys.push(listed);
    expect(keys).toMatchObject([{ keyId: key.keyId, ...OWNER, needs: { pin: false }, device: { pinPolicy: 'never' } }]);
    using requests = vi.spyOn(TokenHost.prototype, 'request');
    for (let i = 0; i < 2; i++) {
      const signature = await backend.sign(key.keyId, { message: MESSAGE }, CONTEXT);
      expect(verifySignature(key.publicKey, MESSAGE, signature)).toBe(true);
    }
    expect(requests.mock.calls.map(([{ op }]) => op)).toEqual([]);
    await backend.refresh();
    expect(requests.mock.calls.map(([{ op }]) => op)).toEqual(['keys']); // what would have been seen
  });
});
