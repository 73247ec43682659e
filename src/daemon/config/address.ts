/** `host:port` as Go's `net.Listen` takes it, with a numeric port. */
import { isIPv6 } from 'node:net';

const BRACKETED = /^\[([^[\]]+)\]:(\d{1,5})$/;
const PLAIN = /^([A-Za-z0-9._-]{0,253}):(\d{1,5})$/;

export interface Address {
  /** Without brackets; undefined for `:port`, which means every interface. */
  readonly host: string | undefined;
  readonly port: number;
}

/** Reads `127.0.0.1:7899`, `localhost:7899`, `[::1]:7899` or `:7899`. @returns undefined for anything else. */
export function parseAddress(text: string): Address | undefined {
  const bracketed = BRACKETED.exec(text);
  const [, host = '', digits = ''] = bracketed ?? PLAIN.exec(text) ?? [];
  const port = Number(digits);
  if (digits === '' || port > 65_535) return undefined;
  if (bracketed !== null && !isIPv6(host)) return undefined;
  return { host: host === '' ? undefined : host, port };
}
