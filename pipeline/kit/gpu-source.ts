/**
 * A source of GPU numbers, and the loop that keeps one: the first of several that answers is asked, each group of fields at
 * its own interval and within a budget; while there is none, it is looked for again.
 */
import type { Consumer, Context, Running } from '../component.ts';
import { describeError } from '../errors.ts';
import { scope } from '../model.ts';
import { type Every, runEvery } from './every.ts';
import { gpuPods } from './gpu-pods.ts';
import type { EnginePattern } from './gpu-processes.ts';
import { createGpuRounds, type GpuRounds } from './gpu-rounds.ts';
import type { GpuIdentity, GpuReading } from './gpu-signals.ts';
import { createProbe } from './probe.ts';
import type { Tree } from './tree.ts';
import { VERSION } from './version.ts';

/** Why something cannot be had, and what would make it so. */
export interface Unavailable {
  readonly because: string;
  readonly enable: string;
}

export interface Gap extends Unavailable {
  readonly what: string;
}

export interface Look {
  readonly readings: readonly GpuReading[];
  /** What could not be read this time. */
  readonly gaps?: readonly Gap[];
  /** CPU milliseconds it cost; undefined if that is not known. */
  readonly costMs?: number | undefined;
  /** What costs most, for the log. */
  readonly dearest?: string | undefined;
  /** Said of the machine in the inventory. */
  readonly more?: Readonly<Record<string, string | undefined>>;
  /** Set when the source has not answered, in milliseconds: what it knew is not well. */
  readonly stalledMs?: number;
}

export interface GpuSource {
  /** The groups of fields, how often each is asked for (milliseconds), and its part of the budget (0..1). The last is the slow one. */
  readonly groups: readonly { readonly group: string; readonly intervalMs: number; readonly share: number }[];
  look(group: string, signal: AbortSignal): Promise<Look>;
  /** What was seen when it was opened, of the slow group: handed on at once. */
  readonly first?: Look;
  /** Faults as they happen; called once. */
  watch?(rounds: GpuRounds): void;
  stop(deadline?: AbortSignal): Promise<void>;
}

/** A source that hands its numbers on by itself. */
export interface GpuFeed {
  readonly running: Running;
}

export interface GpuSourceKind {
  /** Told in the scope of every series and in `gpu_source`. */
  readonly name: string;
  open(rounds: () => GpuRounds): Promise<GpuSource | GpuFeed | Unavailable>;
}

export interface GpuReceiverOptions {
  readonly context: Context;
  readonly next: Consumer;
  readonly tree: Tree;
  readonly vendor: 'nvidia' | 'amd';
  readonly kinds: readonly GpuSourceKind[];
  readonly hostName: string | undefined;
  readonly engines: readonly EnginePattern[];
  readonly socket: string;
  readonly retryMs: number;
  readonly maxLoad: number;
}

const ALL = { nvidia: 'NVIDIA', amd: 'AMD' };

/** Starts to look for a source; resolves when the first look has been taken. */
export async function runGpuSources(options: GpuReceiverOptions): Promise<Running> {
  const { context, next, tree, vendor, kinds } = options;
  const { clock, log } = context;
  const pods = gpuPods(options.socket, context);
  const scout = createProbe(context, scope(`enginelight/receivers/${context.id.split('/')[0]}`, VERSION));
  let current: { stop(deadline?: AbortSignal): Promise<void> } | undefined;
  let source = '';
  let stopped = false;

  const start = async (name: string, opened: GpuSource, rounds: GpuRounds) => {
    const known = new Map<string, GpuIdentity>();
    const missing = new Map<string, Set<string>>();
    let slowest = '';
    opened.watch?.(rounds);

    const run = (group: string, slow: boolean) => async (tick: { time: number; signal: AbortSignal }) => {
      if (slow) await pods.refresh(rounds.probe);
      return take(group, slow, tick.time, await opened.look(group, tick.signal));
    };

    const take = async (group: string, slow: boolean, time: number, look: Look): Promise<number | undefined> => {
      if (look.stalledMs !== undefined) {
        const because = `${name} has not answered for ${Math.round(look.stalledMs / 1000)} s`;
        const lost = [...known.values()].map((id) => ({ id, numbers: {}, state: 'failed' as const, because }));
        rounds.probe.gap(
          'gpu',
          because,
          'look into the kernel log; a hung driver needs a reset of the GPU or the node',
        );
        context.status('recoverable_error', because);
        await rounds.send(lost, time);
        return undefined;
      }
      rounds.probe.filled('gpu');
      for (const { id } of look.readings) if (id.parent === undefined) known.set(id.uuid, id);
      slowest = look.dearest || slowest;
      tellGaps(group, look.gaps ?? []);
      const bad = look.readings.find((r) => r.state === 'failed');
      if (bad) context.status('recoverable_error', `${bad.id.uuid} is lost: ${bad.because ?? 'it does not answer'}`);
      else context.status('ok', `${known.size} GPUs through ${name}`);
      await rounds.send(look.readings, time);
      if (slow) await rounds.inventory(time, { source: name, ...look.more });
      return look.costMs;
    };

    const tellGaps = (group: string, gaps: readonly Gap[]) => {
      const before = missing.get(group) ?? new Set();
      const now = new Set(gaps.map((gap) => gap.what));
      for (const { what, because, enable } of gaps) rounds.probe.gap(what, because, enable);
      for (const what of before) if (!now.has(what)) rounds.probe.filled(what);
      missing.set(group, now);
    };

    const last = opened.groups.length - 1;
    if (opened.first) {
      await pods.refresh(rounds.probe);
      await take(opened.groups[last]!.group, true, clock.now(), opened.first);
    }
    const loops: Every[] = opened.groups.map(({ group, intervalMs, share }, i) =>
      runEvery({
        clock,
        log,
        intervalMs,
        key: `${context.id}/${group}`,
        maxLoad: options.maxLoad * share,
        onInterval: (interval, cost) =>
          log.warn('Sampling less often to stay within max_load.', {
            group,
            interval_ms: interval,
            cost_ms: Math.round(cost * 100) / 100,
            ...(slowest ? { slowest } : {}),
          }),
        run: run(group, i === last),
      }),
    );
    for (const [i, { group }] of opened.groups.entries()) {
      const loop = loops[i]!;
      context.meter.gauge('gpu_sampling_interval', 'Time between two looks', () => loop.intervalMs() / 1000, 's', {
        group,
      });
    }
    return {
      async stop(deadline?: AbortSignal) {
        const stops = loops.map((loop) => loop.stop(deadline));
        await opened.stop(deadline);
        await Promise.all(stops);
      },
    };
  };

  const find = async (): Promise<boolean> => {
    const refused: string[] = [];
    const enable: string[] = [];
    for (const { name, open } of kinds) {
      if (stopped) return true;
      let made: GpuRounds | undefined;
      const rounds = () => {
        made ??= createGpuRounds({
          context,
          next,
          tree,
          vendor,
          source: name,
          hostName: options.hostName,
          engines: options.engines,
          place: pods.of,
        });
        return made;
      };
      let opened: Awaited<ReturnType<typeof open>>;
      try {
        opened = await open(rounds);
      } catch (error) {
        opened = { because: describeError(error), enable: 'see the log' };
      }
      if ('because' in opened) {
        refused.push(`${name}: ${opened.because}`);
        enable.push(opened.enable);
        continue;
      }
      source = name;
      scout.filled('gpu');
      context.meter.gauge(
        'gpu_source',
        '1 for the source that GPU numbers come from',
        () => (source === name ? 1 : 0),
        '1',
        {
          source: name,
        },
      );
      log.info('GPUs are read.', { source: name, ...(refused.length > 0 ? { instead_of: refused.join('; ') } : {}) });
      current = 'running' in opened ? opened.running : await start(name, opened, rounds());
      return true;
    }
    const because = refused.join('; ');
    scout.gap('gpu', because, [...new Set(enable)].join('; or '));
    context.status('ok', `No ${ALL[vendor]} GPU can be read here: ${because}`);
    return false;
  };

  let finding = find();
  let retry: Every | undefined;
  if (!(await finding)) {
    retry = runEvery({
      clock,
      log,
      intervalMs: options.retryMs,
      key: `${context.id}/find`,
      async run() {
        if (source !== '' || stopped) return undefined;
        finding = find();
        // Nothing is left to look for: the loop is not needed any more.
        if (await finding) void retry?.stop();
        return undefined;
      },
    });
  }
  return {
    async stop(deadline) {
      stopped = true;
      await retry?.stop(deadline);
      await finding;
      await current?.stop(deadline);
    },
  };
}
