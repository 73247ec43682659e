import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { configDirectory, DROP_IN, ENV, refusal, SERVER, TLS } from './config-directory.ts';

const { path, load, loadNone } = configDirectory();

describe('loadConfig without a file', () => {
  it('serves the agent with file storage in the default places', async () => {
    expect(await loadNone()).toEqual({
      file: undefined,
      server: undefined,
      agent: { socket: '/run/user/1/signet/signetd.sock', idleTimeoutMs: 0 },
      logging: { level: 'info' },
      storage: {
        backend: 'file',
        path: '/home/ann/.docker/trust/private',
        defaultAlias: undefined,
        passphraseFile: undefined,
        kdfIterations: undefined,
        unlockedTtlMs: 3_600_000,
        unlockedMax: 10_000,
      },
      tokens: [],
      placement: new Map([['*', ['storage']]]),
      metrics: undefined,
      workers: 1,
      warnings: [],
    });
  });

  it('takes settings from the environment, with paths from the working directory', async () => {
    const config = await loadNone({ ...ENV, NOTARY_SIGNER_STORAGE_PATH: 'keys', NOTARY_SIGNER_WORKERS: '2' });
    expect(config.storage).toMatchObject({ path: path('keys') });
    expect(config.workers).toBe(2);
  });

  it('starts a relative DOCKER_CONFIG at the working directory, as Docker does', async () => {
    const config = await loadNone({ ...ENV, DOCKER_CONFIG: 'cfg' });
    expect(config.storage).toMatchObject({ path: path('cfg', 'trust', 'private') });
  });

  it('opens the server alone when the environment describes one', async () => {
    const config = await loadNone({
      NOTARY_SIGNER_SERVER_GRPC_ADDR: ':7899',
      NOTARY_SIGNER_SERVER_TLS_CERT_FILE: relative(path(), TLS.tls_cert_file),
      NOTARY_SIGNER_SERVER_TLS_KEY_FILE: TLS.tls_key_file,
      NOTARY_SIGNER_STORAGE_BACKEND: 'memory',
    });
    expect(config.server).toMatchObject({ grpcAddr: { host: undefined, port: 7899 }, tlsCertFile: TLS.tls_cert_file });
    expect(config.agent).toBeUndefined();
  });

  it('needs no home directory when nothing is in it', async () => {
    const config = await loadNone({ SIGNET_SOCKET: '/s.sock', NOTARY_SIGNER_STORAGE_PATH: '/keys' });
    expect(config).toMatchObject({ agent: { socket: '/s.sock' }, storage: { path: '/keys' } });
  });

  it('says what to set without a home directory', async () => {
    await expect(loadNone({})).rejects.toThrow(
      refusal('HOME is not set, the default trust directory is unknown', 'set HOME, DOCKER_CONFIG or storage.path'),
    );
  });

  it('names the variable of a bad value and never quotes it', async () => {
    await expect(loadNone({ ...ENV, NOTARY_SIGNER_WORKERS: 'hunter2' })).rejects.toThrow(
      refusal('not a whole number from 1 to 64 (workers from NOTARY_SIGNER_WORKERS)'),
    );
  });
});

describe("loadConfig with notary-signer's configuration", () => {
  it('reads it and opens no other door', async () => {
    expect(await load(DROP_IN)).toEqual({
      file: path('signer.json'),
      server: {
        grpcAddr: { host: '127.0.0.1', port: 7899 },
        tlsCertFile: TLS.tls_cert_file,
        tlsKeyFile: TLS.tls_key_file,
        clientCaFile: SERVER.client_ca_file,
        maxConcurrentCalls: 1024,
        callTimeoutMs: 30_000,
        maxConnections: 1024,
        drainTimeoutMs: 10_000,
      },
      agent: undefined,
      logging: { level: 'info' },
      storage: { backend: 'memory' },
      tokens: [],
      placement: new Map([['*', ['storage']]]),
      metrics: undefined,
      workers: 1,
      warnings: [],
    });
  });

  it('accepts every key that notary-signer knows, and says which have no effect', async () => {
    const config = await load({
      server: { ...SERVER, http_addr: ':4444' },
      logging: { level: 'warning' },
      storage: {
        backend: 'memory',
        db_url: 'signer@tcp(mysql:3306)/notarysigner?parseTime=True',
        default_alias: 'alias1',
        database: 'd',
        username: 'u',
        password: 'p',
        tls_ca_file: 'a',
        client_cert_file: 'b',
        client_key_file: 'c',
      },
      default_alias: 'alias2',
      reporting: { bugsnag: { api_key: 'k', release_stage: 'production', endpoint: 'https://bugsnag.example.com' } },
    });
    expect(config.warnings).toEqual([
      'reporting.bugsnag is ignored: signetd sends no reports',
      'server.http_addr is ignored: signetd has no HTTP listener there',
    ]);
  });

  it('warns when clients are not authenticated', async () => {
    const { client_ca_file: _, ...server } = SERVER;
    for (const variant of [server, { ...server, client_ca_file: '' }, { ...server, client_ca_file: null }]) {
      const config = await load({ ...DROP_IN, server: variant });
      expect(config.server?.clientCaFile).toBeUndefined();
      expect(config.warnings).toEqual(['server.client_ca_file is not set: anyone who reaches the port can sign']);
    }
  });

  it('reads keys in any case, and flat keys with dots', async () => {
    const config = await load({ SERVER, 'Storage.Backend': 'memory', LOGGING: { Level: 'DEBUG' } });
    expect(config).toMatchObject({ logging: { level: 'debug' }, storage: { backend: 'memory' } });
  });

  it('reads the same from YAML and TOML', async () => {
    const expected = { ...(await load(DROP_IN)), file: expect.any(String) };
    const yaml = `
server:
  grpc_addr: 127.0.0.1:7899
  <<: { tls_cert_file: ${SERVER.tls_cert_file}, tls_key_file: ${SERVER.tls_key_file} }
  client_ca_file: ${SERVER.client_ca_file}
storage: { backend: memory } # a comment
`;
    const toml = `
[server]
grpc_addr = "127.0.0.1:7899"
tls_cert_file = "${SERVER.tls_cert_file}"
tls_key_file = "${SERVER.tls_key_file}"
client_ca_file = "${SERVER.client_ca_file}"
[storage]
backend = "memory"
`;
    expect(await load(yaml, { name: 'a.yaml' })).toEqual(expected);
    expect(await load(yaml, { name: 'a.YML' })).toEqual(expected);
    expect(await load(toml, { name: 'a.toml' })).toEqual(expected);
  });

  it('lets the environment win, except with empty variables', async () => {
    const config = await load(DROP_IN, {
      env: {
        ...ENV,
        NOTARY_SIGNER_SERVER_GRPC_ADDR: '[::1]:0',
        NOTARY_SIGNER_LOGGING_LEVEL: 'Trace',
        NOTARY_SIGNER_STORAGE_BACKEND: '',
        NOTARY_SIGNER_SERVER_CALL_TIMEOUT: '1m30s',
      },
    });
    expect(config.server).toMatchObject({ grpcAddr: { host: '::1', port: 0 }, callTimeoutMs: 90_000 });
    expect(config).toMatchObject({ logging: { level: 'trace' }, storage: { backend: 'memory' } });
  });

  it('leaves passphrase variables alone', async () => {
    const config = await load(DROP_IN, { env: { ...ENV, NOTARY_SIGNER_ALIAS1: 'x', NOTARY_SIGNER_TOKENS: 'y' } });
    expect(config.storage).toEqual({ backend: 'memory' });
  });

  it('takes the default alias from storage, else from the top level, else not at all', async () => {
    const alias = async (content: object, env = {}) => {
      const { storage } = await load({ storage: { backend: 'file' }, ...content }, { env: { ...ENV, ...env } });
      return storage.backend === 'file' ? storage.defaultAlias : undefined;
    };
    expect(await alias({ storage: { default_alias: 'a' }, default_alias: 'b' })).toBe('a');
    expect(await alias({ default_alias: 'b' })).toBe('b');
    expect(await alias({ default_alias: 'b' }, { NOTARY_SIGNER_DEFAULT_ALIAS: 'c' })).toBe('c');
    expect(await alias({ default_alias: 2024 })).toBe('2024');
    expect(await alias({})).toBeUndefined();
  });
});

describe('loadConfig with tokens', () => {
  it('reads them in order, with paths that start at the file', async () => {
    const DEFAULTS = { backend: 'pkcs11', pinCacheMs: 0, idleReleaseMs: undefined, libraryParameters: undefined };
    const { tokens, placement } = await load({
      tokens: [
        { uri: 'pkcs11:token=ci?module-path=/m.so&pin-source=file:/run/pin' },
        { uri: 'pkcs11:serial=1?module-path=lib/m.so&pin-source=file:pins/one' },
        { uri: 'pkcs11:serial=2?module-path=/m.so&pin-source=/run/two' },
        { uri: 'pkcs11:serial=3?module-path=/m.so&pin-source=file:///run/three', hosts: 4 },
        { URI: 'pkcs11:model=m?module-path=/m.so' },
      ],
      placement: { root: ['pkcs11', 'storage'] },
    });
    expect(tokens).toEqual([
      { uri: { token: 'ci', modulePath: '/m.so' }, hosts: 1, pinFile: '/run/pin', ...DEFAULTS },
      { uri: { serial: '1', modulePath: path('lib/m.so') }, hosts: 1, pinFile: path('pins/one'), ...DEFAULTS },
      { uri: { serial: '2', modulePath: '/m.so' }, hosts: 1, pinFile: '/run/two', ...DEFAULTS },
      { uri: { serial: '3', modulePath: '/m.so' }, hosts: 4, pinFile: '/run/three', ...DEFAULTS },
      { uri: { model: 'm', modulePath: '/m.so' }, hosts: 1, pinFile: undefined, ...DEFAULTS },
    ]);
    expect(placement.get('root')).toEqual(['pkcs11', 'storage']);
  });

  it('reads YubiKeys by their serial numbers', async () => {
    const { tokens, placement } = await load({
      tokens: [
        {
          uri: 'yubikey:serial=12345678?pin-source=file:pin',
          idle_release: '5m',
          management_key_file: '~/management-key',
        },
        {
          uri: 'YubiKey:?module-path=/opt/libykcs11.so',
          attestation_roots: 'roots.pem',
          require_attestation: ['root'],
        },
      ],
      placement: { root: ['yubikey'] },
    });
    expect(tokens).toEqual([
      {
        backend: 'yubikey',
        serial: '12345678',
        modulePath: undefined,
        pinFile: path('pin'),
        pinCacheMs: 0,
        idleReleaseMs: 300_000,
        managementKeyFile: '/home/ann/management-key',
        attestationRoots: undefined,
        requireAttestation: [],
      },
      {
        backend: 'yubikey',
        serial: undefined,
        modulePath: '/opt/libykcs11.so',
        pinFile: undefined,
        pinCacheMs: 0,
        idleReleaseMs: undefined,
        managementKeyFile: undefined,
        attestationRoots: path('roots.pem'),
        requireAttestation: ['root'],
      },
    ]);
    expect(placement.get('root')).toEqual(['yubikey']);
  });

  it('places no keys on a token that is not configured', async () => {
    await expect(load({ placement: { root: ['pkcs11'] } })).rejects.toMatchObject({
      code: 'CONFIGURATION',
      hint: 'add a token to "tokens"',
    });
  });
});

describe('loadConfig with keys of our own', () => {
  it('reads all of them', async () => {
    const config = await load({
      server: { ...SERVER, max_concurrent_calls: 8, call_timeout: '5s', max_connections: 9, drain_timeout: '0s' },
      agent: { socket: '/s.sock', idle_timeout: '1h30m' },
      storage: {
        backend: 'file',
        path: '/keys',
        passphrase_file: '/pass',
        kdf_iterations: 2048,
        unlocked_ttl: 0,
        unlocked_max: '5',
      },
      tokens: [],
      placement: { Root: ['file', 'storage'], 'targets/releases': ['storage'] },
      metrics: { http_addr: '127.0.0.1:9464' },
      workers: 64,
    });
    expect(config).toMatchObject({
      server: { maxConcurrentCalls: 8, callTimeoutMs: 5000, maxConnections: 9, drainTimeoutMs: 0 },
      agent: { socket: '/s.sock', idleTimeoutMs: 5_400_000 },
      storage: { path: '/keys', passphraseFile: '/pass', kdfIterations: 2048, unlockedTtlMs: 0, unlockedMax: 5 },
      metrics: { host: '127.0.0.1', port: 9464 },
      workers: 64,
    });
    expect(config.placement).toEqual(
      new Map([
        ['*', ['storage']],
        ['root', ['file', 'storage']],
        ['targets/releases', ['storage']],
      ]),
    );
  });

  it('opens the agent where a file asks for it, and where a file has no server', async () => {
    const socket = '/run/user/1/signet/signetd.sock';
    expect((await load({ ...DROP_IN, agent: {} })).agent).toEqual({ socket, idleTimeoutMs: 0 });
    expect((await load({})).agent).toEqual({ socket, idleTimeoutMs: 0 });
    const env = { ...ENV, NOTARY_SIGNER_AGENT_SOCKET: '/s.sock' };
    expect((await load(DROP_IN, { env })).agent?.socket).toBe('/s.sock');
  });

  it("starts relative paths at the file's directory and ~/ at home, also from the environment", async () => {
    await mkdir(path('etc'));
    const certificate = relative(path('etc'), TLS.tls_cert_file);
    const config = await load(
      {
        server: { ...SERVER, tls_cert_file: certificate },
        agent: { socket: 'run/s.sock' },
        storage: { backend: 'file', path: '~/keys' },
      },
      { name: 'etc/signer.json', env: { ...ENV, NOTARY_SIGNER_STORAGE_PASSPHRASE_FILE: '../pass' } },
    );
    expect(config.file).toBe(path('etc', 'signer.json'));
    expect(config.server?.tlsCertFile).toBe(TLS.tls_cert_file);
    expect(config.agent?.socket).toBe(path('etc', 'run', 's.sock'));
    expect(config.storage).toMatchObject({ path: '/home/ann/keys', passphraseFile: path('pass') });
  });

  it('serves metrics with -debug where notary-signer has its debug server, unless told otherwise', async () => {
    expect((await loadNone(ENV, true)).metrics).toEqual({ host: 'localhost', port: 8080 });
    const metrics = { http_addr: '127.0.0.1:0' };
    expect((await load({ metrics }, { debug: true })).metrics).toEqual({ host: '127.0.0.1', port: 0 });
  });

  it('says how to name the interface of the metrics', async () => {
    await expect(load({ metrics: { http_addr: ':9464' } })).rejects.toThrow(
      expect.objectContaining({
        hint: 'write "127.0.0.1:9464" for this machine only, "0.0.0.0:9464" for every interface',
      }),
    );
  });

  it('reads exactly the named file, not a sibling', async () => {
    await writeFile(path('signer.json'), '{"workers": 3}');
    const config = await load('workers: 2\n', { name: 'signer.yaml' });
    expect(config.workers).toBe(2);
    expect(dirname(config.file ?? '')).toBe(path());
  });
});
