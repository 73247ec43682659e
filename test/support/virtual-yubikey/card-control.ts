/** What tests do to a card from outside: hands, fingers, faults, and counts. */
import { waitFor } from '../conditions.ts';
import type { PresetKey } from './card/settings.ts';
import type { Statistics } from './card/statistics.ts';
import type { ControlConnection } from './control-client.ts';
import type { CardStatus, CardVerb, PlaceVerb } from './control-protocol.ts';
import type { Target } from './process/faults.ts';
import type { TouchMode } from './process/touch.ts';

export class CardControl {
  readonly #connection: ControlConnection;
  readonly #card: number;

  constructor(connection: ControlConnection, card: number) {
    this.#connection = connection;
    this.#card = card;
  }

  /** Resolves when pcscd, if it runs, shows the card to its clients. */
  async insert(): Promise<void> {
    await this.#order({ verb: 'insert' });
  }

  /** Takes the card out, also in the middle of a command. Resolves when pcscd, if it runs, has noticed: within 0.4 s. */
  async remove(): Promise<void> {
    await this.#order({ verb: 'remove' });
  }

  /** Touches the card. @returns False if it was not waiting for that. */
  async touch(): Promise<boolean> {
    return (await this.#order({ verb: 'touch' })) as boolean;
  }

  /** What happens from now on when the card asks for a touch; `auto` at first. */
  async setTouch(touch: TouchMode | Exclude<TouchMode['mode'], 'late'>): Promise<void> {
    await this.#order({ verb: 'touchMode', touch: typeof touch === 'string' ? { mode: touch } : touch });
  }

  /** How long the card waits for a touch; 15 s at first. */
  async setTouchTimeout(timeoutMs: number): Promise<void> {
    await this.#order({ verb: 'touchTimeout', timeoutMs });
  }

  /** Resolves when the card waits for a touch. */
  async untilAwaitingTouch(): Promise<void> {
    await waitFor('the card to ask for a touch', async () => (await this.status()).isAwaitingTouch);
  }

  /** Answers to this instruction, or to `ANY`, take so much longer; 0 ends that. */
  async delay(instruction: Target, delayMs: number): Promise<void> {
    await this.#order({ verb: 'delay', instruction, delayMs });
  }

  /** The next commands of this kind are not executed, but answered with a status word. */
  async answerNext(instruction: Target, statusWord: number, times = 1): Promise<void> {
    await this.#order({ verb: 'answer', instruction, statusWord, times });
  }

  /** The next signatures are well-formed and wrong. */
  async signWronglyNext(times = 1): Promise<void> {
    await this.#order({ verb: 'wrongSignatures', times });
  }

  /** Ends delays, and forgets answers and wrong signatures that are still due. */
  async clearFaults(): Promise<void> {
    await this.#order({ verb: 'clearFaults' });
  }

  /** Factory PIN, PUK and management key, no keys and objects; only the attestation key stays. */
  async factoryReset(): Promise<void> {
    await this.#order({ verb: 'factoryReset' });
  }

  /** Puts a key into a slot, in the place of what is there, as other programs may have done while nobody looked. */
  async putKey(key: PresetKey): Promise<void> {
    await this.#order({ verb: 'putKey', key });
  }

  async statistics(): Promise<Statistics> {
    return (await this.#order({ verb: 'statistics' })) as Statistics;
  }

  async clearStatistics(): Promise<void> {
    await this.#order({ verb: 'clearStatistics' });
  }

  async status(): Promise<CardStatus> {
    return (await this.#order({ verb: 'status' })) as CardStatus;
  }

  async #order(order: PlaceVerb | CardVerb): Promise<unknown> {
    return await this.#connection.order({ card: this.#card, ...order });
  }
}
