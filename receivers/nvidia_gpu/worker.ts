/** The thread that talks to the driver, so that a slow call never stalls the pipeline. It samples when it is asked. */
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../../pipeline/kit/clock.ts';
import { openLibrary } from './library.ts';
import { createSampler, type Group, timed } from './sampler.ts';

export interface WorkerData {
  readonly library: string;
}

const port = parentPort;
if (port) {
  const opened = await openLibrary((workerData as WorkerData).library);
  if ('because' in opened) {
    port.postMessage({ failed: opened });
    port.close();
  } else {
    const sampler = createSampler(timed(opened.library, systemClock.monotonic));
    port.on('message', (message: { id: number; group: Group } | { close: true }) => {
      if ('close' in message) {
        sampler.close();
        port.close();
      } else port.postMessage({ id: message.id, sample: sampler.sample(message.group) });
    });
    port.postMessage({ ready: true });
  }
}
