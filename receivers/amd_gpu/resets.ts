/** What amdgpu writes into the kernel's log when a GPU is reset or memory fails beyond repair: the nearest it has to XIDs. */
import type { Context } from '../../pipeline/component.ts';
import { type Every, runEvery } from '../../pipeline/kit/every.ts';
import { plainBusId } from '../../pipeline/kit/gpu-signals.ts';
import type { GpuSource } from '../../pipeline/kit/gpu-source.ts';
import { openKernelLog } from '../../pipeline/kit/kernel-log.ts';

const LINE = /\bamdgpu ([0-9a-f:.]+): (?:amdgpu: )?(.*)$/i;
const RESET = /GPU reset begin/i;
const UNCORRECTABLE = /(\d+) (?:new )?uncorrectable hardware errors? detected/i;

export type AmdLine = {
  readonly busId: string;
  readonly kind: 'reset' | 'ras';
  readonly count: number;
  readonly text: string;
};

/** Reads a line of the kernel's log. */
export function amdLine(line: string): AmdLine | undefined {
  const match = LINE.exec(line.trim());
  if (!match) return undefined;
  const text = match[2]!;
  const errors = UNCORRECTABLE.exec(text)?.[1];
  const kind = RESET.test(text) ? 'reset' : Number(errors) > 0 ? 'ras' : undefined;
  return kind && { busId: plainBusId(match[1]!), kind, count: kind === 'ras' ? Number(errors) : 1, text };
}

const LOOK_MS = 1000;

/** Watches the log while sysfs is the source. */
export function resetWatch(
  context: Context,
  root: string,
): Required<Pick<GpuSource, 'watch'>> & Pick<GpuSource, 'stop'> {
  let loop: Every | undefined;
  let close = () => {};
  return {
    watch(rounds) {
      const opened = openKernelLog(root);
      if ('because' in opened) {
        rounds.probe.gap(
          'gpu_resets',
          opened.because,
          'let it read /dev/kmsg (CAP_SYSLOG, or kernel.dmesg_restrict=0)',
        );
        return;
      }
      close = opened.stop;
      loop = runEvery({
        clock: context.clock,
        log: context.log,
        intervalMs: LOOK_MS,
        key: 'amd_gpu/kernel log',
        async run() {
          for (const line of opened.lines()) {
            const found = amdLine(line);
            if (!found) continue;
            const uuid = rounds.uuidOf(found.busId) ?? found.busId;
            await rounds.fault({ uuid, kind: found.kind, code: found.count, text: found.text });
          }
          return undefined;
        },
      });
    },
    async stop(deadline) {
      await loop?.stop(deadline);
      close();
    },
  };
}
