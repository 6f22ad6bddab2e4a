/** What a fault is: one row that knows its victims, its doses, what it does to the world, and what that will look like. */
import type { Injection, Shape, Spec } from '../spec.ts';
import type { Gpu, Nic, Node, Rank, Replica, World } from '../world/types.ts';

export type EntityKind =
  | 'service'
  | 'pool'
  | 'replica'
  | 'rank'
  | 'group'
  | 'gpu'
  | 'node'
  | 'nic'
  | 'link'
  | 'pair'
  | 'router'
  | 'frontend'
  | 'target';

/** What an injection's `entity` text means in this world. */
export interface Victim {
  readonly kind: EntityKind;
  readonly gpu?: Gpu;
  readonly node?: Node;
  readonly replica?: Replica;
  readonly other?: Replica;
  readonly rank?: Rank;
  readonly nic?: Nic;
  readonly rail?: number;
  readonly pool?: string;
  readonly replicas: readonly Replica[];
}

/** `kind:id` with the ids of interfaces.md §6. */
export type EntityId = string;

export interface RootTruth {
  /** Detector id of detectors.md A. */
  readonly id: string;
  readonly entity: EntityId;
  /** Other answers that are as right: `detector@kind:id`, `*` for any id or kind. */
  readonly accept: readonly string[];
}

/** The layer of telemetry that shows a fault's own mechanism, not only its consequences. */
export type EvidenceLayer = 'engine' | 'gpu' | 'host' | 'hooks' | 'router' | 'events';

export interface FaultKind {
  readonly kind: string;
  readonly summary: string;
  readonly victims: readonly EntityKind[];
  /** Doses that make sense, of {.03,.05,.1,.2,.3,.6}. */
  readonly doses: readonly number[];
  readonly shapes: readonly Shape[];
  /** Why this world cannot have this fault; undefined when it can. */
  readonly impossible?: (spec: Spec) => string | undefined;
  /** Changes the scenario so that the fault can exist (a router policy, speculative decoding, …). */
  readonly prepare?: (spec: Spec) => Spec;
  /** Sets the fault to this dose; 0 takes it away. Called again whenever the dose changes. */
  readonly apply: (w: World, victim: Victim, dose: number, injection: Injection) => void;
  /** Called once at the first moment, for faults that are an event. */
  readonly strike?: (w: World, victim: Victim, dose: number, injection: Injection) => void;
  readonly root: (w: World, victim: Victim, injection: Injection) => RootTruth;
  readonly evidence: readonly EvidenceLayer[];
  /** True: has no effect on anybody and must not be reported as a cause. */
  readonly benign?: true;
  /** Change events that the fault's trigger leaves in the feed. */
  readonly change?: (
    w: World,
    victim: Victim,
    injection: Injection,
  ) => { kind: 'deploy' | 'config' | 'scale' | 'restart'; attributes: Record<string, string | number> };
}

export const gpuEntity = (g: Gpu): EntityId => `gpu:${g.uuid}`;
export const nodeEntity = (n: Node): EntityId => `node:${n.name}`;
export const replicaEntity = (r: Replica): EntityId => `replica:${r.id}`;
/** A rank's id: the dimensions that the deployment has, without those at 0 (`r1/tp2`, `r0/pp1/tp3`, `r2/tp0`). */
export const rankEntity = (r: Rank): EntityId => {
  const rep = r.replica;
  const parts: string[] = [];
  if (rep.tpGroups.length > 1 && r.dp > 0) parts.push(`dp${r.dp}`);
  if (rep.stageFree.length > 1 && r.pp > 0) parts.push(`pp${r.pp}`);
  if (r.tp > 0) parts.push(`tp${r.tp}`);
  if (rep.expertParallel && r.ep > 0) parts.push(`ep${r.ep}`);
  return `rank:${rep.id}/${parts.length > 0 ? parts.join('/') : 'tp0'}`;
};
