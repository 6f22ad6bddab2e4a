/** One target's life: scraped on its beat, its series kept, its failures said once and counted. */
import { hostname } from 'node:os';
import { Secret } from '../../config/schema.ts';
import type { Consumer, Context } from '../component.ts';
import { describeError, reasonOf } from '../errors.ts';
import {
  type Attributes,
  gauge,
  type Metric,
  metricsBatch,
  nanosFromMs,
  type Point,
  type Resource,
  type Scope,
  type UnixNano,
} from '../model.ts';
import { ACCEPT } from '../wire/prometheus/format.ts';
import { bodies } from './bodies.ts';
import type { ClientOptions } from './client-options.ts';
import { type Every, runEvery, type Tick } from './every.ts';
import { type GetAnswer, GetFailure, type Getter, getter } from './get.ts';
import type { Logger } from './log.ts';
import type { Relabel } from './relabel.ts';
import { attributeRecord } from './scrape-identity.ts';
import { stalePoint } from './scrape-points.ts';
import { type Page, PageRefused, type SampleLimits, seriesTable } from './scrape-series.ts';
import type { Target } from './scrape-who.ts';

export interface TargetOptions {
  readonly scope: Scope;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Share of the target's time that scraping may take; 0: the interval stays as it is. */
  readonly maxLoad: number;
  readonly gzip: boolean;
  /** Of the body, uncompressed. */
  readonly maxBytes: number;
  readonly limits: SampleLimits;
  readonly honorLabels: boolean;
  readonly honorTimestamps: boolean;
  readonly metricRelabel: Relabel | undefined;
  readonly client: Partial<ClientOptions>;
  /** Says which paths may be asked for, given the configured one. */
  readonly allow: (path: string, configured: string) => boolean;
  /** What the names on a page add to the resource. */
  readonly identify?: ((names: ReadonlySet<string>) => Attributes) | undefined;
  /** Turns an answer that is no exposition into one; undefined where it is one. */
  readonly translate?: ((body: Buffer) => Buffer | undefined) | undefined;
  /** The path to scrape, found out by asking; asked again after the target failed. Absent: the target's own. */
  readonly findPath?: ((target: Target, client: Getter, signal: AbortSignal) => Promise<string>) | undefined;
}

export interface ScrapedTarget {
  readonly target: Target;
  /** Why the latest scrape failed; undefined when it did not, null before the first. */
  failure(): string | null | undefined;
  /** Stops; `gone` ends its series, because the target is no longer one. */
  stop(gone: boolean, deadline?: AbortSignal): Promise<void>;
}

// Without a unit where Prometheus and the Collector give none: with `1` a gauge would be shown as `up_ratio`.
const REPORT: readonly Metric[] = [
  gauge('up', '', 'The scraping was successful'),
  gauge('scrape_duration_seconds', 's', 'Duration of the scrape'),
  gauge('scrape_samples_scraped', '', 'The number of samples the target exposed'),
  gauge(
    'scrape_samples_post_metric_relabeling',
    '',
    'The number of samples remaining after metric relabeling was applied',
  ),
  gauge('scrape_series_added', '', 'The approximate number of new series in this scrape'),
];

/** Of all targets together: they are seldom read at the same time. */
const memory = bodies();

/** Starts scraping; `changed` is called when the target begins or ceases to fail. */
export function scrapeTarget(
  target: Target,
  options: TargetOptions,
  next: Consumer,
  context: Context,
  changed: () => void,
): ScrapedTarget {
  const { clock, meter } = context;
  const log = context.log.with({ target: target.url });
  const failures = meter.counter('receiver_scrape_failures', 'Scrapes that failed, by reason.');
  const scrapes = meter.counter('receiver_scrapes', 'Scrapes that were tried.');
  const scrapeSeconds = meter.counter(
    'receiver_scrape_duration_seconds',
    'Time that scrapes took, from asking to the last point read; divided by the scrapes, their mean.',
    's',
  );
  const client = getter({
    origin: target.origin,
    allow: (path) => options.allow(path, target.path),
    client: withUser(options.client, target),
    clock,
    log,
  });
  const table = seriesTable({
    attributes: target.attributes,
    scope: options.scope,
    job: target.job,
    instance: target.instance,
    labels: target.labels,
    honorLabels: options.honorLabels,
    honorTimestamps: options.honorTimestamps,
    metricRelabel: options.metricRelabel,
    limits: options.limits,
    identify: options.identify,
  });
  const report = reporter(options.scope, target);
  const remark = remarks(log);
  let failure: string | null | undefined = null;
  let path: string | undefined;

  const ask = async (tick: Tick): Promise<GetAnswer> => {
    path ??= options.findPath ? await options.findPath(target, client, tick.signal) : `${target.path}${target.query}`;
    return client.get({
      path,
      timeoutMs: options.timeoutMs,
      maxBytes: options.maxBytes,
      gzip: options.gzip,
      headers: { accept: ACCEPT, 'x-prometheus-scrape-timeout-seconds': String(options.timeoutMs / 1000) },
      signal: tick.signal,
      memory: memory.take,
    });
  };

  const fail = (error: unknown) => {
    const reason = error instanceof GetFailure ? error.reason : error instanceof PageRefused ? 'refused_page' : 'bug';
    failures.add(1, { reason });
    const message = describeError(error);
    // One message per kind of failure, not per scrape; the counter and `up` tell the rest.
    if (failure !== message) {
      log.warn('Failed to scrape Prometheus endpoint.', {
        error: message,
        reason,
        hint: hintFor(error, options),
        ...(reason === 'bug' && error instanceof Error ? { stack: error.stack } : {}),
      });
      failure = message;
      changed();
    }
    if (options.findPath) path = undefined;
  };

  const succeed = (page: Page) => {
    if (page.duplicates > 0) meter.dropped('metrics', page.duplicates, 'duplicate');
    if (page.badLines > 0) meter.dropped('metrics', page.badLines, 'bad_line');
    remark(page);
    if (failure === undefined) return;
    if (failure !== null) log.info('The target can be scraped again.');
    failure = undefined;
    changed();
  };

  const scrape = async (tick: Tick): Promise<number | undefined> => {
    const time = nanosFromMs(tick.time);
    const started = clock.monotonic();
    scrapes.add(1);
    let page: Page | undefined;
    let cost: number | undefined;
    let samples = 0;
    let points: Point[];
    try {
      const answer = await ask(tick);
      cost = answer.durationMs;
      const translated = options.translate?.(answer.body);
      try {
        page = table.read(translated ?? answer.body, translated ? 'text/plain' : answer.contentType, time);
      } finally {
        memory.give(answer.body);
      }
      points = page.points;
      succeed(page);
    } catch (error) {
      if (error instanceof GetFailure && error.reason === 'stopped') return undefined;
      if (error instanceof PageRefused) {
        samples = error.samples;
        if (samples > 0) meter.dropped('metrics', samples, 'limit');
      }
      fail(error);
      points = table.miss(time);
    }
    const seconds = (clock.monotonic() - started) / 1000;
    scrapeSeconds.add(seconds);
    const resource = table.resource();
    const values = page ? [1, seconds, page.samples, page.afterRelabel, page.added] : [0, seconds, samples, samples, 0];
    for (let i = 0; i < REPORT.length; i++) points.push(report(resource, i, time, values[i]!));
    await handOn(points);
    return cost;
  };

  const handOn = async (points: Point[]): Promise<void> => {
    if (points.length === 0) return;
    try {
      await next.consume(metricsBatch(points));
    } catch (error) {
      // A sample cannot be asked for again: its time has passed.
      meter.dropped('metrics', points.length, reasonOf(error));
      log.warn('What was scraped was not accepted and is lost.', { points: points.length, error });
    }
  };

  const every: Every = runEvery({
    clock,
    log,
    intervalMs: options.intervalMs,
    key: `${hostname()} ${target.key}`,
    maxLoad: options.maxLoad,
    onInterval: (intervalMs, costMs) =>
      log.info("Scraping at another interval, so that it takes no more of the target's time than max_scrape_load.", {
        interval_ms: intervalMs,
        configured_ms: options.intervalMs,
        scrape_ms: Math.round(costMs * 10) / 10,
        max_scrape_load: options.maxLoad,
      }),
    run: scrape,
  });

  return {
    target,
    failure: () => failure,
    async stop(gone, deadline) {
      await every.stop(deadline);
      client.close();
      if (!gone) return;
      const time = nanosFromMs(clock.now());
      const points = table.miss(time);
      if (failure !== null) {
        const resource = table.resource();
        for (let i = 0; i < REPORT.length; i++) points.push(stalePoint(report(resource, i, time, 0).series, time));
      }
      await handOn(points);
    },
  };
}

/** Says what lines a page lost: once, and again only when it is another trouble or came back. */
function remarks(log: Logger): (page: Page) => void {
  let bad = '';
  let duplicate = '';
  // Values change with every scrape; the name in front of them says whether it is the same line.
  const nameIn = (text: string) => /^\s*[^\s{]*/.exec(text)![0];
  return ({ badLines, firstBad, duplicates, firstDuplicate }) => {
    const { line = 0, text = '', wrong = '' } = firstBad ?? {};
    const badNow = firstBad ? `${wrong} ${nameIn(text)}` : '';
    if (badNow !== '' && badNow !== bad) {
      log.warn('Some lines cannot be read; the others were taken.', {
        bad_lines: badLines,
        ...(line > 0 ? { line } : {}),
        text,
        error: wrong,
      });
    }
    bad = badNow;
    const duplicateNow = firstDuplicate ? nameIn(firstDuplicate.text) : '';
    if (firstDuplicate && duplicateNow !== duplicate) {
      log.warn('Some series are on the page more than once; the first sample of each was taken.', {
        duplicates,
        line: firstDuplicate.line,
        text: firstDuplicate.text,
      });
    }
    duplicate = duplicateNow;
  };
}

/** The target's own series, kept as long as its resource stays the same. */
function reporter(scope: Scope, target: Target) {
  let about: Resource | undefined;
  let series: Point['series'][] = [];
  const attributes = attributeRecord();
  for (let i = 0; i < target.labels.length; i += 2) attributes[target.labels[i]!] = target.labels[i + 1]!;
  return (resource: Resource, index: number, time: UnixNano, value: number) => {
    if (about !== resource) {
      about = resource;
      series = REPORT.map((metric) => ({ resource, scope, metric, attributes }));
    }
    return { series: series[index]!, time, startTime: 0n, flags: 0, value };
  };
}

function withUser(client: Partial<ClientOptions>, target: Target): Partial<ClientOptions> {
  const user = target.userInfo;
  if (!user || client.basic_auth || client.authorization) return client;
  return { ...client, basic_auth: { username: user.username, password: new Secret(user.password) } };
}

function hintFor(error: unknown, options: TargetOptions): string | undefined {
  if (error instanceof PageRefused) return error.hint;
  if (!(error instanceof GetFailure)) return undefined;
  switch (error.reason) {
    case 'refused':
      return 'Is the engine running, and does it listen on this address?';
    case 'timeout':
      return `Raise timeout (now ${options.timeoutMs} ms), or look at why the target is slow.`;
    case 'too_large':
      return `Raise body_size_limit (now ${options.maxBytes} bytes).`;
    case 'tls':
      return 'Check tls: ca_file for the authority that signed its certificate, server_name_override for its name.';
    case 'status':
      if (error.status === 401 || error.status === 403) return 'Set authorization or basic_auth.';
      if (error.status === 404) return 'Is this the metrics path, and are metrics switched on in the engine?';
      return undefined;
    case 'forbidden':
      return 'Engines change state on some paths, so only those that show metrics are asked for.';
    default:
      return undefined;
  }
}
