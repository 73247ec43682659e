/** Requests about the attached token → calls of it. */
import { splitParts } from './blob-parts.ts';
import { changePin, setUserPin } from './host-administration.ts';
import { readCertificate, removeCertificates, writeCertificate } from './host-certificates.ts';
import type { HostRequest } from './host-protocol.ts';
import type { HostToken } from './host-token.ts';

/** Requests that need a token. */
export type TokenRequest = Exclude<
  HostRequest,
  { op: 'load' | 'tokens' | 'emptySlots' | 'attach' | 'initialise' | 'cancel' }
>;

/** What is answered. `blob` is sent before the next request is looked at. */
export interface HostResult {
  readonly value?: unknown;
  readonly blob?: Buffer;
}

/** How messages call each operation. */
const NAMES = {
  state: 'a look',
  login: 'login',
  logout: 'logout',
  keys: 'listing keys',
  generate: 'generating a key',
  import: 'importing a key',
  remove: 'removing a key',
  relabel: 'relabelling a key',
  sign: 'signing',
  certificate: 'reading a certificate',
  putCertificate: 'storing a certificate',
  removeCertificate: 'removing a certificate',
  checkWriter: 'a login to write',
  changePin: 'changing the PIN',
  setUserPin: 'setting the PIN',
} as const satisfies Record<TokenRequest['op'], string>;

/** @param blob Zeroed by the caller afterwards. @throws {SignetError} */
export function performOnToken(token: HostToken, request: TokenRequest, blob: Buffer): HostResult {
  return token.session.run(NAMES[request.op], () => perform(token, request, blob));
}

function perform(token: HostToken, request: TokenRequest, blob: Buffer): HostResult {
  const { session } = token;
  switch (request.op) {
    case 'state':
      return { value: session.state() };
    case 'login':
      return { value: session.login(blob) };
    case 'logout':
      return { value: session.logout() };
    case 'keys':
      return { value: token.keys(request.ifChanged) };
    case 'generate':
      return { value: token.generate(request, writer(blob)) };
    case 'import': {
      const [soPin = EMPTY, ...parts] = splitParts(blob);
      return { value: token.import(request, parts, writer(soPin)) };
    }
    case 'remove':
      return { value: token.remove(request, writer(blob)) };
    case 'relabel':
      return { value: token.relabel(request, Buffer.from(request.label, 'base64')) };
    case 'sign': {
      const pin = request.pinBytes === 0 ? undefined : blob.subarray(0, request.pinBytes);
      return { blob: token.sign(request, request, blob.subarray(request.pinBytes), pin) };
    }
    case 'certificate': {
      const certificate = readCertificate(session, Buffer.from(request.ckaId, 'hex'), request.which);
      return certificate === undefined ? { value: false } : { value: true, blob: certificate };
    }
    case 'putCertificate': {
      const [soPin = EMPTY, value = EMPTY, subject = EMPTY, issuer = EMPTY, serialNumber = EMPTY] = splitParts(blob);
      const id = Buffer.from(request.ckaId, 'hex');
      const label = Buffer.from(request.label, 'base64');
      session.asWriter(writer(soPin), () =>
        writeCertificate(session, id, label, { value, subject, issuer, serialNumber }),
      );
      return {};
    }
    case 'removeCertificate': {
      const id = Buffer.from(request.ckaId, 'hex');
      return { value: session.asWriter(writer(blob), () => removeCertificates(session, id)) };
    }
    case 'checkWriter':
      session.asSecurityOfficer(blob, () => undefined);
      return {};
    case 'changePin': {
      const [oldPin = EMPTY, newPin = EMPTY] = splitParts(blob);
      changePin(session, request.user, oldPin, newPin);
      return { value: session.state() };
    }
    case 'setUserPin': {
      const [soPin = EMPTY, newPin = EMPTY] = splitParts(blob);
      setUserPin(session, soPin, newPin);
      return { value: session.state() };
    }
  }
}

const EMPTY = Buffer.alloc(0);

/** The security officer's PIN, where one was sent. */
function writer(soPin: Buffer): Buffer | undefined {
  return soPin.length === 0 ? undefined : soPin;
}
