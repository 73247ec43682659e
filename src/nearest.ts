/** "Did you mean": how far a misspelt word is from a known one. */

/** Longer words are a mistake of another kind; nothing is near them. */
const MAX_LENGTH = 64;

/** Single-character insertions, deletions and substitutions from `a` to `b`. Beyond 64 characters nothing is near. */
export function editDistance(a: string, b: string): number {
  if (a.length > MAX_LENGTH) return Number.POSITIVE_INFINITY;
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (const [index, character] of [...a].entries()) {
    const next = [index + 1];
    for (const [column, other] of [...b].entries()) {
      const [left = 0, above = 0, diagonal = 0] = [next[column], row[column + 1], row[column]];
      next.push(Math.min(left + 1, above + 1, diagonal + (character === other ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/** @returns The known word that needs the fewest edits; undefined if even that needs more than a third of its length. */
export function nearestWord(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word, candidate);
    if (distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best;
}
