/** NVML as a source: three groups of fields through the thread, and XIDs from another one. */
import type { Context } from '../../pipeline/component.ts';
import type { Every } from '../../pipeline/kit/every.ts';
import type { GpuRounds } from '../../pipeline/kit/gpu-rounds.ts';
import type { GpuSource, GpuSourceKind, Look } from '../../pipeline/kit/gpu-source.ts';
import { gapsOf } from './gaps.ts';
import { openNvml } from './nvml.ts';
import type { Group, Sample } from './sampler.ts';
import { followKernelLog, sayXid } from './xids.ts';

export interface NvmlSourceOptions {
  readonly context: Context;
  readonly library: string;
  readonly worker: URL;
  readonly timeoutMs: number;
  readonly intervals: Readonly<Record<Group, number>>;
  readonly root: string;
}

export function nvmlKind(options: NvmlSourceOptions): GpuSourceKind {
  const { context, intervals } = options;
  const { clock, log } = context;
  return {
    name: 'nvml',
    async open() {
      const nvml = await openNvml({ ...options, clock });
      if ('because' in nvml) return nvml;
      const first = await nvml.sample('slow');
      if ('stalledMs' in first || first.lost || first.readings.length === 0) {
        void nvml.stop(AbortSignal.abort());
        return {
          because:
            'stalledMs' in first
              ? `the driver has not answered for ${first.stalledMs} ms`
              : (first.lost?.because ?? 'no GPU is visible'),
          enable: 'load the driver; in a container, give it the GPUs (NVIDIA_VISIBLE_DEVICES=all, capability utility)',
        };
      }
      // What the driver counts itself is known before the first look at what we would count instead.
      const links = await nvml.sample('medium');
      let into: GpuRounds | undefined;
      let kernel: Every | undefined;
      let stopped = false;
      let followed = false;
      /** The fields that GPUs do not have are absent, not refused: older than Hopper is said once. */
      let seenGpm = false;
      let rounds = 0;

      const follow = (because: string) => {
        if (stopped || !into || followed) return;
        followed = true;
        kernel = followKernelLog(into, {
          clock,
          log,
          root: options.root,
          instead: `the driver gives no events (${because})`,
        });
      };
      const tellXids = async (sample: Sample) => {
        if (!into) return;
        for (const { xid, uuid, busId } of sample.xids) await sayXid(into, xid, uuid, busId);
        if (sample.noXids !== undefined) follow(sample.noXids);
      };

      const look = (group: Group, sample: Sample): Look => {
        if (group === 'fast') {
          rounds++;
          seenGpm ||= sample.readings.some((r) => r.numbers.sm_active !== undefined);
        }
        const gaps = gapsOf(sample.refusals);
        if (group === 'fast' && rounds > 3 && !seenGpm && !sample.lost) {
          gaps.push({
            what: 'gpu_sm_activity',
            because: 'these GPUs, or this driver, have no GPM metrics (Hopper and newer, since driver 520)',
            enable: 'scrape dcgm-exporter with DCGM_FI_PROF_SM_ACTIVE, which holds the profiling counters',
          });
        }
        return {
          readings: sample.readings,
          gaps,
          costMs: sample.lost ? undefined : sample.spentMs,
          dearest: sample.slowest,
          more: { cuda_version: sample.cuda },
        };
      };

      const source: GpuSource = {
        groups: [
          { group: 'fast', intervalMs: intervals.fast, share: 0.6 },
          { group: 'medium', intervalMs: intervals.medium, share: 0.25 },
          { group: 'slow', intervalMs: intervals.slow, share: 0.15 },
        ],
        first: {
          ...look('slow', first),
          readings: [...first.readings, ...('stalledMs' in links ? [] : links.readings)],
        },
        async look(group) {
          const sample = await nvml.sample(group as Group);
          if (!('stalledMs' in sample)) await tellXids(sample);
          return 'stalledMs' in sample ? { readings: [], stalledMs: sample.stalledMs } : look(group as Group, sample);
        },
        watch(rounds) {
          into = rounds;
          if (first.noXids !== undefined) follow(first.noXids);
        },
        async stop(deadline) {
          stopped = true;
          await Promise.all([nvml.stop(deadline), kernel?.stop(deadline)]);
        },
      };
      return source;
    },
  };
}
