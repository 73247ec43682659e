/** How a trust server knows us: basic authentication (RFC 7617), or a registry's tokens (RFC 6750 and Docker's token server). */
import { SignetError } from '../errors.ts';
import { type JsonSubject, parseJson } from '../tuf/json.ts';
import { asObject, JsonReader } from '../tuf/json-reader.ts';
import type { HttpClient } from './http.ts';
import { isLoopback } from './proxy.ts';

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** @returns Undefined if there are none. Asked at most once. */
export type CredentialSource = () => Promise<Credentials | undefined>;

/** What a request does, in the words of a registry's scopes. */
export type Actions = 'pull' | 'push,pull' | '*';

interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  readonly parameters: ReadonlyMap<string, string>;
}

const MAX_TOKEN_BYTES = 256 * 1024;
/** RFC 6750 §2.1. */
const TOKEN = /^[-A-Za-z0-9._~+/]+=*$/;
const ANSWER: JsonSubject = { what: 'answer of the token server', code: 'METADATA_REJECTED' };

export class Authorizer {
  readonly #http: HttpClient;
  readonly #gun: string;
  readonly #credentials: CredentialSource;
  /** Headers by what they allow. */
  readonly #known = new Map<Actions, string>();
  #asked: Promise<Credentials | undefined> | undefined;

  constructor(http: HttpClient, gun: string, credentials: CredentialSource) {
    this.#http = http;
    this.#gun = gun;
    this.#credentials = credentials;
  }

  /** The value of `Authorization` as far as it is known. */
  header(actions: Actions): string | undefined {
    return this.#known.get(actions);
  }

  /**
   * Answers a challenge: without credentials first where a token may be had so, then with them.
   *
   * @param header `WWW-Authenticate` of the answer with status 401.
   * @returns The value of `Authorization` to try next; undefined if there is none left
   * @throws {SignetError} UNAUTHENTICATED where a password would be sent without TLS, UNAVAILABLE, METADATA_REJECTED for an
   *   answer that is no token, CANCELLED
   */
  async answer(header: string | undefined, actions: Actions, server: URL): Promise<string | undefined> {
    const challenges = parseChallenges(header ?? '');
    const before = this.#known.get(actions);
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
    if (bearer !== undefined && before === undefined && actions === 'pull') {
      const token = await this.#token(bearer, actions, server, undefined);
      if (token !== undefined) return this.#keep(actions, `Bearer ${token}`);
    }
    if (challenges.length === 0) return undefined;
    // Whoever can change its answers names the token server too.
    requirePrivate(server);
    this.#asked ??= this.#credentials();
    const credentials = await this.#asked;
    if (credentials === undefined) return undefined;
    const token = bearer && (await this.#token(bearer, actions, server, credentials));
    if (token !== undefined) return this.#keep(actions, `Bearer ${token}`, before);
    if (!challenges.some(({ scheme }) => scheme === 'basic')) return undefined;
    return this.#keep(actions, basic(credentials), before);
  }

  #keep(actions: Actions, value: string, before?: string): string | undefined {
    if (value === before) return undefined; // it was refused a moment ago
    this.#known.set(actions, value);
    return value;
  }

  async #token(
    { parameters }: Challenge,
    actions: Actions,
    server: URL,
    credentials: Credentials | undefined,
  ): Promise<string | undefined> {
    const realm = parameters.get('realm') ?? '';
    if (!URL.canParse(realm)) return undefined;
    const url = new URL(realm);
    if (server.protocol === 'https:' && url.protocol !== 'https:') {
      throw new SignetError('METADATA_REJECTED', `${server.origin} sends credentials to a token server without TLS`);
    }
    if (credentials !== undefined) requirePrivate(url);
    const service = parameters.get('service');
    if (service !== undefined) url.searchParams.set('service', service);
    url.searchParams.set('scope', parameters.get('scope') ?? `repository:${this.#gun}:${actions}`);
    if (credentials !== undefined) url.searchParams.set('account', credentials.username);
    const { status, body } = await this.#http.send({
      method: 'GET',
      url,
      maxBytes: MAX_TOKEN_BYTES,
      ...(credentials && { headers: { authorization: basic(credentials) } }),
    });
    if (status === 401 || status === 403) return undefined;
    if (status !== 200) {
      throw new SignetError('UNAVAILABLE', `the token server ${url.origin} answers with status ${status}`);
    }
    return tokenOf(body);
  }
}

/** @throws {SignetError} UNAUTHENTICATED if others on the network could read a password */
function requirePrivate(url: URL): void {
  if (url.protocol === 'https:' || isLoopback(url)) return;
  throw new SignetError('UNAUTHENTICATED', `${url.origin} wants a password, and none is sent without TLS`, {
    hint: 'name a server by https://',
  });
}

function basic({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** `token`, or `access_token` as OAuth 2.0 has it. */
function tokenOf(body: Uint8Array): string {
  const json = parseJson(body, ANSWER, { duplicates: 'last-wins', numbers: 'float64', maxBytes: MAX_TOKEN_BYTES });
  const names = [...asObject(json, 'it', ANSWER).keys()];
  const answer = new JsonReader(json, names, 'it', ANSWER);
  const token = answer.string(answer.isNull('token') ? 'access_token' : 'token');
  return TOKEN.test(token) ? token : answer.fail('has a malformed token');
}

/** `Bearer realm="…",service="…", Basic realm="…"` (RFC 9110 §11.6.1). */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  const form = /([!#$%&'*+.^_`|~\w-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?[\s,]*/y;
  while (form.lastIndex < header.length) {
    const match = form.exec(header);
    if (match === null) break;
    const [, name = '', quoted, plain] = match;
    const value = quoted?.replace(/\\(.)/g, '$1') ?? plain;
    if (value === undefined) challenges.push({ scheme: name.toLowerCase(), parameters: new Map() });
    else challenges.at(-1)?.parameters.set(name.toLowerCase(), value);
  }
  return challenges;
}
