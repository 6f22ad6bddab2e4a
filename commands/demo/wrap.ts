/** Lines for a terminal: broken between words, what follows the first under the text and not under its label. */

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what colours are made of.
const COLOUR = /\x1b\[[0-9;]*m/g;

/** A text without its colours. */
export const plain = (text: string): string => text.replace(COLOUR, '');

/** Columns that a text takes; colours take none. */
export const widthOf = (text: string): number => plain(text).length;

/**
 * Breaks one line into lines of at most `width` columns, those after the first indented by `hang`. A word that is too long
 * for a line stands on one of its own, unbroken: it may be an id that somebody wants to copy.
 */
export function wrap(line: string, width: number, hang: number): string {
  if (widthOf(line) <= width || width <= hang + 10) return line;
  const indent = ' '.repeat(hang);
  // Colours may begin in front of the blanks.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what colours are made of.
  const lead = /^(?:\x1b\[[0-9;]*m)* */.exec(line)![0];
  const out: string[] = [];
  let current = lead;
  let empty = true;
  // The blanks between two words belong to the second: columns stay where they are.
  for (const word of line.slice(lead.length).match(/ *[^ ]+/g) ?? []) {
    if (!empty && widthOf(current) + widthOf(word) > width) {
      out.push(current);
      current = indent + word.trimStart();
    } else current += word;
    empty = false;
  }
  out.push(current);
  return out.join('\n');
}
