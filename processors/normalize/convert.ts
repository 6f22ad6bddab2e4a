/** Values of a source to values of a signal. Everything that depends only on the series is worked out once. */
import type { Mapping, Target } from '../../config/mapping.ts';
import {
  type Exemplar,
  type ExponentialHistogramPoint,
  type HistogramPoint,
  isExponentialHistogramPoint,
  isHistogramPoint,
  isStale,
  isSummaryPoint,
  msFromNanos,
  NO_RECORDED_VALUE,
  type NumberPoint,
  type Point,
  type Series,
  type SummaryPoint,
} from '../../pipeline/model.ts';

/** The last value of a metric that others are worked out with; NaN while it has none. */
export interface Cell {
  value: number;
  uses: number;
}

/** Makes the point of a neutral series. Undefined: there is no value, which is not the same as zero. */
export type Convert = (point: Point, series: Series) => Point | undefined;

export type Shape = 'number' | 'histogram' | 'exponential' | 'summary';

export const shapeOf = (series: Series): Shape => {
  switch (series.metric.type) {
    case 'gauge':
    case 'sum':
      return 'number';
    case 'histogram':
      return 'histogram';
    case 'exponential_histogram':
      return 'exponential';
    case 'summary':
      return 'summary';
  }
};

/** Codes of a source that mean "no value". */
export interface Blank {
  readonly atLeast: number;
  readonly equals: readonly number[];
}

export interface Making {
  readonly mapping: Mapping;
  readonly target: Target;
  readonly shape: Shape;
  readonly blank: Blank | undefined;
  /** A value that the labels hold. */
  readonly fixed: number | undefined;
  /** The bit or state that this series is about. */
  readonly only: { readonly of: 'bits' | 'states'; readonly key: number } | undefined;
  readonly operands: readonly { readonly cell: Cell; readonly optional: boolean }[];
}

const shared = new WeakMap<Mapping, Map<Shape, Convert>>();

/** What makes points of a row; one function for all series of it unless it depends on more than the point. */
export function makeConvert(making: Making): Convert {
  const { mapping, shape, fixed, only, operands } = making;
  if (fixed !== undefined || only || operands.length > 0) return build(making);
  let byShape = shared.get(mapping);
  if (!byShape) {
    byShape = new Map();
    shared.set(mapping, byShape);
  }
  let convert = byShape.get(shape);
  if (!convert) {
    convert = build(making);
    byShape.set(shape, convert);
  }
  return convert;
}

function build(making: Making): Convert {
  const { mapping, target, shape } = making;
  if (shape === 'number') {
    if (mapping.take !== undefined && target.instrument === 'counter' && !mapping.types.includes('counter')) {
      return () => undefined;
    }
    return numberConvert(making);
  }
  if (mapping.take !== undefined) return takeConvert(mapping.take, target.scale);
  if (shape === 'histogram') return histogramConvert(target.scale);
  if (shape === 'summary') return summaryConvert(target.scale);
  // Base-2 buckets cannot be scaled by other factors; a unit that needs it has no neutral form.
  return target.scale === 1 ? (p, series) => ({ ...(p as ExponentialHistogramPoint), series }) : () => undefined;
}

/** The point that ends a series. */
export function stalePoint(series: Series, like: Point): Point {
  const base = { series, time: like.time, startTime: 0n, flags: NO_RECORDED_VALUE };
  switch (series.metric.type) {
    case 'histogram':
      return { ...base, count: 0, bounds: NO_BOUNDS, bucketCounts: NO_BOUNDS };
    case 'exponential_histogram':
      return { ...base, count: 0, scale: 0, zeroCount: 0, zeroThreshold: 0 };
    case 'summary':
      return { ...base, count: 0, sum: 0, quantiles: [] };
    default:
      return { ...base, value: 0 };
  }
}

const NO_BOUNDS = new Float64Array(0);

function numberConvert(making: Making): Convert {
  const { mapping, target } = making;
  if (mapping.combine?.op === 'count') return pairConvert(making);
  const value = workedOut(making);
  if (!value) {
    // The common case: the number as it is.
    return (p, series) => {
      const { value, exemplars, time, startTime, flags } = p as NumberPoint;
      if (Number.isNaN(value)) return undefined;
      return exemplars === undefined
        ? { series, time, startTime, flags, value }
        : { series, time, startTime, flags, value, exemplars };
    };
  }
  return (p, series) => {
    const { exemplars, time, startTime, flags } = p as NumberPoint;
    const v = value(p as NumberPoint);
    if (v === undefined || Number.isNaN(v)) return undefined;
    return exemplars === undefined
      ? { series, time, startTime, flags, value: v }
      : { series, time, startTime, flags, value: v, exemplars: scaledExemplars(exemplars, target.scale) };
  };
}

type Value = (p: NumberPoint) => number | bigint | undefined;

/** How a number is worked out; undefined if it stays as it is. */
function workedOut(making: Making): Value | undefined {
  const { mapping, target, blank, fixed, only, operands } = making;
  const { scale } = target;
  let value: Value | undefined;
  if (fixed !== undefined) return () => (inside(mapping, fixed) ? fixed : undefined);
  if (only?.of === 'bits') value = (p) => (bitSet(p.value, only.key) ? 1 : 0);
  else if (only) value = (p) => (Number(p.value) === only.key ? 1 : 0);
  else if (mapping.epoch) value = (p) => since(msFromNanos(p.time) / 1000 - Number(p.value) * scale);
  else if (mapping.combine) value = combined(mapping.combine.op, operands, scale);
  else if (scale !== 1) value = (p) => Number(p.value) * scale;
  if (blank) {
    const inner = value;
    value = (p) => (isBlank(Number(p.value), blank) ? undefined : inner ? inner(p) : p.value);
  }
  if (mapping.valid.min !== Number.NEGATIVE_INFINITY || mapping.valid.max !== Number.POSITIVE_INFINITY) {
    const inner = value;
    value = (p) => {
      const v = inner ? inner(p) : p.value;
      return v !== undefined && inside(mapping, Number(v)) ? v : undefined;
    };
  }
  return value;
}

/** Two clocks may disagree a little; a start far in the future is not a start. */
const since = (seconds: number): number | undefined => (seconds >= 0 ? seconds : seconds > -60 ? 0 : undefined);

const inside = ({ valid }: Mapping, v: number): boolean => v >= valid.min && v <= valid.max;

const isBlank = (v: number, blank: Blank): boolean => v >= blank.atLeast || blank.equals.includes(v);

/** Masks can have more than 32 bits. */
const bitSet = (value: number | bigint, bit: number): boolean =>
  typeof value === 'bigint' ? (value & BigInt(bit)) !== 0n : Math.floor(value / bit) % 2 === 1;

function combined(op: string, operands: Making['operands'], scale: number): Value {
  return (p) => {
    let v = Number(p.value);
    for (const { cell, optional } of operands) {
      let other = cell.value;
      if (Number.isNaN(other)) {
        if (!optional) return undefined;
        other = 0;
      }
      if (op === 'times') v *= other;
      else if (op === 'over') v = other === 0 ? Number.NaN : v / other;
      else if (op === 'plus') v += other;
      else v -= other;
    }
    return v * scale;
  };
}

/** A sum and the counter of the events it is over: a histogram without buckets. */
function pairConvert({ target, operands }: Making): Convert {
  const cell = operands[0]?.cell;
  return (p, series) => {
    const count = cell?.value ?? Number.NaN;
    const { value, time, startTime, flags } = p as NumberPoint;
    if (!(count >= 0)) return undefined;
    const sum = Number(value) * target.scale;
    return { series, time, startTime, flags, count, sum, bounds: NO_BOUNDS, bucketCounts: NO_BOUNDS };
  };
}

/** The sum or the count of a distribution, as a counter. */
function takeConvert(take: 'sum' | 'count', scale: number): Convert {
  return (p, series) => {
    if (!isHistogramPoint(p) && !isSummaryPoint(p) && !isExponentialHistogramPoint(p)) return undefined;
    const { time, startTime, flags } = p;
    if (take === 'count') return { series, time, startTime, flags, value: Number(p.count) };
    if (p.sum === undefined || Number.isNaN(p.sum)) return undefined;
    return { series, time, startTime, flags, value: p.sum * scale };
  };
}

function histogramConvert(scale: number): Convert {
  if (scale === 1) {
    return (p, series) => {
      const { time, startTime, flags, count, sum, bounds, bucketCounts, min, max, exemplars } = p as HistogramPoint;
      const out = { series, time, startTime, flags, count, bounds, bucketCounts };
      return withExtras(out, sum, min, max, exemplars);
    };
  }
  // Bounds are one array as long as they do not change, and so are the scaled ones.
  const scaled = new WeakMap<Float64Array, Float64Array>();
  return (p, series) => {
    const { time, startTime, flags, count, sum, bounds, bucketCounts, min, max, exemplars } = p as HistogramPoint;
    let here = scaled.get(bounds);
    if (here === undefined) {
      here = bounds.map((b) => times(b, scale));
      scaled.set(bounds, here);
    }
    const out = { series, time, startTime, flags, count, bounds: here, bucketCounts };
    return withExtras(
      out,
      sum === undefined ? undefined : sum * scale,
      min === undefined ? undefined : min * scale,
      max === undefined ? undefined : max * scale,
      exemplars && scaledExemplars(exemplars, scale),
    );
  };
}

/** A bound keeps the digits people chose: 25 ms is 0.025 s, not 0.025000000000000001. */
const times = (bound: number, scale: number): number => Number((bound * scale).toPrecision(15));

function withExtras(
  out: Omit<HistogramPoint, 'sum' | 'min' | 'max' | 'exemplars'>,
  sum: number | undefined,
  min: number | undefined,
  max: number | undefined,
  exemplars: readonly Exemplar[] | undefined,
): HistogramPoint {
  const full = out as { -readonly [K in keyof HistogramPoint]: HistogramPoint[K] };
  if (sum !== undefined) full.sum = sum;
  if (min !== undefined) full.min = min;
  if (max !== undefined) full.max = max;
  if (exemplars !== undefined) full.exemplars = exemplars;
  return full;
}

function summaryConvert(scale: number): Convert {
  return (p, series) => {
    const { time, startTime, flags, count, sum, quantiles } = p as SummaryPoint;
    const out = { series, time, startTime, flags, count, sum: sum * scale };
    if (scale === 1) return { ...out, quantiles };
    return { ...out, quantiles: quantiles.map(({ quantile, value }) => ({ quantile, value: value * scale })) };
  };
}

const scaledExemplars = (exemplars: readonly Exemplar[], scale: number): readonly Exemplar[] =>
  scale === 1 ? exemplars : exemplars.map((e) => ({ ...e, value: Number(e.value) * scale }));

/** The number of a point that others are worked out with; NaN when it has none. */
export const operandValue = (p: Point): number => ('value' in p && !isStale(p) ? Number(p.value) : Number.NaN);
