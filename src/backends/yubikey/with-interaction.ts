/** Contexts whose questions to a person go another way. */
import type { Interaction, SignContext } from '../backend.ts';
import { derivedContext } from '../derived-context.ts';
import type { Owner } from '../pkcs11/label.ts';

/** @returns A context that asks for a key by the owner it is to have, which the token does not know yet. */
export function withOwner(context: SignContext, { role, gun }: Owner): SignContext {
  const { interaction } = context;
  if (interaction === undefined) return context;
  return withInteraction(context, {
    pin: ({ key, ...question }, signal) =>
      interaction.pin({ ...question, key: key && { keyId: key.keyId, role, gun } }, signal),
    touch: (token, { keyId }) => interaction.touch(token, { keyId, role, gun }),
  });
}

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
