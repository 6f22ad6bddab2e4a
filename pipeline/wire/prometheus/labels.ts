/** The part of a sample's line before its value: `name{label="value",…}`, `{"utf-8 name",…}`. Read once per series. */

/** Label names and values in turn, sorted by name: `[name, value, name, value, …]`. Without empty values. */
export type Labels = readonly string[];

export const NO_LABELS: Labels = [];

/** What was read, or what is wrong with it. */
export type Identity = { readonly name: string; readonly labels: Labels } | { readonly wrong: string };

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** Whether a name needs no quotes in an exposition. */
export const isPlainName = (name: string): boolean => NAME.test(name);
export const isPlainLabelName = (name: string): boolean => LABEL_NAME.test(name);

/** Reads `name`, `name{…}` or `{"name",…}`; spaces around are allowed. `intern` may return an equal string. */
export function readIdentity(text: string, intern: (s: string) => string = (s) => s): Identity {
  const trimmed = text.trim();
  const brace = trimmed.indexOf('{');
  if (brace < 0) {
    return isPlainName(trimmed) ? { name: intern(trimmed), labels: NO_LABELS } : { wrong: 'invalid metric name' };
  }
  const before = trimmed.slice(0, brace).trimEnd();
  if (before !== '' && !isPlainName(before)) return { wrong: 'invalid metric name' };
  const read = readLabelSet(trimmed, brace, before === '', intern);
  if ('wrong' in read) return read;
  if (read.end !== trimmed.length) return { wrong: 'text after the closing brace' };
  const name = before === '' ? read.name : before;
  if (name === undefined || name === '') return { wrong: 'no metric name' };
  return { name: intern(name), labels: read.labels };
}

interface LabelSet {
  readonly labels: Labels;
  /** The quoted metric name, where it stood in the braces. */
  readonly name: string | undefined;
  /** Where the text goes on after `}`. */
  readonly end: number;
}

/** Reads `{…}` that starts at `at`. `named` allows a quoted metric name as an element. */
export function readLabelSet(
  text: string,
  at: number,
  named: boolean,
  intern: (s: string) => string,
): LabelSet | { readonly wrong: string } {
  const pairs: string[] = [];
  let name: string | undefined;
  let sorted = true;
  let p = space(text, at + 1);
  while (text[p] !== '}') {
    let label: string;
    if (text[p] === '"') {
      const quoted = readQuoted(text, p);
      if (!quoted) return { wrong: 'a quote that is never closed' };
      label = quoted.value;
      p = space(text, quoted.end);
      if (text[p] === ',' || text[p] === '}') {
        if (!named) return { wrong: `"=" expected after "${short(label)}"` };
        if (name !== undefined) return { wrong: 'two metric names' };
        name = label;
        if (text[p] === ',') p = space(text, p + 1);
        continue;
      }
      if (label === '') return { wrong: 'an empty label name' };
    } else {
      const start = p;
      while (p < text.length && isWordCode(text.charCodeAt(p))) p++;
      label = text.slice(start, p);
      if (!isPlainLabelName(label)) {
        return { wrong: p >= text.length ? 'braces that are never closed' : 'invalid label name' };
      }
      p = space(text, p);
    }
    if (text[p] !== '=') return { wrong: `"=" expected after label name "${short(label)}"` };
    p = space(text, p + 1);
    if (text[p] !== '"') return { wrong: `the value of label "${short(label)}" is not quoted` };
    const value = readQuoted(text, p);
    if (!value) return { wrong: 'a quote that is never closed' };
    if (label === '__name__') return { wrong: 'a label "__name__"' };
    if (sorted && pairs.length > 0 && pairs[pairs.length - 2]! >= label) sorted = false;
    pairs.push(intern(label), intern(value.value));
    p = space(text, value.end);
    if (text[p] === ',') p = space(text, p + 1);
    else if (text[p] !== '}') {
      return { wrong: p >= text.length ? 'braces that are never closed' : '"," or "}" expected between labels' };
    }
  }
  const labels = sorted ? pairs : sortPairs(pairs);
  for (let i = 2; i < labels.length; i += 2) {
    if (labels[i] === labels[i - 2]) return { wrong: `label name "${short(labels[i]!)}" is not unique` };
  }
  return { labels: withoutEmpty(labels), name, end: p + 1 };
}

/** The pairs ordered by label name. */
export function sortPairs(pairs: readonly string[]): string[] {
  const order: number[] = [];
  for (let i = 0; i < pairs.length; i += 2) order.push(i);
  order.sort((a, b) => (pairs[a]! < pairs[b]! ? -1 : pairs[a]! > pairs[b]! ? 1 : a - b));
  return order.flatMap((i) => [pairs[i]!, pairs[i + 1]!]);
}

/** An empty value is the same as no label. */
function withoutEmpty(labels: string[]): Labels {
  for (let i = 1; i < labels.length; i += 2) {
    if (labels[i] === '') return labels.filter((_, j) => labels[j | 1] !== '');
  }
  // Grown by pushing, it has room to spare; it is kept for as long as the series lives.
  return labels.slice();
}

const short = (s: string): string => (s.length > 40 ? `${s.slice(0, 40)}…` : s);
const isWordCode = (c: number): boolean =>
  (c >= 0x61 && c <= 0x7a) || (c >= 0x41 && c <= 0x5a) || (c >= 0x30 && c <= 0x39) || c === 0x5f;

function space(text: string, p: number): number {
  while (text.charCodeAt(p) === 0x20 || text.charCodeAt(p) === 0x09) p++;
  return p;
}

/** Reads a quoted string at `at`, where `\\`, `\"` and `\n` are escapes and any other backslash stands for itself. */
function readQuoted(text: string, at: number): { value: string; end: number } | undefined {
  const quote = text.indexOf('"', at + 1);
  if (quote < 0) return undefined;
  const backslash = text.indexOf('\\', at + 1);
  if (backslash < 0 || backslash > quote) return { value: text.slice(at + 1, quote), end: quote + 1 };
  for (let p = at + 1; p < text.length; p++) {
    const c = text[p];
    if (c === '\\') p++;
    else if (c === '"') return { value: unescaped(text.slice(at + 1, p)), end: p + 1 };
  }
  return undefined;
}

/** Undoes the escapes of label values and HELP texts. */
export function unescaped(text: string): string {
  return text.includes('\\') ? text.replace(/\\([\\"n])/g, (_, c) => (c === 'n' ? '\n' : c)) : text;
}
