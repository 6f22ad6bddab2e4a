/**
 * What the hooks are told in the answers to their own posts: which kinds of events to send, how many of them, and how many
 * bytes a second at most. It comes from the config and can be changed while the daemon runs; the daemon never calls an engine.
 */
import type { Clock } from '../../pipeline/kit/clock.ts';

export const KINDS = ['collective', 'pipeline_stage', 'engine_step', 'kv_transfer', 'request'] as const;
export type Kind = (typeof KINDS)[number];

export interface KindState {
  readonly enabled: boolean;
  /** Share of events that are sent, 0 to 1. */
  readonly rate: number;
  /** Per process; 0 = no limit. */
  readonly bytesPerSecond: number;
}

export interface ControlTimes {
  readonly postIntervalMs: number;
  readonly silenceMs: number;
  readonly openAfterMs: number;
}

/** What a sender said of itself, newest frame. */
export interface Sender {
  readonly id: string;
  readonly pid: number;
  readonly version: string;
  readonly resource: Readonly<Record<string, string | number | boolean>>;
  events: number;
  seen: number;
  lost: number;
  /** Milliseconds since the epoch. */
  lastAt: number;
}

export interface Control {
  /** The JSON of an answer, made once per change. */
  readonly text: () => string;
  readonly states: () => Readonly<Record<Kind, KindState>>;
  /** Changes one kind until the receiver restarts. */
  change(kind: Kind, change: Partial<KindState>): void;
  /** The pipeline refused: hooks are asked for half. `accepted` gives the rate back, step by step. */
  refused(): void;
  accepted(): void;
  /** 1, or the share of the rates that is asked for while the pipeline cannot keep up. */
  readonly pressure: () => number;
  heard(frame: {
    readonly sender: string;
    readonly pid: number;
    readonly version: string;
    readonly resource: Sender['resource'];
    readonly events: number;
    readonly seen: number;
    readonly lost: number;
  }): void;
  senders(): readonly Sender[];
}

const MOST_SENDERS = 4096;
/** A sender that said nothing for so long is forgotten. */
const FORGOTTEN_AFTER_MS = 600_000;
const RELIEF_MS = 10_000;
const LOWEST_PRESSURE = 1 / 1024;

export function createControl(initial: Readonly<Record<Kind, KindState>>, times: ControlTimes, clock: Clock): Control {
  const states = { ...initial };
  const senders = new Map<string, Sender>();
  let version = 1;
  let pressure = 1;
  let changedAt = Number.NEGATIVE_INFINITY;
  let text: string | undefined;
  const changed = () => {
    version++;
    text = undefined;
  };
  return {
    text() {
      text ??= JSON.stringify({
        version,
        post_interval_ms: times.postIntervalMs,
        silence_ms: times.silenceMs,
        open_after_ms: times.openAfterMs,
        kinds: Object.fromEntries(
          KINDS.map((kind) => {
            const { enabled, rate, bytesPerSecond } = states[kind];
            return [kind, { enabled, rate: rate * pressure, bytes_per_second: bytesPerSecond }];
          }),
        ),
      });
      return text;
    },
    states: () => states,
    change(kind, change) {
      states[kind] = { ...states[kind], ...change };
      changed();
    },
    refused() {
      // Every sender is refused at about the same time; that is one reason to ask for less, not as many as there are senders.
      if (clock.monotonic() - changedAt < 1000 || pressure <= LOWEST_PRESSURE) return;
      pressure /= 2;
      changedAt = clock.monotonic();
      changed();
    },
    accepted() {
      if (pressure === 1 || clock.monotonic() - changedAt < RELIEF_MS) return;
      pressure *= 2;
      changedAt = clock.monotonic();
      changed();
    },
    pressure: () => pressure,
    heard(frame) {
      let sender = senders.get(frame.sender);
      if (sender) senders.delete(frame.sender);
      else {
        if (senders.size >= MOST_SENDERS) senders.delete(senders.keys().next().value!);
        sender = { ...frame, id: frame.sender, events: 0, seen: 0, lost: 0, lastAt: 0 };
      }
      senders.set(frame.sender, sender);
      sender.events += frame.events;
      sender.seen += frame.seen;
      sender.lost += frame.lost;
      sender.lastAt = clock.now();
    },
    senders() {
      const oldest = clock.now() - FORGOTTEN_AFTER_MS;
      for (const [id, sender] of senders) if (sender.lastAt < oldest) senders.delete(id);
      return [...senders.values()];
    },
  };
}
