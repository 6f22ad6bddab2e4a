import { EventEmitter } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { LoadResult, ResolvedConfig } from '../../config/types.ts';
import type { Graph } from '../../pipeline/graph.ts';
import { manualClock } from '../../pipeline/kit/clock.ts';
import { runDaemon } from '../../pipeline/runtime.ts';
import { configOf, type PartsOptions, parts, points } from '../kit/parts.ts';

const good = (config: ResolvedConfig): LoadResult => ({
  ok: true,
  config,
  registry: config.registry,
  shown: {} as never,
  mistakes: [],
  warnings: [],
});
const bad = (message: string): LoadResult => ({
  ok: false,
  registry: configOf({ definitions: [], pipelines: {} }).registry,
  mistakes: [{ severity: 'error', path: 'receivers::x', message, place: { file: 'a.yaml', line: 3, column: 5 } }],
  warnings: [],
});

/** A daemon in this process. `next` is what the config says when it is read. */
function daemon(first: LoadResult | (() => Promise<LoadResult>)) {
  const clock = manualClock();
  const lines: string[] = [];
  const exits: number[] = [];
  const events = new EventEmitter();
  const state = { next: first };
  let ready: (running: { graph: Graph; pages: readonly string[] }) => void = () => {};
  const isReady = new Promise<{ graph: Graph; pages: readonly string[] }>((resolve) => {
    ready = resolve;
  });
  const code = runDaemon({
    clock,
    version: '1.2.3',
    process: events,
    load: async () => (typeof state.next === 'function' ? state.next() : state.next),
    format: ({ place, message }) => `${place?.file}:${place?.line}:${place?.column}: ${message}`,
    writeLog: (line) => void lines.push(line),
    exitNow: (c) => void exits.push(c),
    onReady: (running) => ready(running),
  });
  const until = async (text: string) => {
    for (let i = 0; i < 2000 && !lines.some((line) => line.includes(text)); i++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(lines.join('\n')).toContain(text);
  };
  return { clock, lines, exits, events, state, isReady, code, until };
}

const one = (p: ReturnType<typeof parts>, exporter: PartsOptions = {}, receiver: PartsOptions = {}) => ({
  definitions: [p.receiver('in', receiver), p.exporter('out', exporter)],
  pipelines: { metrics: [['in'], [], ['out']] } as const,
});

const metric = async (page: string, name: string) => {
  const text = await (await fetch(page)).text();
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.split(' ')
      .at(-1),
  );
};

describe('a life of the daemon', () => {
  it('says the line that scripts wait for, runs until SIGTERM, drains, and leaves no handler behind', async () => {
    const p = parts();
    const d = daemon(good(configOf(one(p))));
    await d.isReady;
    expect(d.lines.at(-1)).toContain('Everything is ready. Begin running and processing data.');
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
    expect(p.journal.slice(-2)).toEqual(['stop receiver in', 'stop exporter out']);
    expect(d.lines.at(-1)).toContain('Stopped. dropped_items=0');
    expect(d.events.eventNames()).toEqual([]);
  });

  it('writes every mistake of the config with its place and ends with 1', async () => {
    const d = daemon(bad('unknown type'));
    expect(await d.code).toBe(1);
    expect(d.lines).toEqual(['a.yaml:3:5: unknown type']);
  });

  it('ends with 1 when a component does not start, after stopping what had', async () => {
    const p = parts();
    const receiver = {
      onStart: () => {
        throw new Error('address already in use');
      },
    };
    const d = daemon(good(configOf(one(p, {}, receiver))));
    expect(await d.code).toBe(1);
    expect(d.lines.join('\n')).toContain('failed to start \\"in\\" receiver: address already in use');
    expect(p.journal.at(-1)).toBe('stop exporter out');
  });

  it('can be stopped while it starts, also when a component hangs', async () => {
    const p = parts();
    const d = daemon(good(configOf(one(p, {}, { onStart: () => new Promise(() => {}) }))));
    for (let i = 0; i < 2000 && !p.journal.includes('start receiver in'); i++)
      await new Promise((r) => setImmediate(r));
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
    expect(p.journal.at(-1)).toBe('stop exporter out');
    expect(d.lines.join('\n')).not.toContain('Everything is ready');
  });

  it('tells components to give up at shutdown_timeout and reports what was lost, by exporter, signal and reason', async () => {
    const p = parts();
    let deadline: AbortSignal | undefined;
    const onStop = async (id: string, signal: AbortSignal | undefined) => {
      deadline = signal;
      await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()));
      p.contexts.get(id)!.meter.dropped('metrics', 12, 'shutdown');
    };
    const d = daemon(good(configOf({ ...one(p, { onStop }), shutdownTimeoutMs: 8000 })));
    await d.isReady;
    d.events.emit('SIGINT');
    await d.clock.advance(7999);
    expect(deadline?.aborted).toBe(false);
    await d.clock.advance(1);
    expect(await d.code).toBe(0);
    expect(d.lines.join('\n')).toMatch(
      /Items were lost while stopping\. where="exporter out" signal=metrics reason=shutdown dropped_items=12/,
    );
    expect(d.lines.at(-1)).toContain('Stopped. dropped_items=12');
  });

  it('exits at once at a second signal', async () => {
    const p = parts();
    const d = daemon(good(configOf(one(p, { onStop: () => new Promise(() => {}) }))));
    await d.isReady;
    d.events.emit('SIGTERM');
    d.events.emit('SIGINT');
    expect(d.exits).toEqual([1]);
    await d.clock.advance(40_000);
    expect(await d.code).toBe(0);
  });

  it('survives an exception that nobody caught, logs it with its stack and counts it', async () => {
    const p = parts();
    const d = daemon(good(configOf({ ...one(p), telemetry: { metrics: { address: '127.0.0.1:0' } } })));
    const { pages } = await d.isReady;
    d.events.emit('uncaughtException', new Error('from a timer'));
    d.events.emit('unhandledRejection', new Error('from a promise'));
    expect(d.lines.join('\n')).toContain('from a timer');
    const text = await (await fetch(pages[0]!)).text();
    expect(text).toContain('enginelight_component_errors_total{kind="process",component="process"} 2');
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
  });

  it('runs without its own metrics when their port is taken, and says so', async () => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => blocker.once('listening', resolve));
    const { port } = blocker.address() as AddressInfo;
    const p = parts();
    const d = daemon(good(configOf({ ...one(p), telemetry: { metrics: { address: `127.0.0.1:${port}` } } })));
    const { pages } = await d.isReady;
    expect(pages).toEqual([]);
    expect(d.lines.join('\n')).toMatch(new RegExp(`WARN .*Cannot listen on 127.0.0.1:${port}.*remedy=`));
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
    blocker.close();
  });
});

describe('SIGHUP', () => {
  const telemetry = { metrics: { address: '127.0.0.1:0' } };
  const reloads = (page: string, outcome: string) =>
    metric(page, `enginelight_config_reloads_total{outcome="${outcome}"}`);

  it('takes over a new config and keeps what did not change', async () => {
    const p = parts();
    const spec = one(p);
    const d = daemon(good(configOf({ ...spec, telemetry })));
    const { pages } = await d.isReady;
    d.state.next = good(configOf({ ...spec, telemetry, pipelines: { metrics: [['in', 'in/2'], [], ['out']] } }));
    d.events.emit('SIGHUP');
    await d.until('The new config runs.');
    expect(p.journal).toEqual(['start exporter out', 'start receiver in', 'start receiver in/2']);
    expect(await reloads(pages[0]!, 'success')).toBe(1);
    expect(await metric(pages[0]!, 'enginelight_config_last_reload_success')).toBe(1);
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
  });

  it('with mistakes in the config changes nothing, and says every one of them', async () => {
    const p = parts();
    const d = daemon(good(configOf({ ...one(p), telemetry })));
    const { pages } = await d.isReady;
    const journal = [...p.journal];
    d.state.next = bad('unknown type: "foo"');
    d.events.emit('SIGHUP');
    await d.until('The new config has mistakes; the old one runs on.');
    expect(d.lines.join('\n')).toContain('a.yaml:3:5: unknown type');
    expect(p.journal).toEqual(journal);
    p.inputs.get('in')!.consume(points());
    expect(p.got).toHaveLength(1);
    expect(await reloads(pages[0]!, 'invalid')).toBe(1);
    expect(await metric(pages[0]!, 'enginelight_config_last_reload_success')).toBe(0);
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
  });

  it('that cannot be read at all changes nothing', async () => {
    const p = parts();
    const d = daemon(good(configOf(one(p))));
    await d.isReady;
    d.state.next = () => Promise.reject(new Error('EIO'));
    d.events.emit('SIGHUP');
    await d.until('could not be read; the old one runs on');
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
  });

  it('goes back to the old config when the new one does not start', async () => {
    const p = parts();
    const onStart = (id: string) => {
      if (id === 'out/bad') throw new Error('no such host');
    };
    const spec = one(p, { onStart });
    const d = daemon(good(configOf({ ...spec, telemetry })));
    const { pages } = await d.isReady;
    d.state.next = good(
      configOf({ ...spec, telemetry, pipelines: { metrics: [['in'], [], ['out', 'out/bad']] }, values: { in: 'new' } }),
    );
    d.events.emit('SIGHUP');
    await d.until('The old config runs again.');
    p.inputs.get('in')!.consume(points());
    expect(p.got.map((g) => g.exporter)).toEqual(['out']);
    expect(p.journal.filter((line) => line.endsWith('exporter out'))).toEqual(['start exporter out']);
    expect(await reloads(pages[0]!, 'failed')).toBe(1);
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
  });

  it('during the start or during a reload is not lost, and many of them become one', async () => {
    const p = parts();
    let loads = 0;
    const d = daemon(async () => {
      loads++;
      return good(configOf(one(p)));
    });
    d.events.emit('SIGHUP');
    await d.isReady;
    await d.until('The new config runs.');
    expect(loads).toBe(2);
    for (let i = 0; i < 10; i++) d.events.emit('SIGHUP');
    for (let i = 0; i < 100; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(loads).toBe(4);
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
  });

  it('changes the level and the encoding of the log for loggers that exist already', async () => {
    const p = parts();
    const spec = one(p);
    const d = daemon(good(configOf(spec)));
    await d.isReady;
    const { log } = p.contexts.get('in')!;
    log.debug('Before.');
    const logs = { level: 'debug', encoding: 'json', initial_fields: { pod: 'p1' } };
    d.state.next = good(configOf({ ...spec, telemetry: { metrics: { level: 'none' }, logs } }));
    d.events.emit('SIGHUP');
    await d.until('The new config runs.');
    log.debug('After.');
    expect(d.lines.join('\n')).not.toContain('Before.');
    expect(JSON.parse(d.lines.at(-1)!)).toMatchObject({ message: 'After.', component: 'in', pod: 'p1' });
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
  });

  it('moves the page of the own metrics when its address changes, and the counters go on', async () => {
    const p = parts();
    const spec = one(p);
    const d = daemon(good(configOf({ ...spec, telemetry })));
    const { pages } = await d.isReady;
    p.inputs.get('in')!.consume(points(5));
    const probe = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => probe.once('listening', resolve));
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    d.state.next = good(configOf({ ...spec, telemetry: { metrics: { address: `127.0.0.1:${port}` } } }));
    d.events.emit('SIGHUP');
    await d.until('The new config runs.');
    await expect(fetch(pages[0]!)).rejects.toThrow();
    const page = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    expect(page).toContain('enginelight_receiver_accepted_items_total{component="in",signal="metrics"} 5');
    d.events.emit('SIGTERM');
    expect(await d.code).toBe(0);
  });
});
