/** Neutral series and who gives them: of several series that would come out the same, one does. */
import type { Target } from '../../config/mapping.ts';
import type { SignalInfo } from '../../config/signals.ts';
import {
  type Attributes,
  type Metric,
  NO_ATTRIBUTES,
  type Point,
  type Resource,
  type Scope,
  type Series,
  scope,
  Temporality,
} from '../../pipeline/model.ts';
import type { Convert } from './convert.ts';

/** Of every neutral series that is made here; one that comes in with it was made by a daemon before this one. */
export const SCOPE: Scope = scope('enginelight/normalize');

/** The points of one neutral resource in the batch at hand, and its series. */
export interface Bucket {
  readonly key: string;
  readonly resource: Resource;
  points: Point[];
  /** By the metric's number and the attributes. */
  readonly claims: Map<string, Claim>;
}

/** A neutral series and the plans that could give it; one does. */
export interface Claim {
  readonly key: string;
  readonly bucket: Bucket;
  readonly series: Series;
  owner: Output | undefined;
  /** The contenders that do not own it; most series have none. */
  others: Output[] | undefined;
}

export interface Output {
  readonly claim: Claim;
  readonly convert: Convert;
  /** The lowest of the contenders owns the series. */
  readonly order: number;
  /** Needs values of other metrics of the page, so it is worked out after all of them were seen. */
  readonly late: 'no' | 'combine' | 'newest';
}

const metrics = new Map<string, { readonly metric: Metric; readonly number: string }>();

/** The metric of a signal in one form, one object for all targets, and a short text that stands for it. */
export function metricOf(signal: SignalInfo, target: Target, temporality: number): { metric: Metric; number: string } {
  const key = `${signal.name}|${target.instrument}|${target.unit}|${temporality}`;
  let known = metrics.get(key);
  if (!known) {
    const { instrument, unit } = target;
    const sum = instrument === 'counter' || instrument === 'updowncounter';
    const metric: Metric = {
      name: signal.name,
      description: signal.meaning,
      unit,
      type: sum ? 'sum' : (instrument as 'gauge' | 'histogram' | 'summary'),
      temporality: instrument === 'gauge' || instrument === 'summary' ? Temporality.UNSPECIFIED : temporality,
      monotonic: instrument === 'counter',
      metadata: NO_ATTRIBUTES,
    };
    known = { metric, number: String(metrics.size) };
    metrics.set(key, known);
  }
  return known;
}

/** The neutral series of a metric and attributes in a bucket; the same object as long as somebody gives it. */
export function claimOf(
  bucket: Bucket,
  { metric, number }: ReturnType<typeof metricOf>,
  attributes: Attributes,
): Claim {
  const key = number + keyOf(attributes);
  let claim = bucket.claims.get(key);
  if (!claim) {
    const series = { resource: bucket.resource, scope: SCOPE, metric, attributes };
    claim = { key, bucket, series, owner: undefined, others: undefined };
    bucket.claims.set(key, claim);
  }
  return claim;
}

/** Lets an output contend for a series. */
export function contend(claim: Claim, output: Output): void {
  const { owner } = claim;
  if (!owner) {
    claim.owner = output;
    return;
  }
  const lower = output.order < owner.order;
  if (lower) claim.owner = output;
  claim.others = [...(claim.others ?? []), lower ? owner : output];
}

/** Takes back what an output claimed; true if nobody gives the series any more. */
export function withdraw(output: Output): boolean {
  const { claim } = output;
  if (claim.owner !== output) {
    claim.others = claim.others?.filter((o) => o !== output);
    return claim.owner === undefined;
  }
  let next: Output | undefined;
  for (const other of claim.others ?? []) if (!next || other.order < next.order) next = other;
  claim.owner = next;
  claim.others = claim.others?.filter((o) => o !== next);
  return next === undefined;
}

/** The text that a set of attributes is known by; order does not matter. */
export function keyOf(attributes: Attributes): string {
  let key = '';
  for (const name of Object.keys(attributes).sort()) {
    const value = attributes[name]!;
    const shown = typeof value === 'object' ? JSON.stringify(value) : String(value);
    key += `${name}\u0001${typeof value}${shown}\u0000`;
  }
  return key;
}
