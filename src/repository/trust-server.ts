/** notary-server's HTTP API, for one collection. */
import { randomUUID } from 'node:crypto';
import { SignetError } from '../errors.ts';
import { type JsonSubject, parseJson } from '../tuf/json.ts';
import type { RoleName } from '../tuf/roles.ts';
import { keyFromJson, type TufKey } from '../tuf/tuf-key.ts';
import { type Actions, Authorizer, type CredentialSource } from './authorization.ts';
import { gunPath } from './gun.ts';
import type { HttpClient, HttpResponse } from './http.ts';
import { NEWER_VERSION, serverError, serverErrorCode } from './server-error.ts';

/** Notary's limits, in bytes. */
const MAX_KEY_BYTES = 256 * 1024;
const MAX_ANSWER_BYTES = 64 * 1024;
const KEY: JsonSubject = { what: 'key of the trust server', code: 'METADATA_REJECTED' };

/** Roles whose keys a server may keep. */
export type ServerRole = 'timestamp' | 'snapshot';

export interface TrustServerOptions {
  readonly url: URL;
  /** Checked. */
  readonly gun: string;
  readonly http: HttpClient;
  readonly credentials: CredentialSource;
}

/**
 * Methods throw SignetError: UNAVAILABLE if no answer comes, UNAUTHENTICATED, PERMISSION_DENIED, METADATA_REJECTED with
 * what the server says, CANCELLED.
 */
export class TrustServer {
  readonly #options: TrustServerOptions;
  readonly #authorizer: Authorizer;
  readonly #base: URL;
  #mayHaveTaken = false;

  constructor(options: TrustServerOptions) {
    const { url, gun, http, credentials } = options;
    this.#options = options;
    this.#authorizer = new Authorizer(http, gun, credentials);
    // A path in front of /v2 is kept: servers may stand behind one.
    this.#base = new URL(`${url.href.replace(/\/*$/, '')}/v2/${gunPath(gun)}/_trust/tuf/`);
  }

  get url(): URL {
    return this.#options.url;
  }

  /**
   * Whether the last upload that was sent may have been taken: anything but an answer with a status of 4xx leaves that
   * open, as what comes between us and the server may give up before the server does.
   */
  get mayHaveTaken(): boolean {
    return this.#mayHaveTaken;
  }

  /**
   * Downloads a file: `timestamp.json`, `2.root.json` or, by its checksum, `targets.<sha256>.json`.
   *
   * @returns Undefined if the server has none
   */
  async download(name: string, maxBytes: number): Promise<Buffer | undefined> {
    const response = await this.#send('GET', name, 'pull', maxBytes);
    if (response.status === 404) return undefined;
    if (response.status !== 200) throw serverError(response);
    return response.body;
  }

  /**
   * Uploads files by role, all or none.
   *
   * @returns False if another publisher was faster: the server has one of the versions, or a newer one
   */
  async upload(files: ReadonlyMap<RoleName, Uint8Array>): Promise<boolean> {
    const boundary = `signet-${randomUUID()}`;
    const body = multipart(files, boundary);
    const headers = { 'content-type': `multipart/form-data; boundary=${boundary}` };
    const response = await this.#send('POST', '', 'push,pull', MAX_ANSWER_BYTES, { headers, body });
    if (response.status === 200) return true;
    if (response.status === 400 && serverErrorCode(response) === NEWER_VERSION) return false;
    throw serverError(response);
  }

  /** The server's key for a role: the one that it has, or a new one for a collection that it does not know. */
  async key(role: ServerRole): Promise<TufKey> {
    return keyOf(await this.#send('GET', `${role}.key`, 'push,pull', MAX_KEY_BYTES));
  }

  /** Has the server make another key for a role. */
  async newKey(role: ServerRole): Promise<TufKey> {
    return keyOf(await this.#send('POST', `${role}.key`, '*', MAX_KEY_BYTES));
  }

  /** Removes all of the collection from the server. */
  async deleteAll(): Promise<void> {
    const response = await this.#send('DELETE', '', '*', MAX_ANSWER_BYTES);
    if (response.status !== 200) throw serverError(response);
  }

  async #send(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    actions: Actions,
    maxBytes: number,
    content: { readonly headers?: Readonly<Record<string, string>>; readonly body?: Uint8Array } = {},
  ): Promise<HttpResponse> {
    const url = new URL(path, this.#base);
    const isUpload = method === 'POST' && content.body !== undefined;
    let authorization = this.#authorizer.header(actions);
    // Anonymous, with a token for nobody, with credentials.
    for (let attempt = 0; ; attempt++) {
      const headers = { ...content.headers, ...(authorization !== undefined && { authorization }) };
      if (isUpload) this.#mayHaveTaken = true;
      const response = await this.#options.http.send({ ...content, method, url, headers, maxBytes });
      if (isUpload && response.status >= 400 && response.status < 500) this.#mayHaveTaken = false;
      if (response.status !== 401 || attempt === 2) return response;
      const challenge = response.headers['www-authenticate'];
      authorization = await this.#authorizer.answer(challenge, actions, this.#base);
      if (authorization === undefined) return response;
    }
  }
}

function keyOf(response: HttpResponse): TufKey {
  if (response.status !== 200) throw serverError(response);
  const json = parseJson(response.body, KEY, { duplicates: 'reject', numbers: 'exact', maxBytes: MAX_KEY_BYTES });
  const key = keyFromJson(json, 'it', KEY);
  if (key.algorithm === 'ecdsa' || key.algorithm === 'ed25519' || key.algorithm === 'rsa') return key;
  throw new SignetError('METADATA_REJECTED', 'the trust server gives a key of an unknown kind');
}

/** RFC 7578, as notary-server wants it: a part for each role, whose file name is the role. */
function multipart(files: ReadonlyMap<RoleName, Uint8Array>, boundary: string): Buffer {
  const parts = [...files].flatMap(([role, bytes]) => [
    Buffer.from(
      `--${boundary}\r\ncontent-disposition: form-data; name="files"; filename="${role}"\r\n` +
        'content-type: application/octet-stream\r\n\r\n',
    ),
    bytes,
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...parts, Buffer.from(`--${boundary}--\r\n`)]);
}
