/** Templates on their way into the bindings, which crash the process for a value of a type that they do not expect. */

/** Numbers become CK_ULONG, booleans CK_BBOOL. No other type may reach the bindings. */
export type AttributeValue = number | boolean | Uint8Array;
export type Template = readonly (readonly [type: number, value: AttributeValue])[];

export interface NativeAttribute {
  type: number;
  value: number | boolean | Buffer;
}

/** CK_ULONG as the bindings take it: they cut longer ones to 32 bits. */
const MAX_NUMBER = 0xffffffff;

/**
 * Copies a template into what the bindings take.
 *
 * @throws {TypeError} for anything else than a template: a mistake of ours, found before it can do harm
 */
export function toNative(template: Template): NativeAttribute[] {
  return template.map(([type, value]) => {
    if (!isNumber(type)) throw new TypeError('a template with an attribute that has no type');
    if (value instanceof Uint8Array) return { type, value: Buffer.from(value) };
    if (typeof value === 'boolean' || isNumber(value)) return { type, value };
    throw new TypeError(`attribute 0x${type.toString(16)} of a template has a ${typeof value} as its value`);
  });
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= MAX_NUMBER;
}
