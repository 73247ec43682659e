import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { parseSqliteDataSource } from '../../../../src/backends/sql/data-source-name.ts';
import { parseMysqlDataSource } from '../../../../src/backends/sql/mysql-data-source-name.ts';
import { parsePostgresDataSource } from '../../../../src/backends/sql/postgres-data-source-name.ts';
import { temporaryDirectory } from '../../../support/temp.ts';

const directory = mkdtempSync(join(tmpdir(), 'signet-test-'));
const caFile = join(directory, 'ca.pem');
writeFileSync(caFile, '');
afterAll(() => rmSync(directory, { recursive: true }));

const postgres = (text: string, env: NodeJS.ProcessEnv = {}) =>
  parsePostgresDataSource(text, { env, userName: 'operator' });
const mysqlError = (why: string) => ({
  code: 'CONFIGURATION',
  message: `failed to parse the database source for mysql: ${why}`,
});
const postgresError = (why: string) => ({
  code: 'CONFIGURATION',
  message: `failed to parse the database source for postgres: ${why}`,
});

describe('mysql', () => {
  it("reads the form of Notary's own documentation", () => {
    expect(parseMysqlDataSource('signer:signerpw@tcp(127.0.0.1:3306)/notarysigner?parseTime=True')).toEqual({
      endpoints: [{ host: '127.0.0.1', port: 3306 }],
      user: 'signer',
      password: 'signerpw',
      database: 'notarysigner',
      tls: undefined,
      connectTimeoutMs: undefined,
      statementTimeoutMs: undefined,
      allowCleartextPasswords: false,
      sessionVariables: new Map(),
      mustBeWritable: false,
      location: 'mysql://127.0.0.1:3306/notarysigner',
    });
  });

  it('means the server that can be written to, if several are named', () => {
    expect(parseMysqlDataSource('u@tcp(a,b)/db').mustBeWritable).toBe(true);
  });

  it.each([
    ['u@/db', [{ host: '127.0.0.1', port: 3306 }]],
    ['u@tcp/db', [{ host: '127.0.0.1', port: 3306 }]],
    ['/db', [{ host: '127.0.0.1', port: 3306 }]],
    ['u@tcp(db.example)/db', [{ host: 'db.example', port: 3306 }]],
    ['u@tcp(db.example:1)/db', [{ host: 'db.example', port: 1 }]],
    ['u@tcp([de:ad:be:ef::ca:fe]:80)/db', [{ host: 'de:ad:be:ef::ca:fe', port: 80 }]],
    ['u@tcp([de:ad::1])/db', [{ host: 'de:ad::1', port: 3306 }]],
    ['u@tcp(de:ad::1)/db', [{ host: 'de:ad::1', port: 3306 }]],
    ['u@unix(/run/mysqld/mysqld.sock)/db', [{ socketPath: '/run/mysqld/mysqld.sock' }]],
    ['u@unix/db', [{ socketPath: '/tmp/mysql.sock' }]],
    [
      'u@tcp(a:1,b,[::1]:3)/db',
      [
        { host: 'a', port: 1 },
        { host: 'b', port: 3306 },
        { host: '::1', port: 3 },
      ],
    ],
  ])('finds the server of %s', (text, endpoints) => {
    expect(parseMysqlDataSource(text).endpoints).toEqual(endpoints);
  });

  it.each([
    ['user:p@ss@tcp(h:1)/db', 'user', 'p@ss'],
    ['user:p:a:ss@tcp(h:1)/db', 'user', 'p:a:ss'],
    ['user:p/a(s)s?%41@tcp(h:1)/db', 'user', 'p/a(s)s?%41'],
    ['user:@tcp(h:1)/db', 'user', ''],
    ['user@tcp(h:1)/db', 'user', ''],
    ['tcp(h:1)/db', '', ''],
  ])('takes the credentials of %s as Go does', (text, user, password) => {
    expect(parseMysqlDataSource(text)).toMatchObject({ user, password });
  });

  it('takes any password that Go takes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (password) => {
        const source = parseMysqlDataSource(`user:${password}@tcp(h:1)/db?parseTime=true`);
        expect(source).toMatchObject({ user: 'user', password, database: 'db' });
        expect(source.location).toBe('mysql://h:1/db');
      }),
    );
  });

  it('decodes the name of the database', () => {
    expect(parseMysqlDataSource('u@tcp(h)/a%2Fb%20c').database).toBe('a/b c');
  });

  it.each([
    ['true', { use: 'required', verify: 'chain-and-name' }],
    ['1', { use: 'required', verify: 'chain-and-name' }],
    ['skip-verify', { use: 'required', verify: 'nothing' }],
    ['preferred', { use: 'preferred', verify: 'nothing' }],
  ])('knows tls=%s', (value, tls) => {
    const source = parseMysqlDataSource(`u@tcp(h)/db?tls=${value}`);
    expect(source.tls).toEqual({ ...tls, caFile: undefined, certificate: undefined });
  });

  it('knows tls=false', () => {
    expect(parseMysqlDataSource('u@tcp(h)/db?tls=false').tls).toBeUndefined();
  });

  it.each([
    ['5s', 5000],
    ['1m30s', 90_000],
    ['1.5s', 1500],
    ['250ms', 250],
    ['0', undefined],
    ['0s', undefined],
  ])('reads timeout=%s', (value, milliseconds) => {
    const source = parseMysqlDataSource(`u@tcp(h)/db?timeout=${value}&readTimeout=${value}&writeTimeout=1s`);
    expect(source).toMatchObject({ connectTimeoutMs: milliseconds, statementTimeoutMs: milliseconds });
  });

  it('passes system variables on and leaves out what only Go needs', () => {
    const text =
      'u@tcp(h)/db?charset=utf8mb4,utf8&collation=utf8_bin&loc=US%2FPacific&parseTime=true&maxAllowedPacket=0' +
      '&clientFoundRows=false&transaction_isolation=%27READ-COMMITTED%27&innodb_lock_wait_timeout=2&novalue';
    expect([...parseMysqlDataSource(text).sessionVariables]).toEqual([
      ['transaction_isolation', "'READ-COMMITTED'"],
      ['innodb_lock_wait_timeout', '2'],
    ]);
  });

  it.each([
    ['user:secret', 'missing the slash separating the database name'],
    ['user:secret@tcp(h:1)/', 'the database name is missing'],
    ['user:secret@tcp(h:1/db', 'the network address is not terminated'],
    ['user:secret@udp(h:1)/db', 'unsupported network'],
    ['user:secret@tcp(h:99999)/db', 'a port is not 1 to 65535'],
    ['user:secret@tcp(h:0)/db', 'a port is not 1 to 65535'],
    ['user:secret@tcp(h h)/db', 'malformed host'],
    ['user:secret@tcp(a:b:c)/db', 'malformed host'],
    ['user:secret@tcp(h)/%zz', 'malformed database name'],
    ['user:secret@tcp(h)/db?tls=custom', 'unknown value of "tls"'],
    ['user:secret@tcp(h)/db?tls=toString', 'unknown value of "tls"'],
    ['user:secret@tcp(h)/db?timeout=5', '"timeout" is not a duration up to 1h'],
    ['user:secret@tcp(h)/db?readTimeout=2h', '"readTimeout" is not a duration up to 1h'],
    ['user:secret@tcp(h)/db?allowCleartextPasswords=maybe', '"allowCleartextPasswords" is not a boolean'],
    ['user:secret@tcp(h)/db?multiStatements=true', 'unsupported parameter "multiStatements"'],
    ['user:secret@tcp(h)/db?allowAllFiles=1', 'unsupported parameter "allowAllFiles"'],
    ['user:secret@tcp(h)/db?serverPubKey=name', 'unsupported parameter "serverPubKey"'],
    ['user:secret@tcp(h)/db?a%20b=1', 'unknown parameter (not a name)'],
    ['user:secret@tcp(h)/db?x.y=1', 'unknown parameter "x.y"'],
    ['user:secret@tcp(h)/db?x=%zz', 'malformed x'],
  ])('refuses %s', (text, why) => {
    expect(() => parseMysqlDataSource(text)).toThrow(expect.objectContaining(mysqlError(why)));
  });

  it('refuses nothing at all, in the words of notary-signer', () => {
    expect(() => parseMysqlDataSource('')).toThrow(
      expect.objectContaining({
        code: 'CONFIGURATION',
        message: 'must provide a non-empty database source for mysql',
      }),
    );
  });
});

describe('postgres', () => {
  it("reads the form of Notary's own documentation", () => {
    expect(postgres('postgres://signer:signerpw@127.0.0.1:5432/notarysigner?sslmode=disable')).toEqual({
      endpoints: [{ host: '127.0.0.1', port: 5432 }],
      user: 'signer',
      password: 'signerpw',
      database: 'notarysigner',
      tls: undefined,
      connectTimeoutMs: undefined,
      applicationName: 'signet',
      mustBeWritable: false,
      options: undefined,
      runtimeParameters: new Map(),
      location: 'postgres://127.0.0.1:5432/notarysigner',
    });
  });

  it('reads the same from both forms', () => {
    const url = postgres(
      'postgresql://us%40er:p%2Fa%3Ass%20@db.example:6000/my%20db?sslmode=verify-full&connect_timeout=3&search_path=keys,public&application_name=a+b',
    );
    const pairs = postgres(
      "user=us@er password = 'p/a:ss ' host=db.example port=6000 dbname='my db' sslmode=verify-full connect_timeout=3 search_path=keys,public application_name='a b'",
    );
    expect(pairs).toEqual(url);
    expect(url).toMatchObject({
      user: 'us@er',
      password: 'p/a:ss ',
      database: 'my db',
      connectTimeoutMs: 3000,
      applicationName: 'a b',
      runtimeParameters: new Map([['search_path', 'keys,public']]),
      location: 'postgres://db.example:6000/my db',
    });
  });

  it.each([
    ["password='it\\'s' dbname=d", "it's"],
    ["password='a\\\\b' dbname=d", 'a\\b'],
    ['password=a\\ b dbname=d', 'a b'],
    ["password='' dbname=d", ''],
    ['dbname=d password=', ''],
    ['dbname=d password= secret', 'secret'],
    ["password=a'b dbname=d", "a'b"],
    ['password=a=b dbname=d', 'a=b'],
    ["password='two\nlines' dbname=d", 'two\nlines'],
  ])('unquotes %s', (text, password) => {
    expect(postgres(text)).toMatchObject({ password, database: 'd' });
  });

  it('takes any password, quoted or encoded', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (password) => {
        const quoted = `'${password.replaceAll(/[\\']/g, '\\$&')}'`;
        expect(postgres(`user=u password=${quoted} dbname=d`)).toMatchObject({ password, database: 'd' });
        const url = postgres(`postgres://u:${encodeURIComponent(password)}@h/d`);
        expect(url).toMatchObject({ password: password || undefined, database: 'd' }); // empty means none, as in Go
      }),
    );
  });

  it.each([
    ['postgres://h', [{ host: 'h', port: 5432 }]],
    ['postgres://', [{ host: 'localhost', port: 5432 }]],
    ['postgres://[::1]:1/d', [{ host: '::1', port: 1 }]],
    ['postgres:///d?host=/run/postgresql', [{ socketPath: '/run/postgresql/.s.PGSQL.5432' }]],
    ['postgres://%2Frun%2Fpostgresql/d', undefined],
    ['host=/run/postgresql/ port=1', [{ socketPath: '/run/postgresql/.s.PGSQL.1' }]],
    ['host=::1', [{ host: '::1', port: 5432 }]],
    [
      'postgres://a:1,b/d',
      [
        { host: 'a', port: 1 },
        { host: 'b', port: 5432 },
      ],
    ],
    ['host=a,/run,b port=1,2,3', [{ host: 'a', port: 1 }, { socketPath: '/run/.s.PGSQL.2' }, { host: 'b', port: 3 }]],
    [
      'host=a,b port=7',
      [
        { host: 'a', port: 7 },
        { host: 'b', port: 7 },
      ],
    ],
  ])('finds the server of %s', (text, endpoints) => {
    if (endpoints === undefined) {
      expect(() => postgres(text)).toThrow(expect.objectContaining(postgresError('malformed host')));
    } else {
      expect(postgres(text).endpoints).toEqual(endpoints);
    }
  });

  it('falls back to the environment, then to the user of the process', () => {
    const env = {
      PGHOST: 'env.example',
      PGPORT: '7',
      PGUSER: 'envuser',
      PGPASSWORD: 'envpass',
      PGDATABASE: 'envdb',
      PGSSLMODE: 'disable',
      PGAPPNAME: 'envapp',
      PGCONNECT_TIMEOUT: '9',
      PGOPTIONS: '-c geqo=off',
      PGTZ: 'UTC',
    };
    expect(postgres('host=h', env)).toMatchObject({
      endpoints: [{ host: 'h', port: 7 }],
      user: 'envuser',
      password: 'envpass',
      database: 'envdb',
      tls: undefined,
      applicationName: 'envapp',
      connectTimeoutMs: 9000,
      options: '-c geqo=off',
      runtimeParameters: new Map([['timezone', 'UTC']]),
    });
    expect(postgres('postgres://u@h', env)).toMatchObject({ user: 'u', database: 'envdb' });
    expect(postgres('host=h')).toMatchObject({ user: 'operator', password: undefined, database: 'operator' });
    expect(postgres('host=h user=u')).toMatchObject({ database: 'u' });
  });

  it.each(['PGHOSTADDR', 'PGSERVICE', 'PGSSLCRL'])('refuses to ignore %s, as lib/pq does', (name) => {
    expect(() => postgres('host=h', { [name]: 'x' })).toThrow(
      expect.objectContaining(postgresError(`the variable ${name} is not supported`)),
    );
  });

  it.each([
    ['', 'nothing', undefined],
    ['sslmode=require', 'nothing', undefined],
    ['sslmode=require sslrootcert=/none', 'nothing', undefined],
    [`sslmode=require sslrootcert=${caFile}`, 'chain', caFile],
    [`sslmode=verify-ca sslrootcert=${caFile}`, 'chain', caFile],
    ['sslmode=verify-ca', 'chain', undefined],
    [`sslmode=verify-full sslrootcert=${caFile}`, 'chain-and-name', caFile],
    ['sslmode=verify-full sslrootcert=/none', 'chain-and-name', '/none'],
  ])('means by "%s" what lib/pq means', (text, verify, file) => {
    expect(postgres(`host=h ${text}`).tls).toEqual({ use: 'required', verify, caFile: file, certificate: undefined });
  });

  it('reads a client certificate', () => {
    expect(postgres('host=h sslcert=/c sslkey=/k').tls?.certificate).toEqual({ certFile: '/c', keyFile: '/k' });
  });

  it("takes libpq's client certificate of the home directory, if there is one", async () => {
    await using home = await temporaryDirectory();
    const read = (text: string) =>
      parsePostgresDataSource(text, { env: {}, userName: 'operator', homeDirectory: home.path }).tls?.certificate;
    expect(read('host=h')).toBeUndefined();
    const [certFile, keyFile] = ['crt', 'key'].map((end) => join(home.path, '.postgresql', `postgresql.${end}`));
    await mkdir(join(home.path, '.postgresql'));
    await writeFile(certFile ?? '', '');
    expect(read('host=h')).toEqual({ certFile, keyFile });
    expect(read('host=h sslkey=/k')).toEqual({ certFile, keyFile: '/k' });
    expect(read('host=h sslcert=/c')).toEqual({ certFile: '/c', keyFile });
    expect(read('host=h sslmode=disable')).toBeUndefined();
  });

  it('names the password file where there is no password', () => {
    const fileOf = (text: string, env: NodeJS.ProcessEnv, homeDirectory?: string) =>
      parsePostgresDataSource(text, { env, userName: 'operator', homeDirectory }).passwordFile;
    expect(fileOf('host=h', { HOME: '/a' }, '/b')).toBe('/a/.pgpass');
    expect(fileOf('host=h', {}, '/b')).toBe('/b/.pgpass');
    expect(fileOf('host=h', {})).toBeUndefined();
    expect(fileOf('host=h', { HOME: '/a', PGPASSFILE: '/c' })).toBe('/c');
    expect(fileOf("host=h password=''", { HOME: '/a' })).toBeUndefined();
    expect(fileOf('host=h', { HOME: '/a', PGPASSWORD: 'x' })).toBeUndefined();
  });

  it('needs no entry of the user in the user database', () => {
    const read = (env: NodeJS.ProcessEnv) => parsePostgresDataSource('host=h', { env, userName: undefined });
    expect(read({ USER: 'variable' })).toMatchObject({ user: 'variable', database: 'variable' });
    expect(() => read({})).toThrow(expect.objectContaining(postgresError('no user is named')));
  });

  it.each([
    ['host=a,b', true],
    ['host=a,b target_session_attrs=any', false],
    ['host=a', false],
    ['host=a target_session_attrs=read-write', true],
    ['host=a target_session_attrs=primary', true],
  ])('knows which server is meant by %s', (text, mustBeWritable) => {
    expect(postgres(text).mustBeWritable).toBe(mustBeWritable);
  });

  it('leaves out what only lib/pq needs', () => {
    const source = postgres('host=h client_encoding=UTF8 datestyle=ISO binary_parameters=yes sslsni=1');
    expect(source.runtimeParameters.size).toBe(0);
  });

  it.each([
    ['secret', 'malformed connection string'],
    ["password='secret", 'malformed connection string'],
    ['password=secret host', 'malformed connection string'],
    ["password='sec'ret", 'malformed connection string'],
    ['postgres://u:sec%zzret@h', 'malformed percent-encoding in the URL'],
    ['postgres://u:secret@h:x/d', 'a port is not 1 to 65535'],
    ['postgres://u:sec/ret@h/d', 'a port is not 1 to 65535'],
    ['host=a,b port=1,2,3', 'hosts and ports differ in number'],
    [
      'host=h sslmode=prefer',
      'unsupported sslmode; only "require" (default), "verify-full", "verify-ca", and "disable" supported',
    ],
    ['host=h sslcert=/c', '"sslcert" and "sslkey" go together'],
    ['host=h connect_timeout=soon', '"connect_timeout" is not 0 to 3600'],
    ['host=h connect_timeout=99999', '"connect_timeout" is not 0 to 3600'],
    ['host=h target_session_attrs=standby', 'unsupported "target_session_attrs"'],
    ['host=h client_encoding=LATIN1', '"client_encoding" must be UTF8'],
    ['host=h service=x', 'unsupported parameter "service"'],
    ['host=h passfile=x', 'unsupported parameter "passfile"'],
    ['host=h sslinline=true', 'unsupported parameter "sslinline"'],
    ['host=h secret!=1', 'unknown parameter (not a name)'],
  ])('refuses %s', (text, why) => {
    expect(() => postgres(text)).toThrow(expect.objectContaining(postgresError(why)));
  });
});

describe('sqlite', () => {
  it.each([
    ['/var/lib/signet/keys.db', '/var/lib/signet/keys.db'],
    ['keys.db', '/etc/signet/keys.db'],
    ['file:///var/lib/keys%20x.db', '/var/lib/keys x.db'],
    ['file:/var/lib/keys.db', '/var/lib/keys.db'],
    ['file:keys.db', '/etc/signet/keys.db'],
  ])('finds the file of %s', (text, path) => {
    expect(parseSqliteDataSource(text, '/etc/signet')).toEqual({ path, location: `sqlite:${path}` });
  });

  it.each([
    ['', 'must provide a non-empty database source for sqlite3'],
    [':memory:', 'failed to parse the database source for sqlite3: a database in memory keeps no keys'],
    ['file::memory:', 'failed to parse the database source for sqlite3: a database in memory keeps no keys'],
    ['file:keys.db?cache=shared', 'failed to parse the database source for sqlite3: unsupported parameter "cache"'],
    ['file://server/keys.db', 'failed to parse the database source for sqlite3: malformed file URL'],
    ['file:%zz', 'failed to parse the database source for sqlite3: malformed file URL'],
    ['a\0b', 'failed to parse the database source for sqlite3: malformed path'],
  ])('refuses %j', (text, message) => {
    expect(() => parseSqliteDataSource(text, '/etc')).toThrow(
      expect.objectContaining({ code: 'CONFIGURATION', message }),
    );
  });
});

describe('whatever is given', () => {
  const secret = 'S3CR3T';
  const noise = fc.stringMatching(/^[ -~]{0,40}$/);

  it.each([
    ['mysql', (text: string) => parseMysqlDataSource(text)],
    ['postgres', (text: string) => postgres(text)],
  ])('no error and no location of %s holds the password', (_name, parse) => {
    const forms = fc.oneof(
      noise.map((more) => `user:${secret}@tcp(h:1)/db?${more}`),
      noise.map((more) => `user:${secret}@${more}`),
      noise.map((more) => `postgres://user:${secret}@h/db?${more}`),
      noise.map((more) => `postgres://user:${secret}@${more}`),
      noise.map((more) => `password='${secret}' ${more}`),
      noise.map((more) => `password=${secret} ${more}`),
    );
    fc.assert(
      fc.property(forms, (text) => {
        let said: string;
        try {
          said = parse(text).location;
        } catch (error) {
          expect(error).toMatchObject({ name: 'SignetError', code: 'CONFIGURATION' });
          const { message, hint } = error as { message: string; hint?: string };
          said = `${message} ${hint ?? ''}`;
        }
        expect(said).not.toContain(secret);
      }),
      { numRuns: 2000 },
    );
  });
});
