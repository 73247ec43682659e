/** Which backends a new key may go to, by role, in order. */
import { SignetError } from '../errors.ts';

/** Role or `*` → names of backends; `storage` stands for the backend that `storage.backend` names. */
export type Placement = ReadonlyMap<string, readonly string[]>;

export const DEFAULT_PLACEMENT: Placement = new Map([['*', ['storage']]]);

/** @throws {SignetError} CONFIGURATION if no rule covers the role */
export function placesFor(placement: Placement, role: string): readonly string[] {
  const places = placement.get(role) ?? placement.get('*');
  if (places !== undefined && places.length > 0) return places;
  throw new SignetError('CONFIGURATION', `placement says nothing about keys of role "${role}"`, {
    hint: 'add a rule for the role or for "*"',
  });
}
