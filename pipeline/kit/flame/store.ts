/**
 * Spans as columns of numbers: a million of them with their ids, times and frames are about 70 MB, where the objects would be
 * ten times that.
 */
import type { Catalog } from '../../../config/catalog.ts';
import { type AnyValue, Double, type Resource, type Span, type UnixNano } from '../../model.ts';
import { hex32 } from './hex.ts';
import { createNames, plainId } from './names.ts';

/** Parts of a request that engines tell as durations of one span, in the order they happen. */
export const PHASES = ['queue', 'prefill', 'transfer', 'decode'] as const;
const PHASE_COUNT = PHASES.length;
const OUTPUT_TOKENS = 'gen_ai.usage.output_tokens';
const ABSENT = 255;

/** What hooks send for each rank: they have no parent, but lie inside one another. */
const RANK_SPANS: ReadonlySet<string> = new Set(['collective', 'pipeline_stage', 'engine_step']);
const RANK_KEYS = [
  'inference.rank',
  'inference.rank.tp',
  'inference.rank.pp',
  'inference.rank.dp',
  'inference.rank.ep',
];

/** Of a request; on a rank's time line, without a parent of its own; a transfer, which without a parent is no request. */
export const REQUEST = 0;
export const RANK = 1;
export const TRANSFER = 2;

const WHO_KEYS = [
  'service.name',
  'inference.role',
  'inference.engine',
  'service.instance.id',
  'k8s.pod.name',
  'host.name',
  ...RANK_KEYS,
];

export interface Who {
  readonly service: string;
  readonly role: string;
  readonly replica: string;
  readonly host: string;
  /** Replica and rank: whose time line it is on. */
  readonly lane: string;
}

const text = (v: AnyValue | undefined): string => (typeof v === 'string' ? v : '');
const number = (v: AnyValue | undefined): number => {
  const n = v instanceof Double ? v.value : typeof v === 'bigint' ? Number(v) : v;
  return typeof n === 'number' && Number.isFinite(n) ? n : 0;
};

export function whoOf(resource: Resource): Who {
  const a = resource.attributes;
  const replica = plainId(text(a['service.instance.id']) || text(a['k8s.pod.name']) || text(a['host.name']) || '?');
  const rank = RANK_KEYS.map((key) => (a[key] === undefined ? '' : String(number(a[key])))).join('/');
  return {
    service: plainId(text(a['service.name']) || 'unknown service'),
    role: plainId(text(a['inference.role']) || text(a['inference.engine']) || 'spans'),
    replica,
    host: text(a['host.name']) || replica,
    lane: `${replica}/${rank}`,
  };
}

/** Names under which spans tell a neutral attribute: its own and those that the catalog renames to it. */
function aliases(catalog: Catalog, neutral: string): readonly string[] {
  const names = new Set([neutral]);
  for (const source of catalog.sources)
    for (const rule of source.spans) for (const [from, to] of rule.rename) if (to === neutral) names.add(from);
  return [...names];
}

export class SpanStore {
  size = 0;
  /** Spans that could not be used, and what was put right. */
  readonly odd = { untimed: 0, negative: 0 };
  /** The earliest start so far; starts are nanoseconds after `base`. */
  base: UnixNano = 0n;
  readonly frames: string[] = [];
  readonly whos: Who[] = [];
  /** Two numbers of the trace's id, two of the span's, two of the parent's. */
  ids = new Uint32Array(6 * 1024);
  start = new Float64Array(1024);
  duration = new Float64Array(1024);
  frame = new Int32Array(1024);
  who = new Int32Array(1024);
  /** REQUEST, RANK or TRANSFER. */
  kind = new Uint8Array(1024);
  /** Tokens the request answered with; 0 if it does not say. */
  tokens = new Float32Array(1024);
  /** Nanoseconds by phase, PHASES.length a span; undefined until a span tells them. */
  phases: Float64Array | undefined;
  readonly #frameOf = new Map<string, number>();
  readonly #whoOf = new WeakMap<Resource, number>();
  readonly #whoByText = new Map<string, number>();
  readonly #name = createNames();
  /** By attribute, which phase it tells (PHASES.length: tokens), and how much it counts; the least counts most. */
  readonly #told = new Map<string, { readonly slot: number; readonly rank: number }>();
  readonly #ranks = new Uint8Array(PHASE_COUNT + 1);

  constructor(catalog: Catalog) {
    const neutral = [...PHASES.map((phase) => `inference.request.${phase}.duration`), OUTPUT_TOKENS];
    for (const [slot, name] of neutral.entries())
      for (const [rank, alias] of aliases(catalog, name).entries())
        this.#told.set(alias, { slot, rank: Math.min(rank, ABSENT - 1) });
  }

  add(span: Span): void {
    if (span.startTime === 0n) {
      this.odd.untimed++;
      return;
    }
    const i = this.size;
    if (i === this.start.length) this.#grow();
    if (i === 0) this.base = span.startTime;
    this.size++;
    const { ids, start } = this;
    const { traceId, spanId, parentSpanId } = span;
    const at = 6 * i;
    // Sixteen bytes to eight: a span's id need only be unique in its trace.
    ids[at] = hex32(traceId, 0) ^ hex32(traceId, 16);
    ids[at + 1] = hex32(traceId, 8) ^ hex32(traceId, 24);
    ids[at + 2] = spanId === '' ? 0 : hex32(spanId, 0);
    ids[at + 3] = spanId === '' ? 0 : hex32(spanId, 8);
    ids[at + 4] = parentSpanId === '' ? 0 : hex32(parentSpanId, 0);
    ids[at + 5] = parentSpanId === '' ? 0 : hex32(parentSpanId, 8);
    start[i] = Number(span.startTime - this.base);
    let took = Number(span.endTime - span.startTime);
    if (took < 0) {
      this.odd.negative++;
      took = 0;
    }
    this.duration[i] = took;
    this.frame[i] = this.#frame(this.#name(span));
    this.who[i] = this.#who(span.resource);
    this.kind[i] = RANK_SPANS.has(span.name) ? RANK : span.name === 'kv_transfer' ? TRANSFER : REQUEST;
    this.#read(span, i);
  }

  /** Tokens and phases; an attribute's own neutral name counts before those that the catalog renames to it. */
  #read(span: Span, i: number): void {
    const a = span.attributes;
    const ranks = this.#ranks.fill(ABSENT);
    // Looking each of a dozen names up would take as long as all the rest.
    for (const name in a) {
      const told = this.#told.get(name);
      if (told === undefined || told.rank >= ranks[told.slot]!) continue;
      ranks[told.slot] = told.rank;
      const value = Math.max(0, number(a[name]));
      if (told.slot === PHASE_COUNT) this.tokens[i] = value;
      else {
        this.phases ??= new Float64Array(PHASE_COUNT * this.start.length);
        this.phases[PHASE_COUNT * i + told.slot] = Math.round(value * 1e9);
      }
    }
  }

  #frame(name: string): number {
    let id = this.#frameOf.get(name);
    if (id === undefined) {
      id = this.frames.length;
      this.frames.push(name);
      this.#frameOf.set(name, id);
    }
    return id;
  }

  #who(resource: Resource): number {
    let id = this.#whoOf.get(resource);
    if (id !== undefined) return id;
    // Senders make their resource anew for every request; what it says is the same.
    const a = resource.attributes;
    const key = WHO_KEYS.map((name) => String(a[name] ?? '')).join('\n');
    id = this.#whoByText.get(key);
    if (id === undefined) {
      id = this.whos.length;
      this.whos.push(whoOf(resource));
      this.#whoByText.set(key, id);
    }
    this.#whoOf.set(resource, id);
    return id;
  }

  #grow(): void {
    const size = this.start.length * 2;
    const more = <T extends Float64Array | Float32Array | Int32Array | Uint32Array | Uint8Array>(old: T, by = 1): T => {
      const made = new (old.constructor as new (n: number) => T)(size * by);
      made.set(old);
      return made;
    };
    this.ids = more(this.ids, 6);
    this.start = more(this.start);
    this.duration = more(this.duration);
    this.frame = more(this.frame);
    this.who = more(this.who);
    this.kind = more(this.kind);
    this.tokens = more(this.tokens);
    if (this.phases) this.phases = more(this.phases, PHASE_COUNT);
  }
}
