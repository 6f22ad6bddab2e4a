/**
 * Builds the double of libnvidia-ml.so.1 with the machine's compiler, and writes its script. Where there is no compiler
 * (or no koffi) `nvmlDouble` is undefined, and whoever needs it is skipped and says so.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Compiled for a benchmark, this file lies below build/; the source does not.
const SOURCE = fileURLToPath(new URL('./nvml.c', import.meta.url)).replace('/build/test/', '/test/');

const built = new Map<string, string | undefined>();

function compile(flags: readonly string[]): string | undefined {
  const key = flags.join(' ');
  if (built.has(key)) return built.get(key);
  let path: string | undefined = join(mkdtempSync(join(tmpdir(), 'nvml-')), 'libnvidia-ml.so.1');
  try {
    createRequire(import.meta.url).resolve('koffi');
    execFileSync('cc', ['-shared', '-fPIC', '-O1', ...flags, '-o', path, SOURCE, '-ldl', '-lpthread'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  } catch (error) {
    process.stderr.write(`SKIPPED: everything that needs the double of NVML: ${String(error).split('\n')[0]}\n`);
    path = undefined;
  }
  built.set(key, path);
  return path;
}

export interface NvmlDouble {
  /** A copy of its own: two of them share no state. */
  readonly library: string;
  /** Replaces the script. Null takes a key away from what was there. */
  script(changes: Readonly<Record<string, string | number | null>>): void;
}

export const hasCompiler = compile([]) !== undefined;

/** A library of its own that says what the script says. */
export function nvmlDouble(script: Readonly<Record<string, string | number>>, old = false): NvmlDouble {
  const built = compile(old ? ['-DOLD_DRIVER'] : []);
  if (built === undefined) throw new Error('there is no compiler');
  const library = join(mkdtempSync(join(tmpdir(), 'nvml-')), 'libnvidia-ml.so.1');
  copyFileSync(built, library);
  const said = new Map<string, string | number>(Object.entries(script));
  const write = () =>
    writeFileSync(`${library}.script`, `${[...said].map(([key, value]) => `${key} ${value}`).join('\n')}\n`);
  write();
  return {
    library,
    script(changes) {
      for (const [key, value] of Object.entries(changes)) {
        if (value === null) said.delete(key);
        else said.set(key, value);
      }
      write();
    },
  };
}

/** What a healthy GPU of an eight-GPU node says, by its index. */
export function healthyGpu(i: number): Record<string, string | number> {
  const own: Record<string, string | number> = {
    name: 'NVIDIA H100 80GB HBM3',
    uuid: `GPU-0000000${i}-1111-2222-3333-444444444444`,
    serial: `165000000000${i}`,
    pci: `00000000:${(0x17 + i).toString(16).toUpperCase()}:00.0`,
    utilization: 90 + i,
    memory_utilization: 40,
    encoder: 0,
    decoder: 5,
    'memory.total': 80 * 2 ** 30,
    'memory.used': 70 * 2 ** 30,
    'memory.reserved': 2 ** 30,
    'bar1.total': 2 ** 37,
    'bar1.used': 2 ** 20,
    power: 650_000,
    'power.enforced': 700_000,
    'power.limit': 700_000,
    'power.default': 700_000,
    energy: 123_456_000,
    temperature: 60 + i,
    'threshold.0': 92,
    'threshold.1': 89,
    'threshold.2': 95,
    'threshold.3': 87,
    'clock.0': 1980,
    'clock.1': 1980,
    'clock.2': 2619,
    'clock.3': 1545,
    'clock.max.1': 1980,
    'clock.max.2': 2619,
    'clock.application.0': 1980,
    'clock.application.2': 2619,
    reasons: 0,
    'violation.0': 1_000_000_000,
    'violation.1': 0,
    'pcie.generation': 5,
    'pcie.generation.max': 5,
    'pcie.width': 16,
    'pcie.width.max': 16,
    'pcie.replays': 3,
    'ecc.0.0': 2,
    'ecc.1.0': 0,
    'field.5': 12,
    'field.6': 1,
    'field.82': 70,
    'field.91': 4,
    'field.197': 5_000_000,
    'field.198': 6_000_000,
    'field.269': 0,
    'field.270': 0,
    'field.271': 0,
    'remapped.corrected': 1,
    'remapped.uncorrected': 0,
    gpm: 1,
    'gpm.2': 85.5,
    'gpm.3': 30,
    'gpm.5': 42,
    'gpm.10': 61,
    mig: 0,
    processes: 1,
    'process.0': `${4242 + i} ${70 * 2 ** 30}`,
    graphics: 0,
    samples: 1,
    'sample.0': `${4242 + i} 1000 88 40 0 0`,
  };
  for (let link = 0; link < 4; link++) {
    own[`nvlink.state.${link}`] = 1;
    own[`nvlink.remote.${link}`] = '00000000:C0:00.0';
    for (let counter = 0; counter < 4; counter++) own[`nvlink.error.${link}.${counter}`] = 0;
    own[link === 0 ? 'field.138' : `field.138.${link}`] = 1000 * (link + 1);
    own[link === 0 ? 'field.139' : `field.139.${link}`] = 2000 * (link + 1);
  }
  return Object.fromEntries(Object.entries(own).map(([key, value]) => [`gpu.${i}.${key}`, value]));
}

/** A node with this many healthy GPUs. */
export function healthyNode(count: number): Record<string, string | number> {
  const node: Record<string, string | number> = { count, driver: '550.54.15', nvml: '12.550.54.15', cuda: 12040 };
  for (let i = 0; i < count; i++) Object.assign(node, healthyGpu(i));
  return node;
}
