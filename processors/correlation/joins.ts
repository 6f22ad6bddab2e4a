/**
 * Who a resource is about, when it does not say so itself: a GPU's pod is a replica's pod, a container's id is the engine's, a
 * rank's GPU is known from its hook. Keys are tried in the order of their strength; what no key joins stays unjoined.
 */
import { cleanId, type Entity, type Subject, type Topology, WEAK } from '../../pipeline/kit/topology.ts';
import type { AnyValue, Attributes } from '../../pipeline/model.ts';

const text = (v: AnyValue | undefined): string => (typeof v === 'string' ? v : '');
const KEYS = 100_000;

/** The keys under which a process can be found, strongest first. */
function keysOf(of: (name: string) => AnyValue | undefined): string[] {
  const out: string[] = [];
  const uid = text(of('k8s.pod.uid'));
  if (uid) out.push(`uid ${uid}`);
  const container = text(of('container.id'));
  if (container) out.push(`container ${container.slice(0, 64)}`);
  const pod = text(of('k8s.pod.name'));
  const namespace = text(of('k8s.namespace.name'));
  if (pod) {
    if (namespace) out.push(`pod ${namespace}/${pod}`);
    out.push(`pod ${pod}`);
  }
  return out;
}

export interface Joins {
  /** Grows when a resource that was seen before could now be joined differently. */
  readonly version: number;
  /** Resources that were joined, by key; and joins that two sources contradicted. */
  readonly made: number;
  /** Looks at a resource (with a series' own attributes), states what it says, and gives what is to be added to it. */
  join(
    resource: Attributes,
    series: Attributes | undefined,
    now: number,
  ): { subject: Subject; additions: Attributes | undefined };
}

interface Known {
  readonly instance: Entity;
  readonly seen: number;
}

export function createJoins(topology: Topology): Joins {
  const processes = new Map<string, Known>();
  let version = 0;
  let made = 0;
  let linkVersion = -1;

  function learn(instance: Entity, of: (name: string) => AnyValue | undefined, now: number): void {
    for (const key of keysOf(of)) {
      const known = processes.get(key);
      // A pod's name can be used again: the newest process that claims it has it.
      if (known?.instance === instance) continue;
      if (!known && processes.size >= KEYS) continue;
      processes.set(key, { instance, seen: now });
      version++;
    }
  }

  /** What a joined resource says beside its own words; words that are there and not in the way stay. */
  function describe(instance: Entity, rank: Entity | undefined): Record<string, AnyValue> {
    const out: Record<string, AnyValue> = Object.create(null);
    out['service.instance.id'] = instance.id;
    const service = topology.related(instance, 'service').find((r) => r.confidence >= WEAK)?.entity;
    if (service) out['service.name'] = service.id;
    const pool = topology.related(instance, 'pool').find((r) => r.confidence >= WEAK)?.entity;
    if (pool && instance.kind === 'replica') out['inference.pool'] = pool.id;
    for (const [attribute, name] of [
      ['engine', 'inference.engine'],
      ['role', 'inference.role'],
    ] as const) {
      const value = instance.attributes[attribute];
      if (typeof value === 'string') out[name] = value;
    }
    if (!rank) return out;
    const spelled = rank.attributes['rank'];
    if (typeof spelled === 'string') {
      for (const part of spelled.split('/')) {
        const match = /^(dp|pp|tp|ep)(\d+)$/.exec(part);
        if (match) out[`inference.rank.${match[1]}`] = Number(match[2]);
        const global = /^rank(\d+)$/.exec(part);
        if (global) out['inference.rank'] = Number(global[1]);
      }
    }
    return out;
  }

  const only = (list: readonly { entity: Entity; confidence: number }[]): Entity | undefined => {
    const strong = list.filter((r) => r.confidence >= WEAK);
    return strong.length === 1 ? strong[0]!.entity : undefined;
  };

  return {
    get version() {
      // A GPU's rank may become known from a hook long after its first metric.
      const links = topology.all('rank').length + topology.all('replica').length * 1_000_003;
      if (links !== linkVersion) {
        linkVersion = links;
        version++;
      }
      return version;
    },
    get made() {
      return made;
    },
    join(resource, series, now) {
      const of = (name: string): AnyValue | undefined => series?.[name] ?? resource[name];
      const subject = topology.observe(resource, series, now);
      if (subject.instance) {
        learn(subject.instance, of, now);
        if (!subject.gpu || subject.rank) return { subject, additions: undefined };
      }
      const gpuId = text(of('hw.id'));
      const gpu = gpuId && !gpuId.includes(',') ? topology.get('gpu', cleanId(gpuId)) : undefined;
      const rank = gpu ? only(topology.related(gpu, 'rank')) : undefined;
      let instance = rank ? only(topology.related(rank, 'replica')) : subject.instance;
      let via = 'hw.id';
      if (!instance) {
        for (const key of keysOf(of)) {
          const known = processes.get(key);
          if (!known || !topology.entities.has(known.instance.key)) continue;
          instance = known.instance;
          via = key.split(' ')[0]!;
          break;
        }
      }
      instance ??= gpu ? only(topology.related(gpu, 'replica')) : undefined;
      if (!instance) return { subject, additions: undefined };
      if (gpu && !rank && instance.kind === 'replica') topology.link(gpu, instance, 'part', via, 1, now);
      const more = describe(instance, rank);
      let news = false;
      for (const [key, value] of Object.entries(more)) {
        const own = resource[key];
        if (own === value) delete more[key];
        // Its own service name is the scraper's word for the exporter; who it belongs to wins.
        else if (own === undefined || key === 'service.instance.id' || key === 'service.name') news = true;
        else delete more[key];
      }
      subject.instance ??= instance;
      if (!news) return { subject, additions: undefined };
      made++;
      return { subject, additions: more };
    },
  };
}
