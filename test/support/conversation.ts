/** A person at the client's end of an interaction, who answers as a test says and remembers what was asked. */
import type { InteractionHandlers } from '../../src/client/interaction.ts';
import type { QuestionMessage, TouchMessage } from '../../src/rpc/messages.ts';

export interface Person extends InteractionHandlers {
  readonly asked: QuestionMessage[];
  /** Prompts whose answer was not wanted any more. */
  readonly withdrawn: QuestionMessage[];
  readonly touches: { readonly touch: TouchMessage; isOver: boolean }[];
  readonly progressed: { readonly done: number; readonly total: number }[];
}

/** @param answer Undefined declines; a promise that does not settle is a person who thinks. */
export function person(
  answer: (question: QuestionMessage) => string | undefined | Promise<string | undefined>,
): Person {
  const asked: QuestionMessage[] = [];
  const withdrawn: QuestionMessage[] = [];
  const touches: { touch: TouchMessage; isOver: boolean }[] = [];
  const progressed: { done: number; total: number }[] = [];
  return {
    asked,
    withdrawn,
    touches,
    progressed,
    question: async (question, signal) => {
      asked.push(question);
      const gone = new Promise<undefined>((resolve) => {
        signal.addEventListener('abort', () => {
          withdrawn.push(question);
          resolve(undefined);
        });
      });
      const text = await Promise.race([answer(question), gone]);
      return text === undefined ? undefined : Buffer.from(text);
    },
    touch: (touch) => {
      const notice = { touch, isOver: false };
      touches.push(notice);
      return {
        [Symbol.dispose]: () => {
          notice.isOver = true;
        },
      };
    },
    progress: (done, total) => progressed.push({ done, total }),
  };
}

/** A person who does nothing. */
export const THINKING: Promise<undefined> = new Promise(() => undefined);
