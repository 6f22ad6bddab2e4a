/**
 * Reads pickles as data, without being able to run anything: a machine of lists, dicts and plain values. What a pickle
 * wants to call has to be in a list of a few functions that only give back what they are given; everything else is refused
 * by name. Formats: pickle protocols 0 to 5 (Python's pickletools describes the opcodes).
 */

/** The bytes are no pickle, or one that wants more than data; the message says what and where. */
export class PickleError extends Error {
  override readonly name = 'PickleError';
}

/** Dicts come as Maps, tuples, lists and sets as arrays; integers beyond 2^53 as bigint. */
export type Pickled =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly Pickled[]
  | ReadonlyMap<Pickled, Pickled>;

export interface PickleLimits {
  /** Values that are made at most; each costs memory. */
  readonly values: number;
  /** Containers within containers. */
  readonly depth: number;
}

const LIMITS: PickleLimits = { values: 20_000_000, depth: 64 };

/** Functions that may be "called", by module and name: each gives back (the first of) its arguments. */
const HARMLESS: ReadonlySet<string> = new Set([
  'torch.jit._pickle build_intlist',
  'torch.jit._pickle build_doublelist',
  'torch.jit._pickle build_boollist',
  'torch.jit._pickle restore_type_tag',
  'collections OrderedDict',
  'builtins list',
  'builtins tuple',
  'builtins dict',
  'builtins set',
  'builtins frozenset',
  '__builtin__ set',
  '__builtin__ frozenset',
]);

/** A function that was named but not called yet. */
class Callable {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

const MARK = Symbol('mark');
type Item = Pickled | Callable | typeof MARK;

/**
 * Reads one pickle. Throws a PickleError; never runs what is in it. Containers can be shared, and with some effort hold each
 * other: look into what comes back at known places, do not walk over all of it.
 */
export function readPickle(bytes: Uint8Array, limits: PickleLimits = LIMITS): Pickled {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: Item[] = [];
  const memo = new Map<number, Item>();
  /** How deep the contents of a container go. */
  const depths = new WeakMap<object, number>();
  let at = 0;
  let made = 0;

  const fail = (why: string): never => {
    throw new PickleError(`${why} at byte ${at}`);
  };
  const take = (n: number): number => {
    if (!(n >= 0) || at + n > bytes.length) fail('it ends too early');
    const from = at;
    at += n;
    return from;
  };
  const u8 = () => bytes[take(1)]!;
  const u16 = () => view.getUint16(take(2), true);
  const i32 = () => view.getInt32(take(4), true);
  const u32 = () => view.getUint32(take(4), true);
  const u64 = (): number => {
    const n = view.getBigUint64(take(8), true);
    return n > BigInt(bytes.length) ? fail('it ends too early') : Number(n);
  };
  const blob = (n: number) => bytes.slice(take(n), at);
  const text = (n: number) => utf8.decode(bytes.subarray(take(n), at));
  const line = (): string => {
    const stop = bytes.indexOf(0x0a, at);
    if (stop < 0) return fail('a line does not end');
    const found = latin1.decode(bytes.subarray(at, stop));
    at = stop + 1;
    return found;
  };
  const push = (item: Item): void => {
    if (++made > limits.values) fail(`it has more than ${limits.values} values`);
    stack.push(item);
  };
  const pop = (): Item => (stack.length === 0 ? fail('it takes from an empty stack') : stack.pop()!);
  const data = (item: Item): Pickled => {
    if (item === MARK) return fail('a mark is no value');
    if (item instanceof Callable) return fail(`it uses ${item.name} as a value`);
    return item;
  };
  const toMark = (): Pickled[] => {
    const from = stack.lastIndexOf(MARK);
    if (from < 0) return fail('there is no mark');
    const items = stack.splice(from + 1).map(data);
    stack.pop();
    return items;
  };
  const top = (): Pickled => data(stack.length === 0 ? fail('it takes from an empty stack') : stack.at(-1)!);
  const deep = (value: Pickled): number => (typeof value === 'object' && value !== null ? (depths.get(value) ?? 1) : 0);
  /** A container holds these now; one that would hold itself is refused. */
  const holds = <T extends object>(container: T, inner: readonly Pickled[]): T => {
    let depth = depths.get(container) ?? 1;
    for (const value of inner) {
      if (value === (container as unknown)) fail('a container holds itself');
      depth = Math.max(depth, deep(value) + 1);
    }
    if (depth > limits.depth) fail(`it is more than ${limits.depth} deep`);
    depths.set(container, depth);
    return container;
  };
  const tuple = (items: Pickled[]) => push(holds(items, items));
  const extend = (target: Pickled, items: readonly Pickled[]): void => {
    if (!Array.isArray(target)) return void fail('it appends to what is no list');
    holds(target, items);
    for (const item of items) target.push(item);
  };
  const set = (target: Pickled, pairs: readonly Pickled[]): void => {
    if (!(target instanceof Map)) return void fail('it sets items of what is no dict');
    if (pairs.length % 2 !== 0) fail('a dict has a key without a value');
    holds(target, pairs);
    for (let i = 0; i < pairs.length; i += 2) target.set(pairs[i], pairs[i + 1]);
  };
  const long = (n: number): bigint | number => {
    if (n > 1024) return fail('an integer is too long');
    const from = take(n);
    let value = 0n;
    for (let i = n - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i]!);
    if (n > 0 && bytes[from + n - 1]! >= 0x80) value -= 1n << BigInt(8 * n);
    return number(value);
  };
  const named = (module: string, name: string) => {
    const called = `${module} ${name}`;
    if (!HARMLESS.has(called))
      fail(`it wants to use ${JSON.stringify(`${module}.${name}`.slice(0, 200))}, which is refused,`);
    push(new Callable(called));
  };
  const call = () => {
    const args = data(pop());
    const what = pop();
    if (!(what instanceof Callable)) return fail('it calls what is no function');
    if (!Array.isArray(args)) return fail('arguments are no tuple');
    const first = (args[0] ?? null) as Pickled;
    if (/dict/i.test(what.name)) {
      const dict = new Map<Pickled, Pickled>();
      if (Array.isArray(first)) {
        for (const pair of first) if (Array.isArray(pair) && pair.length === 2) set(dict, pair as Pickled[]);
      } else if (first instanceof Map) set(dict, [...first].flat());
      push(dict);
    } else push(args.length === 0 ? [] : first);
  };
  const recall = (index: number) => {
    const item = memo.get(index);
    if (item === undefined) return void fail(`it remembers nothing under ${index}`);
    push(item);
  };
  const remember = (index: number) => {
    if (memo.size > limits.values) fail('it remembers too much');
    memo.set(index, stack.length === 0 ? fail('it remembers nothing') : stack.at(-1)!);
  };

  for (;;) {
    const code = u8();
    switch (code) {
      case 0x80: // PROTO
        if (u8() > 5) fail('its protocol is newer than 5');
        break;
      case 0x95: // FRAME
        take(8);
        break;
      case 0x2e: // STOP
        return data(pop());
      case 0x28: // MARK
        push(MARK);
        break;
      case 0x30: // POP
        pop();
        break;
      case 0x31: // POP_MARK
        toMark();
        break;
      case 0x32: // DUP
        push(stack.length === 0 ? fail('it takes from an empty stack') : stack.at(-1)!);
        break;
      case 0x4e: // NONE
        push(null);
        break;
      case 0x88: // NEWTRUE
        push(true);
        break;
      case 0x89: // NEWFALSE
        push(false);
        break;
      case 0x49: {
        // INT
        const digits = line();
        push(digits === '01' ? true : digits === '00' ? false : decimal(digits, fail));
        break;
      }
      case 0x4c: // LONG
        push(decimal(line().replace(/L$/, ''), fail));
        break;
      case 0x46: {
        // FLOAT
        const digits = line();
        const value = Number(digits.replace(/^([+-]?)inf$/, '$1Infinity'));
        push(Number.isNaN(value) && digits !== 'nan' ? fail('a number is none') : value);
        break;
      }
      case 0x4a: // BININT
        push(i32());
        break;
      case 0x4b: // BININT1
        push(u8());
        break;
      case 0x4d: // BININT2
        push(u16());
        break;
      case 0x8a: // LONG1
        push(long(u8()));
        break;
      case 0x8b: // LONG4
        push(long(i32()));
        break;
      case 0x47: // BINFLOAT
        push(view.getFloat64(take(8), false));
        break;
      case 0x8c: // SHORT_BINUNICODE
        push(text(u8()));
        break;
      case 0x58: // BINUNICODE
        push(text(u32()));
        break;
      case 0x8d: // BINUNICODE8
        push(text(u64()));
        break;
      case 0x56: // UNICODE
        push(unescaped(line()));
        break;
      case 0x55: // SHORT_BINSTRING
        push(text(u8()));
        break;
      case 0x54: // BINSTRING
        push(text(i32()));
        break;
      case 0x53: // STRING
        push(line().replace(/^(['"])(.*)\1$/, '$2'));
        break;
      case 0x43: // SHORT_BINBYTES
        push(blob(u8()));
        break;
      case 0x42: // BINBYTES
        push(blob(u32()));
        break;
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        push(blob(u64()));
        break;
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
      case 0x8f: // EMPTY_SET
        push([]);
        break;
      case 0x7d: // EMPTY_DICT
        push(new Map());
        break;
      case 0x6c: // LIST
      case 0x74: // TUPLE
      case 0x91: // FROZENSET
        tuple(toMark());
        break;
      case 0x85: // TUPLE1
        tuple([data(pop())]);
        break;
      case 0x86: {
        // TUPLE2
        const b = data(pop());
        tuple([data(pop()), b]);
        break;
      }
      case 0x87: {
        // TUPLE3
        const c = data(pop());
        const b = data(pop());
        tuple([data(pop()), b, c]);
        break;
      }
      case 0x61: {
        // APPEND
        const item = data(pop());
        extend(top(), [item]);
        break;
      }
      case 0x65: // APPENDS
      case 0x90: {
        // ADDITEMS
        const items = toMark();
        extend(top(), items);
        break;
      }
      case 0x64: {
        // DICT
        const pairs = toMark();
        const dict = new Map<Pickled, Pickled>();
        set(dict, pairs);
        push(dict);
        break;
      }
      case 0x73: {
        // SETITEM
        const value = data(pop());
        const key = data(pop());
        set(top(), [key, value]);
        break;
      }
      case 0x75: {
        // SETITEMS
        const pairs = toMark();
        set(top(), pairs);
        break;
      }
      case 0x67: // GET
        recall(Number(line()));
        break;
      case 0x68: // BINGET
        recall(u8());
        break;
      case 0x6a: // LONG_BINGET
        recall(u32());
        break;
      case 0x70: // PUT
        remember(Number(line()));
        break;
      case 0x71: // BINPUT
        remember(u8());
        break;
      case 0x72: // LONG_BINPUT
        remember(u32());
        break;
      case 0x94: // MEMOIZE
        remember(memo.size);
        break;
      case 0x63: // GLOBAL
        named(line(), line());
        break;
      case 0x93: {
        // STACK_GLOBAL
        const name = data(pop());
        const module = data(pop());
        named(String(module), String(name));
        break;
      }
      case 0x52: // REDUCE
        call();
        break;
      default:
        // INST, OBJ, NEWOBJ, BUILD, persistent ids, extensions, out-of-band buffers: nothing that is only data needs them.
        at--;
        fail(`it has the opcode 0x${code.toString(16)}, which is unknown or makes objects,`);
    }
  }
}

const utf8 = new TextDecoder('utf-8');
const latin1 = new TextDecoder('latin1');

/** Python's raw-unicode-escape. */
const unescaped = (text: string): string =>
  text.replace(/\\u([0-9a-fA-F]{4})|\\U(00[01][0-9a-fA-F]{5})/g, (_, short?: string, long?: string) => {
    const code = Number.parseInt(short ?? long ?? '', 16);
    return code > 0x10ffff ? '\ufffd' : String.fromCodePoint(code);
  });

const number = (value: bigint): bigint | number =>
  value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value;

function decimal(digits: string, fail: (why: string) => never): bigint | number {
  return /^[+-]?\d{1,1000}$/.test(digits) ? number(BigInt(digits)) : fail('an integer is none');
}
