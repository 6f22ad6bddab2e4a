import { describe, expect, it } from 'vitest';
import { createHistory, type History } from '../../../pipeline/kit/report-series.ts';
import {
  gauge,
  type Metric,
  metricsBatch,
  NO_ATTRIBUTES,
  nanosFromMs,
  type Point,
  resource,
  type Series,
  scope,
  sum,
} from '../../../pipeline/model.ts';

const T = 1_700_000_000_000;
const about = resource({ 'service.instance.id': 'r1', 'host.name': 'n1' });
const series = (metric: Metric, attributes = {}): Series => ({
  resource: about,
  scope: scope('t'),
  metric,
  attributes,
});
const at = (s: Series, seconds: number, value: number): Point => ({
  series: s,
  time: nanosFromMs(T + seconds * 1000),
  startTime: 0n,
  flags: 0,
  value,
});
const values = (history: History, signal: string) => [...(history.lines(signal)[0]?.values() ?? [])];
const open = (over = {}) => createHistory({ full: 'grow', stepMs: 10_000, buckets: 4, ...over });

describe('history of signals', () => {
  it('is the mean of a gauge', () => {
    const history = open();
    const s = series(gauge('inference.kv.usage', '1'));
    history.add(metricsBatch([at(s, 0, 0.2), at(s, 5, 0.4), at(s, 20, 0.8)]));
    expect(values(history, 'inference.kv.usage').map((v) => Math.round(v * 10) / 10)).toEqual([0.3, Number.NaN, 0.8]);
  });

  it('is the rate of a counter, also over a restart', () => {
    const history = open();
    const s = series(sum('inference.tokens.generated', '{token}'));
    history.add(metricsBatch([at(s, 0, 100), at(s, 5, 150), at(s, 10, 10), at(s, 15, 60)]));
    expect(values(history, 'inference.tokens.generated')).toEqual([10, 6]);
  });

  it('is the mean per observation of a histogram', () => {
    const history = open();
    const metric: Metric = { ...gauge('gen_ai.server.request.duration', 's'), type: 'histogram', temporality: 2 };
    const s = series(metric);
    const histogram = (seconds: number, count: number, total: number): Point => ({
      series: s,
      time: nanosFromMs(T + seconds * 1000),
      startTime: 0n,
      flags: 0,
      count,
      sum: total,
      bounds: new Float64Array(),
      bucketCounts: new Float64Array([count]),
    });
    history.add(metricsBatch([histogram(0, 10, 10), histogram(5, 12, 16), histogram(15, 12, 16)]));
    expect(values(history, 'gen_ai.server.request.duration')).toEqual([3]);
  });

  it('gets coarser, not shorter, when a recording is long', () => {
    const history = open();
    const s = series(gauge('hw.power', 'W'));
    for (let i = 0; i < 160; i += 10) history.add(metricsBatch([at(s, i, i)]));
    expect(history.span()).toEqual({ startMs: T, stepMs: 40_000, count: 4 });
    expect(values(history, 'hw.power')).toEqual([15, 55, 95, 135]);
  });

  it('forgets the oldest in a daemon', () => {
    const history = open({ full: 'slide' });
    const s = series(gauge('hw.power', 'W'));
    for (let i = 0; i < 60; i += 10) history.add(metricsBatch([at(s, i, i)]));
    expect(values(history, 'hw.power')).toEqual([20, 30, 40, 50]);
    expect(history.span().startMs).toBe(T + 20_000);
  });

  it('goes on in the same line when a processor renames the resource', () => {
    const history = open();
    const metric = gauge('hw.power', 'W');
    const more = resource({ ...about.attributes, 'inference.role': 'decode' });
    history.add(metricsBatch([at(series(metric), 0, 1)]));
    history.add(metricsBatch([at({ ...series(metric), resource: more }, 10, 2)]));
    expect(values(history, 'hw.power')).toEqual([1, 2]);
  });

  it('keeps neutral names only, no CPU by CPU, and never more than its limit', () => {
    const history = open({ lines: 1 });
    history.add(
      metricsBatch([
        at(series(gauge('vendor:thing', '1')), 0, 1),
        at(series(sum('system.cpu.time', 's'), { 'cpu.logical_number': 3 }), 0, 1),
        at(series(gauge('hw.power', 'W')), 0, 1),
        at(series(gauge('hw.temperature', 'Cel')), 0, 1),
      ]),
    );
    expect(
      ['vendor:thing', 'system.cpu.time', 'hw.power', 'hw.temperature'].map((n) => history.lines(n).length),
    ).toEqual([0, 0, 1, 0]);
  });

  it('a time far in the future does not wipe out what a recording showed', () => {
    const history = open();
    const s = series(gauge('hw.power', 'W'));
    history.add(metricsBatch([at(s, 0, 1), at(s, 10, 2), at(s, 4e9, 3)]));
    expect(values(history, 'hw.power')).toEqual([1, 2]);
  });

  it('NO_ATTRIBUTES and empty batches are fine', () => {
    const history = open();
    history.add(metricsBatch([]));
    history.add(metricsBatch([at(series(gauge('hw.power', 'W'), NO_ATTRIBUTES), 0, 1)]));
    expect(history.span().count).toBe(1);
  });
});
