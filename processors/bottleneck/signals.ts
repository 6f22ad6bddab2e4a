/**
 * How the neutral signals are read: which entity they are about, how several series of one entity combine, and which
 * attribute splits a total into parts (so that parts are not added to their total).
 */
import type { EntityKind } from '../../pipeline/kit/topology.ts';

export type Combine = 'sum' | 'max' | 'mean';

export interface SignalShape {
  /** Whose signal it is: an engine process (replica, router or frontend), a GPU, a node, a NIC, or a scrape target. */
  readonly of: 'instance' | 'gpu' | 'node' | 'nic' | 'target';
  readonly combine: Combine;
  /** Attributes that split a total; series without them are the total when both exist. */
  readonly parts?: readonly string[];
  /** When only parts exist, the values that count, by attribute; all of them otherwise. */
  readonly prefer?: Readonly<Record<string, readonly string[]>>;
}

const DEVICE = { tier: ['gpu', 'device', 'hbm', 'local', 'g1', 'l0'] };
const instance = (combine: Combine, parts?: readonly string[], prefer?: SignalShape['prefer']): SignalShape => ({
  of: 'instance',
  combine,
  ...(parts ? { parts } : {}),
  ...(prefer ? { prefer } : {}),
});
const gpu = (combine: Combine, parts?: readonly string[]): SignalShape => ({
  of: 'gpu',
  combine,
  ...(parts ? { parts } : {}),
});

const SHAPES: Readonly<Record<string, SignalShape>> = {
  'inference.requests.waiting': instance('sum', ['reason']),
  'inference.requests.finished': instance('sum', ['finish_reason']),
  'inference.requests.failed': instance('sum', ['error.type']),
  'inference.kv.usage': instance('max', ['tier'], DEVICE),
  'inference.kv.capacity': instance('sum', ['tier'], DEVICE),
  'inference.kv.used': instance('sum', ['tier'], DEVICE),
  'inference.kv.evictions': instance('sum', ['tier'], DEVICE),
  'inference.prefix_cache.queries': instance('sum', ['tier'], DEVICE),
  'inference.prefix_cache.hits': instance('sum', ['tier'], DEVICE),
  'inference.prefix_cache.hit_ratio': instance('mean', ['tier'], DEVICE),
  'inference.tokens.prompt.cached': instance('sum', ['source']),
  'inference.kv.transfer.io': instance('sum', ['direction']),
  'inference.kv.offload.io': instance('sum', ['direction', 'tier']),
  'inference.kv.offload.usage': instance('max', ['tier']),
  'inference.kv.transfer.bandwidth': instance('mean'),
  'inference.pd.queue': instance('sum', ['queue']),
  'inference.pd.decisions': instance('sum', ['decision']),
  'inference.spec.tokens.drafted': instance('sum', ['position']),
  'inference.spec.tokens.accepted': instance('sum', ['position']),
  'inference.spec.acceptance_length': instance('mean'),
  'inference.step.batch_size': instance('sum', ['phase']),
  'inference.step.duration': instance('sum', ['phase']),
  'inference.engine.state': instance('max', ['state']),
  'inference.engine.utilization': instance('mean'),
  'inference.config.info': instance('max'),
  'inference.moe.balance': instance('mean'),
  'inference.router.decisions': instance('sum', ['endpoint', 'status']),
  'inference.router.decision.duration': instance('sum', ['phase']),
  'inference.router.queue.size': instance('sum', ['priority']),
  'inference.router.queue.duration': instance('sum', ['outcome']),
  'inference.router.saturation': instance('max', ['stage']),
  'inference.router.worker.load': instance('sum', ['worker']),
  'inference.router.endpoints.ready': instance('max'),
  'process.uptime': instance('mean'),
  'process.cpu.time': instance('sum', ['component']),
  'hw.gpu.utilization': gpu('max', ['hw.gpu.task']),
  'hw.gpu.foreign.processes': gpu('sum'),
  'hw.gpu.foreign.memory.usage': gpu('sum'),
  'hw.gpu.foreign.utilization': gpu('sum'),
  'hw.gpu.clock': gpu('mean', ['clock']),
  'hw.gpu.throttle': gpu('sum', ['reason']),
  'hw.temperature': {
    ...gpu('max', ['hw.sensor_location']),
    prefer: { 'hw.sensor_location': ['gpu', 'junction', 'edge', 'hotspot'] },
  },
  'hw.power': gpu('sum'),
  'hw.errors': gpu('sum', ['error.type']),
  'hw.gpu.io': gpu('sum', ['link', 'network.io.direction']),
  'hw.gpu.link.errors': gpu('sum', ['link']),
  'hw.status': gpu('max'),
  up: { of: 'target', combine: 'max' },
};

const DEFAULTS: readonly (readonly [string, SignalShape])[] = [
  ['hw.network', { of: 'nic', combine: 'sum' }],
  ['hw.', gpu('mean')],
  ['system.network.', { of: 'nic', combine: 'sum' }],
  ['system.', { of: 'node', combine: 'sum' }],
  ['scrape_', { of: 'target', combine: 'max' }],
];
const INSTANCE: SignalShape = { of: 'instance', combine: 'sum' };

/** The shape of a signal; unknown `inference.*` and `gen_ai.*` are sums over an engine's series. */
export function shapeOf(signal: string): SignalShape {
  return SHAPES[signal] ?? DEFAULTS.find(([prefix]) => signal.startsWith(prefix))?.[1] ?? INSTANCE;
}

/** Kinds of entities on which signals of an instance can sit. */
export const INSTANCE_KINDS: readonly EntityKind[] = ['replica', 'router', 'frontend'];
