/** A person who is asked for PINs, for tests. */
import type { Interaction, KeyInfo, PinQuestion, SignContext } from '../../src/backends/backend.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { NOBODY } from './interaction.ts';

export interface PinPerson {
  /** What was asked, in order. */
  readonly questions: readonly PinQuestion[];
  /** How often a touch was asked for, and how many of these notices are up. */
  readonly touches: { readonly count: number; readonly pending: number };
  /** What it was asked for, in order. */
  readonly touchedKeys: readonly Pick<KeyInfo, 'keyId' | 'role' | 'gun'>[];
  readonly interaction: Interaction;
  /** Of a call that this person waits for. */
  readonly context: SignContext;
}

/** @param answer The PIN for a question, undefined to decline; may take its time. */
export function pinPerson(
  answer: (question: PinQuestion) => string | undefined | Promise<string | undefined>,
): PinPerson {
  const questions: PinQuestion[] = [];
  const touches = { count: 0, pending: 0 };
  const touchedKeys: Pick<KeyInfo, 'keyId' | 'role' | 'gun'>[] = [];
  const interaction: Interaction = {
    ...NOBODY,
    pin: async (question) => {
      questions.push(question);
      const pin = await answer(question);
      return pin === undefined ? undefined : Secret.fromText(pin);
    },
    touch: (_token, key) => {
      touchedKeys.push(key);
      touches.count++;
      touches.pending++;
      return { [Symbol.dispose]: () => void touches.pending-- };
    },
  };
  return { questions, touches, touchedKeys, interaction, context: { caller: 'a person', interaction } };
}
