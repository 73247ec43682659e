import { beforeEach, describe, expect, it, vi } from 'vitest';
import { atMost, createLog, describeError } from '../../../src/daemon/log.ts';
import { SignetError } from '../../../src/errors.ts';

const { written } = vi.hoisted(() => ({ written: [] as string[] }));
// The seam: what the log writes to file descriptor 2 comes here.
vi.mock('pino', async (importOriginal) => ({
  ...(await importOriginal<typeof import('pino')>()),
  destination: () => ({
    write: (line: string) => written.push(line),
    flush: () => undefined,
    on: () => undefined,
  }),
}));

beforeEach(() => {
  written.length = 0;
});

const lines = () => written.map((line) => JSON.parse(line) as Record<string, unknown>);

describe('a log line', () => {
  it("is JSON with notary-signer's field names: level, msg, time", () => {
    const { logger } = createLog({ level: 'info', format: 'json' });
    logger.info({ keyId: 'abc' }, 'signed');
    logger.warn('careful');
    expect(lines()).toEqual([
      { level: 'info', time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/), keyId: 'abc', msg: 'signed' },
      { level: 'warning', time: expect.any(String), msg: 'careful' },
    ]);
    expect(written.every((line) => line.endsWith('}\n'))).toBe(true);
  });

  it.each([
    ['plain', 'v=plain'],
    ['/var/lib/x_1.key', 'v=/var/lib/x_1.key'],
    ['two words', 'v="two words"'],
    ['a=b', 'v="a=b"'],
    ['', 'v=""'],
    ['quote " and \\', 'v="quote \\" and \\\\"'],
    ['line\nbreak', 'v="line\\nbreak"'],
    [42, 'v=42'],
    [true, 'v=true'],
    [null, 'v=null'],
    [{ a: [1] }, 'v="{\\"a\\":[1]}"'],
  ])('is logfmt where asked for: %j is %s', (value, expected) => {
    const { logger } = createLog({ level: 'info', format: 'logfmt' });
    logger.info({ v: value }, 'the message');
    expect(written).toHaveLength(1);
    expect(written[0]).toMatch(/^level=info time="?[\dTZ:.-]+"? /);
    expect(written[0]?.endsWith(` ${expected} msg="the message"\n`)).toBe(true);
  });

  it('cannot be forged by a value, in neither format', () => {
    const hostile = 'x\n{"level":"info","msg":"signed"}\nlevel=info msg=signed';
    for (const format of ['json', 'logfmt'] as const) {
      createLog({ level: 'info', format }).logger.info({ caller: hostile }, 'refused');
    }
    for (const line of written) expect(line.indexOf('\n')).toBe(line.length - 1);
  });
});

describe('the level', () => {
  it('can be changed while running, and "panic" is silence', () => {
    const log = createLog({ level: 'error', format: 'json' });
    log.logger.info('1');
    log.setLevel('debug');
    log.logger.debug('2');
    log.setLevel('panic');
    log.logger.fatal('3');
    expect(lines().map(({ msg }) => msg)).toEqual(['2']);
    expect(log.level).toBe('panic');
  });
});

describe('an error in the log', () => {
  const cause = new Error('EACCES: /secret/path');
  const error = new SignetError('UNAVAILABLE', 'cannot read /x (EACCES)', { hint: 'look there', cause });

  it('is code, message and hint; the cause only for whoever set the level to debug', () => {
    const { logger, setLevel } = createLog({ level: 'info', format: 'json' });
    const fields = { code: 'UNAVAILABLE', error: 'cannot read /x (EACCES)', hint: 'look there' };
    expect(describeError(error, logger)).toEqual(fields);
    setLevel('debug');
    const { causes, ...rest } = describeError(error, logger);
    expect(rest).toEqual(fields);
    expect(causes).toEqual([expect.stringContaining('cannot read /x'), expect.stringContaining('/secret/path')]);
  });

  it('that is not ours is INTERNAL and the name of its class: its message may hold anything', () => {
    const { logger } = createLog({ level: 'info', format: 'json' });
    expect(describeError(new RangeError('passphrase hunter2'), logger)).toEqual({
      code: 'INTERNAL',
      error: 'RangeError',
    });
    expect(describeError('hunter2', logger)).toEqual({ code: 'INTERNAL', error: 'string' });
  });

  it('tells five causes at most, also of a chain that bites its tail', () => {
    const { logger } = createLog({ level: 'debug', format: 'json' });
    const loop = new Error('loop');
    loop.cause = loop;
    expect(describeError(new SignetError('INTERNAL', 'x', { cause: loop }), logger)['causes']).toHaveLength(5);
  });
});

describe('atMost', () => {
  it('lets so many lines a second through and tells how many it left out', () => {
    let now = 0;
    const written: object[] = [];
    const warn = atMost(
      2,
      (fields, text) => written.push({ ...fields, text }),
      () => now,
    );
    for (let i = 0; i < 5; i++) warn({ i }, 'refused');
    now = 999;
    warn({ i: 5 }, 'refused');
    now = 1000;
    warn({ i: 6 }, 'refused');
    warn({ i: 7 }, 'refused');
    expect(written).toEqual([
      { i: 0, text: 'refused' },
      { i: 1, text: 'refused' },
      { i: 6, omitted: 4, text: 'refused' },
      { i: 7, text: 'refused' },
    ]);
  });
});
