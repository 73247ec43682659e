import { chmod } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { AgentClient } from '../../../src/client/agent-client.ts';
import { createGrpcServer, type GrpcServer } from '../../../src/daemon/grpc-server.ts';
import { listenUnix } from '../../../src/daemon/listeners.ts';
import { Peers } from '../../../src/daemon/peer.ts';
import { type AgentServer, startAgentServer } from '../../support/agent-server.ts';
import { temporaryDirectory } from '../../support/temp.ts';

let server: AgentServer;
beforeEach(async () => {
  server = await startAgentServer();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await server[Symbol.asyncDispose]();
});

const tokens = () => server.agent().listTokens();

describe('the owner of the socket', () => {
  it('is the user: then it is asked', async () => {
    expect(await tokens()).toEqual({ tokens: [] });
  });

  it('that is somebody else is not asked', async () => {
    const uid = process.getuid?.() ?? 0;
    vi.spyOn(process, 'getuid').mockReturnValue(uid + 1);
    const refusal = {
      code: 'PERMISSION_DENIED',
      message: `the agent socket ${server.socket} belongs to another user (uid ${uid})`,
    };
    const agent = server.agent();
    await expect(agent.listTokens()).rejects.toMatchObject(refusal);
    await expect(agent.interact({ question: async () => undefined })).rejects.toMatchObject(refusal);
    await expect(agent.listKeys()[Symbol.asyncIterator]().next()).rejects.toMatchObject(refusal);
    // It is looked at again: the right daemon may have been started meanwhile.
    vi.restoreAllMocks();
    expect(await agent.listTokens()).toEqual({ tokens: [] });
  });

  it.each([0o770, 0o703])('is not known where others can put one, mode %o', async (mode) => {
    await chmod(dirname(server.socket), mode);
    await expect(tokens()).rejects.toMatchObject({
      code: 'PERMISSION_DENIED',
      message: `other users can replace the agent socket ${server.socket}`,
    });
  });

  it('may share a sticky directory', async () => {
    await chmod(dirname(server.socket), 0o1777);
    expect(await tokens()).toEqual({ tokens: [] });
  });

  it('is nobody where no daemon runs', async () => {
    using agent = new AgentClient(`${server.socket}-missing`);
    await expect(agent.listTokens()).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: `no signetd answers on ${server.socket}-missing`,
    });
  });
});

describe('a daemon of another version', () => {
  it('that does not know a call is told from one that refuses it', async () => {
    await using directory = await temporaryDirectory();
    const other: GrpcServer = createGrpcServer([], { callTimeoutMs: 10_000 });
    const socket = `${directory.path}/run/s`;
    const log = pino({ level: 'silent' });
    const listener = await listenUnix(socket, undefined, { peers: new Peers(), log, inject: other.inject });
    using agent = new AgentClient(socket);
    await expect(agent.listTokens()).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: 'the running signetd does not know this call',
      hint: 'restart it: it is of another version',
    });
    agent[Symbol.dispose]();
    await listener.close();
    await other.close(0);
  });
});
