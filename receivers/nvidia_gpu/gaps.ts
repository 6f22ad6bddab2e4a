/** What a refusal of the driver means to somebody who looks for a number, and what would make it readable. */
import type { Gap } from '../../pipeline/kit/gpu-source.ts';
import { type FunctionName, type Refusal, Return, wordsOf } from './library.ts';

/** What is missed where a function refuses; functions that are not here are named as they are. */
const MISSED: Partial<Record<FunctionName, string>> = {
  nvmlDeviceGetUtilizationRates: 'gpu_utilization',
  nvmlDeviceGetPowerUsage: 'gpu_power',
  nvmlDeviceGetTemperature: 'gpu_temperature',
  nvmlDeviceGetComputeRunningProcesses_v3: 'gpu_processes',
  nvmlDeviceGetGraphicsRunningProcesses_v3: 'gpu_processes',
  nvmlDeviceGetProcessUtilization: 'gpu_process_utilization',
  nvmlDeviceGetTotalEccErrors: 'gpu_ecc',
  nvmlDeviceGetRemappedRows: 'gpu_row_remaps',
  nvmlDeviceGetNvLinkErrorCounter: 'nvlink_errors',
  nvmlDeviceGetMigDeviceHandleByIndex: 'gpu_mig',
  nvmlGpmQueryDeviceSupport: 'gpu_sm_activity',
  nvmlGpmSampleGet: 'gpu_sm_activity',
};

/** One per thing that is missed. */
export function gapsOf(refusals: readonly Refusal[]): Gap[] {
  const gaps = new Map<string, Gap>();
  for (const { call, code } of refusals) {
    const what = MISSED[call] ?? call;
    gaps.set(what, {
      what,
      because: `${call}: ${wordsOf(code)}`,
      enable:
        code === Return.NO_PERMISSION
          ? 'the administrator of the driver or hypervisor restricted it; dcgm-exporter, which runs privileged, may tell it'
          : 'look into the kernel log; a GPU that needs a reset, or a driver that is being replaced, answers like this',
    });
  }
  return [...gaps.values()];
}
