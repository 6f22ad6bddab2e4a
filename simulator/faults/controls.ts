/** Things that happen in every healthy fleet and look like trouble to whoever looks at one series. None is a cause. */
import { crash } from '../world/lifecycle.ts';
import type { World } from '../world/types.ts';
import type { FaultKind, Victim } from './types.ts';

const none = (_w: World, v: Victim) => ({ id: 'none', entity: v.kind, accept: [] });
const base = { doses: [0.1], shapes: ['step'] as const, benign: true as const, root: none, evidence: [] };

export const controlEvents: readonly FaultKind[] = [
  {
    ...base,
    kind: 'rolling-restart',
    summary: 'Replicas are restarted one after the other, with the next one waiting for the last.',
    victims: ['service'],
    apply() {},
    strike(w, v) {
      let at = w.now;
      for (const rep of v.replicas.slice(0, 4)) {
        w.queue.at(at, () => {
          w.changes.push({
            at: w.now,
            kind: 'restart',
            attributes: { service: w.spec.deploy.service, replica: rep.id, reason: 'rolling update' },
          });
          rep.knobs.loadS = 40;
          crash(w, rep, 0, 2);
        });
        at += 75;
      }
    },
    change: (w) => ({
      kind: 'deploy',
      attributes: { service: w.spec.deploy.service, change: 'rolling restart', max_unavailable: 1 },
    }),
  },
  {
    ...base,
    kind: 'autoscale',
    summary: 'A replica is taken away in a quiet hour and comes back later.',
    victims: ['replica'],
    apply() {},
    strike(w, v, _dose, injection) {
      const rep = v.replica!;
      w.changes.push({
        at: w.now,
        kind: 'scale',
        attributes: { service: w.spec.deploy.service, replica: rep.id, change: 'scaled down' },
      });
      rep.knobs.loadS = 40;
      crash(w, rep, 0, injection.durationS * 0.7);
    },
  },
  {
    ...base,
    kind: 'scrape-gap',
    summary: 'The path between the daemon and one target drops every answer for a while.',
    victims: ['replica', 'node'],
    apply(w, v, dose) {
      for (const name of v.kind === 'node'
        ? [`gpu/${v.node!.name}`, `node/${v.node!.name}`]
        : [`engine/${v.replica!.id}`])
        if (dose > 0) w.unreachable.add(name);
        else w.unreachable.delete(name);
    },
  },
  {
    ...base,
    kind: 'exporter-restart',
    summary: 'The GPU exporter of a node restarts: counters that it keeps itself begin again.',
    victims: ['node'],
    apply(w, v, dose) {
      if (dose > 0) w.unreachable.add(`gpu/${v.node!.name}`);
      else w.unreachable.delete(`gpu/${v.node!.name}`);
      for (const gpu of v.node!.gpus) {
        const s = gpu.violationS;
        s.power = 0;
        s.thermal = 0;
        s.lowUtil = 0;
        gpu.energyJ = 0;
      }
    },
  },
  {
    ...base,
    kind: 'clock-step',
    summary: 'The wall clock of a host jumps.',
    victims: ['node'],
    apply() {},
    strike(_w, v) {
      v.node!.clockStepMs += 120;
    },
  },
  {
    ...base,
    kind: 'config-noop',
    summary: 'A deploy that changes nothing that matters.',
    victims: ['service'],
    apply() {},
    change: (w) => ({ kind: 'deploy', attributes: { service: w.spec.deploy.service, change: 'labels' } }),
  },
  {
    ...base,
    kind: 'slow-chip',
    summary: 'A chip that has always been a little slower than its peers, within specification.',
    victims: ['gpu'],
    apply(_w, v, dose) {
      v.gpu!.fault.hiddenClock = dose > 0 ? 0.022 : 0;
    },
  },
  {
    ...base,
    kind: 'small-burst',
    summary: 'A burst of requests that the service takes in its stride.',
    victims: ['service'],
    apply(w, _v, dose) {
      w.load.scale = dose > 0 ? 1.25 : 1;
    },
  },
  {
    ...base,
    kind: 'mix-drift',
    summary: 'Prompts grow a little over the hour.',
    victims: ['service'],
    shapes: ['ramp'],
    apply(w, _v, dose) {
      w.load.promptScale = 1 + 3 * dose;
    },
  },
];
