/**
 * Runs the tests of a rule file against the component that judges rules in the daemon: the series of a test go through it on
 * a clock of their own, and what it says is compared with what the test expects.
 */
import type { Catalog } from '../../../config/catalog-types.ts';
import { resolve } from '../../../config/schema.ts';
import type { SignalInfo } from '../../../config/signals.ts';
import type { Context, ProcessorDefinition } from '../../component.ts';
import {
  type AnyValue,
  type Batch,
  type Metric,
  metricsBatch,
  NO_ATTRIBUTES,
  NO_RECORDED_VALUE,
  nanosFromMs,
  type Point,
  type Resource,
  resource,
  type Series,
  scope,
  Temporality,
} from '../../model.ts';
import { manualClock } from '../clock.ts';
import { memoryLogger } from '../log.ts';
import { type Alert, alertOf } from '../verdict.ts';
import type { LoadedRules } from './files.ts';
import { OWN_METRICS } from './read.ts';
import { type Expectation, type RuleTest, type Sample, type TestSeries, WORDS } from './rule.ts';

export interface TestResult {
  readonly name: string;
  /** One sentence each; empty: passed. */
  readonly failures: readonly string[];
}

/** A Saturday without a meaning, at a whole hour. */
const BASE = Date.UTC(2026, 0, 3, 0, 0, 0);
const SCOPE = scope('rule test');

export interface RunOptions {
  /** The processor that judges rules. */
  readonly alerts: ProcessorDefinition;
  readonly signals: ReadonlyMap<string, SignalInfo>;
  readonly catalog: Catalog;
}

/** Runs all tests of a file that has no mistakes. `path` is where it can be read again. */
export async function runTests(file: LoadedRules, path: string, options: RunOptions): Promise<TestResult[]> {
  const results: TestResult[] = [];
  for (const test of file.tests) results.push({ name: test.name, failures: await runTest(test, path, options) });
  return results;
}

async function runTest(test: RuleTest, path: string, options: RunOptions): Promise<string[]> {
  const { alerts } = options;
  const clock = manualClock(BASE - 1);
  const firing = new Map<string, Alert>();
  const log = memoryLogger();
  const config = resolve(alerts.config, {
    default_rules: false,
    rule_files: [path],
    evaluation_interval: `${Math.min(test.intervalMs, 15_000) / 1000}s`,
  });
  const stage = await alerts.start(
    config,
    { consume: (batch) => take(batch, firing) },
    contextFor(options, clock, log),
  );
  const feeds = seriesOf(test, options.signals);
  const steps = Math.max(0, ...test.expect.map((e) => Math.ceil(e.atMs / test.intervalMs)));
  const due = [...test.expect].sort((a, b) => a.atMs - b.atMs);
  const failures: string[] = [];
  // The clock stays a millisecond behind, so that what happens at a time is there when rules are judged at that time.
  for (let step = 0; step <= steps; step++) {
    const at = BASE + step * test.intervalMs;
    const points = feeds.flatMap((feed) => feed(step, at));
    if (points.length > 0) await stage.consume(metricsBatch(points));
    const until = at + test.intervalMs;
    while (due.length > 0 && BASE + due[0]!.atMs < until) {
      const expected = due.shift()!;
      await clock.moveTo(BASE + expected.atMs);
      failures.push(...compare(expected, firing));
    }
    await clock.moveTo(until - 1);
  }
  await stage.stop();
  for (const record of log.records) if (record.level === 'error') failures.push(record.message);
  return failures;
}

function take(batch: Batch, firing: Map<string, Alert>): void {
  if (batch.signal !== 'logs') return;
  for (const record of batch.items) {
    const alert = alertOf(record);
    if (!alert) continue;
    const key = JSON.stringify(Object.entries(alert.labels).sort());
    if (alert.ends_at === null) firing.set(key, alert);
    else firing.delete(key);
  }
}

const words = (labels: Readonly<Record<string, string>>): string =>
  `{${Object.entries(labels)
    .filter(([k]) => k !== 'alertname')
    .map(([k, v]) => `${k}=${v}`)
    .join(', ')}}`;

/** Every expected alert is one that fires, and no other of the name does. */
function compare(expected: Expectation, firing: ReadonlyMap<string, Alert>): string[] {
  const left = [...firing.values()].filter((a) => a.name === expected.alert);
  const failures: string[] = [];
  const when = `at ${expected.atMs / 1000}s ${expected.alert}`;
  for (const labels of expected.firing) {
    const i = left.findIndex((a) => Object.entries(labels).every(([k, v]) => a.labels[k] === v));
    if (i >= 0) left.splice(i, 1);
    else failures.push(`${when} ${words(labels)} should fire, and does not`);
  }
  for (const a of left) failures.push(`${when} fires for ${words(a.labels)} (value ${a.value}), and should not`);
  return failures;
}

type Feed = (step: number, at: number) => Point[];

function seriesOf(test: RuleTest, signals: ReadonlyMap<string, SignalInfo>): Feed[] {
  const resources = new Map<string, Resource>();
  return test.series.map((one) => {
    const attributes: Record<string, AnyValue> = Object.create(null);
    for (const [word, value] of Object.entries(one.of)) attributes[WORDS[word]?.[0] ?? word] = value;
    const key = JSON.stringify(Object.entries(attributes).sort());
    const about = resources.get(key) ?? resource(attributes);
    resources.set(key, about);
    const series: Series = {
      resource: about,
      scope: SCOPE,
      metric: metricOf(one, signals.get(one.signal)),
      attributes: Object.keys(one.attributes).length === 0 ? NO_ATTRIBUTES : { ...one.attributes },
    };
    return feedOf(one, series);
  });
}

function metricOf(one: TestSeries, info: SignalInfo | undefined): Metric {
  const kind = one.buckets ? 'histogram' : (one.instrument ?? info?.instrument ?? 'gauge');
  const type = kind === 'histogram' ? 'histogram' : kind === 'counter' || kind === 'updowncounter' ? 'sum' : 'gauge';
  return {
    name: one.signal,
    description: '',
    unit: info?.unit ?? OWN_METRICS[one.signal] ?? '1',
    type,
    temporality: type === 'gauge' ? Temporality.UNSPECIFIED : Temporality.CUMULATIVE,
    monotonic: kind === 'counter',
    metadata: NO_ATTRIBUTES,
  };
}

function feedOf(one: TestSeries, series: Series): Feed {
  // Not known, as of most pages: whether a series is new is told by what was heard of its source before.
  const startTime = 0n;
  const stale = (at: number): Point => ({
    series,
    time: nanosFromMs(at),
    startTime,
    flags: NO_RECORDED_VALUE,
    value: 0,
  });
  if (!one.buckets) {
    return (step, at) => {
      const sample = one.values[step];
      if (sample === undefined) return [];
      if (sample === 'stale') return [stale(at)];
      return [{ series, time: nanosFromMs(at), startTime, flags: 0, value: sample }];
    };
  }
  const { buckets } = one;
  const bounds = Float64Array.from(buckets.map((b) => b.bound).filter((b) => Number.isFinite(b)));
  return (step, at) => {
    const samples: Sample[] = buckets.map((b) => b.values[step]);
    if (samples.some((s) => s === undefined)) return [];
    if (samples.some((s) => s === 'stale')) return [stale(at)];
    const bucketCounts = new Float64Array(bounds.length + 1);
    let sum = 0;
    let count = 0;
    buckets.forEach(({ bound }, i) => {
      const n = samples[i] as number;
      const low = i === 0 ? 0 : buckets[i - 1]!.bound;
      bucketCounts[i] = n;
      count += n;
      sum += n * (Number.isFinite(bound) ? (low + bound) / 2 : low);
    });
    return [{ series, time: nanosFromMs(at), startTime, flags: 0, count, sum, bounds, bucketCounts }];
  };
}

function contextFor(options: RunOptions, clock: Context['clock'], log: Context['log']): Context {
  return {
    id: 'alerts',
    kind: 'processor',
    clock,
    log,
    catalog: options.catalog,
    signals: new Set(['metrics', 'logs']),
    status: () => {},
    meter: {
      counter: () => ({ add: () => {} }),
      gauge: () => {},
      dropped: () => {},
      sent: () => {},
      failed: () => {},
    },
  };
}
