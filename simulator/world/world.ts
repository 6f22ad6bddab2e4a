/** Runs a world: clients, steps, transfers, heat and CPUs in one order of events. */
import { random } from '../random.ts';
import type { Spec } from '../spec.ts';
import { buildWorld } from './build.ts';
import { installDisaggregation } from './disaggregation.ts';
import { kick } from './engine.ts';
import { router } from './frontend.ts';
import { tickGpu } from './gpu.ts';
import { tickNode } from './host.ts';
import type { World, WorldListeners } from './types.ts';
import { workload } from './workload.ts';

/** Builds the world and starts clients and clocks; nothing moves before `advance`. */
export function createWorld(spec: Spec, listeners: WorldListeners = {}): World {
  const w = buildWorld(spec);
  Object.assign(w.listeners, listeners);
  installDisaggregation(w);
  w.kick = (rep) => kick(w, rep);
  const { arrive } = router(w, random(spec.seed, 'router'));
  const requests = workload(w);
  const pull = () => {
    const r = requests.next();
    if (!r) return;
    w.queue.at(r.arrival, () => {
      arrive(r);
      pull();
    });
  };
  pull();
  const tick = () => {
    for (const gpu of w.gpus) tickGpu(w, gpu, 1);
    for (const node of w.nodes) tickNode(w, node, 1);
    w.listeners.tick?.(w);
    if (w.now + 1 <= spec.durationS) w.queue.at(w.now + 1, tick);
  };
  w.queue.at(w.now + 1, tick);
  return w;
}

/** Runs everything that happens up to and including second `t`. */
export function advance(w: World, t: number): void {
  const q = w.queue;
  while (q.peek() <= t) {
    const at = q.peek();
    if (at > w.now) w.now = at;
    q.pop()();
  }
  if (t > w.now) w.now = t;
}
