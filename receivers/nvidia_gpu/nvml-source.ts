/** NVML as a source: three groups of fields through the thread, and XIDs from another one. */
import type { Context } from '../../pipeline/component.ts';
import type { Every } from '../../pipeline/kit/every.ts';
import type { GpuSource, GpuSourceKind, Look } from '../../pipeline/kit/gpu-source.ts';
import { gapsOf } from './gaps.ts';
import { openNvml, openXidEvents, type XidWatch } from './nvml.ts';
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

/** One wait for events, milliseconds: how long a stop may take. */
const WAIT_MS = 500;

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
      let xids: XidWatch | undefined;
      let kernel: Every | undefined;
      let stopped = false;
      /** The fields that GPUs do not have are absent, not refused: older than Hopper is said once. */
      let seenGpm = false;
      let rounds = 0;

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
        first: look('slow', first),
        async look(group) {
          const sample = await nvml.sample(group as Group);
          return 'stalledMs' in sample ? { readings: [], stalledMs: sample.stalledMs } : look(group as Group, sample);
        },
        watch(into) {
          const told = { clock, log, root: options.root };
          xids = openXidEvents({ ...options, clock, waitMs: WAIT_MS }, (said) => {
            if (stopped) return;
            if ('xid' in said) {
              void sayXid(into, said.xid, said.uuid, said.busId).catch((error) =>
                log.warn('An XID could not be handed on.', { xid: said.xid, error }),
              );
            } else if ('broken' in said)
              log.warn('The wait for XIDs broke off; it begins again.', { because: said.broken });
            else
              kernel ??= followKernelLog(into, {
                ...told,
                instead: `the driver gives no events (${said.unavailable})`,
              });
          });
        },
        async stop(deadline) {
          stopped = true;
          await Promise.all([nvml.stop(deadline), xids?.stop(deadline), kernel?.stop(deadline)]);
        },
      };
      return source;
    },
  };
}
