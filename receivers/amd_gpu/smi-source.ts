/** amd-smi, or its predecessor rocm-smi, as a source: Python tools that are dear to run, so rarely. */
import type { Context } from '../../pipeline/component.ts';
import type { GpuReading } from '../../pipeline/kit/gpu-signals.ts';
import type { GpuSource, GpuSourceKind, Look } from '../../pipeline/kit/gpu-source.ts';
import { type CommandResult, childrenCpuMs, runCommand } from '../../pipeline/kit/run-command.ts';
import { ROCM_ARGUMENTS, readList, readMetric, readProcesses, readRocm, type SmiWho } from './smi-json.ts';

export interface AmdSmiOptions {
  readonly context: Context;
  readonly tool: 'amd-smi' | 'rocm-smi';
  readonly command: string;
  readonly timeoutMs: number;
  readonly intervalMs: number;
}

const MAX_BYTES = 16 << 20;
/** Looks that are passed over after one that hung. */
const PATIENCE = 10;

type Failure = Extract<CommandResult, { ok: false }>;

export function amdSmiKind(options: AmdSmiOptions): GpuSourceKind {
  const { context, command, timeoutMs, tool } = options;
  const { clock } = context;
  const ask = (args: readonly string[], signal?: AbortSignal) =>
    runCommand({ clock, command, args, timeoutMs, maxBytes: MAX_BYTES, signal });
  let who = new Map<number, SmiWho>();

  const tell = async (signal?: AbortSignal): Promise<{ readings: GpuReading[] } | Failure> => {
    const main = await ask(tool === 'amd-smi' ? ['metric', '--json'] : ROCM_ARGUMENTS, signal);
    if (!main.ok) return main;
    if (tool === 'amd-smi' && who.size === 0) {
      const list = await ask(['list', '--json'], signal);
      if (list.ok) who = readList(list.output);
    }
    const readings = tool === 'amd-smi' ? readMetric(main.output, who) : readRocm(main.output);
    if (!readings) return { ok: false, kind: 'failed', because: `${command} wrote no JSON that can be read` };
    if (tool === 'rocm-smi') return { readings };
    const processes = await ask(['process', '--json'], signal);
    const by = processes.ok ? readProcesses(processes.output) : undefined;
    return {
      readings: readings.map((reading) => {
        const own = by?.get(reading.id.index ?? -1);
        return own ? { ...reading, processes: own } : reading;
      }),
    };
  };

  return {
    name: tool,
    async open() {
      const first = await tell();
      if ('ok' in first || first.readings.length === 0) {
        return {
          because: 'ok' in first ? first.because : `${command} shows no GPU`,
          enable: `install ROCm's ${tool}, or name it with ${tool.replace('-', '_')}`,
        };
      }
      const seen = new Map<string, GpuReading['id']>();
      const take = (readings: readonly GpuReading[]): GpuReading[] => {
        const here = new Set(readings.map((r) => r.id.uuid));
        for (const { id } of readings) seen.set(id.uuid, id);
        const gone = [...seen.values()].filter((id) => !here.has(id.uuid));
        return [
          ...readings,
          ...gone.map((id) => ({ id, numbers: {}, state: 'failed' as const, because: 'it is no longer there' })),
        ];
      };
      let hungAt: number | undefined;
      let hungUntil = 0;
      const source: GpuSource = {
        groups: [{ group: 'all', intervalMs: options.intervalMs, share: 1 }],
        first: { readings: take(first.readings) },
        async look(_group, signal) {
          const now = clock.monotonic();
          if (hungAt !== undefined && now < hungUntil) return { readings: [], stalledMs: now - hungAt };
          const before = childrenCpuMs();
          const told = await tell(signal);
          if ('ok' in told) {
            if (told.kind === 'timeout') {
              hungAt ??= now;
              hungUntil = now + PATIENCE * options.intervalMs;
              return { readings: [], stalledMs: clock.monotonic() - hungAt };
            }
            const failed = [...seen.values()].map((id) => ({
              id,
              numbers: {},
              state: 'failed' as const,
              because: told.because,
            }));
            return {
              readings: failed,
              gaps: [{ what: tool, because: told.because, enable: 'look into the kernel log' }],
            };
          }
          hungAt = undefined;
          const look: Look = { readings: take(told.readings) };
          const after = childrenCpuMs();
          return before === undefined || after === undefined ? look : { ...look, costMs: after - before };
        },
        stop: async () => {},
      };
      return source;
    },
  };
}
