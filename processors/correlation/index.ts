/**
 * Puts every signal on its entity: builds the topology from what passes, writes joins into resource attributes, and publishes
 * the topology as `inference.topology` log records.
 */
import { options, t } from '../../config/schema.ts';
import { defineProcessor } from '../../pipeline/component.ts';
import { RetryableError } from '../../pipeline/errors.ts';
import type { Timer } from '../../pipeline/kit/clock.ts';
import { createTopology, type Entity, observeGroup, observePair, type Subject } from '../../pipeline/kit/topology.ts';
import { applyTopology, publisher } from '../../pipeline/kit/topology-records.ts';
import { TOPOLOGY_EVENT } from '../../pipeline/kit/verdict.ts';
import {
  type Attributes,
  type Batch,
  type LogRecord,
  logsBatch,
  metricsBatch,
  type Point,
  type Resource,
  type Series,
  type Span,
  tracesBatch,
} from '../../pipeline/model.ts';
import { createClocks } from './clocks.ts';
import { createJoins } from './joins.ts';
import { createRequests } from './requests.ts';

const SEEN_MS = 10_000;

const config = options({
  publish_interval: t.duration({
    description: 'Changes of the topology are published this often.',
    default: '15s',
    minimum: '1s',
  }),
  snapshot_interval: t.duration({
    description: 'The whole topology is published this often, for readers who came late.',
    default: '5m',
    minimum: '10s',
  }),
  forget_after: t.duration({
    description: 'Entities that nothing was heard of for this long are forgotten.',
    default: '30m',
    minimum: '1m',
  }),
  requests: t.section(
    {
      enabled: t.boolean({
        description:
          'Spans of one request are joined over gateway, prefill and decode, by trace id, else by request id, and what they add up to is said in a log record `inference.request`.',
        default: true,
      }),
      wait: t.duration({
        description: 'How long after its last span a request is taken to be over.',
        default: '10s',
        minimum: '1s',
      }),
    },
    { description: 'Requests that several spans are about.' },
  ),
  limits: t.section(
    {
      requests: t.integer({
        description: 'Most requests whose spans are waited for; beyond it the oldest is taken to be over.',
        default: 20_000,
        minimum: 10,
      }),
      entities: t.integer({
        description: 'Most entities kept; more are ignored and counted.',
        default: 50_000,
        minimum: 10,
      }),
      links: t.integer({ description: 'Most links between them.', default: 200_000, minimum: 10 }),
    },
    { description: 'Bounds of memory.' },
  ),
});

/** What is worked out once per resource (and GPU named by the series). */
interface Placed {
  version: number;
  seenAt: number;
  subject: Subject;
  resource: Resource;
  /** The additions, as text: an unchanged answer keeps the resource's identity. */
  text: string;
}

interface PlacedSeries {
  placed: Placed;
  resource: Resource;
  series: Series;
}

export const correlation = defineProcessor({
  type: 'correlation',
  summary: 'Topology of services, replicas, ranks, GPUs and nodes; every signal put on its entity',
  stability: 'alpha',
  signals: ['metrics', 'traces', 'logs'],
  config,

  async start(config, next, { clock, log, meter }) {
    const topology = createTopology(config.limits);
    const joins = createJoins(topology);
    const clocks = createClocks(topology);
    const publish = publisher(topology);
    const requests = createRequests({
      most: config.limits.requests,
      waitMs: config.requests.wait,
      handed: (from, to, now) => void observePair(topology, from, to, now),
    });
    const resources = new WeakMap<Resource, Map<string, Placed>>();
    const seriesMemo = new WeakMap<Series, PlacedSeries>();
    let timer: Timer | undefined;
    let stopped = false;
    let snapshotAt = Number.NEGATIVE_INFINITY;
    let expiredAt = clock.now();
    let pending: LogRecord[] = [];

    meter.gauge('correlation_entities', 'Entities known.', () => topology.entities.size);
    meter.gauge('correlation_disputes', 'Claims that contradicted a living one.', () => topology.disputes);
    meter.gauge('correlation_refused', 'Entities and links refused by a limit.', () => topology.refused);
    meter.gauge('correlation_joined', 'Resources that were given to an entity they did not name.', () => joins.made);

    meter.gauge('correlation_requests', 'Requests whose spans are waited for.', () => requests.waiting);
    meter.gauge('correlation_joined_spans', 'Spans that found their request in another trace.', () => requests.joined);

    function place(resource: Resource, series: Attributes | undefined, now: number, version: number): Placed {
      const own = series?.['hw.id'];
      const key = typeof own === 'string' ? own : '';
      let byGpu = resources.get(resource);
      if (!byGpu) {
        byGpu = new Map();
        resources.set(resource, byGpu);
      }
      let placed = byGpu.get(key);
      if (placed && placed.version === version) {
        if (now - placed.seenAt > SEEN_MS) touch(placed, now);
        return placed;
      }
      const { subject, additions } = joins.join(resource.attributes, key === '' ? undefined : series, now);
      const text = additions ? JSON.stringify(additions) : '';
      if (placed) {
        placed.version = version;
        placed.subject = subject;
        if (placed.text !== text) placed.resource = additions ? extended(resource, additions) : resource;
        placed.text = text;
      } else {
        placed = {
          version,
          seenAt: now,
          subject,
          resource: additions ? extended(resource, additions) : resource,
          text,
        };
        if (byGpu.size < 4096) byGpu.set(key, placed);
      }
      touch(placed, now);
      return placed;
    }

    function points(items: readonly Point[], now: number): readonly Point[] {
      const version = joins.version;
      let out: Point[] | undefined;
      for (let i = 0; i < items.length; i++) {
        const p = items[i]!;
        const { series } = p;
        let known = seriesMemo.get(series);
        if (!known || known.placed.version !== version) {
          const placed = place(series.resource, series.attributes, now, version);
          if (!known) {
            known = { placed, resource: placed.resource, series: moved(series, placed.resource) };
            seriesMemo.set(series, known);
          } else {
            known.placed = placed;
            if (known.resource !== placed.resource) {
              known.resource = placed.resource;
              known.series = moved(series, placed.resource);
            }
          }
        } else if (now - known.placed.seenAt > SEEN_MS) touch(known.placed, now);
        if (known.series === series) {
          out?.push(p);
          continue;
        }
        out ??= items.slice(0, i);
        out.push({ ...p, series: known.series });
      }
      return out ?? items;
    }

    function hook(span: Span, subject: Subject, now: number): void {
      const a = span.attributes;
      const { instance } = subject;
      if (span.name === 'collective' && instance) {
        const size = Number(a['comm.size'] ?? 0);
        if (size >= 2) observeGroup(topology, instance, String(a['comm.id'] ?? ''), size, subject.rank, now);
      } else if (span.name === 'kv_transfer') {
        const source = String(a['kv.source'] ?? instance?.id ?? '');
        const destination = String(a['kv.destination'] ?? '');
        if (source && destination) observePair(topology, source, destination, now);
      }
    }

    function spans(items: readonly Span[], now: number): readonly Span[] {
      const version = joins.version;
      let out: Span[] | undefined;
      items.forEach((span, i) => {
        const placed = place(span.resource, undefined, now, version);
        hook(span, placed.subject, now);
        clocks.span(span, placed.subject);
        const put = placed.resource === span.resource ? span : { ...span, resource: placed.resource };
        const named = config.requests.enabled ? requests.span(put, placed.subject, now) : put;
        if (named !== span) out ??= items.slice(0, i);
        out?.push(named);
      });
      return out ?? items;
    }

    function logs(items: readonly LogRecord[], now: number): readonly LogRecord[] {
      const version = joins.version;
      let out: LogRecord[] | undefined;
      items.forEach((record, i) => {
        if (record.eventName === TOPOLOGY_EVENT) applyTopology(topology, record, now);
        const placed = place(record.resource, undefined, now, version);
        if (placed.resource === record.resource) out?.push(record);
        else {
          out ??= items.slice(0, i);
          out.push({ ...record, resource: placed.resource });
        }
      });
      return out ?? items;
    }

    async function round(): Promise<void> {
      const now = clock.now();
      clocks.settle();
      const over = requests.settle(now, stopped);
      if (now - expiredAt >= 60_000) {
        expiredAt = now;
        topology.expire(now - config.forget_after, now);
      }
      if (now - snapshotAt >= config.snapshot_interval) {
        snapshotAt = now;
        publish.changes(now);
        pending = publish.snapshot(now);
      } else pending.push(...publish.changes(now));
      pending.push(...over);
      if (pending.length === 0) return;
      const sending = pending;
      pending = [];
      try {
        await next.consume(logsBatch(sending));
      } catch (error) {
        // A snapshot follows in any case; only the newest changes are worth keeping.
        if (error instanceof RetryableError && sending.length <= 1000) pending = [...sending, ...pending];
        else {
          meter.dropped('logs', sending.length, error instanceof RetryableError ? 'queue_full' : 'permanent_error');
          log.warn('The topology could not be handed on.', { records: sending.length, error });
        }
      }
    }

    function arm(): void {
      if (stopped) return;
      timer = clock.after(config.publish_interval - (clock.now() % config.publish_interval), () => {
        round()
          .catch((error: unknown) => log.error('The topology could not be published.', { error }))
          .finally(arm);
      });
    }
    arm();

    return {
      consume(batch: Batch) {
        const now = clock.now();
        switch (batch.signal) {
          case 'metrics': {
            const items = points(batch.items, now);
            return next.consume(items === batch.items ? batch : metricsBatch(items));
          }
          case 'traces': {
            const items = spans(batch.items, now);
            return next.consume(items === batch.items ? batch : tracesBatch(items));
          }
          case 'logs': {
            const items = logs(batch.items, now);
            return next.consume(items === batch.items ? batch : logsBatch(items));
          }
        }
      },
      async stop() {
        if (stopped) return;
        stopped = true;
        timer?.cancel();
        await round();
      },
    };
  },
});

function touch(placed: Placed, now: number): void {
  placed.seenAt = now;
  for (const key in placed.subject) {
    const e = placed.subject[key as keyof Subject] as Entity | undefined;
    if (e && now > e.lastSeen) e.lastSeen = now;
  }
}

function extended(resource: Resource, additions: Attributes): Resource {
  return {
    ...resource,
    attributes: Object.assign(Object.create(null), resource.attributes, additions),
  };
}

const moved = (series: Series, resource: Resource): Series =>
  resource === series.resource ? series : { ...series, resource };
