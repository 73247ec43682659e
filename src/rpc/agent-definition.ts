/** What tools of the same user call. A file of its own, so that the command line parses nothing else. */
import { loadService, type Service } from './load.ts';

export const AGENT: Service = loadService('signet/v1/agent.proto', 'signet.v1.Agent');
