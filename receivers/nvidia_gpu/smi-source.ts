/** nvidia-smi as a source: slower and dearer than NVML, so everything at once and rarely. */
import type { Context } from '../../pipeline/component.ts';
import type { Every } from '../../pipeline/kit/every.ts';
import { type GpuReading, plainBusId } from '../../pipeline/kit/gpu-signals.ts';
import type { GpuSource, GpuSourceKind, Look } from '../../pipeline/kit/gpu-source.ts';
import { type CommandResult, childrenCpuMs, runCommand } from '../../pipeline/kit/run-command.ts';
import { CSV_QUERY, readingsOfCsv } from './smi-csv.ts';
import { readingsOfXml } from './smi-xml.ts';
import { followKernelLog } from './xids.ts';

export interface SmiSourceOptions {
  readonly context: Context;
  readonly command: string;
  readonly timeoutMs: number;
  readonly intervalMs: number;
  readonly root: string;
}

const MAX_BYTES = 16 << 20;
/** Looks that are passed over after one that hung: a tool stuck in the driver may still be there. */
const PATIENCE = 10;

type Told = { readonly readings: GpuReading[]; readonly cuda?: string | undefined };

export function smiKind(options: SmiSourceOptions): GpuSourceKind {
  const { context, command, timeoutMs } = options;
  const { clock, log } = context;
  const ask = (args: readonly string[], signal?: AbortSignal) =>
    runCommand({ clock, command, args, timeoutMs, maxBytes: MAX_BYTES, signal });
  let csv = false;

  /** The XML, or the CSV where the XML cannot be read. */
  const tell = async (signal?: AbortSignal): Promise<Told | Extract<CommandResult, { ok: false }>> => {
    if (!csv) {
      const answer = await ask(['-q', '-x'], signal);
      if (!answer.ok) return answer;
      const told = readingsOfXml(answer.output);
      if (told) return told;
    }
    const answer = await ask([`--query-gpu=${CSV_QUERY}`, '--format=csv,noheader,nounits'], signal);
    if (!answer.ok) return answer;
    const readings = readingsOfCsv(answer.output);
    if (readings.length === 0)
      return { ok: false, kind: 'failed', because: `${command} wrote neither XML nor CSV that can be read` };
    csv = true;
    return { readings };
  };

  return {
    name: 'nvidia-smi',
    async open() {
      const first = await tell();
      if ('ok' in first || first.readings.length === 0) {
        return {
          because: 'ok' in first ? first.because : `${command} shows no GPU`,
          enable: `install the driver's ${command}, or name it with nvidia_smi`,
        };
      }
      const seen = new Map<string, GpuReading['id']>();
      let hungAt: number | undefined;
      let hungUntil = 0;
      let kernel: Every | undefined;
      const source: GpuSource = {
        groups: [{ group: 'all', intervalMs: options.intervalMs, share: 1 }],
        first: { readings: withLost(first, seen), gaps: gapsOf(first, csv), more: { cuda_version: first.cuda } },
        async look(_group, signal) {
          const now = clock.monotonic();
          if (hungAt !== undefined && now < hungUntil) return { readings: [], stalledMs: now - hungAt };
          const before = childrenCpuMs();
          const told = await tell(signal);
          if ('ok' in told && told.kind === 'timeout') {
            hungAt ??= now;
            hungUntil = now + PATIENCE * options.intervalMs;
            return { readings: [], stalledMs: clock.monotonic() - hungAt };
          }
          hungAt = undefined;
          const look: Look = {
            readings: withLost(told, seen),
            gaps: gapsOf(told, csv),
            more: 'cuda' in told ? { cuda_version: told.cuda } : {},
          };
          const after = childrenCpuMs();
          return before === undefined || after === undefined ? look : { ...look, costMs: after - before };
        },
        watch(rounds) {
          kernel = followKernelLog(rounds, { clock, log, root: options.root, instead: 'nvidia-smi tells no XIDs' });
        },
        async stop(deadline) {
          await kernel?.stop(deadline);
        },
      };
      return source;
    },
  };
}

/** The readings, and a failed one for every GPU that was there and is not. */
function withLost(told: Told | { readonly because: string }, seen: Map<string, GpuReading['id']>): GpuReading[] {
  const gone = (id: GpuReading['id'], because: string): GpuReading => ({ id, numbers: {}, state: 'failed', because });
  if (!('readings' in told)) {
    // "Unable to determine the device handle for GPU 0000:17:00.0: GPU is lost."
    const bus = /(?:^|[^0-9a-f])([0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])\b/i.exec(told.because)?.[1];
    const about = [...seen.values()].filter((id) => bus === undefined || id.busId === plainBusId(bus));
    return about.map((id) => gone(id, told.because));
  }
  const here = new Set(told.readings.map((r) => r.id.uuid));
  for (const { id } of told.readings) if (id.parent === undefined) seen.set(id.uuid, id);
  const lost = [...seen.values()].filter((id) => !here.has(id.uuid));
  return [...told.readings, ...lost.map((id) => gone(id, 'it is no longer there'))];
}

const gapsOf = (told: Told | { readonly because: string }, csv: boolean) =>
  'readings' in told
    ? [
        {
          what: 'gpu_sm_activity',
          because: 'nvidia-smi does not tell it',
          enable: 'let the receiver open NVML (koffi and libnvidia-ml.so.1), or scrape dcgm-exporter',
        },
        {
          what: csv ? 'gpu_processes' : 'nvlink_errors',
          because: csv ? 'the CSV of nvidia-smi does not tell it' : 'nvidia-smi -q does not tell it',
          enable: 'let the receiver open NVML (koffi and libnvidia-ml.so.1)',
        },
      ]
    : [
        {
          what: 'nvidia_smi',
          because: told.because,
          enable: 'look into the kernel log; a lost GPU needs a reset of the GPU or the node',
        },
      ];
