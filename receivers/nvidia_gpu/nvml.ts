/** NVML as the rest of the receiver sees it: a thread that is asked for samples. */
import { Worker } from 'node:worker_threads';
import type { Clock } from '../../pipeline/kit/clock.ts';
import type { Group, Sample } from './sampler.ts';
import type { WorkerData } from './worker.ts';

/** Why a source cannot be used, and what would make it usable. */
export interface Unavailable {
  readonly because: string;
  readonly enable: string;
}

export interface NvmlOptions {
  readonly clock: Clock;
  /** Path or name of the library. */
  readonly library: string;
  /** The compiled file of the thread. */
  readonly worker: URL;
  /** A call that takes longer is not waited for. */
  readonly timeoutMs: number;
}

export interface Nvml {
  /** What the GPUs say; `stalledMs`: the driver has not answered for so long, and is not asked again until it does. */
  sample(group: Group): Promise<Sample | { readonly stalledMs: number }>;
  /** Resolves when the thread has ended, or the deadline has passed. */
  stop(deadline?: AbortSignal): Promise<void>;
}

/** The thread's file, beside this one. */
export const WORKER = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);

type Said =
  | { readonly ready: true }
  | { readonly failed: Unavailable }
  | { readonly id: number; readonly sample: Sample };

function startThread(options: NvmlOptions) {
  const data: WorkerData = { library: options.library };
  const worker = new Worker(options.worker, {
    workerData: data,
    name: 'nvml',
    execArgv: [],
    // The thread holds little; a heap of its own would otherwise grow to the process' limits.
    resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
  });
  worker.unref();
  const ended = new Promise<void>((resolve) => {
    worker.once('exit', () => resolve());
  });
  return {
    worker,
    async stop(deadline?: AbortSignal): Promise<void> {
      worker.postMessage({ close: true });
      await new Promise<void>((resolve) => {
        // A thread inside a hung driver call cannot be ended; it is left behind.
        const giveUp = () => {
          worker.terminate().catch(() => {});
          resolve();
        };
        if (deadline?.aborted) return giveUp();
        deadline?.addEventListener('abort', giveUp, { once: true });
        void ended.then(() => {
          deadline?.removeEventListener('abort', giveUp);
          resolve();
        });
      });
    },
  };
}

/** Opens the library in its thread. */
export async function openNvml(options: NvmlOptions): Promise<Nvml | Unavailable> {
  const { clock, timeoutMs } = options;
  const thread = startThread(options);
  const { worker } = thread;
  const waiting = new Map<number, { group: Group; since: number; resolve(sample: Sample): void }>();
  let serial = 0;
  let died: string | undefined;

  const opened = await new Promise<Unavailable | undefined>((resolve) => {
    const end = (because: string) => {
      died = because;
      resolve({ because, enable: 'see the log' });
    };
    worker.on('error', (error) => end(`the thread that reads NVML failed: ${error.message}`));
    worker.on('exit', () => end('the thread that reads NVML ended'));
    worker.on('message', (said: Said) => {
      if ('ready' in said) resolve(undefined);
      else if ('failed' in said) resolve(said.failed);
      else {
        waiting.get(said.id)?.resolve(said.sample);
        waiting.delete(said.id);
      }
    });
  });
  if (opened) {
    await thread.stop();
    return opened;
  }

  return {
    sample(group) {
      const now = clock.monotonic();
      for (const other of waiting.values()) {
        if (other.group === group || now - other.since > timeoutMs)
          return Promise.resolve({ stalledMs: now - other.since });
      }
      if (died !== undefined) throw new Error(died);
      const id = serial++;
      return new Promise((resolve) => {
        const timer = clock.after(timeoutMs, () => resolve({ stalledMs: timeoutMs }));
        waiting.set(id, {
          group,
          since: now,
          resolve(sample) {
            timer.cancel();
            resolve(sample);
          },
        });
        worker.postMessage({ id, group });
      });
    },
    stop: thread.stop,
  };
}
