/** What changes a token's keys: making, importing, removing and relabelling them, and certificates beside them. */
import type { KeyAlgorithm } from '../../crypto/algorithms.ts';
import { keyIdOf } from '../../crypto/key-id.ts';
import { decodePkcs8 } from '../../crypto/private-key-info.ts';
import { type PublicKey, publicKeyOf } from '../../crypto/public-key.ts';
import { SignetError } from '../../errors.ts';
import type {
  KeyCertifier,
  KeyGenerator,
  KeyImporter,
  KeyInfo,
  KeyRelabeller,
  KeyRemover,
  KeyRequest,
  SignContext,
} from '../backend.ts';
import { throwIfCancelled } from '../cancellation.ts';
import { type BoundContext, boundTo } from '../same-token.ts';
import type { WhichToken } from '../token-facts.ts';
import { joinParts } from './blob-parts.ts';
import { certificateParts } from './certificate-parts.ts';
import type { KeyPlace, TokenHooks } from './hooks.ts';
import { ANSWERS } from './host-protocol.ts';
import { importParts } from './import-parts.ts';
import type { KeyIndex, KeyRecord } from './key-index.ts';
import { algorithmsOf, canMake, canSign, kindOf } from './key-kinds.ts';
import { formatLabel } from './label.ts';
import { encodePublicKey } from './public-object.ts';
import type { AttachedToken, TokenConnection } from './token-connection.ts';
import type { TokenLogin } from './token-login.ts';

export interface KeyWriterOptions {
  readonly connection: TokenConnection;
  readonly login: TokenLogin;
  readonly index: KeyIndex;
  readonly hooks: TokenHooks;
  /** Attaches the token, for use. @param began The one that it must be; undefined: any that matches. */
  readonly attach: (began: WhichToken | undefined) => Promise<AttachedToken>;
}

/** Making a key may take a small device minutes; milliseconds. */
const GENERATION_TIMEOUT_MS = 180_000;
/** Of a token that was not seen yet. */
const ALL_ALGORITHMS: readonly KeyAlgorithm[] = ['ecdsa', 'ed25519', 'rsa'];

export class KeyWriter {
  readonly #connection: TokenConnection;
  readonly #login: TokenLogin;
  readonly #index: KeyIndex;
  readonly #hooks: TokenHooks;
  readonly #attach: KeyWriterOptions['attach'];

  readonly generator: KeyGenerator;

  readonly importer: KeyImporter = {
    import: async (pkcs8, request, call) => {
      const label = formatLabel(request).toString('base64');
      const object = decodePkcs8(pkcs8);
      const publicKey = publicKeyOf(object);
      const keyId = keyIdOf(publicKey);
      const attached = await this.#attach(call.token);
      const context = boundTo(attached.facts, call);
      checkTakes(publicKey, attached, this.#connection.name);
      this.#checkChoices(request, this.#hooks.importPlace);
      using access = await this.#writeAccess(context);
      await this.#index.refresh();
      if (this.#index.get(keyId) !== undefined) throw new SignetError('KEY_EXISTS', `key ${keyId} exists on the token`);
      const place: KeyPlace = (await this.#hooks.importPlace?.(request, attached)) ?? {};
      const ckaId = place.ckaId ?? Buffer.from(keyId, 'hex');
      throwIfCancelled(context);
      const key = { ckaId: Buffer.from(ckaId).toString('base64'), label, ...encodePublicKey(publicKey) };
      const parts = importParts(object);
      const blob = joinParts([access.soPin, ...parts]);
      try {
        const { value } = await this.#connection.request(
          context,
          { op: 'import', key, extra: place.extra },
          { parse: ANSWERS.key, blob, isChange: true },
        );
        return withPublicKey(this.#index.add(value));
      } finally {
        for (const secret of [...parts, blob]) secret.fill(0);
      }
    },
  };

  readonly remover: KeyRemover = {
    remove: async (keyId, call) => {
      const record = await this.#index.find(keyId);
      if (record === undefined) return false;
      const context = await this.#attachFor(record, call);
      using access = await this.#writeAccess(context, record.info);
      throwIfCancelled(context);
      const request = { op: 'remove', keyId, ckaId: record.ckaId } as const;
      const { value } = await this.#connection.request(context, request, {
        parse: ANSWERS.found,
        blob: access.soPin,
        isChange: true,
      });
      this.#index.delete(keyId);
      return value;
    },
  };

  readonly relabeller: KeyRelabeller = {
    relabel: async (keyId, owner, call) => {
      const label = formatLabel(owner).toString('base64');
      const record = await this.#index.require(keyId);
      const { ckaId, info } = record;
      const context = await this.#attachFor(record, call);
      using _ = await this.#writeAccess(context, info);
      throwIfCancelled(context);
      const { value } = await this.#connection.request(
        context,
        { op: 'relabel', keyId, ckaId, label },
        { parse: ANSWERS.key, isChange: true },
      );
      return this.#index.add(value).info;
    },
  };

  readonly certifier: KeyCertifier = {
    certificate: async (keyId, call) => {
      const record = await this.#index.require(keyId);
      const { value, blob } = await this.#connection.request(
        await this.#attachFor(record, call),
        { op: 'certificate', ckaId: record.ckaId, which: 'stored' },
        { parse: ANSWERS.found },
      );
      return value ? blob : undefined;
    },
    putCertificate: async (keyId, der, call) => {
      const record = await this.#index.require(keyId);
      const { ckaId, info, publicKey } = record;
      const { value, subject, issuer, serialNumber } = certificateParts(der, publicKey);
      const context = await this.#attachFor(record, call);
      using access = await this.#writeAccess(context, info);
      throwIfCancelled(context);
      const label = formatLabel(info).toString('base64');
      const blob = joinParts([access.soPin, value, subject, issuer, serialNumber]);
      await this.#connection.request(
        context,
        { op: 'putCertificate', ckaId, label },
        { parse: ANSWERS.none, blob, isChange: true },
      );
    },
    removeCertificate: async (keyId, call) => {
      const record = await this.#index.require(keyId);
      const { ckaId, info } = record;
      const context = await this.#attachFor(record, call);
      using access = await this.#writeAccess(context, info);
      throwIfCancelled(context);
      const options = { parse: ANSWERS.found, blob: access.soPin, isChange: true };
      return (await this.#connection.request(context, { op: 'removeCertificate', ckaId }, options)).value;
    },
  };

  constructor(options: KeyWriterOptions) {
    this.#connection = options.connection;
    this.#login = options.login;
    this.#index = options.index;
    this.#hooks = options.hooks;
    this.#attach = options.attach;
    const { connection } = options;
    this.generator = {
      get algorithms() {
        return connection.last === undefined ? ALL_ALGORITHMS : algorithmsOf(connection.last.mechanisms);
      },
      makes: (kind) => connection.last === undefined || canMake(kindOf(kind), connection.last.mechanisms),
      generate: (request, context) => this.#generate(request, context),
    };
  }

  async #generate(request: KeyRequest, call: SignContext) {
    const { role, gun } = request;
    const label = formatLabel({ role, gun }).toString('base64');
    const kind = kindOf(request);
    const attached = await this.#attach(call.token);
    const context = boundTo(attached.facts, call);
    if (!canMake(kind, attached.mechanisms)) {
      throw new SignetError('UNSUPPORTED', `${this.#connection.name} makes no ${kind} keys that Signet can use`);
    }
    this.#checkChoices(request, this.#hooks.place);
    const { ckaId, extra }: KeyPlace = (await this.#hooks.place?.(request, attached)) ?? {};
    using access = await this.#writeAccess(context);
    // Not cancelled once asked for: the key would be on the token and nobody would know.
    throwIfCancelled(context);
    const place = ckaId === undefined ? undefined : Buffer.from(ckaId).toString('base64');
    const { value } = await this.#connection.request(
      context,
      { op: 'generate', kind, label, place, extra },
      { parse: ANSWERS.key, blob: access.soPin, timeoutMs: GENERATION_TIMEOUT_MS, isChange: true },
    );
    return withPublicKey(this.#index.add(value));
  }

  /** @returns The call, bound to the token that has the key. */
  async #attachFor({ token }: KeyRecord, call: SignContext): Promise<BoundContext> {
    await this.#attach(token);
    return boundTo(token, call);
  }

  /** @throws {SignetError} UNSUPPORTED */
  #checkChoices({ device }: Pick<KeyRequest, 'device'>, place: unknown): void {
    if (device === undefined || place !== undefined) return;
    throw new SignetError('UNSUPPORTED', `${this.#connection.name} has no slots or policies to choose from`);
  }

  /** Who may write: the user, logged in now, or the security officer with the PIN that goes with the request. */
  async #writeAccess(context: BoundContext, wantedFor?: KeyInfo): Promise<WriteAccess> {
    const { profile } = await this.#connection.attach(context.token);
    if (profile.writesAs === 'user') {
      (await this.#login.login(context, wantedFor))?.dispose();
      return { soPin: new Uint8Array(0), [Symbol.dispose]: () => undefined };
    }
    const pin = await this.#hooks.writerPin?.(context, { connection: this.#connection, login: this.#login });
    if (pin === undefined) throw new SignetError('PIN_REQUIRED', `${this.#connection.name} needs its SO PIN`);
    return {
      soPin: pin.bytes(),
      [Symbol.dispose]: () => {
        pin.dispose();
        this.#login.noteLoggedOut(); // the one login ends the other
      },
    };
  }
}

interface WriteAccess extends Disposable {
  /** No bytes: the user writes. */
  readonly soPin: Uint8Array;
}

/** @throws {SignetError} UNSUPPORTED for a key that the token does not take, or could not sign with */
export function checkTakes(publicKey: PublicKey, { profile, mechanisms }: AttachedToken, name: string): void {
  if (profile.imports.includes(publicKey.algorithm) && canSign(publicKey, mechanisms)) return;
  throw new SignetError('UNSUPPORTED', `${name} takes no such ${publicKey.algorithm} keys made elsewhere`);
}

function withPublicKey({ info, publicKey }: KeyRecord): KeyInfo & { readonly publicKey: PublicKey } {
  return { ...info, publicKey };
}
