/** The deployments that cases are drawn from, and the victims in them. */
import { faultKind } from './faults/index.ts';
import type { Random } from './random.ts';
import type { Spec, SpecOverrides } from './spec.ts';

export const TOPOLOGIES = ['aggregated', 'split', 'parallel'] as const;
export type Topology = (typeof TOPOLOGIES)[number];
export const DIALECTS = ['vllm-0.10', 'vllm-0.20', 'sglang-0.5', 'dynamo-1.1'] as const;
export type Dialect = (typeof DIALECTS)[number];

/** Draws a deployment of this shape. */
export function baseSpec(r: Random, topology: Topology, dialect: Dialect, fault: string): SpecOverrides {
  const [engine, version] = [
    dialect.slice(0, dialect.lastIndexOf('-')),
    dialect.slice(dialect.lastIndexOf('-') + 1),
  ] as [Spec['deploy']['engine'], string];
  const frontend = engine === 'dynamo' ? 'dynamo' : 'llm-d';
  const routers =
    engine === 'dynamo'
      ? (['kv-cost', 'kv-cost', 'round-robin'] as const)
      : (['prefix', 'least-loaded', 'prefix', 'round-robin'] as const);
  const deploy = {
    engine,
    version,
    frontend,
    router: r.pick(routers),
    apiServers: r.chance(0.5) ? 1 : 2,
    asyncScheduling: r.chance(0.7),
    service: r.pick(['chat', 'assist', 'llm']),
  } as const;
  const kubernetes = r.chance(0.75);
  const amd = topology !== 'parallel' && engine !== 'dynamo' && r.chance(0.12);
  const sku = amd ? 'MI300X-like' : r.chance(0.7) ? 'H100-like' : 'A100-like';
  if (topology === 'split') {
    const wide = r.chance(0.5);
    return {
      cluster: {
        nodes: 4,
        gpusPerNode: 4,
        sku,
        kubernetes,
        rails: r.pick([1, 2]),
        nicGbps: sku === 'A100-like' ? 200 : 400,
      },
      deploy: {
        ...deploy,
        model: wide ? '70b-like' : '32b-like',
        tp: wide && sku !== 'MI300X-like' ? 4 : 2,
        pd: wide && sku !== 'MI300X-like' ? { prefill: 1 + r.int(2), decode: 2 } : { prefill: 2 + r.int(2), decode: 4 },
      },
    };
  }
  if (topology === 'parallel') {
    const experts =
      fault === 'ep-hot-expert' || fault === 'dp-skew' ? true : fault === 'pp-partition' ? false : r.chance(0.5);
    if (!experts)
      return {
        cluster: { nodes: 4, gpusPerNode: 8, sku, kubernetes, rails: 2 },
        deploy: { ...deploy, model: '70b-like', tp: 4, pp: 2, replicas: 4 },
      };
    return {
      cluster: { nodes: 2, gpusPerNode: 8, sku: 'H100-like', kubernetes, rails: 2 },
      deploy: { ...deploy, model: 'moe-like', tp: 2, dp: 4, ep: true, replicas: 2 },
    };
  }
  const shape = r.int(3);
  if (shape === 0)
    return {
      cluster: { nodes: 4, gpusPerNode: 4, sku, kubernetes },
      deploy: { ...deploy, model: '70b-like', tp: 4, replicas: 4 },
    };
  if (shape === 1)
    return {
      cluster: { nodes: 2, gpusPerNode: 8, sku, kubernetes },
      deploy: { ...deploy, model: '32b-like', tp: 2, replicas: 8 },
    };
  return {
    cluster: { nodes: 3, gpusPerNode: 4, sku, kubernetes },
    deploy: { ...deploy, model: '8b-like', tp: 1, replicas: 6, maxSeqs: 128, kvTokens: 160_000 },
  };
}

/** Dialects that can show a fault at all. */
export function dialectsFor(fault: string, topology: Topology): readonly Dialect[] {
  const all = DIALECTS.filter((x) => topology !== 'parallel' || x !== 'dynamo-1.1');
  if (fault === 'offload-slow') return ['vllm-0.10', 'vllm-0.20'];
  return all;
}

/** Which topology a fault needs; undefined when any will do. */
export function neededTopology(fault: string): Topology | undefined {
  if (
    [
      'nic-degraded',
      'fabric-congestion',
      'kv-wire-slow',
      'kv-transport-fallback',
      'kv-transfer-failing',
      'kv-leak',
      'pd-ratio',
    ].includes(fault)
  )
    return 'split';
  if (['pp-partition', 'ep-hot-expert', 'dp-skew'].includes(fault)) return 'parallel';
  return undefined;
}

/** Draws a victim that the fault can happen to. */
export function drawEntity(r: Random, spec: Spec, kind: string): string {
  const fault = faultKind(kind)!;
  const d = spec.deploy;
  const count = d.pd ? d.pd.prefill + d.pd.decode : d.replicas;
  const replicaId = (i: number) => (d.pd ? (i < d.pd.prefill ? `p${i}` : `d${i - d.pd.prefill}`) : `r${i}`);
  const size = d.tp * d.pp * d.dp;
  let victim = r.int(count);
  if (d.pd && kind === 'kv-wire-slow') victim = r.int(d.pd.prefill);
  if (d.pd && (kind === 'kv-transfer-failing' || kind === 'router-skew')) victim = d.pd.prefill + r.int(d.pd.decode);
  const slots = Math.max(1, Math.floor(spec.cluster.gpusPerNode / size));
  const node =
    size <= spec.cluster.gpusPerNode
      ? victim % spec.cluster.nodes
      : Math.floor((victim * size) / spec.cluster.gpusPerNode);
  const first =
    size <= spec.cluster.gpusPerNode
      ? (Math.floor(victim / spec.cluster.nodes) % slots) * size
      : (victim * size) % spec.cluster.gpusPerNode;
  switch (r.pick(fault.victims)) {
    case 'gpu':
      return `node${node}/gpu${first + r.int(Math.min(size, spec.cluster.gpusPerNode))}`;
    case 'node':
      return `node${node}`;
    case 'nic':
      return `node${node}/nic${r.int(spec.cluster.rails)}`;
    case 'link':
      return `rail:${r.int(spec.cluster.rails)}`;
    case 'rank': {
      const parts: string[] = [];
      if (d.dp > 1) return `${replicaId(victim)}/tp${r.int(d.tp)}dp${r.int(d.dp)}`;
      if (d.pp > 1) parts.push(`pp${r.int(d.pp)}/`);
      parts.push(`tp${r.int(d.tp)}`);
      return `${replicaId(victim)}/${parts.join('')}`;
    }
    case 'pool':
      return d.pd ? `pool:${kind === 'kv-leak' || r.chance(0.5) ? 'prefill' : 'decode'}` : `pool:${d.service}`;
    case 'service':
      return 'service';
    case 'router':
      return 'router';
    default:
      return replicaId(victim);
  }
}
