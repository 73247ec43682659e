import { expect, it } from 'vitest';
import { moduleEnvironment } from '../../../../src/backends/pkcs11/child-environment.ts';

it('leaves out what is secret, or would change how Node runs, and keeps the rest', () => {
  const kept = { PATH: '/bin', SOFTHSM2_CONF: '/softhsm2.conf', PGHOST: 'db', DOCKER_CONFIG: '/docker' };
  const withheld = {
    NODE_OPTIONS: '--inspect',
    NOTARY_ROOT_PASSPHRASE: 'x',
    NOTARY_SIGNER_STORAGE_DB_URL: 'x',
    DOCKER_CONTENT_TRUST_ROOT_PASSPHRASE: 'x',
    PGPASSWORD: 'x',
    CREDENTIALS_DIRECTORY: '/run/credentials',
    LISTEN_FDS: '1',
  };
  expect(moduleEnvironment({ ...kept, ...withheld })).toEqual(kept);
});
