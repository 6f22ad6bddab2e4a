/** The incidents that are open, by what their records said: for the annotations of alerts, and as a signal that rules can use. */
import { INCIDENT_EVENT, type Incident, incidentOf, resourceOf } from '../../pipeline/kit/verdict.ts';
import {
  gauge,
  type LogRecord,
  NO_RECORDED_VALUE,
  type NumberPoint,
  nanosFromMs,
  type Scope,
  type Series,
  scope,
} from '../../pipeline/model.ts';
import type { Labels } from './quiet.ts';

const SCOPE: Scope = scope('enginelight');
const OPEN = gauge('enginelight_incident_open', '', 'An incident is open.');
const LIMIT = 1000;

interface Open {
  readonly incident: Incident;
  readonly series: Series;
}

export interface Incidents {
  notice(records: readonly LogRecord[]): void;
  /** A point for each that is open, and an end marker for each that no longer is. */
  points(now: number): readonly NumberPoint[];
  /** The incident that an alert with these labels is about, or of its service, in words. */
  about(labels: Labels): string | undefined;
}

const words = ({ id, summary }: Incident): string => `${id}: ${summary}`;

export function createIncidents(): Incidents {
  const open = new Map<string, Open>();
  let ended: Series[] = [];

  function put(incident: Incident): void {
    const before = open.get(incident.id);
    if (!before && open.size >= LIMIT) return;
    const { root } = incident;
    const attributes = Object.assign(Object.create(null), {
      incident: incident.id,
      severity: incident.severity,
      detector: root.detector,
      entity_kind: root.entity.kind,
      entity: root.entity.id,
    }) as Labels;
    const was = before?.series.attributes;
    if (was && Object.entries(attributes).every(([k, v]) => was[k] === v)) {
      open.set(incident.id, { incident, series: before.series });
      return;
    }
    // Another root or severity is another series.
    if (before) ended.push(before.series);
    const resource = resourceOf({ ...root.entity, service: incident.service });
    open.set(incident.id, { incident, series: { resource, scope: SCOPE, metric: OPEN, attributes } });
  }

  return {
    notice(records) {
      for (const record of records) {
        if (record.eventName !== INCIDENT_EVENT) continue;
        const incident = incidentOf(record);
        if (!incident?.root.entity) continue;
        if (incident.state === 'open') put(incident);
        else {
          const before = open.get(incident.id);
          if (before) ended.push(before.series);
          open.delete(incident.id);
        }
      }
    },
    points(now) {
      const time = nanosFromMs(now);
      const over = ended.map((series) => ({ series, time, startTime: 0n, flags: NO_RECORDED_VALUE, value: 0 }));
      ended = [];
      return [
        ...over,
        ...[...open.values()].map(({ series }) => ({ series, time, startTime: 0n, flags: 0, value: 1 })),
      ];
    },
    about(labels) {
      const own = open.get(labels['incident'] ?? '');
      if (own) return words(own.incident);
      for (const { incident } of open.values()) if (incident.service === labels['service']) return words(incident);
      return undefined;
    },
  };
}
