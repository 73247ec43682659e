/** What changes the slots of a YubiKey: making, importing, removing and certifying keys, each in several requests. */
import pLimit from 'p-limit';
import { type KeyId, keyIdOf } from '../../crypto/key-id.ts';
import { decodePkcs8 } from '../../crypto/private-key-info.ts';
import { type PublicKey, publicKeyOf } from '../../crypto/public-key.ts';
import type { Secret } from '../../crypto/secret.ts';
import type { SignInput } from '../../crypto/sign-input.ts';
import { SignetError } from '../../errors.ts';
import type {
  ImportRequest,
  KeyBackend,
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
import { kindOf } from '../pkcs11/key-kinds.ts';
import { checkTakes } from '../pkcs11/key-writer.ts';
import type { Owner } from '../pkcs11/label.ts';
import type { Pkcs11Backend } from '../pkcs11/pkcs11-backend.ts';
import { type BoundContext, boundTo } from '../same-token.ts';
import type { KeyDescriptions } from './key-description.ts';
import { type ManagementKeyOptions, obtainManagementKey } from './management-key.ts';
import { generateWithTool, importWithTool, type ToolPlace } from './piv-tool.ts';
import { RememberedAnswers } from './remembered-answers.ts';
import { buildOwnerCertificate, ownerUri } from './slot-certificate.ts';
import { chooseSlot, policiesBeside, policiesOf, policyAttributes } from './slot-choice.ts';
import { vacateSlot } from './vacancy.ts';
import { parseYubicoVersion } from './versions.ts';
import { withOwner } from './with-interaction.ts';

export interface SlotWriterOptions {
  readonly base: Pkcs11Backend;
  readonly descriptions: KeyDescriptions;
  readonly managementKey: ManagementKeyOptions;
  /** Roles whose new keys must be attested as made on the device. */
  readonly requireAttestation: readonly string[];
  /** The clock, for certificates. */
  readonly now: () => Date;
  /** For programs that are run. */
  readonly env: NodeJS.ProcessEnv;
  /** As the whole backend does it. */
  readonly sign: KeyBackend['sign'];
}

export class SlotWriter {
  readonly #base: Pkcs11Backend;
  readonly #descriptions: KeyDescriptions;
  readonly #managementKey: ManagementKeyOptions;
  readonly #requireAttestation: readonly string[];
  readonly #now: () => Date;
  readonly #env: NodeJS.ProcessEnv;
  readonly #sign: KeyBackend['sign'];
  readonly #turn = pLimit(1);

  readonly generator: KeyGenerator;

  readonly importer: KeyImporter = {
    import: (pkcs8, request, context) =>
      this.#changing(context, (operation) => this.#import(pkcs8, request, operation)),
  };

  readonly remover: KeyRemover = {
    remove: (keyId, context) =>
      this.#changing(context, async (operation) => {
        const key = await this.#base.find(keyId);
        if (key === undefined) return false;
        await this.#vacate(key, operation);
        return true;
      }),
  };

  readonly relabeller: KeyRelabeller = {
    relabel: (keyId, owner, context) =>
      this.#changing(context, async (operation) => {
        await this.#base.publicKey(keyId);
        const key = await this.#base.find(keyId);
        if (this.#mustBeAttested(owner) && key?.device?.attested !== true) {
          throw this.#notAttested(owner, `key ${keyId} is not`);
        }
        return await this.#certify(keyId, owner, operation);
      }),
  };

  readonly certifier: KeyCertifier = {
    certificate: (keyId, context) => required(this.#base.certifier).certificate(keyId, context),
    putCertificate: (keyId, der, context) =>
      this.#changing(context, async (operation) => {
        await required(this.#base.certifier).putCertificate(keyId, der, operation);
        await this.#base.refresh();
      }),
    removeCertificate: (keyId, context) =>
      this.#changing(context, async (operation) => {
        const removed = await required(this.#base.certifier).removeCertificate(keyId, operation);
        await this.#base.refresh();
        return removed;
      }),
  };

  constructor(options: SlotWriterOptions) {
    const { base } = options;
    this.#base = base;
    this.#descriptions = options.descriptions;
    this.#managementKey = options.managementKey;
    this.#requireAttestation = options.requireAttestation;
    this.#now = options.now;
    this.#env = options.env;
    this.#sign = options.sign;
    this.generator = {
      get algorithms() {
        return base.generator.algorithms;
      },
      makes: (kind) => base.generator.makes?.(kind) ?? true,
      generate: (request, context) => this.#changing(context, (operation) => this.#generate(request, operation)),
    };
  }

  /**
   * One at a time, on one YubiKey, with each secret asked for once. The library reads the slots when it opens its first
   * session: it is let go of before, so that what other programs made since then is seen and not overwritten.
   */
  #changing<T>(context: SignContext, change: (operation: BoundContext) => Promise<T>): Promise<T> {
    return this.#turn(async () => {
      throwIfCancelled(context);
      using answers = new RememberedAnswers();
      await this.#base.connection.release();
      await this.#base.refresh();
      const { facts } = await this.#base.connection.attach();
      try {
        return await change(boundTo(facts, answers.around(context)));
      } finally {
        await this.#loginAgain();
      }
    });
  }

  /** Writing ended the user's login; where nobody has to be asked, keys go on being open. */
  async #loginAgain(): Promise<void> {
    const { connection, login } = this.#base;
    if (connection.attached !== undefined) await login.loginAtAttachment(connection.attached);
  }

  async #generate(request: KeyRequest, context: BoundContext) {
    const { role, gun } = request;
    ownerUri({ role, gun }); // what cannot be kept is not begun
    await this.#base.refresh();
    // The PIN comes first: without it the key would be made and could not sign its own certificate.
    (await this.#base.login.login(context))?.dispose();
    const made = await this.#withTool(request, context, (place, key) => generateWithTool(place, kindOf(request), key));
    const keyId = made === undefined ? await this.#generateWithLibrary(request, context) : keyIdOf(made.result);
    return await this.#finish(keyId, { role, gun }, context);
  }

  async #import(pkcs8: Uint8Array, request: ImportRequest, context: BoundContext) {
    const { role, gun, device = {} } = request;
    const owner = { role, gun };
    ownerUri(owner); // what cannot be kept is not begun
    if (this.#mustBeAttested(owner)) throw this.#notAttested(owner, 'a key that was made elsewhere is not');
    const publicKey = publicKeyOf(decodePkcs8(pkcs8));
    const keyId = keyIdOf(publicKey);
    const attached = await this.#base.connection.attach(context.token);
    checkTakes(publicKey, attached, this.#base.location);
    if ((await this.#base.find(keyId)) !== undefined) {
      throw new SignetError('KEY_EXISTS', `key ${keyId} exists on ${this.#base.location}`);
    }
    const slot = await chooseSlot(device, (candidate) => this.#descriptions.isFree(attached, candidate));
    // As for a key that is made.
    (await this.#base.login.login(context))?.dispose();
    this.#descriptions.noteImport(keyId, policiesOf(slot, device));
    const store = (place: ToolPlace, key: Secret) => importWithTool(place, pkcs8, key);
    if ((await this.#withTool(request, context, store)) === undefined) {
      await required(this.#base.importer).import(pkcs8, request, context);
    }
    return await this.#finish(keyId, owner, context);
  }

  async #generateWithLibrary(request: KeyRequest, context: SignContext): Promise<KeyId> {
    // A home without choices refuses them; this one always has some.
    return (await this.#base.generator.generate({ ...request, device: request.device ?? {} }, context)).keyId;
  }

  /** @returns Undefined if the library can do it by itself. */
  async #withTool<T>(
    { device = {} }: Pick<KeyRequest, 'device'>,
    context: BoundContext,
    write: (place: ToolPlace, managementKey: Secret) => Promise<T>,
  ): Promise<{ readonly result: T } | undefined> {
    const { connection, login } = this.#base;
    const attached = await connection.attach(context.token);
    const slot = await chooseSlot(device, (candidate) => this.#descriptions.isFree(attached, candidate));
    const policies = policiesBeside(slot, device);
    if (policyAttributes(policies, parseYubicoVersion(attached.module.version)) !== undefined) return undefined;
    using key = await obtainManagementKey(context, { connection, login }, this.#managementKey);
    // What the library knows of the slot is not true any more afterwards.
    await connection.release();
    return { result: await write({ slot, policies, token: attached.facts, env: this.#env }, key) };
  }

  /** Gives a new key the certificate that keeps its owner. A key that cannot have one is taken away again. */
  async #finish(
    keyId: KeyId,
    owner: Owner,
    context: BoundContext,
  ): Promise<KeyInfo & { readonly publicKey: PublicKey }> {
    try {
      await this.#base.refresh();
      const made = await this.#base.find(keyId);
      if (this.#mustBeAttested(owner) && made?.device?.attested !== true) {
        throw this.#notAttested(owner, 'the new key could not be; it was removed');
      }
      return await this.#certify(keyId, owner, context);
    } catch (error) {
      const key = await this.#base.find(keyId).catch(() => undefined);
      if (key !== undefined) await this.#vacate(key, context).catch(() => undefined);
      throw error;
    }
  }

  #mustBeAttested({ role }: Owner): boolean {
    return this.#requireAttestation.includes(role);
  }

  #notAttested({ role }: Owner, problem: string): SignetError {
    const rule = `keys for the role ${role} on ${this.#base.location} must be attested as made on it`;
    return new SignetError('PERMISSION_DENIED', `${rule}, and ${problem}`, {
      hint: 'require_attestation asks for it; attestation_roots names the authorities',
    });
  }

  async #certify(keyId: KeyId, owner: Owner, context: SignContext) {
    const publicKey = await this.#base.publicKey(keyId);
    const sign = (input: SignInput) => this.#sign(keyId, input, withOwner(context, owner));
    const { der } = await buildOwnerCertificate(owner, publicKey, this.#now(), sign);
    await required(this.#base.certifier).putCertificate(keyId, der, context);
    await this.#base.refresh();
    const info = await this.#base.find(keyId);
    if (info === undefined)
      throw new SignetError('UNAVAILABLE', `${this.#base.location} lost key ${keyId} while it was made`);
    return { ...info, publicKey };
  }

  async #vacate({ keyId, device }: KeyInfo, context: BoundContext): Promise<void> {
    if (device?.slot === undefined) throw new SignetError('INTERNAL', `key ${keyId} is in no slot`);
    const { connection, login } = this.#base;
    using key = await obtainManagementKey(context, { connection, login }, this.#managementKey);
    await vacateSlot(device.slot, { connection, login }, key, this.#now(), context);
    await this.#base.refresh();
  }
}

function required<T>(part: T | undefined): T {
  if (part === undefined) throw new SignetError('UNSUPPORTED', 'this YubiKey cannot do that');
  return part;
}
