/**
 * Our error code across the wire: `google.rpc.Status` with one `google.rpc.ErrorInfo`, in the trailer
 * `grpc-status-details-bin` where every gRPC language looks for it.
 */
import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import { type ErrorCode, isErrorCode } from '../errors.ts';

export const DETAILS_TRAILER = 'grpc-status-details-bin';
const DOMAIN = 'signet';
const TYPE_URL = 'type.googleapis.com/google.rpc.ErrorInfo';

interface Types {
  readonly status: protobuf.Type;
  readonly errorInfo: protobuf.Type;
}

let loaded: Types | undefined;

/** Parsed at the first error: most runs of the command line have none. */
function types(): Types {
  if (loaded === undefined) {
    const file = fileURLToPath(new URL('../../proto/google/rpc/status.proto', import.meta.url));
    const root = new protobuf.Root().loadSync(file, { keepCase: true }); // names as in the .proto
    loaded = { status: root.lookupType('google.rpc.Status'), errorInfo: root.lookupType('google.rpc.ErrorInfo') };
  }
  return loaded;
}

export interface ErrorInfo {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly retriesLeft: number | undefined;
}

export function encodeErrorInfo(grpcCode: number, message: string, info: ErrorInfo): Buffer {
  const metadata: Record<string, string> = {};
  if (info.hint !== undefined) metadata['hint'] = info.hint;
  if (info.retriesLeft !== undefined) metadata['retries_left'] = String(info.retriesLeft);
  const { status, errorInfo } = types();
  const value = errorInfo.encode({ reason: info.code, domain: DOMAIN, metadata }).finish();
  return Buffer.from(status.encode({ code: grpcCode, message, details: [{ type_url: TYPE_URL, value }] }).finish());
}

/** @returns Undefined if the bytes are not from a Signet daemon. */
export function decodeErrorInfo(bytes: Uint8Array): ErrorInfo | undefined {
  try {
    const { status: statusType, errorInfo } = types();
    const status = statusType.toObject(statusType.decode(bytes)) as {
      details?: { type_url?: string; value?: Uint8Array }[];
    };
    const detail = status.details?.find((candidate) => candidate.type_url === TYPE_URL);
    if (detail?.value === undefined) return undefined;
    const info = errorInfo.toObject(errorInfo.decode(detail.value)) as {
      reason?: string;
      domain?: string;
      metadata?: Record<string, string>;
    };
    if (info.domain !== DOMAIN || info.reason === undefined || !isErrorCode(info.reason)) return undefined;
    const retriesLeft = Number.parseInt(info.metadata?.['retries_left'] ?? '', 10);
    return {
      code: info.reason,
      hint: info.metadata?.['hint'],
      retriesLeft: Number.isNaN(retriesLeft) ? undefined : retriesLeft,
    };
  } catch {
    return undefined; // not protobuf: some proxy's own trailer
  }
}
