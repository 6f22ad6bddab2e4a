/**
 * libnvidia-ml.so.1 by dlopen: no compiler, no CUDA, only the library that the driver brings. Every function is optional:
 * one that this driver lacks answers FUNCTION_NOT_FOUND. Structs are read and written as bytes, laid out as nvml.h does on
 * 64-bit Linux. Calls block their thread, so this belongs into a worker.
 */

/** Answers that mean something to us; the numbers are NVML's. */
export const Return = {
  OK: 0,
  UNINITIALIZED: 1,
  INVALID_ARGUMENT: 2,
  NOT_SUPPORTED: 3,
  NO_PERMISSION: 4,
  NOT_FOUND: 6,
  INSUFFICIENT_SIZE: 7,
  DRIVER_NOT_LOADED: 9,
  TIMEOUT: 10,
  FUNCTION_NOT_FOUND: 13,
  GPU_IS_LOST: 15,
  RESET_REQUIRED: 16,
  LIB_RM_VERSION_MISMATCH: 18,
  GPU_NOT_FOUND: 28,
} as const;

/** NVML's words for its answers, condensed. */
const WORDS: Readonly<Record<number, string>> = {
  1: 'not initialised',
  2: 'invalid argument',
  3: 'not supported',
  4: 'no permission',
  5: 'already initialised',
  6: 'not found',
  7: 'insufficient size',
  8: 'external power is missing',
  9: 'the driver is not loaded',
  10: 'timeout',
  11: 'interrupt trouble',
  12: 'library not found',
  13: 'the driver has no such function',
  14: 'the infoROM is corrupted',
  15: 'the GPU is lost',
  16: 'the GPU needs a reset',
  17: 'blocked by the operating system',
  18: 'library and driver have different versions',
  19: 'in use',
  20: 'out of memory',
  21: 'no data',
  22: 'ECC is not supported for a virtual GPU',
  23: 'insufficient resources',
  24: 'frequency not supported',
  25: 'another version of the argument is expected',
  26: 'deprecated',
  27: 'not ready',
  28: 'the GPU is not there',
  29: 'invalid state',
  30: 'this kind of reset is not supported',
  999: 'unknown error',
};

export const wordsOf = (code: number): string => WORDS[code] ?? `error ${code}`;

/** A device, a set or a sample: a pointer of the library's. */
export type Handle = bigint;

/** Parameters, a letter each: `p` pointer or handle, `u` unsigned int, `l` unsigned long long, `i` int. All answer a code. */
const FUNCTIONS = {
  nvmlInit_v2: '',
  nvmlShutdown: '',
  nvmlSystemGetDriverVersion: 'pu',
  nvmlSystemGetCudaDriverVersion_v2: 'p',
  nvmlDeviceGetCount_v2: 'p',
  nvmlDeviceGetHandleByIndex_v2: 'up',
  nvmlDeviceGetName: 'ppu',
  nvmlDeviceGetUUID: 'ppu',
  nvmlDeviceGetSerial: 'ppu',
  nvmlDeviceGetPciInfo_v3: 'pp',
  nvmlDeviceGetUtilizationRates: 'pp',
  nvmlDeviceGetEncoderUtilization: 'ppp',
  nvmlDeviceGetDecoderUtilization: 'ppp',
  nvmlDeviceGetMemoryInfo: 'pp',
  nvmlDeviceGetMemoryInfo_v2: 'pp',
  nvmlDeviceGetBAR1MemoryInfo: 'pp',
  nvmlDeviceGetPowerUsage: 'pp',
  nvmlDeviceGetEnforcedPowerLimit: 'pp',
  nvmlDeviceGetPowerManagementLimit: 'pp',
  nvmlDeviceGetPowerManagementDefaultLimit: 'pp',
  nvmlDeviceGetTotalEnergyConsumption: 'pp',
  nvmlDeviceGetTemperature: 'pup',
  nvmlDeviceGetTemperatureThreshold: 'pup',
  nvmlDeviceGetClockInfo: 'pup',
  nvmlDeviceGetMaxClockInfo: 'pup',
  nvmlDeviceGetApplicationsClock: 'pup',
  nvmlDeviceGetCurrentClocksEventReasons: 'pp',
  nvmlDeviceGetCurrentClocksThrottleReasons: 'pp',
  nvmlDeviceGetViolationStatus: 'pup',
  nvmlDeviceGetCurrPcieLinkGeneration: 'pp',
  nvmlDeviceGetMaxPcieLinkGeneration: 'pp',
  nvmlDeviceGetCurrPcieLinkWidth: 'pp',
  nvmlDeviceGetMaxPcieLinkWidth: 'pp',
  nvmlDeviceGetPcieReplayCounter: 'pp',
  nvmlDeviceGetPcieThroughput: 'pup',
  nvmlDeviceGetFieldValues: 'pip',
  nvmlDeviceGetNvLinkState: 'pup',
  nvmlDeviceGetNvLinkErrorCounter: 'puup',
  nvmlDeviceGetNvLinkRemotePciInfo_v2: 'pup',
  nvmlDeviceGetTotalEccErrors: 'puup',
  nvmlDeviceGetRemappedRows: 'ppppp',
  nvmlDeviceGetRetiredPages: 'pupp',
  nvmlDeviceGetRetiredPagesPendingStatus: 'pp',
  nvmlDeviceGetMigMode: 'ppp',
  nvmlDeviceGetMaxMigDeviceCount: 'pp',
  nvmlDeviceGetMigDeviceHandleByIndex: 'pup',
  nvmlDeviceGetGpuInstanceId: 'pp',
  nvmlDeviceGetComputeRunningProcesses_v3: 'ppp',
  nvmlDeviceGetGraphicsRunningProcesses_v3: 'ppp',
  nvmlDeviceGetProcessUtilization: 'pppl',
  nvmlEventSetCreate: 'p',
  nvmlEventSetFree: 'p',
  nvmlDeviceGetSupportedEventTypes: 'pp',
  nvmlDeviceRegisterEvents: 'plp',
  nvmlEventSetWait_v2: 'ppu',
  nvmlGpmQueryDeviceSupport: 'pp',
  nvmlGpmSampleAlloc: 'p',
  nvmlGpmSampleFree: 'p',
  nvmlGpmSampleGet: 'pp',
  nvmlGpmMetricsGet: 'p',
} as const;

export type FunctionName = keyof typeof FUNCTIONS;
/** A function that gave no number for a reason other than "this GPU has no such thing". */
export interface Refusal {
  readonly call: FunctionName;
  readonly code: number;
}

type Argument = bigint | number | Buffer | null;

export interface Library {
  /** Calls a function; the answer is NVML's code. */
  call(name: FunctionName, ...args: Argument[]): number;
  has(name: FunctionName): boolean;
}

const TYPES: Record<string, string> = { p: 'void *', u: 'unsigned int', l: 'unsigned long long', i: 'int' };

export type Opened = { readonly library: Library } | { readonly because: string; readonly enable: string };

/** Opens the library at a path, or by the name that the loader finds. */
export async function openLibrary(path: string): Promise<Opened> {
  let load: typeof import('koffi')['load'];
  try {
    ({ load } = await import('koffi').then((m) => m.default));
  } catch {
    return {
      because: 'the package koffi, which opens libraries, is not installed',
      enable: 'install enginelight with its optional dependencies (npm install --include=optional)',
    };
  }
  try {
    const handle = load(path);
    const functions = new Map<FunctionName, (...args: Argument[]) => number>();
    for (const [name, parameters] of Object.entries(FUNCTIONS) as [FunctionName, string][]) {
      try {
        functions.set(
          name,
          handle.func(
            name,
            'int',
            [...parameters].map((letter) => TYPES[letter]!),
          ) as (...args: Argument[]) => number,
        );
      } catch {
        // An older driver: this function is not there.
      }
    }
    return {
      library: {
        call: (name, ...args) => functions.get(name)?.(...args) ?? Return.FUNCTION_NOT_FOUND,
        has: (name) => functions.has(name),
      },
    };
  } catch {
    return {
      because: `${path} cannot be opened`,
      enable: 'install the NVIDIA driver; in a container, run it with the NVIDIA runtime and the utility capability',
    };
  }
}
