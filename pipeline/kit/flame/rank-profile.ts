/** Time lines of ranks for speedscope: one profile a rank, in order of time. */
import type { UnixNano } from '../../model.ts';
import type { RankStore } from './rank-store.ts';
import { type Ranks, rankView } from './ranks.ts';
import type { Grouping } from './views.ts';

/** More ranks, or more changes of one, are not looked at one by one. */
const MOST_RANKS = 128;
const MOST_EVENTS = 200_000;

interface Events {
  readonly at: number[];
  readonly frame: number[];
}

export interface RankProfiles {
  readonly frames: readonly string[];
  readonly profiles: readonly { readonly name: string; readonly events: Events; readonly end: number }[];
  readonly start: UnixNano;
  readonly ranks: Ranks;
}

/** Frames are what the rank did, under the phase of the step it was in. Times are nanoseconds that were observed. */
export function rankProfiles(store: RankStore, by: Grouping): RankProfiles {
  const frames: string[] = [];
  const idOf = new Map<string, number>();
  const frame = (name: string) => {
    let id = idOf.get(name);
    if (id === undefined) {
      id = frames.length;
      frames.push(name);
      idOf.set(name, id);
    }
    return id;
  };
  const lines = new Map<number, { at: number; until: number; phase: string; what: string }[]>();
  /** Observed so far: pauses between bursts are not shown, and all ranks of a replica have the same. */
  const clock = new Map<number, number>();
  const ranks = rankView(store, by, (lane, begin, end, phase, what) => {
    const from = clock.get(lane) ?? 0;
    const until = from + (end - begin);
    clock.set(lane, until);
    let line = lines.get(lane);
    if (!line) {
      if (lines.size >= MOST_RANKS) return;
      line = [];
      lines.set(lane, line);
    }
    const last = line.at(-1);
    if (last && last.until === from && last.phase === phase && last.what === what) last.until = until;
    else if (line.length < MOST_EVENTS) line.push({ at: from, until, phase, what });
  });
  const profiles = [...lines].map(([lane, line]) => {
    const events: Events = { at: [], frame: [] };
    const put = (at: number, id: number) => {
      events.at.push(at);
      events.frame.push(id);
    };
    for (const { at, until, phase, what } of line) {
      const stack = [...(phase === '' ? [] : [frame(phase)]), frame(what)];
      for (const id of stack) put(at, id + 1);
      for (const id of stack.reverse()) put(until, -(id + 1));
    }
    const { replica, place } = store.lanes[lane]!;
    return { name: [replica, ...place].join(' '), events, end: line.at(-1)?.until ?? 0 };
  });
  return { frames, profiles, start: store.base, ranks };
}

/** The file, in pieces. */
export function* rankSpeedscope(found: RankProfiles, name: string, exporter: string): Generator<string> {
  yield `{"$schema":"https://www.speedscope.app/file-format-schema.json","name":${JSON.stringify(name)},"exporter":${JSON.stringify(exporter)},"activeProfileIndex":0,"shared":{"frames":[${found.frames.map((frame) => `{"name":${JSON.stringify(frame)}}`).join()}]},"profiles":[`;
  let separator = '';
  for (const { name: title, events, end } of found.profiles) {
    yield `${separator}{"type":"evented","name":${JSON.stringify(title)},"unit":"nanoseconds","startValue":0,"endValue":${end},"events":[`;
    separator = ',';
    const text = events.at.map((at, i) => {
      const frame = events.frame[i]!;
      return `{"type":"${frame > 0 ? 'O' : 'C'}","frame":${Math.abs(frame) - 1},"at":${at}}`;
    });
    yield `${text.join()}]}`;
  }
  yield ']}\n';
}
