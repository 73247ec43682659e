/** What a trust server says when it refuses, in the words of Notary's client. */
import { SignetError } from '../errors.ts';
import { type JsonSubject, type JsonValue, parseJson } from '../tuf/json.ts';
import { asObject, JsonReader } from '../tuf/json-reader.ts';
import type { HttpResponse } from './http.ts';

/** Notary's limit. */
const MAX_TEXT = 1024;
const SUBJECT: JsonSubject = { what: 'error of the trust server', code: 'METADATA_REJECTED' };

/** Kinds of refused uploads. */
const INVALID: Readonly<Record<string, string>> = {
  ErrBadRoot: 'the root metadata is invalid',
  ErrBadTargets: 'the targets metadata is invalid',
  ErrBadSnapshot: 'the snapshot metadata is invalid',
  ErrBadHierarchy: 'metadata hierarchy is incomplete',
  ErrValidation: 'an error occurred during validation',
};

/** The code of a newer version that another publisher uploaded. */
export const NEWER_VERSION = 'VERSION';

/** @returns Of the first error in the body; '' if there is none. */
export function serverErrorCode({ body }: Pick<HttpResponse, 'body'>): string {
  return firstError(body)?.code ?? '';
}

/** The error for a status that is none of success. */
export function serverError(response: Pick<HttpResponse, 'status' | 'body'>): SignetError {
  const { status, body } = response;
  if (status === 401) {
    return new SignetError(
      'UNAUTHENTICATED',
      'you are not authorized to perform this operation: server returned 401.',
      { hint: 'set NOTARY_AUTH, or log in with docker login' },
    );
  }
  if (status === 403)
    return new SignetError('PERMISSION_DENIED', 'you are not allowed to do this: server returned 403.');
  if (status < 400 || status >= 500) {
    return new SignetError('UNAVAILABLE', `unable to reach trust server at this time: ${status}.`);
  }
  const error = firstError(body);
  const text = error === undefined ? 'trust server rejected operation' : error.text;
  return new SignetError('METADATA_REJECTED', `${text} (status ${status})`);
}

interface FirstError {
  readonly code: string;
  readonly text: string;
}

function firstError(body: Uint8Array): FirstError | undefined {
  try {
    const json = parseJson(body, SUBJECT, { duplicates: 'last-wins', numbers: 'float64', maxBytes: 64 * MAX_TEXT });
    const [first] = new JsonReader(json, ['errors'], 'it', SUBJECT).array('errors');
    const error = new JsonReader(first, ['code', 'message', 'detail'], 'errors', SUBJECT);
    const code = error.string('code');
    const detail = detailText(error.value('detail'));
    const text = (detail ?? `${error.string('message')} [${code}]`).slice(0, MAX_TEXT);
    return { code, text: text.replace(/\p{Cc}/gu, '?') };
  } catch {
    return undefined; // not Notary's
  }
}

/** `{"Name":"ErrBadRoot","Error":{"Msg":"…"}}`. */
function detailText(detail: JsonValue): string | undefined {
  if (!(detail instanceof Map) || !detail.has('Name')) return undefined;
  const text = (value: JsonValue | undefined) => (typeof value === 'string' ? value : '');
  const name = text(detail.get('Name'));
  const known = Object.hasOwn(INVALID, name) ? INVALID[name] : undefined;
  const message = text(asObject(detail.get('Error'), 'detail', SUBJECT).get('Msg'));
  return `${known ?? 'the update is invalid'}: ${message || name}`;
}
