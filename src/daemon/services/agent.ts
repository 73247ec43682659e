/** `signet.v1.Agent`: what command-line tools ask. Served on the Unix socket only. */
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { type KeyId, parseKeyId } from '../../crypto/key-id.ts';
import type { SecretStore } from '../../keyring/secret-store.ts';
import type { KeyIdRequest, LockResponse, StatusResponse } from '../../rpc/messages.ts';
import type { Interactions } from '../interactions.ts';
import type { Logger } from '../log.ts';
import { archiveMethods } from './agent-archive.ts';
import { AgentCalls, type AgentCallsOptions } from './agent-calls.ts';
import { keyMethods } from './agent-keys.ts';
import { keyMessage } from './agent-messages.ts';
import { rememberMethods } from './agent-remember.ts';
import { tokenMethods } from './agent-tokens.ts';

export interface AgentServices extends AgentCallsOptions {
  readonly interactions: Interactions;
  readonly log: Logger;
  readonly secretStore: SecretStore;
  readonly status: () => Promise<StatusResponse>;
  /** Closes one key, or all, in every process. @returns How many were open. */
  readonly lock: (keyId: KeyId | undefined) => Promise<number>;
  /** Begins a graceful end; the call that asks for it is answered. */
  readonly stop: () => void;
}

export function agentService(services: AgentServices): UntypedServiceImplementation {
  const { interactions, log, secretStore, status, lock, stop } = services;
  const calls = new AgentCalls(services);
  return {
    Status: calls.unary('Status', status),
    Interact: interactions.serve,
    ListKeys: calls.serverStream('ListKeys', async function* (_request, _context, { keyring }) {
      for await (const located of keyring.list()) yield keyMessage(located);
    }),
    ...keyMethods(calls, log),
    ...tokenMethods(calls, log),
    ...archiveMethods(calls, log),
    ...rememberMethods(calls, secretStore, log),
    Lock: calls.unary('Lock', async ({ key_id }: KeyIdRequest, context): Promise<LockResponse> => {
      const locked = await lock(key_id === '' ? undefined : parseKeyId(key_id));
      log.info({ caller: context.caller, locked }, 'keys locked');
      return { locked };
    }),
    Stop: calls.unary('Stop', async (_request, context) => {
      log.info({ caller: context.caller }, 'asked to stop');
      stop();
      return {};
    }),
  };
}
