/** Alerts as they leave: log records when they begin, end and are said again, and the gauge of what is pending and firing. */
import { labelOfWord, type Rule } from '../../pipeline/kit/rules/rule.ts';
import { fillTemplate } from '../../pipeline/kit/rules/template.ts';
import { type Alert, alertRecord, type EntityName, isoTime, resourceOf } from '../../pipeline/kit/verdict.ts';
import {
  gauge,
  type LogRecord,
  type Metric,
  NO_RECORDED_VALUE,
  type NumberPoint,
  nanosFromMs,
  type Scope,
  type Series,
  scope,
} from '../../pipeline/model.ts';
import type { Live } from './life.ts';
import type { Labels } from './quiet.ts';

const SCOPE: Scope = scope('enginelight');
const ACTIVE = gauge('enginelight_alert_active', '1', 'An alert is pending or firing.');
const BLIND = gauge('enginelight_alert_rule_blind', '1', 'A rule can never fire: nobody exposes the signals it needs.');

/** The labels an alert is known by: those of its rule, its entity, and what all series of the entity agree on. */
export function labelsOf(rule: Rule, values: Labels, common: Labels): Record<string, string> {
  const labels: Record<string, string> = Object.create(null);
  for (const from of [common, values]) for (const word in from) labels[labelOfWord(word)] = from[word]!;
  return Object.assign(labels, rule.labels, { alertname: rule.name, severity: rule.severity });
}

const KINDS = ['nic', 'gpu', 'rank', 'replica', 'node', 'pool', 'service'] as const;

/** The smallest thing that the labels name. */
export function entityOf(labels: Labels): EntityName {
  const kind = KINDS.find((k) => labels[k] !== undefined) ?? 'service';
  const id = labels[kind] ?? 'fleet';
  return {
    kind,
    id: kind === 'rank' && labels['replica'] !== undefined ? `${labels['replica']}/${id}` : id,
    ...(labels['service'] !== undefined ? { service: labels['service'] } : {}),
    ...(labels['pool'] !== undefined ? { pool: labels['pool'] } : {}),
    ...(labels['role'] !== undefined ? { role: labels['role'] } : {}),
    ...(labels['replica'] !== undefined ? { replica: labels['replica'] } : {}),
    ...(labels['node'] !== undefined ? { node: labels['node'] } : {}),
  };
}

/** An alert that fired, as a record. `endedMs` NaN: it still fires. */
export function recordOf(live: Live, endedMs: number, now: number, incident: string | undefined): LogRecord {
  const { rule, labels, value } = live;
  const annotations: Record<string, string> = {};
  for (const [name, text] of Object.entries(rule.annotations)) annotations[name] = fillTemplate(text, labels, value);
  if (incident !== undefined) annotations['incident'] = incident;
  const alert: Alert = {
    name: rule.name,
    severity: rule.severity,
    labels,
    starts_at: isoTime(live.firedMs),
    ends_at: Number.isNaN(endedMs) ? null : isoTime(endedMs),
    annotations,
    ...(Number.isNaN(value) ? {} : { value }),
    ...(live.suppressed === undefined ? {} : { suppressed: live.suppressed }),
  };
  return alertRecord(alert, entityOf(labels), now);
}

interface Row {
  readonly key: string;
  readonly metric: Metric;
  readonly attributes: Labels;
  readonly about: EntityName;
}

/** Points of what is, and end markers of what no longer is; most series are `limit`. */
export function activeGauges(limit: number) {
  let current = new Map<string, Series>();
  return (lives: Iterable<Live>, blind: ReadonlyMap<string, string>, now: number): readonly NumberPoint[] => {
    const next = new Map<string, Series>();
    const items: NumberPoint[] = [];
    const time = nanosFromMs(now);
    const put = ({ key, metric, attributes, about }: Row) => {
      if (next.size >= limit || next.has(key)) return;
      const series = current.get(key) ?? {
        resource: resourceOf(about),
        scope: SCOPE,
        metric,
        attributes: Object.assign(Object.create(null), attributes),
      };
      next.set(key, series);
      items.push({ series, time, startTime: 0n, flags: 0, value: 1 });
    };
    for (const live of lives) {
      const labels = live.state === 'firing' ? live.labels : labelsOf(live.rule, live.values, {});
      put({
        key: `${live.rule.name}|${live.rule.severity}|${live.key}|${live.state}`,
        metric: ACTIVE,
        attributes: { ...labels, alertstate: live.state },
        about: entityOf(labels),
      });
    }
    for (const [rule, missing] of blind) {
      put({
        key: `blind ${rule} ${missing}`,
        metric: BLIND,
        attributes: { rule, missing },
        about: { kind: 'service', id: 'fleet' },
      });
    }
    for (const [key, series] of current) {
      if (!next.has(key)) items.push({ series, time, startTime: 0n, flags: NO_RECORDED_VALUE, value: 0 });
    }
    current = next;
    return items;
  };
}
