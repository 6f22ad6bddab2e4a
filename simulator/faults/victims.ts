/** Reads the entity text of an injection: `node2/gpu5`, `node1`, `node1/nic0`, `r3`, `r3/tp1`, `p0->d1`, `pool:decode`, `rail:1`, `service`, `router`. */
import type { World } from '../world/types.ts';
import type { Victim } from './types.ts';

/** The victim, or a sentence that says what is wrong with the text. */
export function findVictim(w: World, entity: string): Victim | string {
  const replica = (id: string) => w.replicas.find((r) => r.id === id);
  let m = /^(node\d+)\/gpu(\d+)$/.exec(entity);
  if (m) {
    const gpu = w.nodes.find((n) => n.name === m![1])?.gpus[Number(m[2])];
    if (!gpu) return `There is no GPU "${entity}" in this cluster.`;
    return {
      kind: 'gpu',
      gpu,
      node: gpu.node,
      ...(gpu.rank ? { rank: gpu.rank, replica: gpu.rank.replica } : {}),
      replicas: gpu.rank ? [gpu.rank.replica] : [],
    };
  }
  m = /^(node\d+)\/nic(\d+)$/.exec(entity);
  if (m) {
    const nic = w.nodes.find((n) => n.name === m![1])?.nics[Number(m[2])];
    if (!nic) return `There is no NIC "${entity}" in this cluster.`;
    return { kind: 'nic', nic, node: nic.node, replicas: nic.node.replicas };
  }
  m = /^(node\d+)$/.exec(entity);
  if (m) {
    const node = w.nodes.find((n) => n.name === entity);
    if (!node) return `There is no node "${entity}" in this cluster.`;
    return { kind: 'node', node, replicas: node.replicas };
  }
  m = /^rail:(\d+)$/.exec(entity);
  if (m) {
    const rail = Number(m[1]);
    if (rail >= w.spec.cluster.rails) return `There is no rail ${rail}; the cluster has ${w.spec.cluster.rails}.`;
    return { kind: 'link', rail, replicas: w.replicas };
  }
  m = /^([rpd]\d+)->([rpd]\d+)$/.exec(entity);
  if (m) {
    const from = replica(m[1]!);
    const to = replica(m[2]!);
    if (!from || !to) return `There is no pair "${entity}" in this cluster.`;
    return { kind: 'pair', replica: from, other: to, replicas: [from, to] };
  }
  m = /^([rpd]\d+)\/(?:pp(\d+)\/?)?(?:tp(\d+))?(?:dp(\d+))?(?:ep(\d+))?$/.exec(entity);
  if (m) {
    const rep = replica(m[1]!);
    const want = (v: string | undefined, have: number) => v === undefined || Number(v) === have;
    const rank = rep?.ranks.find(
      (r) => want(m![2], r.pp) && want(m![3], r.tp) && want(m![4], r.dp) && want(m![5], r.ep),
    );
    if (!rep || !rank) return `There is no rank "${entity}" in this cluster.`;
    return { kind: 'rank', rank, replica: rep, gpu: rank.gpu, node: rank.gpu.node, replicas: [rep] };
  }
  m = /^pool:(.+)$/.exec(entity);
  if (m) {
    const replicas = w.replicas.filter((r) => r.pool === m![1]);
    if (replicas.length === 0) return `There is no pool "${m[1]}" in this cluster.`;
    return { kind: 'pool', pool: m[1]!, replicas };
  }
  if (entity === 'service') return { kind: 'service', replicas: w.replicas };
  if (entity === 'router') return { kind: 'router', replicas: w.replicas };
  const rep = replica(entity);
  if (rep) return { kind: 'replica', replica: rep, node: rep.node, replicas: [rep] };
  return `"${entity}" names nothing in this cluster; try node0/gpu1, node0, node0/nic0, ${w.replicas[0]!.id}, ${w.replicas[0]!.id}/tp0, pool:…, rail:0, router or service.`;
}
