/**
 * The contract of `src/backends/backend.ts`, run over every backend. A capability that a backend lacks is asserted to
 * be absent: nothing is skipped.
 */
import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifySignature } from '../../src/crypto/public-key.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { describeImport } from './imports.ts';
import { describeKeys } from './keys.ts';
import {
  ALGORITHMS,
  type BackendUnderTest,
  CONTEXT,
  declared,
  expectCode,
  HomeInTest,
  OWNER,
  UNKNOWN,
} from './subject.ts';
import { describePassphrases, describePin } from './unlocking.ts';

export function describeBackend(subject: BackendUnderTest): void {
  const home = new HomeInTest(subject);

  describe(`backend ${subject.name}`, () => {
    beforeEach(() => home.begin());
    afterEach(() => home.end());

    it('has exactly the capabilities it declares', () => {
      const { backend } = home;
      const present = (value: object | undefined) => value !== undefined;
      expect({
        generates: backend.generator?.algorithms ?? [],
        exporter: present(backend.exporter),
        remover: present(backend.remover),
        attester: present(backend.attester),
        unlocker: present(backend.unlocker),
      }).toEqual({ generates: subject.generates, ...subject.has, unlocker: subject.has.unlocker !== false });
      expect(present(backend.importer)).toBe(subject.imports.length > 0);
    });

    it('is ready and tells where it is', async () => {
      expect(await home.backend.health()).toEqual({ ready: true });
      expect(home.backend.location).not.toBe('');
    });

    it('begins without keys', async () => {
      expect(await home.keys()).toEqual([]);
      expect(await home.backend.count()).toBe(0);
    });

    it('answers KEY_NOT_FOUND for a key it does not have', async () => {
      await home.makeKey();
      const { backend } = home;
      expect(await backend.find(UNKNOWN)).toBeUndefined();
      await expectCode('KEY_NOT_FOUND', backend.sign(UNKNOWN, { message: Buffer.from('x') }, CONTEXT));
      await expectCode('KEY_NOT_FOUND', backend.publicKey(UNKNOWN, CONTEXT));
      if (backend.exporter) await expectCode('KEY_NOT_FOUND', backend.exporter.export(UNKNOWN, CONTEXT));
      if (backend.remover) expect(await backend.remover.remove(UNKNOWN, CONTEXT)).toBe(false);
      if (backend.unlocker) {
        await expectCode('KEY_NOT_FOUND', backend.unlocker.unlock(UNKNOWN, Secret.fromText('whatever'), undefined));
      }
      expect(await backend.count()).toBe(1);
    });

    describeKeys(home);

    it.each(ALGORITHMS.filter((algorithm) => !subject.generates.includes(algorithm)))(
      'makes no %s key, and has none afterwards',
      async (algorithm) => {
        await expectCode('UNSUPPORTED', declared(home.backend.generator).generate({ algorithm, ...OWNER }, CONTEXT));
        expect(await home.keys()).toEqual([]);
      },
    );

    if (subject.provisions === undefined) {
      it('takes empty and unusual roles and GUNs', async () => {
        for (const owner of [
          { role: '', gun: '' },
          { role: 'targets/releases', gun: 'docker.io/library/alpine' },
          { role: 'Zoë', gun: 'example.com/übung:5000/a b' },
        ]) {
          const { keyId } = await home.makeKey('ecdsa', owner);
          expect(await home.backend.find(keyId)).toMatchObject(owner);
        }
      });
    }

    it('signs for many callers at once', async () => {
      const other = home.algorithms.includes('ed25519') ? 'ed25519' : 'ecdsa';
      const keys = await home.makeKeys(['ecdsa', other, 'ecdsa']);
      expect(new Set(keys.map(({ keyId }) => keyId)).size).toBe(3);
      const jobs = Array.from({ length: 60 }, async (_, index) => {
        const key = keys[index % keys.length] as (typeof keys)[number];
        const message = Buffer.from(`message ${index}`);
        const signature = await home.backend.sign(key.keyId, { message }, CONTEXT);
        return verifySignature(key.publicKey, message, signature);
      });
      expect(await Promise.all(jobs)).toEqual(Array.from({ length: 60 }, () => true));
    });

    it('says when the operation begins, once, before it answers', async () => {
      const { keyId } = await home.makeKey();
      let starts = 0;
      await home.backend.sign(keyId, { message: Buffer.from('x') }, { ...CONTEXT, onStart: () => void starts++ });
      expect(starts).toBe(1);
    });

    it('answers CANCELLED to a caller who has gone', async () => {
      const { keyId } = await home.makeKey();
      const signal = AbortSignal.abort();
      await expectCode('CANCELLED', home.backend.sign(keyId, { message: Buffer.from('x') }, { ...CONTEXT, signal }));
    });

    if (subject.has.unlocker === 'pin') {
      it('answers DEADLINE_EXCEEDED to a caller whose time is over, where a device is waited for', async () => {
        const { keyId } = await home.makeKey();
        const deadline = Date.now() - 1;
        const signing = home.backend.sign(keyId, { message: Buffer.from('x') }, { ...CONTEXT, deadline });
        await expectCode('DEADLINE_EXCEEDED', signing);
      });
    }

    it('does not change the message it is given', async () => {
      const { keyId } = await home.makeKey();
      const message = randomBytes(100);
      const before = Buffer.from(message);
      await home.backend.sign(keyId, { message }, CONTEXT);
      expect(message.equals(before)).toBe(true);
    });

    if (subject.has.remover) {
      it('removes a key for good', async () => {
        const [{ keyId }, other] = [await home.makeKey(), await home.makeKey()];
        const remover = declared(home.backend.remover);
        expect(await remover.remove(keyId, CONTEXT)).toBe(true);
        expect(await home.backend.find(keyId)).toBeUndefined();
        await expectCode('KEY_NOT_FOUND', home.backend.sign(keyId, { message: Buffer.from('x') }, CONTEXT));
        expect(await remover.remove(keyId, CONTEXT)).toBe(false);
        expect((await home.keys()).map((key) => key.keyId)).toEqual([other.keyId]);
      });
    }

    if (subject.imports.length > 0) describeImport(home);
    if (subject.has.unlocker === true) describePassphrases(home);
    if (subject.has.unlocker === 'pin') describePin(home);

    it('shows nothing secret when it is printed, and keeps passphrases out of its errors', async () => {
      const key = await home.makeKey();
      const { backend } = home;
      const errors = await Promise.all([
        backend.sign(UNKNOWN, { message: Buffer.from('x') }, CONTEXT).catch((error: unknown) => error),
        backend.unlocker?.unlock(key.keyId, Secret.fromText('a wrong passphrase'), undefined).catch((e: unknown) => e),
      ]);
      const shown = inspect([backend, key, ...errors], { depth: 12, showHidden: true });
      expect(shown).not.toContain('a wrong passphrase');
      expect(shown).not.toContain('PRIVATE KEY-----\n');
      if (home.hasPassphrase) expect(shown).not.toContain(home.passphrase);
    });

    it('can be disposed of twice', async () => {
      await home.makeKey();
      await home.backend[Symbol.asyncDispose]();
      await home.backend[Symbol.asyncDispose]();
    });
  });
}
