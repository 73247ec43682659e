/**
 * Answers to questions about PINs, PUKs and management keys.
 *
 * A wrong PIN locks a token after a few tries. What a file holds is tried once in a call, and never as the last try: a
 * person decides about that.
 */
import type { Secret } from '../../crypto/secret.ts';
import { SignetError } from '../../errors.ts';
import type { QuestionMessage, TokenMessage } from '../../rpc/messages.ts';
import { printable } from '../output.ts';
import type { Asker } from './asker.ts';
import type { SecretSources } from './sources.ts';
import * as words from './wording.ts';

const MAX_NEW_PIN_TRIES = 4;
const NO_MATCH = 'They do not match. Please retry.';

export class PinAnswers {
  readonly #asker: Asker;
  readonly #sources: SecretSources;
  /** Tokens that were given the PIN from a file in this call, with the tries that were left before. */
  readonly #given = new Map<string, number>();

  constructor(asker: Asker, sources: SecretSources) {
    this.#asker = asker;
    this.#sources = sources;
  }

  /** @returns Undefined to decline. The caller disposes of the answer. */
  async answer(question: QuestionMessage): Promise<Secret | undefined> {
    return question.kind.startsWith('new ') ? await this.#chosen(question) : await this.#existing(question);
  }

  /** A call has ended: what was given in it was right, or the command ends with it. */
  endCall(): void {
    this.#given.clear();
  }

  async #existing(question: QuestionMessage): Promise<Secret | undefined> {
    const { what, prompt } = texts(question);
    const found = question.kind === 'pin' ? await this.#sources.pin() : undefined;
    if (found === undefined) {
      const remedies = question.kind === 'pin' ? ['use --pin-file or --pin-fd'] : [];
      const reason = printable(question.reason) || undefined;
      return await this.#asker.secret({ prompt, what, remedies, reason });
    }
    // Serial numbers are not always unique.
    const token = JSON.stringify(question.token);
    if (question.tries_left === 1) {
      this.#asker.refusal = new SignetError('PIN_REQUIRED', `${what} has one try left, which is not spent unattended`, {
        hint: 'type the PIN on a terminal, or unblock it: signet token unblock',
      });
    } else if (wasWrong(this.#given.get(token), question)) {
      this.#asker.refusal = new SignetError('PIN_INCORRECT', `the PIN from ${found.origin} is not ${what}`);
    } else {
      this.#given.set(token, question.tries_left);
      return found.secret;
    }
    found.secret.dispose();
    return undefined;
  }

  async #chosen(question: QuestionMessage): Promise<Secret | undefined> {
    const { what, prompt } = texts(question);
    let error: string | undefined;
    for (let attempt = 0; attempt < MAX_NEW_PIN_TRIES; attempt++) {
      using first = await this.#asker.secret({ prompt, error, what, remedies: [] });
      if (first === undefined) return undefined;
      using second = await this.#asker.secret({ prompt: prompt.replace(/^Enter/, 'Repeat'), what, remedies: [] });
      if (second === undefined) return undefined;
      if (Buffer.compare(first.bytes(), second.bytes()) === 0) return first.clone();
      error = NO_MATCH;
    }
    this.#asker.refusal = new SignetError('PIN_REQUIRED', `${what} was not repeated as it was typed first`);
    return undefined;
  }
}

/** It is wrong if the token counts fewer tries than before; where it does not count, to be asked again says the same. */
function wasWrong(triesBefore: number | undefined, question: QuestionMessage): boolean {
  if (question.attempt > 0) return true;
  if (triesBefore === undefined) return false;
  return question.tries_left < 0 || question.tries_left < triesBefore;
}

function texts(question: QuestionMessage): { readonly what: string; readonly prompt: string } {
  const token: TokenMessage = question.token ?? { backend: '', label: '', serial: '' };
  const secret = words.pinName(question.kind);
  const purpose = question.key_id === '' ? '' : ` for the ${words.keyText(question)}`;
  return {
    what: `the ${secret} of ${words.tokenText(token)}`,
    prompt: `Enter the ${secret} of ${words.tokenText(token)}${purpose}${words.triesText(question.tries_left)}: `,
  };
}
