/** Every item is accounted for: what came in is sent, dropped under a reason, or still waits. With the real exporter. */
import { describe, expect, it } from 'vitest';
import { resolve } from '../../config/schema.ts';
import type { ResolvedConfig } from '../../config/types.ts';
import { otlpHttpExporter } from '../../exporters/otlp_http/index.ts';
import { RetryableError } from '../../pipeline/errors.ts';
import { createGraph } from '../../pipeline/graph.ts';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { memoryLogger } from '../../pipeline/kit/log.ts';
import { createTelemetry, type Telemetry } from '../../pipeline/telemetry.ts';
import { httpPeer } from '../kit/conformance.ts';
import { configOf, parts, points } from '../kit/parts.ts';

/** The sum of a metric over its series, by one label where asked. */
function total(telemetry: Telemetry, name: string, labels: Record<string, string> = {}): number {
  const found = telemetry.collect('detailed').find((c) => c.info.name === `enginelight_${name}`);
  const series = found?.series.filter((s) => Object.entries(labels).every(([k, v]) => s.labels[k] === v)) ?? [];
  return series.reduce((sum, s) => sum + s.value, 0);
}

async function running(options: Record<string, unknown>, beside: boolean) {
  const p = parts();
  const peer = await httpPeer();
  const telemetry = createTelemetry();
  const graph = createGraph({ clock: systemClock, log: memoryLogger(), telemetry });
  const base = configOf({
    definitions: [p.receiver(), p.processor(), p.exporter(), otlpHttpExporter],
    pipelines: { metrics: [['in'], ['pass'], beside ? ['otlp_http', 'out'] : ['otlp_http']] },
  });
  const own = base.exporters.get('otlp_http')!;
  const config = resolve(otlpHttpExporter.config, {
    endpoint: peer.url,
    retry_on_failure: { initial_interval: '5ms', max_interval: '10ms', max_elapsed_time: '60ms' },
    ...options,
  });
  const exporters = new Map(base.exporters).set('otlp_http', { ...own, config: config as never });
  await graph.turnInto({ ...base, exporters } as ResolvedConfig);
  const input = p.inputs.get('in')!;
  return { peer, telemetry, graph, send: async (n: number) => input.consume(points(n)) };
}

/** Stops with a deadline of real time. */
async function stop(graph: ReturnType<typeof createGraph>, ms: number) {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), ms);
  await graph.stop(deadline.signal);
  clearTimeout(timer);
}

describe('items', () => {
  it('that were taken are sent or dropped under a reason, whatever the backend does', async () => {
    const { peer, telemetry, graph, send } = await running({ sending_queue: { num_consumers: 2 } }, false);
    let taken = 0;
    for (const [round, mood] of (['takes', 'busy', 'refuses', 'takes', 'busy', 'takes'] as const).entries()) {
      peer.be(mood);
      for (let i = 1; i <= 5; i++) {
        await send(i + round);
        taken += i + round;
      }
      await new Promise((done) => setTimeout(done, 30));
    }
    await stop(graph, 2000);
    const of = (name: string) => total(telemetry, name, { component: 'otlp_http' });
    expect(of('exporter_incoming_items_total')).toBe(taken);
    expect(of('exporter_sent_items_total') + of('exporter_dropped_items_total')).toBe(taken);
    expect(total(telemetry, 'exporter_dropped_items_total', { reason: 'permanent_error' })).toBeGreaterThan(0);
    expect(total(telemetry, 'receiver_accepted_items_total')).toBe(taken);
    expect(total(telemetry, 'processor_outgoing_items_total')).toBe(taken);
    await peer.close();
  });

  it('that still wait when the deadline passes are dropped as lost to the shutdown, exactly', async () => {
    const { peer, telemetry, graph, send } = await running({ retry_on_failure: { max_elapsed_time: '1h' } }, false);
    peer.be('busy');
    for (let i = 0; i < 20; i++) await send(10);
    await stop(graph, 50);
    expect(total(telemetry, 'exporter_dropped_items_total', { reason: 'shutdown' })).toBe(200);
    expect(total(telemetry, 'exporter_sent_items_total', { component: 'otlp_http' })).toBe(0);
    await peer.close();
  });

  it('that find the queue full go back to the sender, or are dropped for this exporter where another one took them', async () => {
    for (const beside of [false, true]) {
      const queue = { queue_size: 3, num_consumers: 1, sizer: 'requests' };
      const { peer, telemetry, graph, send } = await running({ sending_queue: queue }, beside);
      peer.holdBack();
      let refused = 0;
      for (let i = 0; i < 10; i++) {
        await send(10).catch((error: unknown) => {
          expect(error).toBeInstanceOf(RetryableError);
          refused += 10;
        });
      }
      peer.letGo();
      await stop(graph, 2000);
      const sent = total(telemetry, 'exporter_sent_items_total', { component: 'otlp_http' });
      const full = total(telemetry, 'exporter_dropped_items_total', { component: 'otlp_http', reason: 'queue_full' });
      expect(sent).toBeGreaterThan(0);
      expect(sent + refused + full).toBe(100);
      expect(beside ? refused : full).toBe(0);
      expect(total(telemetry, 'receiver_refused_items_total')).toBe(refused);
      await peer.close();
    }
  });
});
