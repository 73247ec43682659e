/** Our statements as the drivers want them. */

/** A quoted string or name, a comment, or a placeholder. */
const TOKEN = /'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|\/\*[\s\S]*?\*\/|\?/g;

/** `?` → `$1`, `$2`, … outside quotes and comments. */
export function numberPlaceholders(sql: string): string {
  let count = 0;
  return sql.replaceAll(TOKEN, (token) => (token === '?' ? `$${++count}` : token));
}
