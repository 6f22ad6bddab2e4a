/**
 * The thread that talks to the driver, so that a slow call never stalls the pipeline. One file, two lives: one samples when
 * it is asked, one waits for events.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { watchXids } from './events.ts';
import { openLibrary } from './library.ts';
import { createSampler, type Group, timed } from './sampler.ts';

export interface WorkerData {
  readonly role: 'sample' | 'events';
  readonly library: string;
  /** Set to 1 when the thread that waits for events shall end. */
  readonly stop: Int32Array;
  /** How long one wait for events lasts, milliseconds. */
  readonly waitMs: number;
}

const port = parentPort;
if (port) {
  const data = workerData as WorkerData;
  const opened = await openLibrary(data.library);
  if ('because' in opened) {
    port.postMessage({ failed: opened });
    port.close();
  } else if (data.role === 'sample') {
    const sampler = createSampler(timed(opened.library, systemClock.monotonic));
    port.on('message', (message: { id: number; group: Group } | { close: true }) => {
      if ('close' in message) {
        sampler.close();
        port.close();
      } else port.postMessage({ id: message.id, sample: sampler.sample(message.group) });
    });
    port.postMessage({ ready: true });
  } else {
    port.postMessage({ ready: true });
    watchXids(opened.library, data.stop, data.waitMs, (said) => port.postMessage(said));
    port.close();
  }
}
