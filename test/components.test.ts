/**
 * One suite over every registered component: what the house promises of a component, checked without knowing it. A new
 * component is checked by being in its list; only the exporters that push need to say here what their peer looks like.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadCatalog } from '../config/catalog.ts';
import { loadConfig } from '../config/load.ts';
import { formatIssue } from '../config/report.ts';
import { type AnySchema, resolve } from '../config/schema.ts';
import type { ResolvedComponent, ResolvedConfig } from '../config/types.ts';
import { exporters } from '../exporters/index.ts';
import { extensions } from '../extensions/index.ts';
import type {
  AnyDefinition,
  Consumer,
  ExporterDefinition,
  Host,
  ProcessorDefinition,
  ReceiverDefinition,
  Registry,
  Stage,
} from '../pipeline/component.ts';
import { PermanentError, RetryableError } from '../pipeline/errors.ts';
import { createGraph } from '../pipeline/graph.ts';
import { type ManualClock, manualClock, systemClock } from '../pipeline/kit/clock.ts';
import { memoryLogger } from '../pipeline/kit/log.ts';
import { SIGNALS } from '../pipeline/model.ts';
import { createTelemetry } from '../pipeline/telemetry.ts';
import { processors } from '../processors/index.ts';
import { receivers } from '../receivers/index.ts';
import {
  exampleOf,
  folderOf,
  grpcPeer,
  harmless,
  httpPeer,
  opened,
  optionsOf,
  type Peer,
  ROOT,
  readmeOf,
  sample,
} from './kit/conformance.ts';
import { type Sink, sink, type TestContext, testContext } from './kit/harness.ts';
import { hookFrame } from './kit/hook-frame.ts';

type Options = Record<string, unknown>;

/** The other side of an exporter that pushes, and how to point it there. Each with `retry_on_failure` needs a row. */
const PEERS: Readonly<Record<string, { open: () => Promise<Peer>; options: (url: string) => Options }>> = {
  otlp_http: { open: httpPeer, options: (url) => ({ endpoint: url }) },
  otlp_grpc: {
    open: grpcPeer,
    options: (url) => ({ endpoint: url.replace('http://', ''), tls: { insecure: true } }),
  },
  prometheus_remote_write: { open: httpPeer, options: (url) => ({ endpoint: `${url}/api/v1/write` }) },
};

/**
 * How to send to a receiver that listens, and what its sender is told: the status of the answer. Each that has an address
 * to listen on needs a row.
 */
const SENDERS: Readonly<Record<string, { options: Options; send: (log: TestContext['log']) => Promise<number> }>> = {
  otlp: {
    options: { protocols: { http: { endpoint: '127.0.0.1:0' } } },
    async send(log) {
      const url = log.records.find((r) => r.fields['url'])?.fields['url'];
      const record = { body: { stringValue: 'text' } };
      const response = await fetch(`${url}/v1/logs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords: [record] }] }] }),
      });
      await response.arrayBuffer();
      return response.status;
    },
  },
  hooks: {
    options: { socket: { enabled: false }, http: { endpoint: '127.0.0.1:0' } },
    async send(log) {
      const url = log.records.find((r) => r.fields['url'])?.fields['url'];
      const response = await fetch(`${url}/v1/hooks`, { method: 'POST', body: hookFrame({ collectives: 3 }) });
      await response.arrayBuffer();
      return response.status;
    },
  },
};

const registry: Registry = { receivers, processors, exporters, extensions, catalog: loadCatalog() };
const all: readonly AnyDefinition[] = [...receivers, ...processors, ...exporters, ...extensions];
const folder = mkdtempSync(join(tmpdir(), 'enginelight-conformance-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let folders = 0;
const freshFolder = () => join(folder, String(folders++));

const host: Host = { state: () => 'running', components: () => [] };
const load = (text: string) =>
  loadConfig({ configs: [`yaml:${text}`], sets: [] }, { registry, env: {}, cwd: freshFolder() });

/** The README's config, and this component in it. */
async function example(definition: AnyDefinition): Promise<{ config: ResolvedConfig; component: ResolvedComponent }> {
  const result = await load(exampleOf(readmeOf(definition)));
  if (!result.ok) throw new Error(result.mistakes.map((i) => formatIssue(i)).join('\n'));
  const component = [...result.config[`${definition.kind}s`].values()].find((c) => c.definition === definition);
  if (!component) throw new Error(`the example does not use ${definition.type}`);
  return { config: result.config, component };
}

/** Starts one component on its own, with the config of its README made harmless. */
async function startAlone(definition: AnyDefinition, next: Consumer, given?: unknown) {
  const { component } = await example(definition);
  const config = given ?? harmless(definition.config as AnySchema, component.config, freshFolder());
  const context = testContext({ kind: definition.kind, id: definition.type, clock: manualClock() });
  const running = await start(definition, config, next, context);
  return { running, context };
}

async function start(definition: AnyDefinition, config: unknown, next: Consumer, context: TestContext) {
  switch (definition.kind) {
    case 'receiver':
      return definition.start(config, next, context);
    case 'processor':
      return definition.start(config, next, context);
    case 'exporter':
      return definition.start(config, context);
    case 'extension':
      return definition.start(config, context, host);
  }
}

/** Calls `consume`, whichever way it refuses. */
const give = async (to: Consumer, batch: Parameters<Consumer['consume']>[0]) => to.consume(batch);

const named = <D extends AnyDefinition>(list: readonly D[]) =>
  list.map((definition) => ({ name: `${definition.kind} ${definition.type}`, definition }));

describe('every component', () => {
  it('has a type of its own among its kind, aliases included', () => {
    for (const list of [receivers, processors, exporters, extensions] as const) {
      const names = list.flatMap((d: AnyDefinition) => [d.type, ...(d.aliases ?? [])]);
      expect(names).toEqual([...new Set(names)]);
    }
  });

  describe.each(named(all))('$name', ({ definition }) => {
    const { kind, type, summary, stability } = definition;

    it('is well described: type, summary, stability, signals, folder', () => {
      expect(type).toMatch(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
      expect(summary).toMatch(/^[A-Z].{10,110}[^.]$/);
      expect(['development', 'alpha', 'beta', 'stable']).toContain(stability);
      if (kind !== 'extension') {
        expect(definition.signals.length).toBeGreaterThan(0);
        expect(SIGNALS).toEqual(expect.arrayContaining([...definition.signals]));
      }
      expect(existsSync(join(ROOT, folderOf(definition), 'index.ts'))).toBe(true);
    });

    it('describes every option, and names it in snake_case', () => {
      for (const [path, schema] of optionsOf(definition.config as AnySchema)) {
        expect(schema.description, path).toMatch(/^\S.{3,}/s);
        const key = path
          .split('.')
          .at(-1)!
          .replace(/\(.*/, '')
          .replace(/(\[\])+$/, '');
        if (key !== '') expect(key, path).toMatch(/^[a-z][a-z0-9_-]*$/);
      }
    });

    it('refuses an option that it does not have, by name', async () => {
      const text = exampleOf(readmeOf(definition));
      const { component } = await example(definition);
      const result = await loadConfig(
        { configs: [`yaml:${text}`], sets: [`${kind}s.${component.id}.no_such_option=1`] },
        { registry, env: {}, cwd: freshFolder() },
      );
      expect(result.mistakes.map((m) => m.message).join('\n')).toContain('has invalid keys: no_such_option');
    });

    it('has a README that says its name and shows a complete config without a mistake or a warning', async () => {
      const readme = readmeOf(definition);
      expect(readme).toMatch(new RegExp(`^# ${type}( ${kind})?\n`));
      const { mistakes, warnings } = await load(exampleOf(readme));
      expect([...mistakes, ...warnings].map((i) => formatIssue(i))).toEqual([]);
    });

    it("runs its README's config, stops, and leaves nothing open", async () => {
      const { config } = await example(definition);
      const before = opened([]);
      const where = freshFolder();
      const tame = (map: ReadonlyMap<string, ResolvedComponent<never>>) =>
        new Map(
          [...map].map(([id, c]) => [
            id,
            {
              ...c,
              config: harmless((c as ResolvedComponent).definition.config as AnySchema, c.config, where) as never,
            },
          ]),
        );
      const graph = createGraph({ clock: systemClock, log: memoryLogger(), telemetry: createTelemetry() });
      await graph.turnInto({
        ...config,
        receivers: tame(config.receivers as never) as never,
        processors: tame(config.processors as never) as never,
        exporters: tame(config.exporters as never) as never,
        extensions: tame(config.extensions as never) as never,
      });
      expect(graph.host.components().map((c) => c.id)).toContain(
        [...config[`${kind}s`].values()].find((c) => c.definition === definition)?.id,
      );
      const deadline = new AbortController();
      const timer = setTimeout(() => deadline.abort(), 500);
      await graph.stop(deadline.signal);
      clearTimeout(timer);
      await expect.poll(() => opened(before)).toEqual([]);
    });

    it('can be stopped twice, with a deadline that is over and without one', async () => {
      for (const deadline of [undefined, AbortSignal.abort()]) {
        const { running } = await startAlone(definition, sink());
        await running.stop(deadline);
        await running.stop(deadline);
      }
    });

    it('only registers metrics that docs/telemetry.md lists', async () => {
      const { running, context } = await startAlone(definition, sink());
      await running.stop();
      const docs = readFileSync(join(ROOT, 'docs/telemetry.md'), 'utf8');
      for (const name of [...context.measured.gauges.keys()]) expect(docs).toContain(`\`enginelight_${name}\``);
    });
  });
});

describe('every processor and exporter', () => {
  const stages: readonly (ProcessorDefinition | ExporterDefinition)[] = [...processors, ...exporters];
  describe.each(named(stages))('$name', ({ definition }) => {
    it('does not change what it is given, nor what it handed on', async () => {
      const out: Sink = sink();
      const { running } = await startAlone(definition, out);
      for (const signal of definition.signals) {
        for (let i = 0; i < 3; i++) {
          await give(running as Stage, sample(signal)).catch((error: unknown) => {
            // Refusing is its right (a full disk, no peer); being surprised by frozen data is not.
            if (!(error instanceof PermanentError || error instanceof RetryableError)) throw error;
          });
        }
      }
      await running.stop(AbortSignal.abort());
    });
  });
});

describe('every exporter', () => {
  describe.each(named<ExporterDefinition>(exporters))('$name', ({ definition }) => {
    it('takes nothing more once it has stopped, and says so as an error that may cross an edge', async () => {
      const { running } = await startAlone(definition, sink());
      await running.stop(AbortSignal.abort());
      for (const signal of definition.signals) {
        const error = await give(running as Stage, sample(signal)).then(
          () => undefined,
          (e: unknown) => e,
        );
        expect(error instanceof PermanentError || error instanceof RetryableError, `${signal}: ${error}`).toBe(true);
      }
    });
  });
});

describe('every processor', () => {
  describe.each(named<ProcessorDefinition>(processors))('$name', ({ definition }) => {
    it('hands a refusal of what follows back to whoever sent the data, or keeps the data itself', async () => {
      const out = sink();
      const { running } = await startAlone(definition, out);
      const refusal = new RetryableError('the sending queue is full', { exhausted: true });
      out.failWith(refusal);
      for (const signal of definition.signals) {
        const error = await give(running as Stage, sample(signal)).then(
          () => undefined,
          (e: unknown) => e,
        );
        if (error !== undefined) expect(error).toBeInstanceOf(RetryableError);
      }
      await running.stop(AbortSignal.abort());
    });
  });
});

describe('every receiver that asks', () => {
  const asking = receivers.filter((d) => Object.hasOwn((d.config as AnySchema).properties ?? {}, 'targets'));
  describe.each(named<ReceiverDefinition>(asking))('$name', ({ definition }) => {
    it('goes on after its data was refused, and hands over what it asked for next', async () => {
      const out = sink();
      out.failWith(new RetryableError('the sending queue is full', { exhausted: true }));
      const peer = await httpPeer('# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 3\n');
      const config = resolve(definition.config, { targets: [`${peer.url}/metrics`], max_scrape_load: 0 });
      const { running, context } = await startAlone(definition, out, config);
      const clock = context.clock as ManualClock;
      /** Lets time pass until it was asked so often, and never while an answer is under way. */
      const asked = async (times: number) => {
        for (let i = 0; i < 1000 && peer.answered() < times; i++) {
          await clock.advance(peer.requests() > peer.answered() ? 0 : 100);
          await new Promise((r) => setTimeout(r, 1));
        }
        expect(peer.answered()).toBeGreaterThanOrEqual(times);
        for (let i = 0; i < 5; i++) await new Promise((r) => setTimeout(r, 1));
      };
      await asked(2);
      expect(out.batches).toEqual([]);
      out.failWith(undefined);
      await asked(peer.answered() + 2);
      expect(out.points().length).toBeGreaterThan(0);
      await running.stop(AbortSignal.abort());
      await peer.close();
    });
  });
});

describe('every receiver that listens', () => {
  const listening = receivers.filter((d) =>
    [...optionsOf(d.config as AnySchema)].some(([, option]) => option.format === 'endpoint'),
  );
  describe.each(named<ReceiverDefinition>(listening))('$name', ({ definition }) => {
    it('tells its sender that data was taken, that it was refused for now, and that it was refused for good', async () => {
      const row = SENDERS[definition.type];
      if (!row) throw new Error(`add a row for ${definition.type} to SENDERS in test/components.test.ts`);
      const out = sink();
      const { running, context } = await startAlone(definition, out, resolve(definition.config, row.options));
      expect(await row.send(context.log)).toBe(200);
      expect(out.batches).toHaveLength(1);
      out.failWith(new RetryableError('the sending queue is full', { exhausted: true }));
      expect([429, 503]).toContain(await row.send(context.log));
      out.failWith(new PermanentError('the data is wrong'));
      expect([400, 500]).toContain(await row.send(context.log));
      expect(out.batches).toHaveLength(1);
      await running.stop(AbortSignal.abort());
    });
  });
});

describe('every exporter that pushes', () => {
  const pushing = exporters.filter((d) => Object.hasOwn((d.config as AnySchema).properties ?? {}, 'retry_on_failure'));
  describe.each(named<ExporterDefinition>(pushing))('$name', ({ definition }) => {
    const retry = { initial_interval: '1s', max_interval: '1s', randomization_factor: 0 };

    async function against(more: Record<string, unknown> = {}) {
      const row = PEERS[definition.type];
      if (!row) throw new Error(`add a row for ${definition.type} to PEERS in test/components.test.ts`);
      const peer = await row.open();
      const config = resolve(definition.config, { ...row.options(peer.url), retry_on_failure: retry, ...more });
      const { running, context } = await startAlone(definition, sink(), config);
      const clock = context.clock as ManualClock;
      const stage = running as Stage;
      const signal = definition.signals[0]!;
      return { peer, stage, context, clock, batch: sample(signal) };
    }

    it('tries again what was refused for now, and the data arrives', async () => {
      const { peer, stage, clock, batch, context } = await against();
      peer.be('busy');
      await give(stage, batch);
      for (let i = 0; i < 500 && peer.answered() < 1; i++) {
        await clock.advance(100);
        await new Promise((r) => setTimeout(r, 1));
      }
      peer.be('takes');
      for (let i = 0; i < 500 && context.measured.sent === 0; i++) {
        await clock.advance(100);
        await new Promise((r) => setTimeout(r, 1));
      }
      expect(peer.requests()).toBeGreaterThanOrEqual(2);
      expect(context.measured.sent).toBeGreaterThan(0);
      expect(context.measured.drops.filter((d) => d.reason !== 'unsupported')).toEqual([]);
      await stage.stop(AbortSignal.abort());
      await peer.close();
    });

    it('does not try again what was refused for good, and counts it', async () => {
      const { peer, stage, clock, batch, context } = await against();
      peer.be('refuses');
      await give(stage, batch);
      const lost = () => context.measured.drops.reduce((n, d) => n + d.items, 0);
      for (let i = 0; i < 500 && lost() < batch.items.length; i++) {
        await clock.advance(100);
        await new Promise((r) => setTimeout(r, 1));
      }
      expect(context.measured.drops.map((d) => d.reason)).toContain('permanent_error');
      const asked = peer.requests();
      await clock.advance(60_000);
      await new Promise((r) => setTimeout(r, 20));
      expect(peer.requests()).toBe(asked);
      await stage.stop(AbortSignal.abort());
      await peer.close();
    });

    it('refuses more than its queue holds, as retryable, and says the queue is full', async () => {
      const queue = { queue_size: 2, num_consumers: 1, sizer: 'requests', batch: undefined };
      const { peer, stage, clock, batch } = await against({ sending_queue: queue });
      peer.holdBack();
      let error: unknown;
      for (let i = 0; i < 20 && error === undefined; i++) {
        await clock.advance(1);
        error = await give(stage, batch).then(
          () => undefined,
          (e: unknown) => e,
        );
      }
      expect(error).toBeInstanceOf(RetryableError);
      expect(error).toMatchObject({ exhausted: true, reason: 'queue_full' });
      const stopped = stage.stop(AbortSignal.abort());
      peer.letGo();
      await stopped;
      await peer.close();
    });
  });
});
