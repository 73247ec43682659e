/** The daemon's command line and configuration, for the rest of the daemon. The parts are in `config/`. */
export { defaultAgentSocket, defaultTrustDir } from '../locations.ts';
export { type Flags, type MaintenanceTask, parseFlags } from './config/flags.ts';
export { type LoadOptions, loadConfig } from './config/load.ts';
export type {
  AgentConfig,
  Config,
  FileStorageConfig,
  LogLevel,
  MemoryStorageConfig,
  ServerConfig,
  SqlStorageConfig,
} from './config/model.ts';
