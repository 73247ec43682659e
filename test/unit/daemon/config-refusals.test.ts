import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../src/daemon/config.ts';
import { configDirectory, DROP_IN, ENV, refusal, SERVER, TLS } from './config-directory.ts';

const { path, load } = configDirectory();

const inFile = (problem: string, key: string) => refusal(`${problem} (${key} in ${path('signer.json')})`);

describe("loadConfig checks in notary-signer's order", () => {
  const WRONG = {
    logging: { level: 2 },
    reporting: { bugsnag: { endpoint: 'x' } },
    server: { grpc_addr: '' },
    storage: { backend: 'disk' },
  };
  const steps: [string, object, string, string][] = [
    ['log level', {}, 'not a valid logrus Level: "2"', 'logging.level'],
    ['bugsnag', { logging: {} }, 'must provide an API key for bugsnag', 'reporting.bugsnag.api_key'],
    ['TLS', { logging: {}, reporting: {} }, 'unable to set up TLS: no certificate file', 'server.tls_cert_file'],
    [
      'listen address',
      { logging: {}, reporting: {}, server: TLS },
      'grpc listen address required for server',
      'server.grpc_addr',
    ],
    [
      'storage',
      { logging: {}, reporting: {}, server: SERVER },
      '"disk" is not an allowed backend, must be one of: [file memory mysql postgres sqlite3]',
      'storage.backend',
    ],
  ];

  it.each(steps)('%s', async (_, corrected, problem, key) => {
    await expect(load({ ...WRONG, ...corrected })).rejects.toThrow(inFile(problem, key));
  });

  it('reports a TLS file with its key and path', async () => {
    await expect(load({ ...DROP_IN, server: { ...SERVER, tls_key_file: 'no.key' } })).rejects.toThrow(
      refusal(`unable to set up TLS: cannot read server.tls_key_file ${path('no.key')} (ENOENT)`),
    );
  });
});

describe('loadConfig refuses a file', () => {
  it('that does not exist', async () => {
    await expect(loadConfig({ file: 'no.json', debug: false, env: ENV, cwd: path() })).rejects.toThrow(
      refusal(`cannot read configuration file ${path('no.json')} (ENOENT)`, 'create the file or correct the path'),
    );
  });

  it('whose extension says nothing', async () => {
    await expect(load('{}', { name: 'signer.conf' })).rejects.toThrow(
      refusal(
        `cannot tell the format of configuration file ${path('signer.conf')}`,
        'give it a name that ends in .json, .yaml, .yml or .toml',
      ),
    );
  });

  it('of more than 1 MiB', async () => {
    await expect(load(`{}${' '.repeat(1024 * 1024)}`)).rejects.toThrow(
      refusal(`configuration file ${path('signer.json')} is larger than 1 MiB`),
    );
  });

  it('that is not UTF-8', async () => {
    await expect(load(Buffer.from([0x7b, 0xff, 0x7d]))).rejects.toThrow(
      refusal(`configuration file ${path('signer.json')} is not UTF-8 text`),
    );
  });

  it.each(['[]', '"x"', 'null'])('that holds %s', async (text) => {
    await expect(load(text)).rejects.toThrow(
      refusal(`configuration file ${path('signer.json')} does not hold an object`),
    );
  });

  it.each([
    ['a.json', '{\n  "storage": {"password": "hunter2",}\n}', 'line 2, column 37: expected a name in double quotes'],
    ['a.json', '// hunter2\n{}', 'line 1, column 1: expected a value'],
    ['a.json', '{"a": 1,\n"a": "hunter2"}', 'line 2, column 1: name given twice in one object'],
    ['a.yaml', 'storage:\n\tpassword: hunter2\n', 'line 2, column 1: tab as indent'],
    ['a.yaml', 'workers: 1\nworkers: 2\n', 'line 2, column 1: duplicate key'],
    ['a.yaml', 'workers: *hunter2\n', 'line 1, column 1: aliases that cannot be resolved'],
    ['a.toml', '[storage]\npassword = hunter2\n', 'line 2, column 12: not valid TOML'],
  ])('with a mistake, at its place and without its content: %s %#', async (name, text, message) => {
    await expect(load(text, { name })).rejects.toThrow(
      refusal(`cannot parse configuration file ${path(name)}: ${message}`),
    );
  });

  it.each([
    ['a.json', '['.repeat(50_000), 'line 1, column 33: nested too deeply'],
    ['a.yaml', `a: ${'['.repeat(50_000)}`, 'line 1, column 1: nested too deeply'],
    ['a.yaml', `a:\n ${'- '.repeat(50_000)}`, 'line 1, column 1: nested too deeply'],
    ['a.yaml', '? '.repeat(50_000), 'line 1, column 1: nested too deeply'],
    [
      'a.yaml',
      Array.from({ length: 1000 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
      'line 1, column 1: nested too deeply',
    ],
    ['a.toml', `a = ${'['.repeat(50_000)}`, 'line 1, column 1005: not valid TOML'],
  ])('nested too deeply, without exhausting the stack: %s %#', async (name, text, message) => {
    await expect(load(text, { name })).rejects.toThrow(
      refusal(`cannot parse configuration file ${path(name)}: ${message}`),
    );
  });

  it('with aliases that unfold into a bomb', async () => {
    const levels = Array.from({ length: 12 }, (_, level) => {
      const items =
        level === 0
          ? 'x'
          : Array(9)
              .fill(`*a${level - 1}`)
              .join(', ');
      return `a${level}: &a${level} [${items}]`;
    });
    await expect(load(levels.join('\n'), { name: 'a.yaml' })).rejects.toThrow(
      refusal(`cannot parse configuration file ${path('a.yaml')}: line 1, column 1: aliases that cannot be resolved`),
    );
  });

  it('with an unknown key, and names the nearest known one', async () => {
    await expect(load({ server: { GRPC_adr: 'x' } })).rejects.toThrow(
      refusal(
        `unknown key "server.GRPC_adr" in ${path('signer.json')}`,
        'did you mean "server.grpc_addr"? docs/configuration.md lists every key',
      ),
    );
    await expect(load('{"__proto__": {"server": {}}}')).rejects.toThrow(
      refusal(`unknown key "__proto__" in ${path('signer.json')}`, 'docs/configuration.md lists every key'),
    );
  });

  it('with a key in two spellings', async () => {
    await expect(load({ Workers: 1, workers: 2 })).rejects.toThrow(inFile('key given twice', 'workers'));
  });

  it('with a section that is none, or one whose emptiness would decide which doors are open', async () => {
    await expect(load({ storage: 'file' })).rejects.toThrow(inFile('not a section', 'storage'));
    await expect(load({ logging: ['debug'] })).rejects.toThrow(inFile('not a section', 'logging'));
    await expect(load({ agent: null })).rejects.toThrow(inFile('section is empty', 'agent'));
    await expect(load({ server: null })).rejects.toThrow(inFile('section is empty', 'server'));
    await expect(load({ logging: null, placement: null, tokens: null })).resolves.toBeDefined();
  });
});

/** Of the first token, as messages name it. */
const PARAMETERS = ['tokens[0]', 'library_parameters'].join('.');
const TOKEN = 'pkcs11:token=a?module-path=/m.so';
const SQL = { backend: 'mysql', db_url: 'signer@/notarysigner', default_alias: 'alias1' };

describe('loadConfig refuses the value', () => {
  it.each<[object, string, string]>([
    [{ logging: { level: 'loud' } }, 'not a valid logrus Level: "loud"', 'logging.level'],
    [{ logging: { level: true } }, 'not a text', 'logging.level'],
    [
      { storage: { backend: 'File' } },
      '"File" is not an allowed backend, must be one of: [file memory mysql postgres sqlite3]',
      'storage.backend',
    ],
    [{ storage: { backend: 'mysql' } }, 'must provide a non-empty database source for mysql', 'storage.db_url'],
    [{ storage: { backend: 'postgres' } }, 'must provide a non-empty database source for postgres', 'storage.db_url'],
    [
      { storage: { backend: 'sqlite3', db_url: 'keys.db' } },
      'must provide a default alias for the key DB',
      'storage.default_alias',
    ],
    [{ storage: { ...SQL, p2c: 4096 } }, 'not a whole number from 8192 to 1000000', 'storage.p2c'],
    [{ storage: { ...SQL, max_connections: 0 } }, 'not a whole number from 1 to 1000', 'storage.max_connections'],
    [
      { storage: { ...SQL, statement_timeout: '1ms' } },
      'not a duration from 100ms to 576h',
      'storage.statement_timeout',
    ],
    [{ storage: { backend: 'rethinkdb' } }, 'rethinkdb storage is not supported', 'storage.backend'],
    [
      { server: SERVER },
      '"" is not an allowed backend, must be one of: [file memory mysql postgres sqlite3]',
      'storage.backend',
    ],
    [{ storage: { path: 'a\0b' } }, 'control character in the value', 'storage.path'],
    [{ storage: { kdf_iterations: 2047 } }, 'not a whole number from 2048 to 10000000', 'storage.kdf_iterations'],
    [{ storage: { kdf_iterations: 1e21 } }, 'not a whole number from 2048 to 10000000', 'storage.kdf_iterations'],
    [{ storage: { unlocked_max: 0 } }, 'not a whole number from 1 to 1000000', 'storage.unlocked_max'],
    [{ storage: { unlocked_ttl: '25d' } }, 'not a duration from 0s to 576h', 'storage.unlocked_ttl'],
    [{ storage: { unlocked_ttl: '577h' } }, 'not a duration from 0s to 576h', 'storage.unlocked_ttl'],
    [{ agent: { idle_timeout: 30 } }, 'not a duration from 0s to 576h', 'agent.idle_timeout'],
    [{ ...DROP_IN, server: { ...SERVER, call_timeout: '0s' } }, 'not a duration from 1ms to 1h', 'server.call_timeout'],
    [
      { ...DROP_IN, server: { ...SERVER, drain_timeout: '2h' } },
      'not a duration from 0s to 1h',
      'server.drain_timeout',
    ],
    [
      { ...DROP_IN, server: { ...SERVER, grpc_addr: 7899 } },
      'not an address of the form host:port',
      'server.grpc_addr',
    ],
    [
      { ...DROP_IN, server: { ...SERVER, max_connections: 1.5 } },
      'not a whole number from 1 to 65536',
      'server.max_connections',
    ],
    [
      { ...DROP_IN, server: { ...SERVER, max_concurrent_calls: '', max_connections: -1 } },
      'not a whole number from 1 to 65536',
      'server.max_connections',
    ],
    [{ metrics: { http_addr: ':9464' } }, 'metrics have no access control, name the interface', 'metrics.http_addr'],
    [{ workers: 65 }, 'not a whole number from 1 to 64', 'workers'],
    [
      { workers: 2, storage: { backend: 'memory' } },
      'several workers over memory storage would each have keys of their own',
      'workers',
    ],
    [{ tokens: {} }, 'not a list', 'tokens'],
    [{ tokens: ['pkcs11:token=a'] }, 'not an object', 'tokens[0]'],
    [
      { tokens: [{ uri: 'yubikey:serial=x' }] },
      'malformed yubikey URI: serial is not the number printed on the device',
      'tokens[0].uri',
    ],
    [
      { tokens: [{ uri: 'yubikey:token=x' }] },
      'malformed yubikey URI: it has other attributes than serial, pin-source and module-path',
      'tokens[0].uri',
    ],
    [
      { tokens: [{ uri: 'yubikey:?pin-value=123456' }] },
      'malformed yubikey URI: pin-value would store the PIN',
      'tokens[0].uri',
    ],
    [{ tokens: [{ uri: 'yubikey:', library_parameters: 'x' }] }, 'not for yubikey: URIs', PARAMETERS],
    [
      { tokens: [{ uri: TOKEN, require_attestation: ['root'] }] },
      'not for pkcs11: URIs',
      'tokens[0].require_attestation',
    ],
    [
      { tokens: [{ uri: 'yubikey:', require_attestation: ['root'] }] },
      'nobody is there to believe',
      'tokens[0].require_attestation',
    ],
    [
      { tokens: [{ uri: 'yubikey:', require_attestation: 'root', attestation_roots: 'a' }] },
      'not a list of roles',
      'tokens[0].require_attestation',
    ],
    [{ tokens: [{ uri: 'yubikey:', management_key_file: 1 }] }, 'not a path', 'tokens[0].management_key_file'],
    [{ tokens: [{ url: 'pkcs11:token=a' }] }, 'unknown key "url"', 'tokens[0]'],
    [{ tokens: [{ uri: 7 }] }, 'not a text', 'tokens[0].uri'],
    [{ tokens: [{ uri: 'a', URI: 'b' }] }, 'key given twice', 'tokens[0].uri'],
    [{ tokens: [{ uri: TOKEN, pin_cache: 10 }] }, 'not a duration from 0s to 576h', 'tokens[0].pin_cache'],
    [{ tokens: [{ uri: TOKEN, idle_release: '600h' }] }, 'not a duration from 0s to 576h', 'tokens[0].idle_release'],
    [{ tokens: [{ uri: TOKEN, library_parameters: ['x'] }] }, 'not a text', PARAMETERS],
    [{ tokens: [{ uri: TOKEN, library_parameters: 'a\u0000b' }] }, 'control character in the value', PARAMETERS],
    [
      { tokens: [{ uri: 'pkcs11:tokne=a' }] },
      'malformed pkcs11 URI: unknown attribute "tokne" in its path',
      'tokens[0].uri',
    ],
    [{ tokens: [{ uri: 'pkcs11:token=a' }] }, 'no module-path', 'tokens[0].uri'],
    [{ tokens: [{ uri: 'pkcs11:token=a', hosts: 0 }] }, 'not a number from 1 to 16', 'tokens[0].hosts'],
    [{ tokens: [{ uri: 'pkcs11:token=a', hosts: '2' }] }, 'not a number from 1 to 16', 'tokens[0].hosts'],
    [{ tokens: [{ uri: 'pkcs11:?module-path=/m.so' }] }, 'names no token', 'tokens[0].uri'],
    [
      {
        tokens: [
          { uri: 'pkcs11:token=a;serial=1?module-path=/m.so' },
          { uri: 'yubikey:' },
          { uri: 'pkcs11:serial=1;token=a?module-path=/m.so', pin_cache: '1m' },
        ],
      },
      'the same token as tokens[0]',
      'tokens[2].uri',
    ],
    [
      { tokens: [{ uri: 'yubikey:serial=1' }, { uri: 'yubikey:serial=1' }] },
      'the same token as tokens[0]',
      'tokens[1].uri',
    ],
    [{ tokens: [{ uri: 'pkcs11:token=a;id=%01?module-path=/m.so' }] }, 'names a key', 'tokens[0].uri'],
    [
      { tokens: [{ uri: 'pkcs11:token=a?module-path=/m.so&pin-source=|cat' }] },
      'pin-source names a program',
      'tokens[0].uri',
    ],
    [
      { tokens: [{ uri: 'pkcs11:token=a?module-path=/m.so&pin-source=https:x' }] },
      'pin-source is no file',
      'tokens[0].uri',
    ],
    [
      { tokens: [{ uri: 'pkcs11:token=a?module-path=/m.so&pin-value=1234' }] },
      'malformed pkcs11 URI: pin-value would store the PIN',
      'tokens[0].uri',
    ],
    [
      { tokens: [{ uri: 'pkcs11:token=a?module-path=/m.so' }], workers: 2 },
      'each of several workers would spend a try of a wrong PIN',
      'workers',
    ],
    [{ placement: [] }, 'not an object', 'placement'],
    [{ placement: { root: 'storage' } }, 'not a list of backends', 'placement.root'],
    [{ placement: { root: [] } }, 'not a list of backends', 'placement.root'],
    [{ placement: { root: [1] } }, 'not a list of backends', 'placement.root'],
    [{ placement: { root: ['yubikey', 'storage'] } }, 'backend "yubikey" is not configured', 'placement.root'],
    [{ placement: { root: ['storage'], Root: ['file'] } }, 'key given twice', 'placement.root'],
    [{ placement: { 'ro ot': ['storage'] } }, 'not the name of a role', 'placement'],
  ])('%j', async (content, problem, key) => {
    await expect(load(content)).rejects.toThrow(inFile(problem, key));
  });

  it('agent.socket that is too long for the system', async () => {
    const socket = `/${'s'.repeat(200)}`;
    await expect(load({ agent: { socket } })).rejects.toThrow(
      expect.objectContaining({
        code: 'CONFIGURATION',
        message: expect.stringMatching(/^agent socket path \/s{200} is longer than 10[37] bytes$/),
        hint: 'set agent.socket or SIGNET_SOCKET to a shorter path',
      }),
    );
  });

  it('~/ without a home directory', async () => {
    await expect(load({ storage: { path: '~/keys' } }, { env: {} })).rejects.toThrow(
      inFile('HOME is not set, "~" is unknown', 'storage.path'),
    );
  });
});
