/** Every sample's series of a target, found by name and labels. By a number instead of a text: half the memory. */
import { randomInt } from 'node:crypto';
import type { Labels } from '../wire/prometheus/labels.ts';
import type { SamplePart } from './scrape-points.ts';

export interface Parts {
  find(name: string, labels: Labels): SamplePart | undefined;
  add(exposedName: string, name: string, labels: Labels): SamplePart;
  has(part: SamplePart): boolean;
  all(): Iterable<SamplePart>;
  /** Forgets what was not seen since the given generation. */
  evict(before: number): void;
  size(): number;
}

export function partTable(): Parts {
  const byHash = new Map<number, SamplePart>();
  let size = 0;
  // Not guessable from outside, so that nobody can send a page of colliding series.
  const seed = randomInt(0x7fffffff);

  const hashOf = (name: string, labels: Labels): number => {
    let h = mix(seed, name);
    for (let i = 0; i < labels.length; i++) h = mix(h, labels[i]!);
    return (h ^ (h >>> 15)) & 0x3fffffff;
  };
  const find = (name: string, labels: Labels): SamplePart | undefined => {
    let part = byHash.get(hashOf(name, labels));
    while (part && !(part.name === name && equal(part.labels, labels))) part = part.next;
    return part;
  };

  return {
    find,
    add(exposedName, name, labels) {
      const hash = hashOf(name, labels);
      const part: SamplePart = {
        generation: -1,
        value: 0,
        tail: undefined,
        exposedName,
        name,
        labels,
        slot: undefined,
        exemplar: undefined,
        next: byHash.get(hash),
      };
      byHash.set(hash, part);
      size++;
      return part;
    },
    has: (part) => find(part.name, part.labels) === part,
    *all() {
      for (const first of byHash.values())
        for (let part: SamplePart | undefined = first; part; part = part.next) yield part;
    },
    evict(before) {
      for (const [hash, first] of byHash) {
        let kept: SamplePart | undefined;
        for (let part: SamplePart | undefined = first; part; ) {
          const next: SamplePart | undefined = part.next;
          if (part.generation >= before) {
            part.next = kept;
            kept = part;
          } else size--;
          part = next;
        }
        if (!kept) byHash.delete(hash);
        else if (kept !== first) byHash.set(hash, kept);
      }
    },
    size: () => size,
  };
}

function mix(h: number, text: string): number {
  let out = h;
  for (let i = 0; i < text.length; i++) out = Math.imul(out ^ text.charCodeAt(i), 0x01000193);
  // What separates two texts must not look like a character.
  return Math.imul(out ^ 0x10000, 0x5bd1e995);
}

function equal(a: Labels, b: Labels): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
