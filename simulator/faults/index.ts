/** Every fault the world knows, and how an injection becomes one. */
import { type Injection, SHAPES } from '../spec.ts';
import type { World } from '../world/types.ts';
import { controlEvents } from './controls.ts';
import { demandFaults } from './demand.ts';
import { engineFaults } from './engine.ts';
import { gpuFaults } from './gpu.ts';
import { hostFaults } from './host.ts';
import { networkFaults } from './network.ts';
import type { FaultKind, Victim } from './types.ts';
import { findVictim } from './victims.ts';

export const FAULTS: readonly FaultKind[] = [
  ...gpuFaults,
  ...networkFaults,
  ...hostFaults,
  ...engineFaults,
  ...demandFaults,
];

/** Events of healthy fleets, for controls and as distraction beside a fault. */
export const BENIGN: readonly FaultKind[] = [...controlEvents, ...FAULTS.filter((f) => f.benign)];

export const faultKind = (kind: string): FaultKind | undefined =>
  FAULTS.find((f) => f.kind === kind) ?? controlEvents.find((f) => f.kind === kind);

/** The dose of an injection at a time: 0 outside, and by its shape inside. */
export function doseAt(i: Injection, t: number): number {
  const since = t - i.at;
  if (since < 0 || since >= i.durationS) return 0;
  if (i.shape === 'ramp') return i.dose * Math.min(1, (since + 1) / Math.max(1, i.shapeS));
  if (i.shape === 'intermittent') return since % i.shapeS < i.duty * i.shapeS ? i.dose : 0;
  return i.dose;
}

export interface Planted {
  readonly injection: Injection;
  readonly fault: FaultKind;
  readonly victim: Victim;
}

/** What is wrong with a scenario's injections, one sentence each. */
export function checkInjections(w: World): string[] {
  const mistakes: string[] = [];
  w.spec.inject.forEach((i, n) => {
    const where = `inject[${n}]`;
    const fault = faultKind(i.kind);
    if (!fault) {
      mistakes.push(`${where}: there is no fault "${i.kind}"; there are ${FAULTS.map((f) => f.kind).join(', ')}.`);
      return;
    }
    const victim = findVictim(w, i.entity);
    if (typeof victim === 'string') {
      mistakes.push(`${where}: ${victim}`);
      return;
    }
    if (!fault.victims.includes(victim.kind))
      mistakes.push(
        `${where}: ${i.kind} happens to a ${fault.victims.join(' or ')}, and "${i.entity}" is a ${victim.kind}.`,
      );
    const why = fault.impossible?.(w.spec);
    if (why) mistakes.push(`${where}: ${i.kind} cannot happen here: ${why}.`);
    if (!(i.dose > 0 && i.dose < 1)) mistakes.push(`${where}: the dose is ${i.dose}; it must be above 0 and below 1.`);
    if (!SHAPES.includes(i.shape))
      mistakes.push(`${where}: there is no shape "${i.shape}"; there are ${SHAPES.join(', ')}.`);
    if (i.at >= w.spec.durationS)
      mistakes.push(`${where}: it begins at second ${i.at}, and all is over at second ${w.spec.durationS}.`);
    if (!(i.at >= 0 && i.durationS > 0))
      mistakes.push(`${where}: it must begin at or after second 0 and last longer than 0 seconds.`);
    if (i.shape !== 'step' && !(i.shapeS > 0))
      mistakes.push(`${where}: shapeS is ${i.shapeS}; a ${i.shape} needs seconds.`);
    if (i.duty <= 0 || i.duty > 1) mistakes.push(`${where}: duty is ${i.duty}; it must be above 0 and at most 1.`);
    const key = `${i.kind} ${i.entity}`;
    const before = w.spec.inject.find(
      (o, m) =>
        m < n && o.kind === i.kind && o.entity === i.entity && o.at < i.at + i.durationS && i.at < o.at + o.durationS,
    );
    if (before)
      mistakes.push(`${where}: ${key} is already under way at second ${i.at}; the two contradict each other.`);
  });
  return mistakes;
}

/** Puts the scenario's faults into the world's future. */
export function plant(w: World): Planted[] {
  return w.spec.inject.map((injection) => trigger(w, injection));
}

/** Starts (now or later) one fault; also what the console of the demo calls. */
export function trigger(w: World, injection: Injection): Planted {
  const fault = faultKind(injection.kind)!;
  const victim = findVictim(w, injection.entity) as Victim;
  let last = 0;
  const set = () => {
    const dose = doseAt(injection, w.now);
    if (dose === last) return;
    if (last === 0 && dose > 0 && !struck) {
      struck = true;
      const change = fault.change?.(w, victim, injection);
      if (change) w.changes.push({ at: w.now, ...change });
      fault.strike?.(w, victim, injection.dose, injection);
    }
    last = dose;
    fault.apply(w, victim, dose, injection);
  };
  let struck = false;
  const end = injection.at + injection.durationS;
  if (injection.shape === 'step') {
    w.queue.at(injection.at, set);
    w.queue.at(end, set);
  } else {
    const step = () => {
      set();
      if (w.now < end) w.queue.at(Math.min(end, w.now + 1), step);
    };
    w.queue.at(injection.at, step);
  }
  return { injection, fault, victim };
}
