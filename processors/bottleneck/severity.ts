/** Severity is impact on the user: latency, capacity, error budget. How certain a cause is has no part in it. */
import type { Severity } from '../../pipeline/kit/verdict.ts';
import type { Impacts } from './impact.ts';
import type { Active } from './machine.ts';

export interface SeverityLimits {
  readonly warningLatency: number;
  readonly warningCapacity: number;
  readonly criticalCapacity: number;
  readonly warningBurn: number;
  readonly criticalBurn: number;
}

export const SEVERITY_LIMITS: SeverityLimits = {
  warningLatency: 0.1,
  warningCapacity: 0.1,
  criticalCapacity: 0.3,
  warningBurn: 6,
  criticalBurn: 14.4,
};

const RANK: Record<Severity, number> = { info: 0, warning: 1, critical: 2 };
export const worse = (a: Severity, b: Severity): Severity => (RANK[a] >= RANK[b] ? a : b);

/** Sets a finding's impact and severity. It rises with the impact and stays at its worst until the finding ends. */
export function weigh(a: Active, impacts: Impacts, limits: SeverityLimits = SEVERITY_LIMITS): void {
  const { impact, known, stopped } = impacts.of(a.entity);
  a.impact = impact;
  const given = a.verdict?.severity;
  let severity: Severity = 'info';
  const latency = impact.latency ?? 0;
  const capacity = impact.capacity ?? 0;
  const burn = impact.burn ?? 0;
  if (stopped || capacity >= limits.criticalCapacity || burn >= limits.criticalBurn) severity = 'critical';
  else if (latency >= limits.warningLatency || capacity >= limits.warningCapacity || burn >= limits.warningBurn) {
    severity = 'warning';
  } else if (!known && a.detector.class === 'root' && a.grade !== 'C' && a.confidence >= 0.7) {
    // Nothing to compare with: a proven cause is worth looking at, even if nobody can say yet what it costs.
    severity = 'warning';
  }
  // A symptom of one replica is not the whole service's disaster.
  if (severity === 'critical' && !stopped && a.detector.class === 'context') severity = 'warning';
  if (given) severity = a.detector.class === 'context' || given === 'info' ? given : worse(given, severity);
  a.severity = a.emittedSeverity ? worse(a.emittedSeverity, severity) : severity;
}
