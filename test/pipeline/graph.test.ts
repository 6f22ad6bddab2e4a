import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { ResolvedConfig } from '../../config/types.ts';
import { PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { createGraph } from '../../pipeline/graph.ts';
import { manualClock } from '../../pipeline/kit/clock.ts';
import { memoryLogger } from '../../pipeline/kit/log.ts';
import { logsBatch, metricsBatch, type Signal } from '../../pipeline/model.ts';
import { createTelemetry } from '../../pipeline/telemetry.ts';
import { configOf, parts, points, records, spans } from '../kit/parts.ts';

function setup(options: { detailed?: boolean } = {}) {
  const clock = manualClock();
  const log = memoryLogger();
  const telemetry = createTelemetry();
  const graph = createGraph({ clock, log, telemetry, detailed: () => options.detailed ?? false });
  const value = (name: string, labels: Record<string, string> = {}) =>
    telemetry
      .collect('detailed')
      .find((c) => c.info.name === `enginelight_${name}`)
      ?.series.find((s) => Object.entries(labels).every(([k, v]) => s.labels[k] === v))?.value;
  const status = () => Object.fromEntries(graph.host.components().map((c) => [`${c.kind} ${c.id}`, c.status]));
  return { clock, log, telemetry, graph, value, status };
}

async function running(config: ResolvedConfig, options: { detailed?: boolean } = {}) {
  const made = setup(options);
  await made.graph.turnInto(config);
  return made;
}

describe('starting and stopping', () => {
  it('starts extensions, exporters, processors from last to first, receivers; and stops the other way round', async () => {
    const p = parts();
    const definitions = [p.receiver(), p.processor(), p.exporter(), p.extension()];
    const { graph } = await running(
      configOf({
        definitions,
        pipelines: { metrics: [['in'], ['pass/1', 'pass/2', 'pass/3'], ['out/a', 'out/b']] },
        extensions: ['ext/1', 'ext/2'],
      }),
    );
    expect(p.journal).toEqual([
      'start extension ext/1',
      'start extension ext/2',
      'start exporter out/a',
      'start exporter out/b',
      'start processor pass/3',
      'start processor pass/2',
      'start processor pass/1',
      'start receiver in',
    ]);
    p.journal.length = 0;
    await graph.stop();
    expect(p.journal).toEqual([
      'stop receiver in',
      'stop processor pass/1',
      'stop processor pass/2',
      'stop processor pass/3',
      'stop exporter out/a',
      'stop exporter out/b',
      'stop extension ext/2',
      'stop extension ext/1',
    ]);
    expect(graph.host.components()).toEqual([]);
  });

  it('makes one instance of a receiver and an exporter, and one of a processor for every pipeline', async () => {
    const p = parts();
    const { graph } = await running(
      configOf({
        definitions: [p.receiver(), p.processor(), p.exporter()],
        pipelines: { metrics: [['in'], ['pass'], ['out']], 'metrics/2': [['in'], ['pass'], ['out']] },
      }),
    );
    expect(p.journal.sort()).toEqual([
      'start exporter out',
      'start processor pass',
      'start processor pass',
      'start receiver in',
    ]);
    p.inputs.get('in')!.consume(points(2));
    expect(p.got).toHaveLength(2);
    expect(graph.host.components().find((c) => c.kind === 'receiver')?.pipelines).toEqual(['metrics', 'metrics/2']);
    await graph.stop();
  });

  it('stops what had started when a component does not start, and says which one in the words of the Collector', async () => {
    const p = parts();
    const definitions = [
      p.receiver('in', {
        onStart: () => {
          throw new Error('listen tcp 127.0.0.1:4317: address already in use');
        },
      }),
      p.processor(),
      p.exporter(),
    ];
    const { graph } = setup();
    await expect(
      graph.turnInto(configOf({ definitions, pipelines: { metrics: [['in'], ['pass'], ['out']] } })),
    ).rejects.toThrow('failed to start "in" receiver: listen tcp 127.0.0.1:4317: address already in use');
    expect(p.journal.slice(-2)).toEqual(['stop processor pass', 'stop exporter out']);
    expect(graph.host.components()).toEqual([]);
  });

  it('goes on stopping when a component fails to stop', async () => {
    const p = parts();
    const definitions = [
      p.receiver(),
      p.exporter('out', {
        onStop: () => {
          throw new Error('cannot flush');
        },
      }),
      p.extension(),
    ];
    const { graph, log } = await running(
      configOf({ definitions, pipelines: { metrics: [['in'], [], ['out']] }, extensions: ['ext'] }),
    );
    await graph.stop();
    expect(p.journal.at(-1)).toBe('stop extension ext');
    expect(log.records.find((r) => r.level === 'error')?.fields).toMatchObject({ component: 'out', kind: 'exporter' });
  });

  it('leaves a component behind that ignores its deadline', async () => {
    const p = parts();
    const definitions = [p.receiver(), p.exporter('out', { onStop: () => new Promise(() => {}) })];
    const { graph, clock, log } = await running(
      configOf({ definitions, pipelines: { metrics: [['in'], [], ['out']] } }),
    );
    const deadline = new AbortController();
    const stopped = graph.stop(deadline.signal);
    deadline.abort();
    await clock.advance(2000);
    await stopped;
    expect(log.records.map((r) => r.message)).toContain('A component did not stop in time; it is left behind.');
  });

  it('gives up a start that is cancelled, also while a component hangs, and stops that one when it turns up', async () => {
    const p = parts();
    let letGo = () => {};
    const hanging = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const definitions = [p.receiver('in', { onStart: () => hanging }), p.exporter()];
    const { graph } = setup();
    const cancel = new AbortController();
    const start = graph.turnInto(configOf({ definitions, pipelines: { metrics: [['in'], [], ['out']] } }), {
      cancel: cancel.signal,
    });
    await new Promise((resolve) => setImmediate(resolve));
    cancel.abort();
    await expect(start).rejects.toThrow('the start was cancelled');
    expect(p.journal).toContain('stop exporter out');
    letGo();
    await new Promise((resolve) => setImmediate(resolve));
    expect(p.journal.at(-1)).toBe('stop receiver in');
  });

  it('leaves nothing behind on the signal that could have cancelled it, however often the config is read again', async () => {
    const p = parts();
    const { graph } = setup();
    const { signal } = new AbortController();
    for (const id of ['out', 'other', 'another']) {
      const definitions = [p.receiver('in'), p.exporter(id)];
      await graph.turnInto(configOf({ definitions, pipelines: { metrics: [['in'], [], [id]] } }), { cancel: signal });
    }
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    await graph.stop();
  });
});

describe('signals', () => {
  const takes = (signals: readonly Signal[]) => ({ signals });

  it('go past a processor that does not take them', async () => {
    const p = parts();
    const seen: string[] = [];
    const definitions = [
      p.receiver(),
      p.processor('logs_only', { ...takes(['logs']), onBatch: (_id, b) => void seen.push(b.signal) }),
      p.processor(),
      p.exporter(),
    ];
    const { graph } = await running(
      configOf({ definitions, pipelines: { inference: [['in'], ['logs_only', 'pass'], ['out']] } }),
    );
    const input = p.inputs.get('in')!;
    for (const batch of [points(), records(), spans()]) input.consume(batch);
    expect(seen).toEqual(['logs']);
    expect(p.got.map(({ batch }) => batch.signal)).toEqual(['metrics', 'logs', 'traces']);
    await graph.stop();
  });

  it('of all kinds run down an inference pipeline, each to the exporters that take it', async () => {
    const p = parts();
    const definitions = [p.receiver(), p.exporter('all'), p.exporter('metrics_only', takes(['metrics']))];
    const { graph } = await running(
      configOf({ definitions, pipelines: { inference: [['in'], [], ['all', 'metrics_only']] } }),
    );
    for (const batch of [points(), records(), spans()]) p.inputs.get('in')!.consume(batch);
    expect(p.got.map(({ exporter, batch }) => `${exporter} ${batch.signal}`)).toEqual([
      'all metrics',
      'metrics_only metrics',
      'all logs',
      'all traces',
    ]);
    await graph.stop();
  });

  it('that a component can meet are in its context: what its pipelines carry and it takes', async () => {
    const p = parts();
    const definitions = [
      p.receiver(),
      p.processor('logs_only', takes(['logs'])),
      p.exporter('out', takes(['metrics'])),
    ];
    const { graph } = await running(
      configOf({
        definitions,
        pipelines: { metrics: [['in'], [], ['out']], 'inference/x': [['in/x'], ['logs_only'], ['out']] },
      }),
    );
    const signals = (id: string) => [...p.contexts.get(id)!.signals].sort();
    expect(signals('in')).toEqual(['metrics']);
    expect(signals('in/x')).toEqual(['logs', 'metrics']);
    expect(signals('logs_only')).toEqual(['logs']);
    expect(signals('out')).toEqual(['metrics']);
    await graph.stop();
  });

  it('that a receiver has no pipeline for are refused for good', async () => {
    const p = parts();
    const { graph, value } = await running(
      configOf({ definitions: [p.receiver(), p.exporter()], pipelines: { metrics: [['in'], [], ['out']] } }),
    );
    expect(() => p.inputs.get('in')!.consume(records(2))).toThrow(PermanentError);
    expect(value('receiver_refused_items_total', { signal: 'logs' })).toBe(2);
    await graph.stop();
  });

  it('that a processor makes and the pipeline does not carry end there, counted, and said once with the remedy', async () => {
    const p = parts();
    const definitions = [p.receiver(), p.processor('finds', { map: (b) => [b, records(3)] }), p.exporter()];
    const { graph, value, log } = await running(
      configOf({ definitions, pipelines: { metrics: [['in'], ['finds'], ['out']] } }),
    );
    p.inputs.get('in')!.consume(points());
    p.inputs.get('in')!.consume(points());
    expect(value('pipeline_dropped_items_total', { reason: 'unsupported', signal: 'logs' })).toBe(6);
    const said = log.records.filter((r) => r.level === 'warn');
    expect(said).toHaveLength(1);
    expect(said[0]?.fields['remedy']).toContain('inference');
    await graph.stop();
  });
});

describe('edges', () => {
  const metrics = (
    p: ReturnType<typeof parts>,
    made: { processor?: Parameters<typeof p.processor>[1]; exporter?: Parameters<typeof p.exporter>[1] } = {},
  ) =>
    configOf({
      definitions: [p.receiver(), p.processor('pass', made.processor), p.exporter('out', made.exporter)],
      pipelines: { metrics: [['in'], ['pass'], ['out']] },
    });

  it('count what goes in and out of every component', async () => {
    const p = parts();
    const { graph, value } = await running(
      metrics(p, { processor: { map: (b) => metricsBatch((b as ReturnType<typeof points>).items.slice(1)) } }),
    );
    p.inputs.get('in')!.consume(points(5));
    expect(value('receiver_accepted_items_total', { component: 'in', signal: 'metrics' })).toBe(5);
    expect(value('processor_incoming_items_total', { component: 'pass', pipeline: 'metrics' })).toBe(5);
    expect(value('processor_outgoing_items_total', { component: 'pass', pipeline: 'metrics' })).toBe(4);
    expect(value('exporter_incoming_items_total', { component: 'out' })).toBe(4);
    await graph.stop();
  });

  it('make no promise where every component answers at once', async () => {
    const p = parts();
    const { graph } = await running(metrics(p));
    expect(p.inputs.get('in')!.consume(points(5))).toBeUndefined();
    await graph.stop();
  });

  it('take nothing more, as retryable, once what is behind them has stopped', async () => {
    const p = parts();
    const { graph } = await running(metrics(p));
    await graph.stop();
    await expect((async () => p.inputs.get('in')!.consume(points()))()).rejects.toThrow(RetryableError);
    expect(p.got).toEqual([]);
  });

  it('pass refusals back to the receiver, from components that throw as from those that reject later', async () => {
    for (const later of [false, true]) {
      const p = parts();
      const error = new RetryableError('the sending queue is full', { exhausted: true, retryAfterMs: 2000 });
      const onBatch = () => {
        if (!later) throw error;
        return Promise.reject(error);
      };
      const { graph, value } = await running(metrics(p, { exporter: { onBatch } }));
      await expect((async () => p.inputs.get('in')!.consume(points(3)))()).rejects.toBe(error);
      expect(value('receiver_refused_items_total')).toBe(3);
      expect(value('receiver_accepted_items_total') ?? 0).toBe(0);
      expect(value('processor_refused_items_total')).toBe(3);
      await graph.stop();
    }
  });

  it('do not pass an empty batch on', async () => {
    const p = parts();
    const { graph } = await running(metrics(p));
    p.inputs.get('in')!.consume(logsBatch([]));
    p.inputs.get('in')!.consume(metricsBatch([]));
    expect(p.got).toEqual([]);
    await graph.stop();
  });

  it('turn any other exception into a permanent error, logged with the stack and counted; the loop lives', async () => {
    const p = parts();
    let broken = true;
    const onBatch = () => {
      if (broken) throw new TypeError('x is undefined');
    };
    const { graph, value, log } = await running(metrics(p, { processor: { onBatch } }));
    expect(() => p.inputs.get('in')!.consume(points())).toThrow(
      new PermanentError('internal error of processor "pass": x is undefined'),
    );
    expect(value('component_errors_total', { kind: 'processor', component: 'pass', pipeline: 'metrics' })).toBe(1);
    const [record] = log.records.filter((r) => r.level === 'error');
    expect(record?.fields).toMatchObject({ component: 'pass', kind: 'processor' });
    expect(record?.fields['stack']).toContain('graph.test.ts');
    broken = false;
    p.inputs.get('in')!.consume(points());
    expect(p.got).toHaveLength(1);
    await graph.stop();
  });

  it("recognise a plug-in's own copy of the error classes by their names", async () => {
    const p = parts();
    const copy = Object.assign(new Error('busy'), { name: 'RetryableError' });
    const onBatch = () => {
      throw copy;
    };
    const { graph } = await running(metrics(p, { exporter: { onBatch } }));
    expect(() => p.inputs.get('in')!.consume(points())).toThrow(RetryableError);
    await graph.stop();
  });

  it('keep a slow or full exporter from holding up or duplicating what the others get', async () => {
    const p = parts();
    let full = true;
    const definitions = [
      p.receiver(),
      p.exporter('full', {
        onBatch: () => {
          if (full) throw new RetryableError('the sending queue is full', { exhausted: true });
        },
      }),
      p.exporter('fine'),
    ];
    const { graph, value } = await running(
      configOf({ definitions, pipelines: { metrics: [['in'], [], ['full', 'fine']] } }),
    );
    p.inputs.get('in')!.consume(points(7));
    full = false;
    p.inputs.get('in')!.consume(points(2));
    expect(p.got.filter((g) => g.exporter === 'fine').map((g) => g.batch.items.length)).toEqual([7, 2]);
    expect(value('exporter_dropped_items_total', { component: 'full', reason: 'queue_full' })).toBe(7);
    expect(value('receiver_accepted_items_total')).toBe(9);
    await graph.stop();
  });

  it('keep a pipeline that refuses from holding up another one of the same receiver', async () => {
    const p = parts();
    const definitions = [
      p.receiver(),
      p.processor('limiter', {
        onBatch: () => {
          throw new RetryableError('data refused due to high memory usage', { reason: 'memory' });
        },
      }),
      p.exporter(),
    ];
    const { graph, value } = await running(
      configOf({
        definitions,
        pipelines: { metrics: [['in'], ['limiter'], ['out']], 'metrics/2': [['in'], [], ['out']] },
      }),
    );
    p.inputs.get('in')!.consume(points(4));
    expect(p.got).toHaveLength(1);
    expect(value('pipeline_dropped_items_total', { pipeline: 'metrics', reason: 'memory' })).toBe(4);
    await graph.stop();
  });

  it('measure the time inside each component at level detailed, without what follows it', async () => {
    const p = parts();
    const made = setup({ detailed: true });
    let now = 0;
    const spend = (ms: number) => () => {
      now += ms;
    };
    const clock = { ...made.clock, monotonic: () => now };
    const graph = createGraph({ clock, log: made.log, telemetry: made.telemetry, detailed: () => true });
    await graph.turnInto(metrics(p, { processor: { onBatch: spend(2) }, exporter: { onBatch: spend(40) } }));
    p.inputs.get('in')!.consume(points());
    const busy = (component: string) => made.value('component_busy_seconds_total', { component })!;
    expect(busy('out')).toBeCloseTo(0.04);
    expect(busy('pass')).toBeCloseTo(0.002);
    await graph.stop();
  });
});

describe('status', () => {
  it('of the whole is starting, running, and stopping from the first moment of a stop', async () => {
    const p = parts();
    const seen: string[] = [];
    const definitions = [
      p.receiver('in', { onStop: () => void seen.push(graph.host.state()) }),
      p.exporter('out', { onStart: () => void seen.push(graph.host.state()) }),
    ];
    const { graph } = setup();
    await graph.turnInto(configOf({ definitions, pipelines: { metrics: [['in'], [], ['out']] } }));
    expect(graph.host.state()).toBe('running');
    await graph.stop();
    expect(seen).toEqual(['starting', 'stopping']);
  });

  it('follows what a component says, and is a metric', async () => {
    const p = parts();
    const { graph, status, value, clock } = await running(
      configOf({ definitions: [p.receiver(), p.exporter()], pipelines: { metrics: [['in'], [], ['out']] } }),
    );
    expect(status()).toEqual({ 'receiver in': 'ok', 'exporter out': 'ok' });
    expect(value('component_healthy', { component: 'out' })).toBe(1);
    await clock.advance(5000);
    p.contexts.get('out')!.status('recoverable_error', 'the backend answers 503');
    expect(graph.host.components().find((c) => c.id === 'out')).toMatchObject({
      status: 'recoverable_error',
      message: 'the backend answers 503',
      since: clock.now(),
    });
    expect(value('component_healthy', { component: 'out' })).toBe(0);
    p.contexts.get('out')!.status('ok');
    expect(status()['exporter out']).toBe('ok');
    await graph.stop();
    expect(value('component_healthy', { component: 'out' })).toBeUndefined();
  });
});

describe('turning into another config', () => {
  const pipelines = { metrics: [['in', 'in/other'], ['pass'], ['out', 'out/b']] } as const;

  it('restarts only what changed; what did not keeps running with its state and is connected to the new one', async () => {
    const p = parts();
    const definitions = [p.receiver(), p.processor(), p.exporter()];
    const { graph } = await running(configOf({ definitions, pipelines }));
    const input = p.inputs.get('in')!;
    p.journal.length = 0;
    const changes = await graph.turnInto(configOf({ definitions, pipelines, values: { 'out/b': 'changed' } }));
    expect(p.journal).toEqual(['stop exporter out/b', 'start exporter out/b']);
    expect(changes).toEqual({
      stopped: ['exporter out/b'],
      started: ['exporter out/b'],
      kept: ['exporter out', 'processor pass in metrics', 'receiver in', 'receiver in/other'],
    });
    input.consume(points());
    expect(p.got.map((g) => g.exporter).sort()).toEqual(['out', 'out/b']);
    await graph.stop();
  });

  it('stops and starts in the order of the data when several things change', async () => {
    const p = parts();
    const definitions = [p.receiver(), p.processor(), p.exporter()];
    const { graph } = await running(configOf({ definitions, pipelines }));
    p.journal.length = 0;
    await graph.turnInto(configOf({ definitions, pipelines, values: { in: 'x', pass: 'x', out: 'x' } }));
    expect(p.journal).toEqual([
      'stop receiver in',
      'stop processor pass',
      'stop exporter out',
      'start exporter out',
      'start processor pass',
      'start receiver in',
    ]);
    await graph.stop();
  });

  it('connects added components and forgets removed ones', async () => {
    const p = parts();
    const definitions = [p.receiver(), p.processor(), p.exporter()];
    const { graph } = await running(configOf({ definitions, pipelines: { metrics: [['in'], [], ['out']] } }));
    const input = p.inputs.get('in')!;
    await graph.turnInto(configOf({ definitions, pipelines: { metrics: [['in'], ['pass'], ['out/new']] } }));
    input.consume(points());
    expect(p.got.map((g) => g.exporter)).toEqual(['out/new']);
    expect(graph.host.components().map((c) => c.id)).toEqual(['in', 'out/new', 'pass']);
    expect(p.journal.filter((j) => j.includes('receiver'))).toEqual(['start receiver in']);
    await graph.stop();
  });

  it('restarts a receiver whose signals changed with its pipelines', async () => {
    const p = parts();
    const definitions = [p.receiver(), p.exporter()];
    const { graph } = await running(configOf({ definitions, pipelines: { metrics: [['in'], [], ['out']] } }));
    await graph.turnInto(
      configOf({ definitions, pipelines: { metrics: [['in'], [], ['out']], logs: [['in'], [], ['out']] } }),
    );
    expect([...p.contexts.get('in')!.signals]).toEqual(['metrics', 'logs']);
    p.inputs.get('in')!.consume(records());
    expect(p.got).toHaveLength(1);
    await graph.stop();
  });

  it('restarts everything when what is known about engines changed', async () => {
    const p = parts();
    const definitions = [p.receiver(), p.exporter()];
    const spec = { definitions, pipelines: { metrics: [['in'], [], ['out']] } } as const;
    const { graph } = await running(configOf(spec));
    const same = await graph.turnInto(configOf(spec));
    expect(same.started).toEqual([]);
    const other = configOf(spec).registry.catalog;
    const catalog = { ...other, sources: [...other.sources, { name: 'mine' }] } as unknown as typeof other;
    const changes = await graph.turnInto(configOf({ ...spec, catalog }));
    expect(changes.started).toEqual(['exporter out', 'receiver in']);
    await graph.stop();
  });

  it('makes data wait while a component restarts, so that nothing is lost', async () => {
    const p = parts();
    let letGo = () => {};
    let first = true;
    const definitions = [
      p.receiver(),
      p.exporter('out', {
        onStart: () => {
          if (first) {
            first = false;
            return;
          }
          return new Promise<void>((resolve) => {
            letGo = resolve;
          });
        },
      }),
    ];
    const spec = { definitions, pipelines: { metrics: [['in'], [], ['out']] } } as const;
    const { graph } = await running(configOf(spec));
    const turning = graph.turnInto(configOf({ ...spec, values: { out: 'x' } }));
    await new Promise((resolve) => setImmediate(resolve));
    const waiting = p.inputs.get('in')!.consume(points(3));
    expect(waiting).toBeInstanceOf(Promise);
    expect(p.got).toEqual([]);
    letGo();
    await turning;
    await waiting;
    expect(p.got).toHaveLength(1);
    await graph.stop();
  });

  it('lets data wait only so long and only so much', async () => {
    const p = parts();
    let starts = 0;
    const definitions = [
      p.receiver(),
      p.exporter('out', { onStart: () => (starts++ === 0 ? undefined : new Promise(() => {})) }),
    ];
    const spec = { definitions, pipelines: { metrics: [['in'], [], ['out']] } } as const;
    const { graph, clock } = await running(configOf(spec));
    void graph.turnInto(configOf({ ...spec, values: { out: 'x' } }));
    await new Promise((resolve) => setImmediate(resolve));
    const input = p.inputs.get('in')!;
    const waiting = Array.from({ length: 100 }, () => input.consume(points()));
    const outcomes = Promise.allSettled(waiting);
    await expect((async () => input.consume(points()))()).rejects.toThrow('exporter "out" is restarting');
    await clock.advance(5000);
    expect((await outcomes).every((o) => o.status === 'rejected' && o.reason instanceof RetryableError)).toBe(true);
  });

  it('leaves the old graph as it was when the new one does not start, apart from what had to stop', async () => {
    const p = parts();
    const definitions = [
      p.receiver(),
      p.exporter('out', {
        onStart: (id) => {
          if (id === 'out/bad') throw new Error('no such host');
        },
      }),
    ];
    const old = configOf({ definitions, pipelines: { metrics: [['in'], [], ['out']] } });
    const { graph } = await running(old);
    const input = p.inputs.get('in')!;
    await expect(
      graph.turnInto(configOf({ definitions, pipelines: { metrics: [['in'], [], ['out', 'out/bad']] } })),
    ).rejects.toThrow('failed to start "out/bad" exporter');
    await graph.turnInto(old, { tolerant: true });
    input.consume(points());
    expect(p.got.map((g) => g.exporter)).toEqual(['out']);
    expect(p.journal).toEqual(['start exporter out', 'start receiver in', 'start exporter out/bad']);
    await graph.stop();
  });

  it('when it must be tolerant, runs without what does not start, refuses data for it, and tries again next time', async () => {
    const p = parts();
    let broken = true;
    const definitions = [
      p.receiver(),
      p.exporter('out', {
        onStart: (id) => {
          if (broken && id === 'out/bad') throw new Error('address in use');
        },
      }),
    ];
    const config = configOf({ definitions, pipelines: { metrics: [['in'], [], ['out', 'out/bad']] } });
    const { graph, status, value } = setup();
    await graph.turnInto(config, { tolerant: true });
    expect(status()['exporter out/bad']).toBe('permanent_error');
    await p.inputs.get('in')!.consume(points(3));
    expect(p.got.map((g) => g.exporter)).toEqual(['out']);
    expect(value('exporter_dropped_items_total', { component: 'out/bad' })).toBe(3);
    broken = false;
    const changes = await graph.turnInto(config);
    expect(changes.started).toEqual(['exporter out/bad']);
    await p.inputs.get('in')!.consume(points(3));
    expect(p.got).toHaveLength(3);
    await graph.stop();
  });
});
