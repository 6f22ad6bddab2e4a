/**
 * The JSON that trtllm-serve answers at /metrics: records of iterations since somebody last read them. Reading takes them
 * away, so this path is only asked for where a target names it.
 */

const MAX_DEPTH = 4;

/**
 * The latest record as an exposition, its numbers named `json:<path>`; the key of a per-window record is the label
 * `window`. Undefined if the body is no list of records.
 */
export function pageFromIterations(body: Buffer): Buffer | undefined {
  let first = 0;
  while (first < body.length && body[first]! <= 0x20) first++;
  if (body[first] !== 0x5b) return undefined;
  let records: unknown;
  try {
    records = JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
  if (!Array.isArray(records)) return undefined;
  const lines: string[] = [];
  const latest: unknown = records.at(-1);
  if (typeof latest === 'object' && latest !== null) walk(latest, [], undefined, lines);
  return Buffer.from(`${lines.join('\n')}\n`);
}

function walk(value: object, path: readonly string[], window: string | undefined, lines: string[]): void {
  if (path.length > MAX_DEPTH) return;
  for (const [key, inner] of Object.entries(value)) {
    // Records of several attention windows are keyed by the window's length.
    const isWindow = /^-?\d+$/.test(key);
    const next = [...path, isWindow ? '*' : key];
    const of = isWindow ? key : window;
    if (typeof inner === 'number') {
      const labels = of === undefined ? '' : `,window="${of}"`;
      lines.push(`{${JSON.stringify(`json:${next.join('.')}`)}${labels}} ${inner}`);
    } else if (typeof inner === 'object' && inner !== null && !Array.isArray(inner)) walk(inner, next, of, lines);
  }
}
