/** /sys/class/kfd: which GPUs are joined by XGMI, and which processes compute on which of them. Readable by everybody. */
import type { GpuProcess } from '../../pipeline/kit/gpu-signals.ts';
import { keyedNumbers, type Tree } from '../../pipeline/kit/tree.ts';

const NODES = '/sys/class/kfd/kfd/topology/nodes';
const PROCESSES = '/sys/class/kfd/kfd/proc';
/** CRAT's kind of link. */
const XGMI = 11;

export interface KfdNode {
  /** Its number in the names of files of processes. */
  readonly gpuId: number;
  readonly busId: string;
  /** Bus ids of the GPUs at the other ends of its XGMI links. */
  readonly peers: readonly string[];
  /** Compute units. */
  readonly units: number;
}

const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

export function kfdNodes(tree: Tree): KfdNode[] {
  const found = new Map<number, { gpuId: number; busId: string; units: number }>();
  for (const name of tree.list(NODES)) {
    const gpuId = tree.number(`${NODES}/${name}/gpu_id`);
    // A CPU is a node too, without an id.
    if (!gpuId) continue;
    const properties = keyedNumbers(tree.read(`${NODES}/${name}/properties`) ?? '');
    const location = properties.get('location_id') ?? 0;
    const domain = hex(properties.get('domain') ?? 0, 4);
    const busId = `${domain}:${hex((location >> 8) & 0xff, 2)}:${hex((location >> 3) & 0x1f, 2)}.${location & 7}`;
    const units = (properties.get('simd_count') ?? 0) / Math.max(1, properties.get('simd_per_cu') ?? 4);
    found.set(Number(name), { gpuId, busId, units });
  }
  return [...found].map(([node, own]) => {
    const peers = new Set<string>();
    for (const link of tree.list(`${NODES}/${node}/io_links`)) {
      const properties = keyedNumbers(tree.read(`${NODES}/${node}/io_links/${link}/properties`) ?? '');
      const other = found.get(properties.get('node_to') ?? -1);
      if (properties.get('type') === XGMI && other) peers.add(other.busId);
    }
    return { ...own, peers: [...peers].sort() };
  });
}

/** Processes by GPU id. Undefined where the kernel does not tell them. */
export function kfdProcesses(tree: Tree, nodes: readonly KfdNode[]): Map<number, GpuProcess[]> | undefined {
  const pids = tree.list(PROCESSES);
  if (pids.length === 0 && tree.problem() !== undefined) return undefined;
  const found = new Map<number, GpuProcess[]>(nodes.map(({ gpuId }) => [gpuId, []]));
  for (const name of pids.slice(0, 1024)) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    for (const { gpuId, units } of nodes) {
      const memory = tree.number(`${PROCESSES}/${name}/vram_${gpuId}`);
      const busy = tree.number(`${PROCESSES}/${name}/stats_${gpuId}/cu_occupancy`);
      // Every process of KFD has a file for every GPU, also for those it does not use.
      if (!memory && !busy) continue;
      found.get(gpuId)!.push({
        pid,
        ...(memory === undefined ? {} : { memory }),
        ...(busy === undefined || units <= 0 ? {} : { utilization: Math.min(1, busy / units) }),
      });
    }
  }
  return found;
}
