/** The keys of one map of a rule file: what is taken is checked, what nobody takes is a mistake with the nearest name. */
import { parseDuration } from '../../../config/schema.ts';
import { nearest } from '../../../config/suggest.ts';

export type Path = readonly (string | number)[];
export type Fail = (path: Path, message: string) => void;
type Plain = Readonly<Record<string, unknown>>;

export const isMap = (value: unknown): value is Plain =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const isScalar = (value: unknown) => ['string', 'number', 'boolean'].includes(typeof value);

export interface Fields {
  /** The value as it is; undefined where it is absent. */
  take(key: string): unknown;
  text(key: string): string | undefined;
  number(key: string): number | undefined;
  flag(key: string): boolean | undefined;
  map(key: string): Plain | undefined;
  /** Milliseconds. */
  duration(key: string): number | undefined;
  choice<T extends string>(key: string, words: readonly T[]): T | undefined;
  /** One text or a list of them. */
  texts(key: string): readonly string[] | undefined;
  stringMap(key: string): Readonly<Record<string, string>> | undefined;
  /** Calls back for every element of a list. */
  each(key: string, visit: (element: unknown, path: Path) => void): void;
  /** Reports the keys that nobody asked for. */
  done(): void;
}

/** Reads the keys of `value` one by one. */
export function fields(given: unknown, path: Path, fail: Fail): Fields {
  const value: Plain = isMap(given) ? given : {};
  const asked = new Set<string>();
  if (!isMap(given)) fail(path, 'expected a map');

  const take = (key: string): unknown => {
    asked.add(key);
    return Object.hasOwn(value, key) ? value[key] : undefined;
  };
  const typed = <T>(key: string, read: (v: unknown) => T | undefined, expected: string): T | undefined => {
    const v = take(key);
    if (v === undefined || v === null) return undefined;
    const got = read(v);
    if (got === undefined) fail([...path, key], `expected ${expected}`);
    return got;
  };

  return {
    take,
    text: (key) => typed(key, (v) => (typeof v === 'string' && v !== '' ? v : undefined), 'a text'),
    number: (key) => typed(key, (v) => (typeof v === 'number' && Number.isFinite(v) ? v : undefined), 'a number'),
    flag: (key) => typed(key, (v) => (typeof v === 'boolean' ? v : undefined), 'true or false'),
    map: (key) => typed<Plain>(key, (v) => (isMap(v) ? v : undefined), 'a map'),
    duration: (key) => typed(key, (v) => parseDuration(v as string), 'a duration such as 30s, 5m or 1h'),
    choice: (key, words) => typed(key, (v) => words.find((w) => w === v), words.join(', ')),
    texts: (key) =>
      typed<readonly string[]>(
        key,
        (v) => {
          const list: unknown[] = Array.isArray(v) ? v : [v];
          return list.every((e): e is string => typeof e === 'string' && e !== '') ? list : undefined;
        },
        'a text or a list of texts',
      ),
    stringMap: (key) =>
      typed<Readonly<Record<string, string>>>(
        key,
        (v) => {
          if (!isMap(v) || !Object.values(v).every(isScalar)) return undefined;
          return Object.fromEntries(Object.entries(v).map(([k, e]) => [k, String(e)]));
        },
        'a map of texts',
      ),
    each(key, visit) {
      const list = typed<readonly unknown[]>(key, (v) => (Array.isArray(v) ? v : undefined), 'a list');
      for (const [index, element] of (list ?? []).entries()) visit(element, [...path, key, index]);
    },
    done() {
      for (const key of Object.keys(value)) {
        if (asked.has(key)) continue;
        const near = nearest(key, [...asked]);
        const help = near === undefined ? `; there are ${[...asked].join(', ')}` : `; did you mean ${near}?`;
        fail([...path, key], `there is no key "${key}"${help}`);
      }
    },
  };
}
