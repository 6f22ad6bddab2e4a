/** The nearest valid name to one that was mistyped. */

/**
 * Damerau-Levenshtein distance (optimal string alignment: insert, delete, replace, swap neighbours), without regard to
 * case and with `-` equal to `_`.
 */
export function distance(a: string, b: string): number {
  const from = fold(a);
  const to = fold(b);
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, j) => j);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const cost = from[i - 1] === to[j - 1] ? 0 : 1;
      let best = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + cost);
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) {
        best = Math.min(best, beforeLast[j - 2]! + 1);
      }
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[to.length]!;
}

const fold = (text: string) => text.toLowerCase().replaceAll('-', '_');

/** How far a name may be off and still be offered: a third of it, at least one and at most three edits. */
const reach = (name: string) => Math.min(3, Math.max(1, Math.floor(name.length / 3)));

/**
 * The valid name that the wrong one was probably meant to be; undefined if none is near. A name that only lacks or adds a
 * word (`endpoint` for `http_endpoint`) counts as near.
 */
export function nearest(wrong: string, valid: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestScore = Number.POSITIVE_INFINITY;
  // Names from a file can be of any length; the quadratic part must not be.
  const name = wrong.slice(0, 100);
  if (name === '') return undefined;
  for (const candidate of valid) {
    if (Math.abs(candidate.length - name.length) > 40) continue;
    const edits = distance(name, candidate);
    let score = edits;
    if (edits > reach(candidate.length > name.length ? candidate : name)) {
      const words = fold(candidate).split('_');
      const given = fold(name).split('_');
      const contained = given.every((w) => words.includes(w)) || words.every((w) => given.includes(w));
      if (!contained || fold(name).length < 2) continue;
      score = 4 + edits / 100;
    }
    if (score < bestScore) {
      best = candidate;
      bestScore = score;
    }
  }
  return best;
}

/** `; did you mean "x"?`, or nothing. */
export function didYouMean(wrong: string, valid: readonly string[]): string {
  const near = nearest(wrong, valid);
  return near === undefined ? '' : `; did you mean "${near}"?`;
}
