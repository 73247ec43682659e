import { describe, expect, it } from 'vitest';
import { Secret } from '../../../src/crypto/secret.ts';
import { SignetError } from '../../../src/errors.ts';
import { SecretStore, type SecretStoreOptions } from '../../../src/keyring/secret-store.ts';
import type { StoreAnswer, StoreRequest } from '../../../src/keyring/secret-store-process.ts';

const NAME = 'pin:4711';
const SESSION = { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/none' };
const NOTHING: StoreAnswer = { found: false, secret: undefined };
const locked = () => Promise.reject(new SignetError('UNAVAILABLE', 'locked'));

/** A store that answers as a test says. */
function store(answer: (request: StoreRequest) => Promise<StoreAnswer>, options: Partial<SecretStoreOptions> = {}) {
  const asked: StoreRequest[] = [];
  const problems: SignetError[] = [];
  const secrets = new SecretStore({
    env: SESSION,
    onProblem: (error) => problems.push(error),
    ask: (request) => {
      asked.push(request);
      return answer(request);
    },
    ...options,
  });
  return { secrets, asked, problems };
}

describe('the store', () => {
  it('gives what is kept', async () => {
    const { secrets, asked } = store(async () => ({ found: true, secret: Secret.fromText('1234') }));
    using secret = await secrets.get(NAME);
    expect(Buffer.from(secret?.bytes() ?? []).toString()).toBe('1234');
    expect(await secrets.delete(NAME)).toBe(true);
    expect(asked).toEqual([
      { verb: 'get', name: NAME },
      { verb: 'delete', name: NAME },
    ]);
  });

  it.runIf(process.platform === 'linux')('is not touched without a D-Bus session', async () => {
    const { secrets, asked, problems } = store(locked, { env: { XDG_RUNTIME_DIR: '/nonexistent' } });
    expect(await secrets.get(NAME)).toBeUndefined();
    expect(await secrets.drop(NAME)).toBe(false);
    using pin = Secret.fromText('1234');
    const refusal = { code: 'UNAVAILABLE', message: expect.stringContaining('outside of a D-Bus session') };
    await expect(secrets.set(NAME, pin)).rejects.toMatchObject(refusal);
    await expect(secrets.check()).rejects.toMatchObject(refusal);
    await expect(secrets.delete(NAME)).rejects.toMatchObject(refusal);
    expect([asked, problems]).toEqual([[], []]);
  });

  it('is asked by one at a time', async () => {
    let busy = 0;
    let most = 0;
    const { secrets } = store(async () => {
      most = Math.max(most, ++busy);
      await Promise.resolve();
      busy--;
      return NOTHING;
    });
    await Promise.all(Array.from({ length: 20 }, () => secrets.get(NAME)));
    expect(most).toBe(1);
  });
});

describe('a store that waits for a person to unlock it', () => {
  const SECRET = async () => ({ found: true, secret: Secret.fromText('1234') });
  const read = async (secrets: SecretStore) => {
    using secret = await secrets.getSoon(NAME);
    return secret && Buffer.from(secret.bytes()).toString();
  };
  /** A store whose person is away until `come`. */
  function waitingStore() {
    let come: (() => void) | undefined;
    const person = new Promise<void>((resolve) => {
      come = resolve;
    });
    return { ...store(() => person.then(SECRET), { soonMs: 20 }), come: () => come?.() };
  }

  it('does not hold up who asks soon, and the next one has its answer without asking again', async () => {
    const { secrets, asked, come } = waitingStore();
    expect(await read(secrets)).toBeUndefined();
    expect(await read(secrets)).toBeUndefined();
    come();
    await secrets.get('pin:another'); // its turn is after that
    expect(await read(secrets)).toBe('1234');
    expect(asked).toEqual([
      { verb: 'get', name: NAME },
      { verb: 'get', name: 'pin:another' },
    ]);
  });

  it('is looked into anew once its late answer was taken', async () => {
    const { secrets, asked, come } = waitingStore();
    await read(secrets);
    come();
    await secrets.get('pin:another');
    expect([await read(secrets), await read(secrets)]).toEqual(['1234', '1234']);
    expect(asked.filter(({ name }) => name === NAME)).toHaveLength(2);
  });

  it('gives its answer to all who wait for it', async () => {
    const { secrets, asked } = store(SECRET);
    expect(await Promise.all([read(secrets), read(secrets)])).toEqual(['1234', '1234']);
    expect(asked).toHaveLength(1);
  });

  it('does not give what was found before another was kept, or that one was forgotten', async () => {
    using other = Secret.fromText('5678');
    for (const change of ['set', 'delete', 'drop'] as const) {
      const { secrets, asked, come } = waitingStore();
      await read(secrets);
      come();
      await secrets[change](NAME, other);
      await read(secrets);
      expect(asked.map(({ verb }) => verb)).toEqual(['get', change === 'drop' ? 'delete' : change, 'get']);
    }
  });

  it('does not hold up who drops a secret, which is not gone for certain', async () => {
    const { secrets } = waitingStore();
    expect(await secrets.drop(NAME)).toBe(false);
  });
});

describe('a store that fails', () => {
  it('is reported once, and left alone for a while by look-ups, also by those that waited', async () => {
    const { secrets, asked, problems } = store(locked);
    const found = await Promise.all(Array.from({ length: 5 }, () => secrets.get(NAME)));
    await secrets.drop(NAME);
    expect(found).toEqual(Array.from({ length: 5 }));
    expect(asked).toHaveLength(1);
    expect(problems).toMatchObject([{ code: 'UNAVAILABLE', message: 'locked' }]);
  });

  it('is an error for who wants something kept, each time', async () => {
    const { secrets, asked, problems } = store(locked);
    using pin = Secret.fromText('1234');
    for (let i = 0; i < 2; i++) {
      await expect(secrets.set(NAME, pin)).rejects.toMatchObject({ code: 'UNAVAILABLE', message: 'locked' });
    }
    expect(asked).toHaveLength(2);
    expect(problems).toEqual([]);
  });

  it('is looked into again once something could be kept in it', async () => {
    let isLocked = true;
    const { secrets, asked } = store(async () => (isLocked ? await locked() : NOTHING));
    using pin = Secret.fromText('1234');
    await secrets.get(NAME);
    isLocked = false;
    await secrets.set(NAME, pin);
    await secrets.get(NAME);
    expect(asked.map(({ verb }) => verb)).toEqual(['get', 'set', 'get']);
  });
});
