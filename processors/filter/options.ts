/** The options of the filter, in the Collector's words, and what the schema cannot say about them. */
import { options, type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../../pipeline/component.ts';
import {
  matchType,
  type Pair,
  pairs,
  patternMistakes,
  severityNumber,
  severityOf,
  texts,
} from '../../pipeline/kit/match.ts';

const OTTL = 'A condition in OTTL. Not supported: `include` and `exclude` are.';
const condition = () => t.optional(t.any({ description: OTTL }));

const metricMatch = (description: string) =>
  t.optional(
    t.item(
      {
        match_type: matchType,
        metric_names: texts('Names of metrics.'),
        resource_attributes: pairs('Resource attributes that all have to be there.'),
        expressions: t.optional(t.any({ description: 'Expressions of `match_type: expr`. Not supported.' })),
        regexp: t.optional(t.any({ description: "The Collector's cache of matches; it is read and not needed here." })),
      },
      { description },
    ),
  );

const spanMatch = (description: string) =>
  t.optional(
    t.item(
      {
        match_type: matchType,
        services: texts('Values of service.name.'),
        span_names: texts('Names of spans.'),
        attributes: pairs('Attributes that all have to be there.'),
        resources: pairs('Resource attributes that all have to be there.'),
        regexp: t.optional(t.any({ description: "The Collector's cache of matches; it is read and not needed here." })),
      },
      { description },
    ),
  );

const logMatch = (description: string) =>
  t.optional(
    t.item(
      {
        match_type: matchType,
        resource_attributes: pairs('Resource attributes that all have to be there.'),
        record_attributes: pairs('Attributes that all have to be there.'),
        severity_texts: texts('Severity texts.'),
        severity_number: severityNumber,
        bodies: texts('Bodies that are texts.'),
      },
      { description },
    ),
  );

const INCLUDE = 'What does not match is dropped. Every criterion that is given has to be fulfilled.';
const EXCLUDE = 'What matches is dropped, also if it is included.';

export const config = options({
  error_mode: t.choice(['ignore', 'silent', 'propagate'], {
    description: 'What the Collector does when a condition fails. Nothing here can fail, so it changes nothing.',
    default: 'propagate',
  }),
  metrics: t.section(
    {
      include: metricMatch(INCLUDE),
      exclude: metricMatch(EXCLUDE),
      metric: condition(),
      datapoint: condition(),
    },
    { description: 'Which metrics pass.' },
  ),
  traces: t.section({ span: condition(), spanevent: condition() }, { description: 'Conditions in OTTL for traces.' }),
  spans: t.section({ include: spanMatch(INCLUDE), exclude: spanMatch(EXCLUDE) }, { description: 'Which spans pass.' }),
  logs: t.section(
    { include: logMatch(INCLUDE), exclude: logMatch(EXCLUDE), log_record: condition() },
    { description: 'Which log records pass.' },
  ),
  metric_conditions: condition(),
  trace_conditions: condition(),
  log_conditions: condition(),
  profile_conditions: condition(),
});
export type Config = Static<typeof config>;

/** Patterns that are none, criteria that are missing, conditions that are not supported. */
export function mistakes(settings: Config): ConfigMistake[] {
  const out: ConfigMistake[] = [];
  const ottl: readonly (readonly [readonly string[], unknown, string])[] = [
    [['metrics', 'metric'], settings.metrics.metric, 'metrics.exclude with metric_names'],
    [['metrics', 'datapoint'], settings.metrics.datapoint, 'metrics.exclude with metric_names or resource_attributes'],
    [['traces', 'span'], settings.traces.span, 'spans.exclude with span_names or attributes'],
    [['traces', 'spanevent'], settings.traces.spanevent, 'spans.exclude with span_names or attributes'],
    [['logs', 'log_record'], settings.logs.log_record, 'logs.exclude with record_attributes or severity_number'],
    [['metric_conditions'], settings.metric_conditions, 'metrics.exclude'],
    [['trace_conditions'], settings.trace_conditions, 'spans.exclude'],
    [['log_conditions'], settings.log_conditions, 'logs.exclude'],
    [['profile_conditions'], settings.profile_conditions, 'nothing: there are no profiles here'],
  ];
  for (const [path, value, instead] of ottl) {
    if (value === undefined) continue;
    out.push({ path, message: `conditions in OTTL are not supported: write ${instead}` });
  }
  for (const which of ['include', 'exclude'] as const) {
    const metric = settings.metrics[which];
    if (metric) {
      const path = ['metrics', which];
      if (metric.expressions !== undefined) {
        out.push({ path: [...path, 'expressions'], message: 'expressions are not supported: write metric_names' });
      }
      out.push(...patternMistakes(metric.match_type, metric.metric_names, [...path, 'metric_names']));
      out.push(...pairMistakes(metric.match_type, metric.resource_attributes, [...path, 'resource_attributes']));
      if (!metric.metric_names && !metric.resource_attributes && metric.expressions === undefined) {
        out.push({ path, message: 'nothing to match by: give metric_names or resource_attributes' });
      }
    }
    const span = settings.spans[which];
    if (span) {
      const path = ['spans', which];
      out.push(...patternMistakes(span.match_type, span.services, [...path, 'services']));
      out.push(...patternMistakes(span.match_type, span.span_names, [...path, 'span_names']));
      out.push(...pairMistakes(span.match_type, span.attributes, [...path, 'attributes']));
      out.push(...pairMistakes(span.match_type, span.resources, [...path, 'resources']));
      if (!span.services && !span.span_names && !span.attributes && !span.resources) {
        out.push({ path, message: 'nothing to match by: give services, span_names, attributes or resources' });
      }
    }
    const log = settings.logs[which];
    if (log) {
      const path = ['logs', which];
      out.push(...patternMistakes(log.match_type, log.severity_texts, [...path, 'severity_texts']));
      out.push(...patternMistakes(log.match_type, log.bodies, [...path, 'bodies']));
      out.push(...pairMistakes(log.match_type, log.record_attributes, [...path, 'record_attributes']));
      out.push(...pairMistakes(log.match_type, log.resource_attributes, [...path, 'resource_attributes']));
      const { severity_number: severity } = log;
      if (severity && severityOf(severity.min) === undefined) {
        out.push({ path: [...path, 'severity_number', 'min'], message: `"${severity.min}" is no severity` });
      }
    }
  }
  return out;
}

const pairMistakes = (
  type: 'strict' | 'regexp',
  list: readonly Pair[] | undefined,
  path: readonly (string | number)[],
): ConfigMistake[] =>
  patternMistakes(
    type,
    list?.map(({ value }) => (value === undefined || value === null ? undefined : String(value))),
    path,
  );
