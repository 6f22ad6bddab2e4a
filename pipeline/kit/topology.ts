/**
 * Who is who, and who is part of whom, over time. Entities are linked in two ways: `part` (a GPU carries a rank, a rank is
 * part of a replica, a replica of a service: the way trouble travels) and `at` (on which node something sits). Every link
 * says by which key it was made, how sure it is, and from when until when it holds.
 *
 * What is not known is not linked. Questions that then have no exact answer ("which replica uses this GPU?") are answered
 * with all candidates on the same node, marked weak.
 */
import type { AnyValue, Attributes } from '../model.ts';

export const ENTITY_KINDS = [
  'cluster',
  'service',
  'pool',
  'replica',
  'engine',
  'rank',
  'group',
  'gpu',
  'node',
  'nic',
  'link',
  'pair',
  'router',
  'frontend',
  'target',
] as const;
export type EntityKind = (typeof ENTITY_KINDS)[number];

export type Relation = 'part' | 'at';

/** One thing. `key` is unique over kinds; the rest changes as more is learned. */
export interface Entity {
  readonly kind: EntityKind;
  readonly id: string;
  readonly key: string;
  readonly attributes: Record<string, string | number | boolean>;
  readonly firstSeen: number;
  lastSeen: number;
  /** What it is part of, and what is part of it; where it is, and what is there. Ended links stay for a while. */
  readonly up: Link[];
  readonly down: Link[];
  readonly at: Link[];
  readonly here: Link[];
}

export interface Link {
  readonly from: Entity;
  readonly to: Entity;
  readonly relation: Relation;
  /** The key it was joined by. */
  via: string;
  /** 0..1; below `WEAK` a conclusion through it loses a grade. */
  confidence: number;
  /** Milliseconds since the epoch; `until` is Infinity while it holds. */
  readonly since: number;
  until: number;
  asserted: number;
  /** Somebody else claimed another end while this one was still being claimed. */
  disputed: boolean;
  /** How sure its claim was before somebody disputed it: what claims are compared by. */
  claimed: number;
  /** When another end was last claimed. */
  contested: number;
}

/** Links below this confidence are weak. */
export const WEAK = 0.8;

export interface Related {
  readonly entity: Entity;
  readonly confidence: number;
}

/** What the attributes of one resource (and series) turned out to be about. */
export interface Subject {
  service?: Entity;
  pool?: Entity;
  /** A replica, router or frontend: the process that serves. */
  instance?: Entity;
  rank?: Entity;
  gpu?: Entity;
  node?: Entity;
  nic?: Entity;
}

export interface TopologyLimits {
  readonly entities: number;
  readonly links: number;
}

const LIMITS: TopologyLimits = { entities: 50_000, links: 200_000 };
/** A claim that was not repeated for this long gives way to a new one without a dispute. */
const STALE_CLAIM_MS = 30_000;
const ATTRIBUTES_PER_ENTITY = 32;

/** Pairs of kinds of which the first can be part of (or at) only one of the second at a time. */
const EXCLUSIVE = new Set(['gpu>node', 'nic>node', 'rank>replica', 'replica>pool', 'replica>service', 'pool>service']);
/** Pairs of kinds of which the second can have only one of the first at a time. */
const SOLE = new Set(['gpu>rank']);

export interface Topology {
  readonly entities: ReadonlyMap<string, Entity>;
  /** Grows with every change of entities, links or attributes. */
  readonly version: number;
  /** Entities and links that were refused because a limit was reached. */
  readonly refused: number;
  readonly disputes: number;
  get(kind: EntityKind, id: string): Entity | undefined;
  all(kind: EntityKind): readonly Entity[];
  /** Finds or makes it; undefined for an empty id or beyond the limit. */
  entity(kind: EntityKind, id: string, at: number): Entity | undefined;
  describe(entity: Entity, name: string, value: AnyValue | undefined): void;
  /** States that `from` is part of (or at) `to` since `at`. */
  link(from: Entity, to: Entity, relation: Relation, via: string, confidence: number, at: number): void;
  /** Ends a link. */
  end(link: Link, at: number): void;
  /** States that somebody claims another end than this link's: while that lasts it is no surer than `confidence`. */
  dispute(link: Link, confidence: number, at: number): void;
  /**
   * States what the attributes say; the series' own attributes win over the resource's. `serving` says that the signal itself
   * is one of an engine; without it a `service.instance.id` counts as a replica only beside other signs of one, because
   * exporters of other things have one too.
   */
  observe(resource: Attributes, series: Attributes | undefined, at: number, serving?: boolean): Subject;
  /**
   * Entities of a kind that stand in a causal line with this one: what it is part of, what is part of it, or where it is.
   * Itself if it is of that kind. Weak candidates only when there is nothing better.
   */
  related(entity: Entity, kind: EntityKind): readonly Related[];
  /** Other entities of its kind with the same service, pool and role. */
  peers(entity: Entity): readonly Entity[];
  /** The nodes it is on, through its parts if need be. */
  nodes(entity: Entity): readonly Entity[];
  /** Closes links and forgets entities that were not seen since `before`. */
  expire(before: number, at: number): void;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;
const ID_LENGTH = 200;

/** An id that is safe to keep and show: no control characters, at most 200 characters. */
export function cleanId(text: string): string {
  const clean = text.replace(CONTROL, '�').trim();
  if (clean.length <= ID_LENGTH) return clean;
  let hash = 0;
  for (let i = 0; i < clean.length; i++) hash = (Math.imul(hash, 31) + clean.charCodeAt(i)) | 0;
  return `${clean.slice(0, ID_LENGTH - 10)}…${(hash >>> 0).toString(16)}`;
}

export function createTopology(limits: TopologyLimits = LIMITS): Topology {
  const entities = new Map<string, Entity>();
  const byKind = new Map<EntityKind, Entity[]>();
  let version = 0;
  let refused = 0;
  let disputes = 0;
  let links = 0;
  let memo = new Map<string, readonly Related[]>();
  let memoVersion = -1;

  const changed = () => {
    version++;
  };

  function entity(kind: EntityKind, rawId: string, at: number): Entity | undefined {
    const known = entities.get(`${kind}/${rawId}`);
    if (known) {
      if (at > known.lastSeen) known.lastSeen = at;
      return known;
    }
    const id = cleanId(rawId);
    if (id === '') return undefined;
    const key = `${kind}/${id}`;
    const existing = entities.get(key);
    if (existing) {
      if (at > existing.lastSeen) existing.lastSeen = at;
      return existing;
    }
    if (entities.size >= limits.entities) {
      refused++;
      return undefined;
    }
    const made: Entity = {
      kind,
      id,
      key,
      attributes: {},
      firstSeen: at,
      lastSeen: at,
      up: [],
      down: [],
      at: [],
      here: [],
    };
    entities.set(key, made);
    const list = byKind.get(kind);
    if (list) list.push(made);
    else byKind.set(kind, [made]);
    changed();
    return made;
  }

  function describe(of: Entity, name: string, value: AnyValue | undefined): void {
    const plain =
      typeof value === 'string' ? cleanId(value) : typeof value === 'number' || typeof value === 'boolean' ? value : '';
    if (plain === '' || of.attributes[name] === plain) return;
    if (of.attributes[name] === undefined && Object.keys(of.attributes).length >= ATTRIBUTES_PER_ENTITY) return;
    of.attributes[name] = plain;
    changed();
  }

  const open = (list: readonly Link[]): Link[] => list.filter((l) => l.until === Number.POSITIVE_INFINITY);
  const close = (l: Link, at: number) => {
    l.until = Math.max(l.since, at);
    changed();
  };

  function dispute(l: Link, confidence: number, at: number): void {
    l.contested = Math.max(l.contested, at);
    if (l.disputed && l.confidence <= confidence) return;
    l.disputed = true;
    l.confidence = Math.min(l.confidence, confidence);
    changed();
  }

  function link(from: Entity, to: Entity, relation: Relation, via: string, confidence: number, at: number): void {
    if (from === to) return;
    const outgoing = relation === 'part' ? from.up : from.at;
    const incoming = relation === 'part' ? to.down : to.here;
    const existing = outgoing.find((l) => l.to === to && l.until === Number.POSITIVE_INFINITY);
    if (existing) {
      existing.asserted = Math.max(existing.asserted, at);
      if (confidence > existing.claimed) {
        existing.claimed = confidence;
        existing.via = via;
      }
      // Nobody claims another end any more: it is what it was.
      if (existing.disputed && at - existing.contested >= STALE_CLAIM_MS) existing.disputed = false;
      if (!existing.disputed && existing.claimed > existing.confidence) {
        existing.confidence = existing.claimed;
        changed();
      }
      return;
    }
    const pair = `${from.kind}>${to.kind}`;
    const rivals = EXCLUSIVE.has(pair)
      ? open(outgoing).filter((l) => l.to.kind === to.kind)
      : SOLE.has(pair)
        ? open(incoming).filter((l) => l.from.kind === from.kind)
        : [];
    for (const rival of rivals) {
      const alive = at - rival.asserted < STALE_CLAIM_MS;
      // Compared by what was claimed: a dispute must not make the link lose to the next who claims otherwise.
      if (alive && rival.claimed >= confidence) {
        disputes++;
        dispute(rival, WEAK - 0.2, at);
        return;
      }
      close(rival, at);
    }
    if (links >= limits.links) {
      refused++;
      return;
    }
    links++;
    const made: Link = {
      from,
      to,
      relation,
      via,
      confidence,
      since: at,
      until: Number.POSITIVE_INFINITY,
      asserted: at,
      disputed: false,
      claimed: confidence,
      contested: Number.NEGATIVE_INFINITY,
    };
    outgoing.push(made);
    incoming.push(made);
    changed();
  }

  /** Follows part-links one way, breadth first, until entities of `kind` are met. */
  function follow(start: Entity, kind: EntityKind, way: 'up' | 'down'): Related[] {
    const found = new Map<Entity, number>();
    const seen = new Set<Entity>([start]);
    let front: [Entity, number][] = [[start, 1]];
    while (front.length > 0) {
      const next: [Entity, number][] = [];
      for (const [at, confidence] of front) {
        for (const l of at[way]) {
          if (l.until !== Number.POSITIVE_INFINITY) continue;
          const other = way === 'up' ? l.to : l.from;
          const c = Math.min(confidence, l.confidence);
          if (other.kind === kind) found.set(other, Math.max(found.get(other) ?? 0, c));
          else if (!seen.has(other)) {
            seen.add(other);
            next.push([other, c]);
          }
        }
      }
      front = next;
    }
    return [...found].map(([e, confidence]) => ({ entity: e, confidence }));
  }

  /** `asked`: who asks already, so that a rank without a node and its group do not ask each other for ever. */
  function nodesOf(of: Entity, asked?: ReadonlySet<Entity>): Entity[] {
    if (of.kind === 'node') return [of];
    const own = open(of.at).map((l) => l.to);
    if (own.length > 0) return own;
    const out = new Set<Entity>();
    const asking = new Set(asked).add(of);
    for (const l of of.down) {
      if (l.until !== Number.POSITIVE_INFINITY || asking.has(l.from)) continue;
      for (const node of nodesOf(l.from, asking)) out.add(node);
    }
    if (out.size === 0 && (of.kind === 'rank' || of.kind === 'group' || of.kind === 'engine')) {
      for (const l of of.up) {
        if (l.until !== Number.POSITIVE_INFINITY || asking.has(l.to)) continue;
        for (const n of nodesOf(l.to, asking)) out.add(n);
      }
    }
    return [...out];
  }

  function resolve(of: Entity, kind: EntityKind): readonly Related[] {
    if (of.kind === kind) return [{ entity: of, confidence: 1 }];
    const up = follow(of, kind, 'up');
    if (up.length > 0) return up;
    const down = follow(of, kind, 'down');
    if (down.length > 0) return down;
    if (kind === 'node') return nodesOf(of).map((e) => ({ entity: e, confidence: 1 }));
    if (of.kind === 'node') {
      const here = new Map<Entity, number>();
      for (const l of of.here) {
        if (l.until !== Number.POSITIVE_INFINITY) continue;
        for (const r of l.from.kind === kind ? [{ entity: l.from, confidence: 1 }] : follow(l.from, kind, 'up')) {
          here.set(r.entity, Math.max(here.get(r.entity) ?? 0, Math.min(l.confidence, r.confidence)));
        }
      }
      return [...here].map(([e, confidence]) => ({ entity: e, confidence }));
    }
    // Nothing exact: everything of that kind on the same nodes that has no exact partner, each as likely as the others.
    const candidates = new Set<Entity>();
    for (const node of nodesOf(of)) {
      for (const { entity: e } of resolve(node, kind)) {
        if (follow(e, of.kind, 'down').length === 0 && follow(e, of.kind, 'up').length === 0) candidates.add(e);
      }
    }
    const confidence = Math.min(WEAK - 0.2, 1 / Math.max(1, candidates.size));
    return [...candidates].map((e) => ({ entity: e, confidence }));
  }

  const topology: Topology = {
    entities,
    get version() {
      return version;
    },
    get refused() {
      return refused;
    },
    get disputes() {
      return disputes;
    },
    get: (kind, id) => entities.get(`${kind}/${id}`) ?? entities.get(`${kind}/${cleanId(id)}`),
    all: (kind) => byKind.get(kind) ?? [],
    entity,
    describe,
    link,
    end: close,
    dispute,
    observe: (resource, series, at, serving) => observe(topology, resource, series, at, serving === true),
    related(of, kind) {
      if (memoVersion !== version) {
        memo = new Map();
        memoVersion = version;
      }
      const key = `${of.key}>${kind}`;
      let answer = memo.get(key);
      if (!answer) {
        answer = resolve(of, kind);
        memo.set(key, answer);
      }
      return answer;
    },
    peers(of) {
      const cohort = cohortKey(topology, of);
      return topology.all(of.kind).filter((e) => e !== of && cohortKey(topology, e) === cohort);
    },
    nodes: (of) => nodesOf(of),
    expire(before, at) {
      const drop = (list: Link[], l: Link) => {
        const index = list.indexOf(l);
        if (index >= 0) list.splice(index, 1);
      };
      // What something living is part of lives too.
      for (let pass = 0; pass < 5; pass++) {
        for (const e of entities.values()) {
          for (const l of e.up) if (l.until > at && e.lastSeen > l.to.lastSeen) l.to.lastSeen = e.lastSeen;
          for (const l of e.at) if (l.until > at && e.lastSeen > l.to.lastSeen) l.to.lastSeen = e.lastSeen;
        }
      }
      const kinds = new Set<EntityKind>();
      for (const [key, e] of entities) {
        if (e.lastSeen >= before) continue;
        for (const l of [...e.up, ...e.down, ...e.at, ...e.here]) {
          if (l.until > at) close(l, at);
          drop(l.relation === 'part' ? l.from.up : l.from.at, l);
          drop(l.relation === 'part' ? l.to.down : l.to.here, l);
          links--;
        }
        entities.delete(key);
        kinds.add(e.kind);
        changed();
      }
      for (const kind of kinds) {
        byKind.set(
          kind,
          byKind.get(kind)!.filter((e) => entities.has(e.key)),
        );
      }
      for (const e of entities.values()) {
        for (const l of [...e.up, ...e.at]) {
          if (l.until >= before) continue;
          drop(l.relation === 'part' ? e.up : e.at, l);
          drop(l.relation === 'part' ? l.to.down : l.to.here, l);
          links--;
        }
      }
    },
  };
  return topology;
}

/** Members of one cohort may be compared: same kind, service, pool, role, and hardware model. */
export function cohortKey(topology: Topology, of: Entity): string {
  const service = topology.related(of, 'service')[0]?.entity.id ?? '';
  const instance = of.kind === 'replica' ? of : topology.related(of, 'replica')[0]?.entity;
  const pool = instance ? (topology.related(instance, 'pool')[0]?.entity.id ?? '') : '';
  const role = instance?.attributes['role'] ?? '';
  const model = of.attributes['model'] ?? instance?.attributes['model'] ?? '';
  return `${of.kind}|${service}|${pool}|${role}|${model}`;
}

const text = (value: AnyValue | undefined): string =>
  typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'bigint' ? String(value) : '';

/**
 * The id of a rank within its replica: `tp1`, `pp2/tp3`, `dp3`. Dimensions at 0 are left out, so that an engine that always
 * states all of them and one that states only the one it uses agree; when all are 0 it is `tp0` (or the one that is given).
 */
export function rankName(of: (name: string) => AnyValue | undefined): string {
  const given = ['dp', 'pp', 'tp', 'ep']
    .map((d) => ({ d, v: text(of(`inference.rank.${d}`)) }))
    .filter(({ v }) => v !== '');
  const nonzero = given.filter(({ v }) => v !== '0');
  if (nonzero.length > 0) return nonzero.map(({ d, v }) => d + v).join('/');
  const zero = given.find(({ d }) => d === 'tp') ?? given[0];
  if (zero) return `${zero.d}0`;
  const global = text(of('inference.rank'));
  return global === '' ? '' : `rank${global}`;
}

const INSTANCE_KEYS = ['service.instance.id', 'k8s.pod.name', 'instance'] as const;
const ROLE_KIND: Record<string, EntityKind> = { router: 'router', frontend: 'frontend' };

function observe(
  topology: Topology,
  resource: Attributes,
  series: Attributes | undefined,
  at: number,
  serving: boolean,
): Subject {
  const of = (name: string): AnyValue | undefined => series?.[name] ?? resource[name];
  const subject: Subject = {};
  const nodeName = text(of('host.name')) || text(of('k8s.node.name')) || text(of('host.id'));
  const node = nodeName ? topology.entity('node', nodeName, at) : undefined;
  if (node) subject.node = node;

  const gpuId = text(of('hw.id'));
  const engine = text(of('inference.engine'));
  const role = text(of('inference.role'));
  const rank = rankName(of);
  const explicit = text(of('service.instance.id'));
  const serves =
    serving ||
    engine !== '' ||
    role !== '' ||
    rank !== '' ||
    (explicit !== '' && topology.get('replica', explicit) !== undefined);
  const instanceId = serves ? INSTANCE_KEYS.map((k) => text(of(k))).find((v) => v !== '') : undefined;
  const instance = instanceId ? topology.entity(ROLE_KIND[role] ?? 'replica', instanceId, at) : undefined;
  if (instance) {
    subject.instance = instance;
    if (engine) topology.describe(instance, 'engine', engine);
    if (role) topology.describe(instance, 'role', role);
    topology.describe(instance, 'model', of('gen_ai.request.model') ?? of('model_name'));
    topology.describe(instance, 'pod', of('k8s.pod.name'));
    topology.describe(instance, 'version', of('service.version'));
    const serviceName = text(of('service.name')) || text(of('gen_ai.request.model')) || 'default';
    const service = topology.entity('service', serviceName, at);
    const poolName = text(of('inference.pool'));
    const pool = poolName ? topology.entity('pool', poolName, at) : undefined;
    if (service) {
      subject.service = service;
      topology.link(instance, service, 'part', 'service.name', 1, at);
    }
    if (pool) {
      subject.pool = pool;
      if (instance.kind === 'replica') topology.link(instance, pool, 'part', 'inference.pool', 1, at);
      if (service) topology.link(pool, service, 'part', 'service.name', 1, at);
    }
    if (node && gpuId === '') topology.link(instance, node, 'at', 'host.name', 1, at);
  }

  // Engines number even a single data-parallel rank 0: that alone is no rank of its own.
  const alone = rank === 'dp0' && topology.get('rank', `${instance?.id}/dp1`) === undefined;
  if (instance && rank && !alone && instance.kind === 'replica') {
    if (rank.startsWith('dp') && rank !== 'dp0' && !rank.includes('/')) {
      const first = topology.entity('rank', `${instance.id}/dp0`, at);
      if (first) topology.link(first, instance, 'part', 'inference.rank', 1, at);
    }
    const made = topology.entity('rank', `${instance.id}/${rank}`, at);
    if (made) {
      subject.rank = made;
      topology.link(made, instance, 'part', 'inference.rank', 1, at);
      topology.describe(made, 'rank', rank);
      topology.describe(made, 'index', of('inference.rank.tp') ?? of('inference.rank'));
      if (node) topology.link(made, node, 'at', 'host.name', 1, at);
    }
  }
  if (gpuId) {
    // One process may list several GPUs (a replica's label); a GPU's own signals name one.
    for (const id of gpuId.includes(',') ? gpuId.split(',').slice(0, 64) : [gpuId]) {
      const gpu = topology.entity('gpu', id.trim(), at);
      if (!gpu) continue;
      subject.gpu ??= gpu;
      if (node) topology.link(gpu, node, 'at', 'host.name', 1, at);
      topology.describe(gpu, 'index', of('hw.gpu.index'));
      topology.describe(gpu, 'pci_bus_id', of('hw.gpu.pci_bus_id'));
      topology.describe(gpu, 'model', of('hw.model') ?? of('hw.name'));
      const holder = subject.rank ?? (instance?.kind === 'replica' ? instance : undefined);
      if (holder) topology.link(gpu, holder, 'part', 'hw.id', 1, at);
    }
  }
  const nicName = text(of('hw.nic.device')) || text(of('network.interface.name'));
  if (nicName && node) {
    const nic = topology.entity('nic', `${node.id}/${nicName}`, at);
    if (nic) {
      subject.nic = nic;
      topology.link(nic, node, 'at', 'host.name', 1, at);
    }
  }
  return subject;
}

/** The group behind a communicator of an instance, with one of its members; undefined beyond the limits. */
export function observeGroup(
  topology: Topology,
  instance: Entity,
  comm: string,
  size: number,
  member: Entity | undefined,
  at: number,
): Entity | undefined {
  const group = topology.entity('group', `${instance.id}/${comm || 'world'}`, at);
  if (!group) return undefined;
  topology.link(group, instance, 'part', 'comm.id', 1, at);
  topology.describe(group, 'size', size);
  if (member) topology.link(member, group, 'part', 'comm.rank', 1, at);
  return group;
}

/** The pair of two replicas that hand over KV, `<source>-><destination>`. */
export function observePair(topology: Topology, source: string, destination: string, at: number): Entity | undefined {
  const pair = topology.entity('pair', `${source}->${destination}`, at);
  if (!pair) return undefined;
  for (const [end, id] of [
    ['source', source],
    ['destination', destination],
  ] as const) {
    topology.describe(pair, end, id);
    const replica = topology.get('replica', id);
    if (!replica) continue;
    for (const { entity } of topology.related(replica, 'service'))
      topology.link(pair, entity, 'part', 'kv_transfer', 1, at);
    for (const node of topology.nodes(replica)) topology.link(pair, node, 'at', 'kv_transfer', 1, at);
  }
  return pair;
}
