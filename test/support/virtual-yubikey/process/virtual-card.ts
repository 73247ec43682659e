/** One YubiKey: its applet, its place in a reader, the finger on it, and its faults. */
import { Applet } from '../card/applet.ts';
import { type Issuer, newAttestationKey } from '../card/attestation.ts';
import { personalise, putKey } from '../card/personalise.ts';
import type { CardSettings } from '../card/settings.ts';
import { resetToFactory } from '../card/state.ts';
import { clearStatistics, countApdu } from '../card/statistics.ts';
import type { CardStatus, CardVerb } from '../control-protocol.ts';
import { Faults } from './faults.ts';
import { FIRST_READER_PORT } from './pcscd.ts';
import { CommandedTouch } from './touch.ts';
import { VpcdSlot } from './vpcd.ts';

/** YubiKey 5: ykcs11 takes the model from it. */
const ATR = Buffer.from('3bfd1300008131fe158073c021c057597562694b657940', 'hex');

export class VirtualCard {
  /** Where it goes when it is inserted. */
  readonly reader: number;
  readonly #applet: Applet;
  readonly #touch: CommandedTouch;
  readonly #faults = new Faults();
  readonly #slot: VpcdSlot;
  #power = new AbortController();

  private constructor(applet: Applet, touch: CommandedTouch, reader: number) {
    this.reader = reader;
    this.#applet = applet;
    this.#touch = touch;
    this.#slot = new VpcdSlot(FIRST_READER_PORT + reader, {
      atr: ATR,
      transmit: (apdu) => this.#transmit(apdu),
      onPowerLost: () => {
        this.#power.abort();
        this.#power = new AbortController();
        this.#touch.abandon();
        this.#applet.powerOff();
      },
    });
  }

  /** @param reader In which the card is not yet. */
  static async make(settings: CardSettings, maker: Issuer, reader: number): Promise<VirtualCard> {
    const touch = new CommandedTouch();
    const state = await personalise(settings, await newAttestationKey(maker), touch);
    return new VirtualCard(new Applet(state), touch, reader);
  }

  get isInserted(): boolean {
    return this.#slot.isInserted;
  }

  insert(): void {
    this.#slot.insert();
  }

  remove(): void {
    this.#slot.remove();
  }

  async #transmit(apdu: Buffer): Promise<Buffer | undefined> {
    countApdu(this.#applet.state.statistics, apdu[1] ?? 0);
    const { signal } = this.#power;
    const ordered = await this.#faults.before(apdu, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    return signal.aborted ? undefined : (ordered ?? (await this.#applet.transmit(apdu)));
  }

  /** Does what a test orders. @returns What the verb answers, or a promise of it: see control-protocol.ts. */
  control(order: CardVerb): unknown {
    const { state } = this.#applet;
    switch (order.verb) {
      case 'touch':
        return this.#touch.touch();
      case 'touchMode':
        this.#touch.mode = order.touch;
        return undefined;
      case 'touchTimeout':
        this.#touch.timeoutMs = order.timeoutMs;
        return undefined;
      case 'delay':
        return this.#faults.setDelay(order.instruction, order.delayMs);
      case 'answer':
        return this.#faults.order(order.instruction, order.statusWord, order.times);
      case 'clearFaults':
        state.wrongSignatures = 0;
        return this.#faults.clear();
      case 'wrongSignatures':
        state.wrongSignatures = order.times;
        return undefined;
      case 'putKey':
        return putKey(state, order.key);
      case 'factoryReset':
        return resetToFactory(state);
      case 'statistics':
        return state.statistics;
      case 'clearStatistics':
        return clearStatistics(state.statistics);
      case 'status':
        return this.#status();
    }
  }

  #status(): CardStatus {
    const { pin, puk, keys } = this.#applet.state;
    return {
      isInserted: this.#slot.isInserted,
      isAwaitingTouch: this.#touch.isAwaited,
      pinRetriesLeft: pin.retriesLeft,
      pukRetriesLeft: puk.retriesLeft,
      keys: [...keys].map(([slot, { pair, origin, pinPolicy, touchPolicy }]) => ({
        slot,
        algorithm: pair.algorithm,
        origin,
        pinPolicy,
        touchPolicy,
        spki: pair.spki.toString('base64'),
      })),
    };
  }
}
