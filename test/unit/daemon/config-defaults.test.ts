import { describe, expect, it } from 'vitest';
import { defaultAgentSocket, defaultTrustDir } from '../../../src/daemon/config.ts';

describe('defaultTrustDir', () => {
  it('is in the home directory', () => {
    expect(defaultTrustDir({ HOME: '/home/ann' })).toBe('/home/ann/.docker/trust');
  });

  it('follows DOCKER_CONFIG, unless that is empty', () => {
    expect(defaultTrustDir({ HOME: '/home/ann', DOCKER_CONFIG: '/d' })).toBe('/d/trust');
    expect(defaultTrustDir({ HOME: '/home/ann', DOCKER_CONFIG: '' })).toBe('/home/ann/.docker/trust');
  });

  it('says what to set when nothing tells', () => {
    expect(() => defaultTrustDir({})).toThrow(
      expect.objectContaining({
        code: 'CONFIGURATION',
        message: 'HOME is not set, the default trust directory is unknown',
        hint: 'set HOME, DOCKER_CONFIG or storage.path',
      }),
    );
  });
});

describe('defaultAgentSocket', () => {
  it('prefers SIGNET_SOCKET, then the runtime directory, then the home directory', () => {
    const env = { SIGNET_SOCKET: '/s.sock', XDG_RUNTIME_DIR: '/run/user/1', HOME: '/home/ann' };
    expect(defaultAgentSocket(env)).toBe('/s.sock');
    expect(defaultAgentSocket({ ...env, SIGNET_SOCKET: '' })).toBe('/run/user/1/signet/signetd.sock');
    expect(defaultAgentSocket({ HOME: '/home/ann' })).toBe('/home/ann/.signet/run/signetd.sock');
  });

  it('ignores a relative runtime directory, as the XDG specification demands', () => {
    expect(defaultAgentSocket({ XDG_RUNTIME_DIR: 'run', HOME: '/home/ann' })).toBe(
      '/home/ann/.signet/run/signetd.sock',
    );
  });

  it('rejects a relative SIGNET_SOCKET', () => {
    expect(() => defaultAgentSocket({ SIGNET_SOCKET: 's.sock' })).toThrow(
      expect.objectContaining({ code: 'CONFIGURATION', message: 'SIGNET_SOCKET is not an absolute path' }),
    );
  });

  it('says what to set when nothing tells', () => {
    expect(() => defaultAgentSocket({})).toThrow(
      expect.objectContaining({
        code: 'CONFIGURATION',
        message: "HOME is not set, the default place of the agent's socket is unknown",
        hint: 'set HOME, XDG_RUNTIME_DIR, SIGNET_SOCKET or agent.socket',
      }),
    );
  });
});
