/** Drops metrics, spans and log records by name and attribute. */
import { defineProcessor } from '../../pipeline/component.ts';
import { attributesMatcher, severityOf, textMatcher } from '../../pipeline/kit/match.ts';
import {
  type AnyValue,
  type Batch,
  type LogRecord,
  logsBatch,
  metricsBatch,
  type Series,
  type Span,
  tracesBatch,
} from '../../pipeline/model.ts';
import { type Config, config, mistakes } from './options.ts';

export const filter = defineProcessor({
  type: 'filter',
  summary: 'Drops metrics, spans and log records by name, attribute and severity',
  stability: 'beta',
  signals: ['metrics', 'traces', 'logs'],
  config,
  validate: mistakes,
  async start(settings, next, { meter }) {
    const metric = both(settings.metrics, seriesTest);
    const span = both(settings.spans, spanTest);
    const log = both(settings.logs, logTest);
    // What passes is decided once a series.
    const known = new WeakMap<Series, boolean>();
    const passes = (series: Series): boolean => {
      let pass = known.get(series);
      if (pass === undefined) {
        pass = metric!(series);
        known.set(series, pass);
      }
      return pass;
    };
    const filtered = (batch: Batch): Batch | undefined => {
      if (batch.signal === 'metrics' && metric) return rest(batch, batch.items, (p) => passes(p.series), metricsBatch);
      if (batch.signal === 'traces' && span) return rest(batch, batch.items, span, tracesBatch);
      if (batch.signal === 'logs' && log) return rest(batch, batch.items, log, logsBatch);
      return batch;
    };
    return {
      consume(batch) {
        const out = filtered(batch);
        const lost = batch.items.length - (out?.items.length ?? 0);
        if (lost > 0) meter.dropped(batch.signal, lost, 'filtered');
        return out && next.consume(out);
      },
      async stop() {},
    };
  },
});

/** The items that pass: the same batch if all do, undefined if none does. */
function rest<T>(
  batch: Batch,
  items: readonly T[],
  pass: (item: T) => boolean,
  make: (items: readonly T[]) => Batch,
): Batch | undefined {
  const out = items.filter(pass);
  if (out.length === items.length) return batch;
  return out.length === 0 ? undefined : make(out);
}

interface Both<M> {
  readonly include?: M;
  readonly exclude?: M;
}

/** Passes what is included and not excluded; undefined if everything passes. */
function both<M, T>({ include, exclude }: Both<M>, test: (match: M) => (item: T) => boolean) {
  if (include === undefined && exclude === undefined) return undefined;
  const inside = include && test(include);
  const outside = exclude && test(exclude);
  return (item: T): boolean => (!inside || inside(item)) && !outside?.(item);
}

type MetricMatch = NonNullable<Config['metrics']['include']>;
type SpanMatch = NonNullable<Config['spans']['include']>;
type LogMatch = NonNullable<Config['logs']['include']>;

function seriesTest(match: MetricMatch): (series: Series) => boolean {
  const names = textMatcher(match.match_type, match.metric_names);
  const resources = attributesMatcher(match.match_type, match.resource_attributes);
  return (s) => (!names || names(s.metric.name)) && (!resources || resources(s.resource.attributes));
}

function spanTest(match: SpanMatch): (span: Span) => boolean {
  const services = textMatcher(match.match_type, match.services);
  const names = textMatcher(match.match_type, match.span_names);
  const attributes = attributesMatcher(match.match_type, match.attributes);
  const resources = attributesMatcher(match.match_type, match.resources);
  return (s) =>
    (!names || names(s.name)) &&
    (!services || services(text(s.resource.attributes['service.name']))) &&
    (!attributes || attributes(s.attributes)) &&
    (!resources || resources(s.resource.attributes));
}

function logTest(match: LogMatch): (record: LogRecord) => boolean {
  const type = match.match_type;
  const resources = attributesMatcher(type, match.resource_attributes);
  const attributes = attributesMatcher(type, match.record_attributes);
  const severities = textMatcher(type, match.severity_texts);
  const bodies = textMatcher(type, match.bodies);
  const least = match.severity_number && severityOf(match.severity_number.min);
  const unset = match.severity_number?.match_undefined ?? false;
  return (r) =>
    (!resources || resources(r.resource.attributes)) &&
    (!attributes || attributes(r.attributes)) &&
    (!severities || severities(r.severityText)) &&
    (!bodies || (typeof r.body === 'string' && bodies(r.body))) &&
    (least === undefined || (r.severityNumber === 0 ? unset : r.severityNumber >= least));
}

const text = (value: AnyValue | undefined): string => (typeof value === 'string' ? value : '');
