/** Contexts whose questions to a person go another way. */
import type { Interaction, SignContext } from '../backend.ts';
import { derivedContext } from '../derived-context.ts';

/** @param parts Take the place of the person's own. @returns The same context if nobody can be asked. */
export function withInteraction(context: SignContext, parts: Partial<Interaction>): SignContext {
  const { interaction } = context;
  if (interaction === undefined) return context;
  return derivedContext(context, {
    interaction: {
      passphrase: (...args) => interaction.passphrase(...args),
      newPassphrase: (...args) => interaction.newPassphrase(...args),
      pin: (...args) => interaction.pin(...args),
      touch: (...args) => interaction.touch(...args),
      ...parts,
    },
  });
}
