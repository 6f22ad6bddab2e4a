/** What hooks say of ranks, as columns of numbers: collectives, pipeline stages and engine steps. */
import { type AnyValue, Double, type Resource, type Span, type UnixNano } from '../../model.ts';
import { plainId, stepPhase } from './names.ts';
import { whoOf } from './store.ts';

export const COLLECTIVE = 0;
export const STAGE = 1;
export const STEP = 2;
const KINDS: Readonly<Record<string, number>> = { collective: COLLECTIVE, pipeline_stage: STAGE, engine_step: STEP };
export const PHASE_NAMES = ['', 'prefill', 'decode', 'mixed'] as const;
/** All ranks leave these together, so the one that came last has the shortest span. */
const SYNCHRONISING: ReadonlySet<string> = new Set([
  'all_reduce',
  'all_gather',
  'reduce_scatter',
  'all_to_all',
  'barrier',
]);

export interface Lane {
  readonly service: string;
  readonly role: string;
  readonly replica: string;
  readonly host: string;
  /** Its place, for frames: `pp0`, `tp3`. */
  readonly place: readonly string[];
  /** Number of its stage and of its data-parallel group. */
  readonly pp: number;
  readonly dp: number;
  /** Its spans, in the order they came. */
  readonly spans: number[];
}

const number = (v: AnyValue | undefined): number | undefined => {
  const n = v instanceof Double ? v.value : typeof v === 'bigint' ? Number(v) : v;
  return typeof n === 'number' && Number.isFinite(n) ? n : undefined;
};

export class RankStore {
  size = 0;
  base: UnixNano = 0n;
  readonly lanes: Lane[] = [];
  kind = new Uint8Array(1024);
  phase = new Uint8Array(1024);
  start = new Float64Array(1024);
  duration = new Float64Array(1024);
  /** Of a collective: number of its operation among those of all ranks, -1 if it has none; and how many ranks it has. */
  operation = new Int32Array(1024);
  members = new Int32Array(1024);
  /** Of a step: nanoseconds of scheduling at its beginning. */
  schedule = new Float64Array(1024);
  readonly #laneOf = new Map<string, number>();
  readonly #laneOfResource = new WeakMap<Resource, number>();
  readonly #comms = new Map<string, Map<number, number>>();
  #operations = 0;

  get operations(): number {
    return this.#operations;
  }

  add(span: Span): void {
    const kind = KINDS[span.name];
    if (kind === undefined || span.startTime === 0n || span.endTime < span.startTime) return;
    const i = this.size;
    if (i === this.start.length) this.#grow();
    if (i === 0) this.base = span.startTime;
    this.size++;
    const a = span.attributes;
    this.kind[i] = kind;
    this.start[i] = Number(span.startTime - this.base);
    this.duration[i] = Number(span.endTime - span.startTime);
    this.operation[i] = -1;
    const lane = this.#lane(span.resource);
    this.lanes[lane]!.spans.push(i);
    if (kind === STEP) {
      this.phase[i] = PHASE_NAMES.indexOf(stepPhase(span) as (typeof PHASE_NAMES)[number]);
      this.schedule[i] = Math.min(this.duration[i]!, Math.max(0, number(a['step.schedule_time_ns']) ?? 0));
    } else if (kind === COLLECTIVE && SYNCHRONISING.has(String(a['comm.op'])) && a['hook.open'] !== true) {
      const seq = number(a['comm.seq']);
      if (seq === undefined) return;
      const comm = `${this.lanes[lane]!.replica}\n${String(a['comm.id'])}\n${String(a['comm.op'])}`;
      let seen = this.#comms.get(comm);
      if (!seen) {
        seen = new Map();
        this.#comms.set(comm, seen);
      }
      let operation = seen.get(seq);
      if (operation === undefined) {
        operation = this.#operations++;
        seen.set(seq, operation);
      }
      this.operation[i] = operation;
      this.members[i] = Math.max(0, Math.min(1e6, number(a['comm.size']) ?? 0));
    }
  }

  #lane(resource: Resource): number {
    const known = this.#laneOfResource.get(resource);
    if (known !== undefined) return known;
    const who = whoOf(resource);
    let lane = this.#laneOf.get(`${who.service}\n${who.lane}`);
    if (lane === undefined) {
      lane = this.lanes.length;
      const rank = (name: string) => number(resource.attributes[`inference.rank${name}`]);
      const place = (['pp', 'dp', 'tp', 'ep'] as const).flatMap((axis) => {
        const n = rank(`.${axis}`);
        return n === undefined ? [] : [`${axis}${n}`];
      });
      const global = rank('');
      if (place.length === 0 && global !== undefined) place.push(`rank ${global}`);
      const { service, role, replica, host } = who;
      const [pp, dp] = [rank('.pp') ?? 0, rank('.dp') ?? 0];
      this.lanes.push({ service, role, replica, host, place: place.map(plainId), pp, dp, spans: [] });
      this.#laneOf.set(`${who.service}\n${who.lane}`, lane);
    }
    this.#laneOfResource.set(resource, lane);
    return lane;
  }

  #grow(): void {
    const size = this.start.length * 2;
    const more = <T extends Float64Array | Int32Array | Uint8Array>(old: T): T => {
      const made = new (old.constructor as new (n: number) => T)(size);
      made.set(old);
      return made;
    };
    this.kind = more(this.kind);
    this.phase = more(this.phase);
    this.start = more(this.start);
    this.duration = more(this.duration);
    this.operation = more(this.operation);
    this.members = more(this.members);
    this.schedule = more(this.schedule);
  }
}
