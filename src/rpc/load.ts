/** Loads the services that servers call, by proto-loader. */
import { loadSync } from '@grpc/proto-loader';
import { MESSAGE_FORM, PARSING, PROTO_DIRECTORY, type Service } from './message-form.ts';

/** @param file In `proto/`. @param name The service's full name. A name that is not in its file is a bug that no test could miss. */
export function loadService(file: string, name: string): Service {
  const definitions = loadSync(file, { includeDirs: [PROTO_DIRECTORY], ...PARSING, ...MESSAGE_FORM });
  return definitions[name] as unknown as Service;
}
