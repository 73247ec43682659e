/** One question per secret and operation: what makes a key needs PIN and management key several times over. */
import type { Secret } from '../../crypto/secret.ts';
import type { Interaction, PinQuestion, SignContext } from '../backend.ts';
import { withInteraction } from './with-interaction.ts';

/**
 * A person's answers, kept for one operation that ends with the first one that is refused: an answer that is given again
 * was taken before.
 */
export class RememberedAnswers implements Disposable {
  /** By secret and serial number: another YubiKey has another PIN. */
  readonly #answers = new Map<string, Secret>();

  /** @returns The context with questions that are asked once. */
  around(context: SignContext): SignContext {
    const { interaction } = context;
    if (interaction === undefined) return context;
    return withInteraction(context, { pin: (question, signal) => this.#pin(interaction, question, signal) });
  }

  [Symbol.dispose](): void {
    for (const answer of this.#answers.values()) answer.dispose();
    this.#answers.clear();
  }

  async #pin(interaction: Interaction, question: PinQuestion, signal?: AbortSignal): Promise<Secret | undefined> {
    if (question.isNew) return await interaction.pin(question, signal);
    const name = `${question.secret} ${question.token.serial}`;
    const known = this.#answers.get(name);
    if (known !== undefined) return known.clone();
    const answer = await interaction.pin(question, signal);
    if (answer !== undefined) this.#answers.set(name, answer.clone());
    return answer;
  }
}
