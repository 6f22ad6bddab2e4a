/** Findings and incidents as lines, each once for every state it reaches. */
import { entityWords, findingOf, incidentOf } from '../../pipeline/kit/verdict.ts';
import type { LogRecord } from '../../pipeline/model.ts';

/** Ids that are remembered, so that a repeated record is not a new line; the oldest go first. */
const REMEMBERED = 1000;

/** Gives the line of a record that is news, undefined for any other. */
export function createVerdicts(): (record: LogRecord) => string | undefined {
  const said = new Map<string, string>();
  const isNews = (id: string, state: string) => {
    if (said.get(id) === state) return false;
    said.delete(id);
    said.set(id, state);
    if (said.size > REMEMBERED) said.delete(said.keys().next().value as string);
    return true;
  };
  return (record) => {
    const finding = findingOf(record);
    if (finding) {
      const { id, state, severity, detector, entity, summary, observed } = finding;
      if (state === 'pending' || observed || !isNews(id, state)) return undefined;
      return `${state === 'firing' ? severity : 'resolved'}: ${detector} on ${entityWords(entity)}: ${summary}`;
    }
    const incident = incidentOf(record);
    if (!incident || !isNews(incident.id, `${incident.state} ${incident.summary}`)) return undefined;
    return `${incident.state === 'open' ? `${incident.severity} incident` : 'incident over'}: ${incident.summary}`;
  };
}
