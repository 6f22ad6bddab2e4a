/**
 * Reads the part of YAML that our own catalogue is written in: block maps and lists by indentation, flow maps and lists on
 * one line, plain and quoted scalars, comments. No anchors, tags, block texts or documents.
 *
 * The catalogue is half a megabyte of tables, for which the general parser takes ten times as long. A test reads every file
 * with both and compares. Whatever is outside of this part throws; files of users go through the general parser.
 */

class Unsupported extends Error {}

interface Line {
  readonly indent: number;
  readonly text: string;
  readonly number: number;
}

/** The value of a text, as the YAML core schema types it. Throws when the text needs a general parser. */
export function readPlainYaml(text: string): unknown {
  const lines: Line[] = [];
  let number = 0;
  for (let p = 0; p < text.length; ) {
    let end = text.indexOf('\n', p);
    if (end < 0) end = text.length;
    number++;
    let start = p;
    while (text.charCodeAt(start) === 0x20) start++;
    if (start < end && text.charCodeAt(start) !== 0x23) {
      lines.push({ indent: start - p, text: text.slice(start, end).trimEnd(), number });
    }
    p = end + 1;
  }
  const reader = { lines, at: 0 };
  const value = lines.length === 0 ? null : readBlock(reader, lines[0]!.indent);
  if (reader.at < lines.length) throw unsupported(lines[reader.at]!);
  return value;
}

const unsupported = (line: Line) => new Unsupported(`line ${line.number}: ${line.text.slice(0, 60)}`);

interface Reader {
  readonly lines: readonly Line[];
  at: number;
}

function readBlock(reader: Reader, indent: number): unknown {
  const first = reader.lines[reader.at]!;
  return first.text.startsWith('- ') ? readList(reader, indent) : readMap(reader, indent);
}

function readList(reader: Reader, indent: number): unknown[] {
  const out: unknown[] = [];
  for (let line = reader.lines[reader.at]; line?.indent === indent; line = reader.lines[reader.at]) {
    if (!line.text.startsWith('- ')) break;
    const item = line.text.slice(2).trimStart();
    const key = item.startsWith('{') || item.startsWith('[') ? -1 : keyEnd(item);
    if (key < 0) {
      reader.at++;
      out.push(readValue(item, line));
      continue;
    }
    // A map that begins on the dash's line: its keys stand where the first one does.
    const inner = indent + line.text.length - item.length;
    (reader.lines as Line[])[reader.at] = { indent: inner, text: item, number: line.number };
    out.push(readMap(reader, inner));
  }
  return out;
}

function readMap(reader: Reader, indent: number): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (let line = reader.lines[reader.at]; line?.indent === indent; line = reader.lines[reader.at]) {
    const end = keyEnd(line.text);
    if (end < 0) throw unsupported(line);
    const key = readKey(line.text.slice(0, end), line);
    if (Object.hasOwn(out, key) || key === '__proto__') throw unsupported(line);
    const rest = stripComment(line.text.slice(end + 1).trim());
    reader.at++;
    const next = reader.lines[reader.at];
    if (rest !== '') out[key] = readValue(rest, line);
    else if (next && (next.indent > indent || (next.indent === indent && next.text.startsWith('- ')))) {
      out[key] = readBlock(reader, next.indent);
    } else out[key] = null;
  }
  return out;
}

/** Where the colon after a key is; -1 if the text does not begin with a key. */
function keyEnd(text: string): number {
  if (text[0] === "'") {
    const close = closeSingle(text, 0);
    return close >= 0 && text[close + 1] === ':' ? close + 1 : -1;
  }
  for (let p = 0; p < text.length; p++) {
    const c = text.charCodeAt(p);
    if (c === 0x3a && (p + 1 === text.length || text.charCodeAt(p + 1) === 0x20)) return p;
    if (c === 0x23 && text.charCodeAt(p - 1) === 0x20) return -1;
  }
  return -1;
}

const readKey = (text: string, line: Line): string => {
  if (text[0] === "'") return text.slice(1, -1).replaceAll("''", "'");
  if (INDICATOR.test(text)) throw unsupported(line);
  return text;
};

/** Characters that begin something which is not a plain scalar. */
const INDICATOR = /^[-?:](?: |$)|^[[\]{},#&*!|>'"%@`]/;

function stripComment(text: string): string {
  if (!text.includes(' #') && text[0] !== '#') return text;
  if (text[0] === '#') return '';
  if (text[0] === "'" || text[0] === '{' || text[0] === '[') return text;
  return text.slice(0, text.indexOf(' #')).trimEnd();
}

function readValue(text: string, line: Line): unknown {
  const c = text[0];
  if (c === '{' || c === '[' || c === "'") {
    const flow = { text, at: 0, line };
    const value = readFlow(flow);
    const rest = text.slice(flow.at).trimStart();
    if (rest !== '' && rest[0] !== '#') throw unsupported(line);
    return value;
  }
  if (INDICATOR.test(text) || text.includes(': ')) throw unsupported(line);
  return scalar(text);
}

interface Flow {
  readonly text: string;
  at: number;
  readonly line: Line;
}

function skip(flow: Flow): number {
  while (flow.text.charCodeAt(flow.at) === 0x20) flow.at++;
  return flow.text.charCodeAt(flow.at);
}

function readFlow(flow: Flow): unknown {
  const c = skip(flow);
  if (c === 0x7b) return readFlowMap(flow);
  if (c === 0x5b) return readFlowList(flow);
  if (c === 0x27) return readSingle(flow);
  const start = flow.at;
  const { text } = flow;
  let p = start;
  for (; p < text.length; p++) {
    const code = text.charCodeAt(p);
    if (code === 0x2c || code === 0x7d || code === 0x5d || code === 0x7b || code === 0x5b) break;
    if (code === 0x3a && (text.charCodeAt(p + 1) === 0x20 || text.charCodeAt(p + 1) === 0x2c)) break;
    if (code === 0x23 && text.charCodeAt(p - 1) === 0x20) throw unsupported(flow.line);
  }
  flow.at = p;
  const plain = text.slice(start, p).trimEnd();
  if (plain === '' || INDICATOR.test(plain)) throw unsupported(flow.line);
  return scalar(plain);
}

function readFlowMap(flow: Flow): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  flow.at++;
  if (skip(flow) === 0x7d) {
    flow.at++;
    return out;
  }
  for (;;) {
    const quoted = skip(flow) === 0x27;
    const start = flow.at;
    const typed = readFlow(flow);
    // A key is text whatever it looks like: `0` stays '0'.
    const key = quoted ? (typed as string) : flow.text.slice(start, flow.at).trimEnd();
    if (skip(flow) !== 0x3a || typeof typed === 'object' || Object.hasOwn(out, key) || key === '__proto__') {
      throw unsupported(flow.line);
    }
    flow.at++;
    out[key] = readFlow(flow);
    const c = skip(flow);
    flow.at++;
    if (c === 0x7d) return out;
    if (c !== 0x2c) throw unsupported(flow.line);
  }
}

function readFlowList(flow: Flow): unknown[] {
  const out: unknown[] = [];
  flow.at++;
  if (skip(flow) === 0x5d) {
    flow.at++;
    return out;
  }
  for (;;) {
    out.push(readFlow(flow));
    const c = skip(flow);
    flow.at++;
    if (c === 0x5d) return out;
    if (c !== 0x2c) throw unsupported(flow.line);
  }
}

/** The index of the quote that closes the one at `open`; '' inside stands for one quote. */
function closeSingle(text: string, open: number): number {
  for (let p = text.indexOf("'", open + 1); p >= 0; p = text.indexOf("'", p + 2)) {
    if (text[p + 1] !== "'") return p;
  }
  return -1;
}

function readSingle(flow: Flow): string {
  const close = closeSingle(flow.text, flow.at);
  if (close < 0) throw unsupported(flow.line);
  const value = flow.text.slice(flow.at + 1, close);
  flow.at = close + 1;
  return value.includes("'") ? value.replaceAll("''", "'") : value;
}

const NUMBER = /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?$/;

function scalar(text: string): unknown {
  const c = text.charCodeAt(0);
  // Digits, sign, point; and the words for null, true and false. Everything else is text.
  if (c <= 0x39) {
    if (NUMBER.test(text)) return Number(text);
    if (/^(?:0[ox]|[-+]?\.(?:inf|nan)$)/i.test(text)) throw new Unsupported(text);
    return text;
  }
  switch (text) {
    case '~':
    case 'null':
    case 'Null':
    case 'NULL':
      return null;
    case 'true':
    case 'True':
    case 'TRUE':
      return true;
    case 'false':
    case 'False':
    case 'FALSE':
      return false;
  }
  return text;
}
