import { describe, expect, it } from 'vitest';
import { parseFlags } from '../../../src/daemon/config.ts';

const DEFAULTS = {
  configFile: undefined,
  debug: false,
  logFormat: 'json',
  version: false,
  help: false,
  welcome: false,
};

describe('parseFlags', () => {
  it('has defaults for everything', () => {
    expect(parseFlags([])).toEqual(DEFAULTS);
  });

  it.each([
    [['-config', 'a.json']],
    [['--config', 'a.json']],
    [['-config=a.json']],
    [['--config=a.json']],
    [['-config', 'b.json', '-config', 'a.json']],
    [['-config=a.json', '--']],
  ])('takes the configuration file from %j', (argv) => {
    expect(parseFlags(argv)).toEqual({ ...DEFAULTS, configFile: 'a.json' });
  });

  it('keeps an equals sign and a leading dash in a value', () => {
    expect(parseFlags(['-config=a=b.json']).configFile).toBe('a=b.json');
    expect(parseFlags(['-config', '-debug'])).toEqual({ ...DEFAULTS, configFile: '-debug' });
  });

  it('treats an empty configuration file as none', () => {
    expect(parseFlags(['-config=']).configFile).toBeUndefined();
  });

  it.each([
    ['-debug', 'debug'],
    ['--version', 'version'],
    ['-welcome', 'welcome'],
    ['-h', 'help'],
    ['--help', 'help'],
    ['-debug=T', 'debug'],
    ['-version=1', 'version'],
  ])('sets the flag %s', (argument, name) => {
    expect(parseFlags([argument])).toEqual({ ...DEFAULTS, [name]: true });
  });

  it('unsets a flag with a false word', () => {
    expect(parseFlags(['-debug', '-debug=false', '-bootstrap=0'])).toEqual(DEFAULTS);
  });

  it('takes json and logfmt as log formats', () => {
    expect(parseFlags(['-logf', 'logfmt']).logFormat).toBe('logfmt');
    expect(parseFlags(['-logf=json']).logFormat).toBe('json');
  });

  it.each([
    [['-bootstrap'], 'store does not support bootstrapping'],
    [['-passphrase=hunter2'], 'flag provided but not defined: -passphrase'],
    [['--Debug'], 'flag provided but not defined: -Debug'],
    [['-config'], 'flag needs an argument: -config'],
    [['-debug=maybe'], 'invalid boolean value for flag -debug'],
    [['-debug='], 'invalid boolean value for flag -debug'],
    [['-logf', 'xml'], 'invalid value for flag -logf'],
    [['---debug'], 'bad flag syntax: ---debug'],
    [['-=x'], 'bad flag syntax: -'],
    [['signer.json'], 'unexpected argument: signetd takes flags only'],
    [['-debug', 'true'], 'unexpected argument: signetd takes flags only'],
    [['-'], 'unexpected argument: signetd takes flags only'],
    [['--', 'x'], 'unexpected argument: signetd takes flags only'],
  ])('rejects %j', (argv, message) => {
    expect(() => parseFlags(argv)).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message, hint: expect.any(String) }),
    );
  });
});
