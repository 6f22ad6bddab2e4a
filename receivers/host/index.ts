/** The machine under the engines: what else runs on it, what is short, what is broken. Reads /proc, /sys and cgroups only. */
import { hostname } from 'node:os';
import { options, t } from '../../config/schema.ts';
import { defineReceiver } from '../../pipeline/component.ts';
import { runEvery } from '../../pipeline/kit/every.ts';
import { createProbe, entryOf } from '../../pipeline/kit/probe.ts';
import { createTree } from '../../pipeline/kit/tree.ts';
import { VERSION } from '../../pipeline/kit/version.ts';
import { type Attributes, logsBatch, type Resource, resource, scope } from '../../pipeline/model.ts';
import { bootTime, cpuReader, frequencyReader, pressureReader } from './cpu.ts';
import { listDevices, numaNodes, pcieReader, thermalReader } from './devices.ts';
import { diskReader, filesystemReader } from './disk.ts';
import { engineReader } from './engines.ts';
import { inventoryRecord } from './inventory.ts';
import { memoryReader } from './memory.ts';
import { interfaceReader, linkReader, rdmaReader } from './network.ts';
import type { Host, Reader } from './reader.ts';
import { clockReader } from './timekeeping.ts';

const ENGINES = [
  { engine: 'vllm', command: '(^|[ /])vllm( |$)|vllm\\.entrypoints|VLLM::' },
  { engine: 'sglang', command: 'sglang' },
  { engine: 'dynamo', command: 'dynamo\\.(frontend|router|vllm|sglang|trtllm|mocker)|dynamo-run' },
  { engine: 'trtllm', command: 'trtllm-serve|tensorrt_llm|tritonserver' },
  { engine: 'tgi', command: 'text-generation-(launcher|router|server)' },
  { engine: 'lmcache', command: 'lmcache' },
];

const config = options({
  collection_interval: t.duration({
    description: 'How often CPU, memory, pressure, disks, interfaces and engine processes are read.',
    default: '5s',
  }),
  slow_interval: t.duration({
    description: 'How often links, PCIe, temperatures, file systems, CPU clocks and the clock’s discipline are read.',
    default: '30s',
  }),
  max_load: t.number({
    description:
      'The share of one core the probe may take. What costs more is read less often, and the log says so. 0 turns this off.',
    default: 0.005,
    minimum: 0,
    maximum: 1,
  }),
  root_path: t.path({
    description:
      "Where the host's root is seen: `/host` in a container that mounts it there, `/` on the machine itself.",
    default: '/',
  }),
  host_name: t.optional(
    t.string({ description: 'The name of the node, as `host.name`. Default: the kernel’s host name.' }),
  ),
  engines: t.list(
    t.item(
      {
        engine: t.string({ description: 'What `inference.engine` becomes.' }),
        command: t.string({ description: 'A regular expression that is looked for in the command line.' }),
      },
      { description: 'How one kind of engine is recognised.' },
    ),
    { description: 'Whose processes are watched. The first match counts.', default: ENGINES },
  ),
  threads: t.integer({
    description: 'How many of the busiest threads of an engine process are named on their own.',
    default: 8,
    minimum: 0,
    maximum: 256,
  }),
  max_processes: t.integer({ description: 'Engine processes that are watched at most.', default: 64, minimum: 0 }),
});

export const host = defineReceiver({
  type: 'host',
  summary: 'CPU, memory, pressure, disks, networks, PCIe and engine processes from /proc, /sys and cgroups',
  stability: 'beta',
  signals: ['metrics', 'logs'],
  config,
  validate: (c) =>
    c.engines.flatMap((entry, i) => {
      try {
        new RegExp(entry.command);
        return [];
      } catch (error) {
        const because = error instanceof Error ? error.message : String(error);
        return [{ path: ['engines', i, 'command'], message: `is no regular expression: ${because}` }];
      }
    }),
  async start(config, next, context) {
    const { clock, log } = context;
    const tree = createTree(config.root_path);
    const probe = createProbe(context, scope('enginelight/receivers/host', VERSION));
    const name = config.host_name ?? (tree.read('/proc/sys/kernel/hostname')?.trim() || hostname());
    const machine = tree.read('/etc/machine-id')?.trim();
    const base: Attributes = { 'host.name': name, ...(machine ? { 'host.id': machine } : {}) };
    const node = resource(base);
    const parts = new Map<string, Resource>();
    const part = (attributes: Attributes) =>
      entryOf(parts, JSON.stringify(attributes), () => resource({ ...base, ...attributes }));
    const shared: Host = { tree, probe, node, part };
    const boot = () => bootTime(tree.read('/proc/stat'));
    const bootMs = (boot() ?? clock.now() / 1000) * 1000;
    const devices = listDevices(shared);
    const fast: Reader[] = [
      cpuReader(shared),
      pressureReader(shared),
      memoryReader(shared),
      diskReader(shared),
      interfaceReader(shared),
      rdmaReader(shared),
      engineReader(
        shared,
        {
          patterns: config.engines.map(({ engine, command }) => ({ engine, pattern: new RegExp(command) })),
          threads: config.threads,
          maxProcesses: config.max_processes,
          nodeOfCpu: numaNodes(shared),
          nodeOfGpu: new Map(devices.filter((d) => d.kind === 'gpu').map((d) => [d.busId, d.numaNode])),
        },
        boot,
      ),
    ];
    const slow: Reader[] = [
      frequencyReader(shared),
      linkReader(shared),
      pcieReader(shared),
      thermalReader(shared),
      filesystemReader(shared),
      clockReader(shared),
    ];
    let inventory = '';

    const sample = (readers: readonly Reader[]) => async (tick: { time: number }) => {
      const before = process.cpuUsage();
      const round = probe.round(tick.time, bootMs);
      for (const read of readers) read(round);
      const used = process.cpuUsage(before);
      const batch = round.finish();
      if (batch.items.length > 0) await next.consume(batch);
      return (used.user + used.system) / 1000;
    };
    const slower = sample(slow);
    const loops = (
      [
        ['fast', config.collection_interval, sample(fast)],
        [
          'slow',
          config.slow_interval,
          async (tick: { time: number }) => {
            const record = inventoryRecord(shared, tick.time);
            const text = JSON.stringify(record.body ?? '') + JSON.stringify(record.attributes);
            if (text !== inventory && context.signals.has('logs')) {
              await next.consume(logsBatch([record]));
              inventory = text;
            }
            return slower(tick);
          },
        ],
      ] as const
    ).map(([group, intervalMs, run]) =>
      runEvery({
        clock,
        log,
        intervalMs,
        key: `${context.id}/${group}`,
        maxLoad: config.max_load,
        onInterval: (interval, cost) =>
          log.warn('Sampling less often to stay within max_load.', {
            group,
            interval_ms: interval,
            cost_ms: Math.round(cost * 100) / 100,
          }),
        run,
      }),
    );
    return {
      async stop(deadline) {
        await Promise.all(loops.map((loop) => loop.stop(deadline)));
      },
    };
  },
});
