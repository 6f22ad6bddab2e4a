/** The health of the whole, of each pipeline and of each component, in the words of the Collector's health check. */
import type { ComponentStatus, Host } from '../../pipeline/component.ts';

type Component = ReturnType<Host['components']>[number];

export interface HealthRules {
  readonly include_permanent_errors: boolean;
  readonly include_recoverable_errors: boolean;
  /** Milliseconds that a recoverable error may last before it counts. */
  readonly recovery_duration: number;
}

/** One node of the answer of `/status`. */
export interface Health {
  readonly healthy: boolean;
  readonly status: string;
  readonly error?: string;
  /** RFC 3339. */
  readonly status_time: string;
  readonly components?: Readonly<Record<string, Health>>;
}

const WORDS: Record<ComponentStatus, string> = {
  starting: 'StatusStarting',
  ok: 'StatusOK',
  recoverable_error: 'StatusRecoverableError',
  permanent_error: 'StatusPermanentError',
  stopping: 'StatusStopping',
  stopped: 'StatusStopped',
};

/** The worse comes first: what a group shows is the worst in it. */
const WORST: readonly ComponentStatus[] = [
  'permanent_error',
  'recoverable_error',
  'stopping',
  'stopped',
  'starting',
  'ok',
];

/** All of it; `components` holds the extensions and each pipeline, and in them their components. */
export function healthOf(host: Host, rules: HealthRules, now: number): Health {
  const all = host.components();
  const isHealthy = ({ status, since }: Component): boolean => {
    if (status === 'permanent_error') return !rules.include_permanent_errors;
    if (status === 'recoverable_error') {
      return !rules.include_recoverable_errors || now - since < rules.recovery_duration;
    }
    return true;
  };
  const one = (c: Component): Health => ({
    healthy: isHealthy(c),
    status: WORDS[c.status],
    ...(c.message === '' ? {} : { error: c.message }),
    status_time: new Date(c.since).toISOString(),
  });
  const group = (members: readonly Component[]): Health => {
    const worst = members.reduce<Component | undefined>(
      (a, b) => (a && WORST.indexOf(a.status) <= WORST.indexOf(b.status) ? a : b),
      undefined,
    );
    const components = Object.fromEntries(members.map((c) => [`${c.kind}:${c.id}`, one(c)]));
    if (!worst) return { healthy: true, status: 'StatusOK', status_time: new Date(now).toISOString(), components };
    return { ...one(worst), healthy: members.every(isHealthy), components };
  };

  const groups: Record<string, Health> = { extensions: group(all.filter((c) => c.kind === 'extension')) };
  for (const pipeline of new Set(all.flatMap((c) => c.pipelines))) {
    groups[`pipeline:${pipeline}`] = group(all.filter((c) => c.pipelines.includes(pipeline)));
  }
  const whole = group(all);
  const state = host.state();
  return {
    ...whole,
    healthy: whole.healthy && state === 'running',
    ...(state === 'running' ? {} : { status: WORDS[state] }),
    components: groups,
  };
}

/** Without what is below. */
export function brief(health: Health): Health {
  const { components: _, ...rest } = health;
  return rest;
}
