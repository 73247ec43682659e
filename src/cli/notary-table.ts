/** Tables as the notary program prints them, because people's scripts read those. */

/** Blanks between columns. */
const GAP = 4;

/**
 * Header, dashes, rows; columns padded to their widest cell, the last one not at all (Go's text/tabwriter).
 *
 * @returns Lines, the last one without its end
 */
export function notaryTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const dashes = header.map((title) => '-'.repeat(title.length));
  const lines = [header, dashes, ...rows];
  const widths = header.map(
    (_, column) => lines.reduce((widest, cells) => Math.max(widest, lengthOf(cells[column])), 0) + GAP,
  );
  return lines
    .map((cells) =>
      cells.map((cell, column) => (column === header.length - 1 ? cell : padded(cell, widths[column] ?? 0))).join(''),
    )
    .join('\n');
}

function padded(cell: string, width: number): string {
  return cell + ' '.repeat(width - lengthOf(cell));
}

function lengthOf(cell = ''): number {
  return [...cell].length;
}
