/** What tools of the same user call. A file of its own, so that the command line parses nothing else. */
import { loadServiceQuickly } from './load-quickly.ts';
import type { Service } from './message-form.ts';

export const AGENT: Service = loadServiceQuickly('signet/v1/agent.proto', 'signet.v1.Agent');
