/** Text tables: one row per measure, one column per program, each later one compared with the first. */
import { median } from './statistics.mjs';

/**
 * @typedef {object} Row
 * @property {string} label
 * @property {string} unit
 * @property {readonly (readonly number[])[]} series Per column the values of all rounds, in the order of the rounds.
 */

/**
 * @param {string} title
 * @param {readonly string[]} columns
 * @param {readonly Row[]} rows
 * @returns {string} Medians. A ratio is the median of the rounds' own ratios: what slows a whole round does not count.
 */
export function formatTable(title, columns, rows) {
  const cells = rows.map(({ label, unit, series }) => [
    label,
    ...series.flatMap((values, column) => {
      const value = `${formatNumber(median(values))} ${unit}`;
      if (column === 0) return [value];
      const ratios = values.map((one, round) => one / series[0][round]);
      return [value, `${median(ratios).toFixed(2)} x`];
    }),
  ]);
  const head = ['', ...columns.flatMap((name, column) => (column === 0 ? [name] : [name, 'ratio']))];
  return `${title}\n${align([head, ...cells])}\n`;
}

function formatNumber(value) {
  const digits = value < 10 ? 2 : value < 100 ? 1 : 0;
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function align(table) {
  const widths = table[0].map((_, column) => Math.max(...table.map((row) => row[column].length)));
  const line = (row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join('  ');
  return table.map((row) => `  ${line(row)}`.trimEnd()).join('\n');
}
