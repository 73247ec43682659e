/** What the four kinds of metadata have in common. */
import { type GoTime, parseGoTime } from './go-time.ts';
import type { JsonObject, JsonSubject, JsonValue } from './json.ts';
import { JsonReader } from './json-reader.ts';

export interface MetadataHeader {
  readonly expires: GoTime;
  /** From 1; 0 in metadata that was never signed. */
  readonly version: number;
}

/** Opens `signed` and checks that it is of the type. @param names Its members beside the common ones. */
export function readSigned(
  value: JsonObject,
  type: 'Root' | 'Targets' | 'Snapshot' | 'Timestamp',
  names: readonly string[],
  subject: JsonSubject,
): { readonly signed: JsonReader; readonly header: MetadataHeader } {
  const signed = new JsonReader(value, ['_type', 'expires', 'version', ...names], 'signed', subject);
  if (signed.string('_type') !== type) signed.fail(`is not of type ${type}`);
  const header = { expires: parseGoTime(signed.string('expires'), subject), version: signed.integer('version', 1) };
  return { signed, header };
}

export function headerToJson(type: string, { expires, version }: MetadataHeader): Map<string, JsonValue> {
  return new Map<string, JsonValue>([
    ['_type', type],
    ['expires', expires.text],
    ['version', version],
  ]);
}
