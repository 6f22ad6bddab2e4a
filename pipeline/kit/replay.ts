/**
 * Turns the lines of recordings back into what flowed: OTLP requests as they are, scrapes through the same table of series
 * that a live scrape uses, events as log records. Shared by the `recording` receiver and the commands that read recordings.
 */
import type { Catalog } from '../../config/catalog.ts';
import {
  type Batch,
  gauge,
  type LogRecord,
  logsBatch,
  metricsBatch,
  nanosFromMs,
  type Resource,
  resource,
  type Scope,
  type Series,
  scope,
} from '../model.ts';
import type { RecordingLine, ScrapeLine } from '../wire/recording.ts';
import { identifyBy } from './engine-receiver.ts';
import { PageRefused, type SeriesTable, seriesTable } from './scrape-series.ts';
import { labelsFromUrl, targetFrom } from './scrape-who.ts';
import { CHANGE_EVENT } from './verdict.ts';

export interface ReplayCounts {
  readonly targets: number;
  readonly samples: number;
  readonly badSamples: number;
}

export interface Replay {
  /** The batches of one line. Throws an Error that says why the line cannot be used. */
  batches(line: RecordingLine): readonly Batch[];
  counts(): ReplayCounts;
}

const SCOPE: Scope = scope('enginelight/receivers/recording');
const UP = gauge('up', '', 'The scraping was successful');
const DURATION = gauge('scrape_duration_seconds', 's', 'Duration of the scrape');
const SAMPLES = gauge('scrape_samples_scraped', '', 'The number of samples the target exposed');
const NO_LIMITS = { samples: 0, labels: 0, labelNameLength: 0, labelValueLength: 0 };
/** Beyond any cluster that one recording is about; a hostile file must not take all memory. */
const MAX_TARGETS = 20_000;

interface ReplayedTarget {
  readonly table: SeriesTable;
  report: { about: Resource; up: Series; duration: Series; samples: Series } | undefined;
}

export function createReplay(catalog: Catalog, job: string): Replay {
  const targets = new Map<string, ReplayedTarget>();
  let samples = 0;
  let badSamples = 0;

  const targetOf = (line: ScrapeLine): ReplayedTarget => {
    const labels = Object.keys(line.labels).sort();
    const key = `${line.url}\n${labels.map((name) => `${name}=${line.labels[name]}`).join('\n')}`;
    const found = targets.get(key);
    if (found) return found;
    if (targets.size >= MAX_TARGETS) throw new Error(`it is the ${MAX_TARGETS + 1}th target; no more are read`);
    const discovered = labelsFromUrl(line.url, line.labels);
    if (typeof discovered === 'string') throw new Error(discovered);
    const target = targetFrom(discovered, {
      job,
      scheme: 'http',
      path: '/metrics',
      params: {},
      relabel: undefined,
      labels: 'resource',
      attributes: {},
    });
    if ('wrong' in target) throw new Error(target.wrong);
    const made: ReplayedTarget = {
      table: seriesTable({
        attributes: target.attributes,
        scope: SCOPE,
        job: target.job,
        instance: target.instance,
        labels: target.labels,
        honorLabels: false,
        honorTimestamps: true,
        metricRelabel: undefined,
        limits: NO_LIMITS,
        identify: (names) => identifyBy(catalog, names),
      }),
      report: undefined,
    };
    targets.set(key, made);
    return made;
  };

  const scrape = (line: ScrapeLine): readonly Batch[] => {
    const target = targetOf(line);
    const time = nanosFromMs(line.timeMs);
    let count = 0;
    let points: Batch['items'][number][] = [];
    let up = 0;
    if (line.body !== undefined && line.error === undefined && (line.status === 0 || line.status === 200)) {
      try {
        const page = target.table.read(Buffer.from(line.body), line.contentType, time);
        points = page.points;
        count = page.samples;
        samples += page.samples;
        badSamples += page.badLines;
        up = 1;
      } catch (error) {
        if (!(error instanceof PageRefused)) throw error;
        points = target.table.miss(time);
      }
    } else points = target.table.miss(time);
    const about = target.table.resource();
    if (target.report?.about !== about) {
      const series = (metric: Series['metric']): Series => ({ resource: about, scope: SCOPE, metric, attributes: {} });
      target.report = { about, up: series(UP), duration: series(DURATION), samples: series(SAMPLES) };
    }
    const { report } = target;
    const own = (series: Series, value: number) => ({ series, time, startTime: 0n, flags: 0, value });
    return [
      metricsBatch([
        ...(points as ReturnType<typeof own>[]),
        own(report.up, up),
        own(report.duration, line.durationMs / 1000),
        own(report.samples, count),
      ]),
    ];
  };

  return {
    batches(line) {
      if (line.kind === 'batch') return line.batches;
      if (line.kind === 'scrape') return scrape(line);
      const time = nanosFromMs(line.timeMs);
      const record: LogRecord = {
        resource: resource({ 'service.name': String(line.attributes['service'] ?? 'unknown_service') }),
        scope: SCOPE,
        time,
        observedTime: time,
        severityNumber: 9,
        severityText: 'INFO',
        body: line.event,
        attributes: { 'change.kind': line.event, ...line.attributes },
        droppedAttributesCount: 0,
        flags: 0,
        traceId: '',
        spanId: '',
        eventName: CHANGE_EVENT,
      };
      return [logsBatch([record])];
    },
    counts: () => ({ targets: targets.size, samples, badSamples }),
  };
}
