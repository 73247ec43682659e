/** What the daemon's environment holds that is not the module's business, or would change how Node runs. */
const WITHHELD = /^(NODE_|NOTARY_|DOCKER_CONTENT_TRUST_|LISTEN_|(CREDENTIALS_DIRECTORY|PGPASSWORD)$)/;

/** The environment of a process that loads a module. */
export function moduleEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !WITHHELD.test(name)));
}
