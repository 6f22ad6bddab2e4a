/** Starting, dying, hanging, restarting: what a supervisor sees of a replica. */
import { counters } from '../dialects.ts';
import { kick, publish, wipe } from './engine.ts';
import type { Replica, World } from './types.ts';

/** The process dies; a supervisor starts it again after `backoffS`, and it then loads its model. */
export function crash(w: World, rep: Replica, exitCode: number, backoffS: number): void {
  if (rep.state === 'down') return;
  rep.lastExit = exitCode;
  rep.life++;
  rep.state = 'down';
  rep.hungRank = -1;
  wipe(w, rep);
  rep.restarts++;
  const life = rep.life;
  w.queue.at(w.now + backoffS, () => {
    if (rep.life === life) start(w, rep);
  });
}

/** Begins to load; ready after the replica's load time. */
export function start(w: World, rep: Replica): void {
  rep.state = 'loading';
  rep.startedAt = w.now;
  rep.life++;
  const life = rep.life;
  for (const s of rep.scheds) {
    const fresh = counters(w.spec.deploy.engine, rep.model.maxModelLen);
    Object.assign(s, { counters: fresh });
    s.loaded.clear();
  }
  rep.cpu.engine = 0;
  rep.cpu.api = 0;
  rep.cpu.worker = 0;
  rep.api.backlogS = 0;
  w.changes.push({
    at: w.now,
    kind: 'restart',
    attributes: { replica: rep.id, pod: rep.pod, exit_code: rep.lastExit },
  });
  w.queue.at(w.now + rep.knobs.loadS, () => {
    if (rep.life !== life) return;
    rep.state = 'ready';
    rep.readyAt = w.now;
    for (const s of rep.scheds) publish(w, s);
    kick(w, rep);
  });
}

/** One rank stops answering: the step under way never ends, the API process lives on. */
export function hang(w: World, rep: Replica, globalRank: number): void {
  if (rep.state !== 'ready') return;
  rep.state = 'hung';
  rep.hungRank = globalRank;
  rep.hungAt = w.now;
}
