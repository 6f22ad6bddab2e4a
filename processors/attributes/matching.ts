/** Which spans, log records and series the actions are for. */
import { type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../../pipeline/component.ts';
import {
  attributesMatcher,
  matchType,
  pairs,
  patternMistakes,
  severityNumber,
  severityOf,
  textMatcher,
  texts,
} from '../../pipeline/kit/match.ts';
import type { AnyValue, Attributes, LogRecord, Resource, Scope, Series, Span } from '../../pipeline/model.ts';

const SPAN_KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'];

const library = t.item(
  {
    name: t.string({ description: 'Name of the scope' }),
    version: t.optional(t.string({ description: 'Version of the scope' })),
  },
  { description: 'What produced the item' },
);

export const matchOptions = (description: string) =>
  t.optional(
    t.item(
      {
        match_type: matchType,
        services: texts('Values of service.name.'),
        span_names: texts('Names of spans.'),
        span_kinds: texts('Kinds of spans, such as SPAN_KIND_SERVER.'),
        log_bodies: texts('Bodies of log records that are texts.'),
        log_severity_texts: texts('Severity texts of log records.'),
        log_severity_number: severityNumber,
        metric_names: texts('Names of metrics.'),
        attributes: pairs('Attributes that all have to be there.'),
        resources: pairs('Resource attributes that all have to be there.'),
        libraries: t.optional(t.list(library, { description: 'Instrumentation scopes.' })),
        regexp: t.optional(t.any({ description: "The Collector's cache of matches; it is read and not needed here." })),
      },
      { description },
    ),
  );

export type Match = Static<ReturnType<typeof matchOptions>>;

/** What is matched, whatever sort of item it is. */
interface Facts {
  readonly resource: Resource;
  readonly scope: Scope;
  readonly attributes: Attributes;
}

export interface Matcher {
  span(span: Span): boolean;
  log(record: LogRecord): boolean;
  series(series: Series): boolean;
}

/** Tells whether items match: each criterion that is given has to be fulfilled, lists by any of their entries. */
export function itemMatcher(match: Match | undefined): Matcher | undefined {
  if (match === undefined) return undefined;
  const { match_type: type } = match;
  const services = textMatcher(type, match.services);
  const spans = textMatcher(type, match.span_names);
  const kinds = textMatcher(type, match.span_kinds);
  const bodies = textMatcher(type, match.log_bodies);
  const severities = textMatcher(type, match.log_severity_texts);
  const metrics = textMatcher(type, match.metric_names);
  const attributes = attributesMatcher(type, match.attributes);
  const resources = attributesMatcher(type, match.resources);
  const libraries = match.libraries?.map(({ name, version }) => ({
    name: textMatcher(type, [name])!,
    version: version === undefined ? undefined : textMatcher(type, [version]),
  }));
  const least = match.log_severity_number && severityOf(match.log_severity_number.min);
  const unset = match.log_severity_number?.match_undefined ?? false;

  const common = ({ resource, scope, attributes: own }: Facts): boolean =>
    (!services || services(text(resource.attributes['service.name']))) &&
    (!resources || resources(resource.attributes)) &&
    (!attributes || attributes(own)) &&
    (!libraries || libraries.some((l) => l.name(scope.name) && (!l.version || l.version(scope.version))));

  return {
    span: (s) => (!spans || spans(s.name)) && (!kinds || kinds(`SPAN_KIND_${SPAN_KINDS[s.kind] ?? ''}`)) && common(s),
    log: (r) =>
      (!bodies || (typeof r.body === 'string' && bodies(r.body))) &&
      (!severities || severities(r.severityText)) &&
      (least === undefined || (r.severityNumber === 0 ? unset : r.severityNumber >= least)) &&
      common(r),
    series: (s) => (!metrics || metrics(s.metric.name)) && common(s),
  };
}

const text = (value: AnyValue | undefined): string => (typeof value === 'string' ? value : '');

/** What the schema cannot say about a match; `path` is where it is. */
export function matchMistakes(match: Match | undefined, path: readonly (string | number)[]): ConfigMistake[] {
  if (match === undefined) return [];
  const out: ConfigMistake[] = [];
  const { match_type: type } = match;
  for (const key of LISTS) out.push(...patternMistakes(type, match[key], [...path, key]));
  for (const key of ['attributes', 'resources'] as const) {
    const values = match[key]?.map(({ value }) => (value === undefined || value === null ? undefined : String(value)));
    out.push(...patternMistakes(type, values, [...path, key]));
  }
  const named = match.libraries?.map(({ name }) => name);
  out.push(...patternMistakes(type, named, [...path, 'libraries']));
  const { log_severity_number: severity } = match;
  if (severity && severityOf(severity.min) === undefined) {
    out.push({
      path: [...path, 'log_severity_number', 'min'],
      message: `"${severity.min}" is no severity: TRACE, DEBUG, INFO, WARN, ERROR, FATAL, each also with 2, 3 or 4`,
    });
  }
  const given = [...LISTS, 'attributes', 'resources', 'libraries', 'log_severity_number'] as const;
  if (given.every((key) => match[key] === undefined)) {
    out.push({ path: [...path], message: `nothing to match by: give one of ${given.join(', ')}` });
  }
  return out;
}

const LISTS = ['services', 'span_names', 'span_kinds', 'log_bodies', 'log_severity_texts', 'metric_names'] as const;
