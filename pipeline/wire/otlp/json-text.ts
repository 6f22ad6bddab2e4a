/**
 * JSON text whose numbers are all kept: JSON.parse rounds integers beyond 2^53, so those are turned into strings first,
 * which OTLP/JSON allows for every 64-bit field. Errors name the byte.
 */

/** Text that is not an OTLP/JSON request. */
export class OtlpJsonError extends Error {
  override readonly name = 'OtlpJsonError';
}

/** Cheap to look for; a hit inside a string only costs the careful way. */
const MAYBE_LONG = /[:,[\s]-?[0-9]{16}/;

/** Parses; throws an OtlpJsonError that names the offset of the first byte that is wrong. */
export function parseJson(bytes: Uint8Array): unknown {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const original = buffer.toString('utf8');
  const text = original.charCodeAt(0) === 0xfeff ? original.slice(1) : original;
  try {
    return JSON.parse(MAYBE_LONG.test(text) ? quoteLongIntegers(text) : text);
  } catch {
    const { at, what } = findMistake(original);
    throw new OtlpJsonError(`${what} (at byte ${Buffer.byteLength(original.slice(0, at))})`);
  }
}

const LONG_INTEGER = /^-?[0-9]{16,}$/;
const NUMBER_CHARACTERS = /[0-9+\-.eE]*/y;

/** The same text with integers of 16 digits or more in double quotes. */
function quoteLongIntegers(text: string): string {
  let out = '';
  let copied = 0;
  let at = 0;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === 0x22) at = endOfString(text, at);
    else if (code === 0x2d || (code >= 0x30 && code <= 0x39)) {
      NUMBER_CHARACTERS.lastIndex = at;
      NUMBER_CHARACTERS.test(text);
      const end = NUMBER_CHARACTERS.lastIndex;
      const number = text.slice(at, end);
      if (LONG_INTEGER.test(number)) {
        out += `${text.slice(copied, at)}"${number}"`;
        copied = end;
      }
      at = end;
    } else at++;
  }
  return out + text.slice(copied);
}

/** Just behind the string that begins at `at`, or the end of the text. */
function endOfString(text: string, at: number): number {
  let end = at;
  for (;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) return text.length;
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end + 1;
  }
}

const LITERAL = /(?:true|false|null)/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const SPACE = /[ \t\n\r]*/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what JSON forbids in strings
const WRONG_IN_STRING = /[\u0000-\u001f]|\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})/;

/** Where text that JSON.parse refuses stops being JSON. Not recursive: nesting may be the trouble. */
function findMistake(text: string): { at: number; what: string } {
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  const take = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    if (!pattern.test(text)) return false;
    at = pattern.lastIndex;
    return true;
  };
  const takeString = (): boolean => {
    if (text[at] !== '"') return false;
    const end = endOfString(text, at);
    const body = text.slice(at + 1, end - 1).replaceAll('\\\\', '__');
    const wrong = body.search(WRONG_IN_STRING);
    if (wrong >= 0 || text[end - 1] !== '"' || end - at < 2) {
      at = wrong >= 0 ? at + 1 + wrong : text.length;
      return false;
    }
    at = end;
    return true;
  };
  const mistake = (expected: string) => ({
    at,
    what: at >= text.length ? `the JSON ends where ${expected} should be` : `${expected} should be here`,
  });
  const open: ('{' | '[')[] = [];
  let state: 'value' | 'first' | 'key' | 'after' = 'value';
  for (;;) {
    take(SPACE);
    const next = text[at];
    if (state === 'first' && next === (open.at(-1) === '{' ? '}' : ']')) {
      at++;
      open.pop();
      state = 'after';
    } else if (state === 'after') {
      if (open.length === 0) return at >= text.length ? { at: 0, what: 'this is not JSON' } : mistake('the end');
      const closing = open.at(-1) === '{' ? '}' : ']';
      if (next === closing) open.pop();
      else if (next === ',') state = open.at(-1) === '{' ? 'key' : 'value';
      else return mistake(`"," or "${closing}"`);
      at++;
    } else if (state === 'key' || (state === 'first' && open.at(-1) === '{')) {
      if (!takeString()) return mistake('a key in double quotes');
      take(SPACE);
      if (text[at] !== ':') return mistake('":"');
      at++;
      state = 'value';
    } else if (next === '{' || next === '[') {
      open.push(next);
      at++;
      state = 'first';
    } else if (next === '"' ? takeString() : take(NUMBER) || take(LITERAL)) state = 'after';
    else return mistake('a value');
  }
}
