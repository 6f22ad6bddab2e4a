/**
 * What it costs the user: latency against its own past (or its peers), capacity, and the burn of the error budget; per
 * instance and per service. Severity is read from here, never from how loud a cause is.
 */
import type { Entity } from '../../pipeline/kit/topology.ts';
import type { Impact, SloKind } from '../../pipeline/kit/verdict.ts';
import { type HistogramReading, readHistogram } from './measure.ts';
import type { Channel } from './store.ts';
import { pickChannels, WF, type World, WS } from './view.ts';

export const LATENCIES = {
  ttft: ['gen_ai.server.time_to_first_token'],
  itl: ['inference.inter_token.latency', 'gen_ai.server.time_per_output_token'],
  e2e: ['gen_ai.server.request.duration'],
} as const;
export type LatencyKind = keyof typeof LATENCIES;
export const LATENCY_KINDS = Object.keys(LATENCIES) as LatencyKind[];

export interface LatencyNow {
  readonly kind: LatencyKind;
  readonly now: number;
  readonly before: number | undefined;
  /** now/before − 1; 0 where it is not beyond noise (three scales) or nothing is known to compare with. */
  readonly loss: number;
  /** The same without the noise gate; undefined without a reference. */
  readonly raw: number | undefined;
  readonly z: number;
  readonly n: number;
}

export interface InstanceImpact {
  readonly latencies: readonly LatencyNow[];
  readonly loss: number;
  /** A reference (own past or peers) exists for at least one latency. */
  readonly known: boolean;
  /** Requests are running and no token came for a while, or it cannot be reached. */
  readonly stopped: boolean;
}

export interface ServiceImpact extends InstanceImpact {
  readonly capacity: number;
  readonly burn: number;
  /** The latency that suffers most. */
  readonly worst: SloKind;
  readonly before: number | undefined;
  readonly during: number | undefined;
}

export interface Impacts {
  /** To be called once per slow evaluation, before the detectors. */
  update(): void;
  instance(entity: Entity): InstanceImpact | undefined;
  service(entity: Entity): ServiceImpact | undefined;
  /** Impact and its words for a finding about this entity. */
  of(entity: Entity): {
    readonly impact: Impact;
    readonly known: boolean;
    readonly stopped: boolean;
    readonly service: ServiceImpact | undefined;
  };
  setStopped(entity: Entity, stopped: boolean): void;
}

/** Which instances tell a service's latency: those nearest to the user. */
export function latencySources(world: World, service: Entity, kind: LatencyKind): readonly Entity[] {
  const has = (e: Entity) => LATENCIES[kind].some((s) => world.store.of(e)?.signals.has(s));
  for (const outer of ['frontend', 'router'] as const) {
    const found = world.topology
      .related(service, outer)
      .map((r) => r.entity)
      .filter(has);
    if (found.length > 0) return found;
  }
  const replicas = world.topology
    .related(service, 'replica')
    .map((r) => r.entity)
    .filter(has);
  const split = replicas.some((e) => e.attributes['role'] === 'decode');
  // In a split service the first token is known where decoding starts; a prefill engine's "request" is one token long.
  return split ? replicas.filter((e) => e.attributes['role'] !== 'prefill') : replicas;
}

/** The pooled histogram of a latency over some instances. */
export function readLatency(
  world: World,
  instances: readonly Entity[],
  kind: LatencyKind,
  of: Entity,
): HistogramReading | undefined {
  for (const signal of LATENCIES[kind]) {
    const channels: Channel[] = [];
    for (const e of instances)
      channels.push(...pickChannels(world.store.of(e)?.signals.get(signal), signal).filter((c) => c.histogram));
    if (channels.length > 0) return readHistogram(channels, world, signal, () => world.name(of));
  }
  return undefined;
}

export function createImpacts(world: World): Impacts {
  const instances = new Map<Entity, InstanceImpact>();
  const services = new Map<Entity, ServiceImpact>();
  const stopped = new Map<Entity, number>();

  function latency(of: Entity, sources: readonly Entity[], kind: LatencyKind): LatencyNow | undefined {
    const m = readLatency(world, sources, kind, of)?.mean(WF, 8);
    if (!m) return undefined;
    const key = `impact.${kind}|${of.key}`;
    const base = world.history.baseline(key, m.value, world.now, WS, 12, world.frozen(of));
    if (!base || base.median <= 0)
      return { kind, now: m.value, before: undefined, loss: 0, raw: undefined, z: 0, n: m.n };
    const raw = m.value / base.median - 1;
    const z = (m.value - base.median) / base.scale;
    // A past of a few minutes: small losses cannot be told from a service that fills up.
    const young = 0.6 * Math.max(0, 1 - base.n / 30);
    return { kind, now: m.value, before: base.median, loss: z >= 3 && raw > young ? raw : 0, raw, z, n: m.n };
  }

  function againstPeers(list: readonly { entity: Entity; latencies: LatencyNow[] }[]): void {
    for (const kind of LATENCY_KINDS) {
      const values = list.map((i) => i.latencies.find((l) => l.kind === kind)?.now ?? Number.NaN);
      const known = values.filter(Number.isFinite).sort((a, b) => a - b);
      if (known.length < 3) continue;
      const median = known[known.length >> 1]!;
      list.forEach((item, i) => {
        const at = item.latencies.findIndex((l) => l.kind === kind);
        const l = item.latencies[at];
        if (!l || l.before !== undefined || median <= 0) return;
        const raw = values[i]! / median - 1;
        item.latencies[at] = { ...l, before: median, raw, loss: raw > 0.15 ? raw : 0, z: raw / 0.05 };
      });
    }
  }

  const summarise = (latencies: readonly LatencyNow[]) => ({
    loss: latencies.reduce((a, l) => Math.max(a, l.loss), 0),
    known: latencies.some((l) => l.raw !== undefined),
  });

  return {
    update() {
      instances.clear();
      services.clear();
      for (const service of world.topology.all('service')) {
        const replicas = world.topology.related(service, 'replica').map((r) => r.entity);
        const list = replicas.map((entity) => ({
          entity,
          latencies: LATENCY_KINDS.flatMap((kind) => latency(entity, [entity], kind) ?? []),
        }));
        againstPeers(list);
        let lost = 0;
        for (const { entity, latencies } of list) {
          const s = summarise(latencies);
          const halted = (stopped.get(entity) ?? Number.NEGATIVE_INFINITY) > world.now - 60_000;
          instances.set(entity, { latencies, ...s, stopped: halted });
          const itl = latencies.find((l) => l.kind === 'itl')?.loss ?? 0;
          lost += halted ? 1 : itl > 0 ? 1 - 1 / (1 + itl) : 0;
        }
        const latencies = LATENCY_KINDS.flatMap(
          (kind) => latency(service, latencySources(world, service, kind), kind) ?? [],
        );
        const worst = latencies.reduce<LatencyNow | undefined>(
          (a, l) => (a === undefined || l.loss > a.loss ? l : a),
          undefined,
        );
        const capacity = replicas.length > 0 ? lost / replicas.length : 0;
        const halted = replicas.length > 0 && replicas.every((e) => instances.get(e)?.stopped);
        services.set(service, {
          latencies,
          ...summarise(latencies),
          stopped: halted,
          capacity,
          burn: burnOf(world, service),
          worst: halted || (capacity >= 0.1 && !(worst && worst.loss > 0)) ? 'availability' : (worst?.kind ?? 'ttft'),
          before: worst?.before,
          during: worst?.now,
        });
      }
    },
    instance: (e) => instances.get(e),
    service: (e) => services.get(e),
    of(entity) {
      const service = world.topology.related(entity, 'service')[0]?.entity;
      const s = service ? services.get(service) : undefined;
      // Through a weak relation the worst candidate would be blamed for every GPU of the node: only the service counts then.
      const own = world.topology
        .related(entity, 'replica')
        .filter((r) => r.confidence >= 0.8 && entity.kind !== 'service' && entity.kind !== 'pool')
        .flatMap((r) => instances.get(r.entity) ?? []);
      // What sits on one replica is weighed by that replica; the service's pain may have another cause.
      const ownKnown = own.some((i) => i.known);
      const latency = ownKnown ? Math.max(...own.map((i) => i.loss)) : (s?.loss ?? 0);
      const halted = own.length > 0 ? own.some((i) => i.stopped) : (s?.stopped ?? false);
      const known = ownKnown || (s?.known ?? false);
      return {
        impact: {
          ...(known ? { latency } : {}),
          ...(s
            ? {
                capacity: ownKnown && latency === 0 && !halted ? 0 : s.capacity,
                burn: ownKnown && latency === 0 ? 0 : s.burn,
              }
            : {}),
        },
        known,
        stopped: halted,
        service: s,
      };
    },
    setStopped(entity, halted) {
      if (halted) stopped.set(entity, world.now);
      else stopped.delete(entity);
    },
  };
}

/** Share of requests over the objective in the long window, over the share that is allowed; 0 without an objective. */
function burnOf(world: World, service: Entity): number {
  const slo = world.slo(service.id);
  if (!slo) return 0;
  let burn = 0;
  for (const kind of LATENCY_KINDS) {
    const limit = slo[kind];
    if (limit === undefined) continue;
    const above = readLatency(world, latencySources(world, service, kind), kind, service)?.above(WS, limit, 50);
    if (above) burn = Math.max(burn, above.value / Math.max(1e-6, 1 - slo.objective));
  }
  return burn;
}
