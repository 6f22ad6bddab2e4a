/** Mistakes and warnings as text: one line each that editors and grep understand, and below it what helps. */
import type { Issue, Place } from './types.ts';

/** `config.yaml:5:7`, or what the user wrote where there are no lines. */
export const formatPlace = (place: Place): string =>
  place.line > 0 ? `${place.file}:${place.line}:${place.column}` : place.file;

const CODES = { bold: [1, 22], red: [31, 39], yellow: [33, 39], dim: [2, 22] } as const;
type Style = keyof typeof CODES;

// Values come from files: control characters in them must not reach a terminal.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;
const printable = (text: string): string =>
  text.replace(CONTROL, (c) => (c === '\n' ? ' ' : `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`));

/** `file:line:col: key::path: sentence`, its hint on a second line. No colour unless asked for. */
export function formatIssue(issue: Issue, colour = false): string {
  const paint = (style: Style, text: string) =>
    colour ? `\u001b[${CODES[style][0]}m${text}\u001b[${CODES[style][1]}m` : text;
  const parts = [
    issue.place ? paint('bold', `${printable(formatPlace(issue.place))}:`) : '',
    issue.severity === 'warning' ? paint('yellow', 'warning:') : paint('red', 'error:'),
    issue.path === '' ? '' : `${printable(issue.path)}:`,
    printable(issue.message),
  ];
  const line = parts.filter((part) => part !== '').join(' ');
  return issue.hint === undefined ? line : `${line}\n    ${paint('dim', printable(issue.hint))}`;
}

/** All of them, mistakes first, and a last line that counts them. */
export function formatIssues(mistakes: readonly Issue[], warnings: readonly Issue[], colour = false): string {
  const lines = [...mistakes, ...warnings].map((issue) => formatIssue(issue, colour));
  const counts = [count(mistakes.length, 'mistake'), count(warnings.length, 'warning')].filter((text) => text !== '');
  return lines.length === 0 ? '' : `${lines.join('\n')}\n${counts.join(', ')}\n`;
}

const count = (n: number, word: string): string => (n === 0 ? '' : `${n} ${word}${n === 1 ? '' : 's'}`);
