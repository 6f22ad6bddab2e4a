/** XIDs to the GPUs they are about: from the driver's events where they can be had, else from the kernel's log. */
import type { Clock } from '../../pipeline/kit/clock.ts';
import { type Every, runEvery } from '../../pipeline/kit/every.ts';
import type { GpuRounds } from '../../pipeline/kit/gpu-rounds.ts';
import { plainBusId } from '../../pipeline/kit/gpu-signals.ts';
import { openKernelLog } from '../../pipeline/kit/kernel-log.ts';
import type { Logger } from '../../pipeline/kit/log.ts';

/** `NVRM: Xid (PCI:0000:17:00): 79, pid=1234, name=python, GPU has fallen off the bus.` */
const LINE = /NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d{1,5})(?:,\s*(.*))?$/;

export interface XidLine {
  readonly busId: string;
  readonly xid: number;
  readonly rest: string;
}

/** Reads a line of the kernel's log. */
export function xidIn(line: string): XidLine | undefined {
  const match = LINE.exec(line.trim());
  return match ? { busId: plainBusId(match[1]!), xid: Number(match[2]), rest: match[3] ?? '' } : undefined;
}

/** Hands an XID on. A GPU that nobody has read yet is named by its bus id. */
export function sayXid(rounds: GpuRounds, xid: number, uuid: string, busId: string, rest = ''): Promise<void> {
  const known = uuid || rounds.uuidOf(busId) || busId;
  return rounds.fault({
    uuid: known,
    kind: 'xid',
    code: xid,
    text: `XID ${xid} on GPU ${known} (${busId})${rest === '' ? '' : `: ${rest}`}`,
  });
}

const LOOK_MS = 1000;

/** Follows the kernel's log; undefined, with a gap, where it cannot be read. `instead`: why it is needed. */
export function followKernelLog(
  rounds: GpuRounds,
  parts: { readonly clock: Clock; readonly log: Logger; readonly root: string; readonly instead: string },
): Every | undefined {
  const opened = openKernelLog(parts.root);
  if ('because' in opened) {
    rounds.probe.gap(
      'gpu_xid',
      `${parts.instead}, and ${opened.because}`,
      'let it read /dev/kmsg (CAP_SYSLOG, or kernel.dmesg_restrict=0), or scrape dcgm-exporter with DCGM_FI_DEV_XID_ERRORS',
    );
    return undefined;
  }
  rounds.probe.filled('gpu_xid');
  const loop = runEvery({
    clock: parts.clock,
    log: parts.log,
    intervalMs: LOOK_MS,
    key: 'nvidia_gpu/kernel log',
    async run() {
      for (const line of opened.lines()) {
        const found = xidIn(line);
        if (found) await sayXid(rounds, found.xid, '', found.busId, found.rest);
      }
      return undefined;
    },
  });
  return {
    ...loop,
    async stop(deadline) {
      await loop.stop(deadline);
      opened.stop();
    },
  };
}
