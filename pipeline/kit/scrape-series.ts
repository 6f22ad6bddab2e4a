/**
 * The series of one target across its scrapes: bytes of a page in, points out. Objects that stay (series, metrics,
 * bounds, resources) are the same from scrape to scrape; what a page no longer shows ends with a stale point and is
 * forgotten some scrapes later.
 */
import type { Attributes, Point, Resource, Scope, UnixNano } from '../model.ts';
import { formatOf } from '../wire/prometheus/format.ts';
import { type Labels, sortPairs } from '../wire/prometheus/labels.ts';
import { type BadLine, type DuplicateLine, lineTable } from '../wire/prometheus/lines.ts';
import { type FamilyMetadata, readMetadata } from '../wire/prometheus/metadata.ts';
import type { Relabel } from './relabel.ts';
import { families as familyTable } from './scrape-families.ts';
import { attributeRecord, identity, labelOf, mergeLabels } from './scrape-identity.ts';
import { partTable } from './scrape-parts.ts';
import { emit, end, isSeen, type Moment, pieces, type SamplePart, secondsToNanos } from './scrape-points.ts';

/** As in Prometheus: a page that goes beyond one is refused. 0 = no limit. */
export interface SampleLimits {
  readonly samples: number;
  readonly labels: number;
  readonly labelNameLength: number;
  readonly labelValueLength: number;
}

export interface SeriesOptions {
  /** Who the target is; `service.name` and `service.instance.id` are Prometheus' job and instance. */
  readonly attributes: Attributes;
  readonly scope: Scope;
  readonly job: string;
  readonly instance: string;
  /** More labels of the target, which every sample carries. Sorted pairs. */
  readonly labels: Labels;
  readonly honorLabels: boolean;
  readonly honorTimestamps: boolean;
  readonly metricRelabel: Relabel | undefined;
  readonly limits: SampleLimits;
  /** Given the names of a page's metrics when they may have changed: attributes to add to the resource. */
  readonly identify?: ((names: ReadonlySet<string>) => Attributes) | undefined;
}

export interface Page {
  readonly points: Point[];
  readonly samples: number;
  readonly afterRelabel: number;
  readonly added: number;
  readonly duplicates: number;
  readonly firstDuplicate: DuplicateLine | undefined;
  readonly badLines: number;
  readonly firstBad: BadLine | undefined;
}

export interface SeriesTable {
  /** Reads a page. Throws a PageRefused where the whole page must be refused; then call `miss`. */
  read(body: Buffer, contentType: string | undefined, time: UnixNano): Page;
  /** A scrape that failed, or the target is gone: every series that had a value ends. */
  miss(time: UnixNano): Point[];
  /** The resource of the target itself. */
  resource(): Resource;
  /** Series and lines that are remembered. */
  size(): { readonly series: number; readonly lines: number };
}

/** A breach of a limit, or a page that is no exposition. Prometheus' sentence where it has one. */
export class PageRefused extends Error {
  override readonly name = 'PageRefused';
  /** Samples that were read before. */
  readonly samples: number;
  /** What to do about it. */
  readonly hint: string | undefined;
  constructor(message: string, options: { samples?: number; hint?: string } = {}) {
    super(message);
    this.samples = options.samples ?? 0;
    this.hint = options.hint;
  }
}

/** How many scrapes a series that vanished is remembered. */
const REMEMBERED = 4;
const MAX_INTERNED = 50_000;

export function seriesTable(options: SeriesOptions): SeriesTable {
  const { limits, metricRelabel } = options;
  const targetLabels = sortPairs([...options.labels, 'job', options.job, 'instance', options.instance]);
  const who = identity(options.attributes, options.scope);
  const intern = interner();
  const lines = lineTable<SamplePart>(intern);
  const parts = partTable();
  const families = familyTable(who, parts.find);
  const newPieces = pieces();
  let pending: SamplePart[] = [];
  let metadata: ReadonlyMap<string, FamilyMetadata> = new Map();
  let metadataStale = true;
  let badComments: readonly BadLine[] = [];
  let processStart: SamplePart | undefined;
  let targetInfo: SamplePart | undefined;
  let lastGood: UnixNano = 0n;

  const needsMerging =
    metricRelabel !== undefined ||
    options.labels.length > 0 ||
    limits.labels + limits.labelNameLength + limits.labelValueLength > 0;
  const clashes = (labels: Labels) => labelOf(labels, 'job') !== undefined || labelOf(labels, 'instance') !== undefined;

  /** A line never seen before: merges, relabels, checks and finds its series. */
  const partOf = (exposedName: string, exposed: Labels): SamplePart | undefined => {
    let name = exposedName;
    let labels = exposed;
    // Nearly every line: nothing of it is anybody else's business.
    if (needsMerging || clashes(exposed)) {
      labels = mergeLabels(exposed, targetLabels, options.honorLabels);
      if (metricRelabel) {
        const map = new Map<string, string>([['__name__', name]]);
        for (let i = 0; i < labels.length; i += 2) map.set(labels[i]!, labels[i + 1]!);
        if (!metricRelabel(map)) return undefined;
        name = intern(map.get('__name__') ?? '');
        if (name === '') throw new PageRefused(`metric_relabel_configs left ${exposedName} without a name`);
        map.delete('__name__');
        labels = sortPairs([...map].flatMap(([label, value]) => [intern(label), intern(value)]));
      }
      checkLimits(name, labels, limits);
      labels = labels.filter((_, i) => {
        const label = labels[i & ~1];
        return !(
          (label === 'job' && labels[i | 1] === options.job) ||
          (label === 'instance' && labels[i | 1] === options.instance)
        );
      });
    }
    let part = parts.find(name, labels);
    if (!part) {
      part = parts.add(exposedName, name, labels);
      pending.push(part);
    }
    return part;
  };

  const attach = (part: SamplePart) => {
    const ofOthers = labelOf(part.labels, 'job') !== undefined || labelOf(part.labels, 'instance') !== undefined;
    if (part.exposedName === 'target_info' && !ofOthers) targetInfo = part;
    else {
      families.attach(part, metadata);
      // Only of the target itself: others' start times come with labels.
      if (part.name === 'process_start_time_seconds' && part.labels.length === options.labels.length) {
        processStart = part;
      }
    }
  };

  /** Who the page says it is, by its target_info and its names. */
  const describe = (generation: number) => {
    const more: Record<string, Attributes[string]> = attributeRecord();
    if (targetInfo?.generation === generation) {
      const { labels } = targetInfo;
      for (let i = 0; i < labels.length; i += 2) {
        if (labelOf(options.labels, labels[i]!) === undefined) more[labels[i]!] = labels[i + 1]!;
      }
    }
    if (options.identify) {
      const names = new Set<string>();
      for (const family of families.all()) {
        if (family.slots.some((slot) => isSeen(slot, generation))) names.add(family.metric.name);
      }
      Object.assign(more, options.identify(names));
    }
    who.extend(more);
    families.refresh(generation);
  };

  const sweep = (generation: number) => {
    const before = generation - REMEMBERED;
    lines.evict(before);
    families.evict(before);
    parts.evict(before);
    pending = pending.filter(parts.has);
    if (processStart && processStart.generation < before) processStart = undefined;
    if (targetInfo && targetInfo.generation < before) targetInfo = undefined;
  };

  const read = (body: Buffer, contentType: string | undefined, time: UnixNano): Page => {
    const format = formatOf(contentType, body);
    if (typeof format === 'object') throw new PageRefused(format.wrong);
    const limit = limits.samples === 0 ? Number.POSITIVE_INFINITY : limits.samples;
    const scan = lines.scan(body, format, partOf, limit);
    metadataStale ||= scan.commentsChanged;
    if (scan.limited) {
      const samples = scan.samples - scan.dropped;
      throw new PageRefused(`sample limit exceeded (samples: ${samples}, limit: ${limit})`, {
        samples,
        hint: 'Raise sample_limit, or drop what is not wanted with metric_relabel_configs.',
      });
    }
    if (scan.samples === 0 && scan.firstBad) {
      const { line, text, wrong } = scan.firstBad;
      throw new PageRefused(`no line is a sample; line ${line} is ${JSON.stringify(text)}: ${wrong}`);
    }
    const generation = lines.generation();

    let unattached: Iterable<SamplePart> = pending;
    if (metadataStale) {
      metadataStale = false;
      const next = readMetadata(body);
      badComments = next.bad;
      if (!sameMetadata(metadata, next.families)) {
        metadata = next.families;
        unattached = parts.all();
      }
    }
    for (const part of unattached) attach(part);
    pending = [];
    if (scan.added > 0) describe(generation);

    let badLines = scan.badLines + badComments.length;
    let firstBad = scan.firstBad ?? badComments[0];
    const malformed = (name: string, wrong: string) => {
      badLines++;
      firstBad ??= { line: 0, text: name, wrong };
    };
    for (const [part, wrong] of families.orphans()) if (part.generation === generation) malformed(part.name, wrong);
    const moment: Moment = {
      generation,
      time,
      processStart: processStart?.generation === generation ? secondsToNanos(processStart.value) : 0n,
      before: lastGood,
      honorTimestamps: options.honorTimestamps,
      tails: scan.tails > 0,
      malformed: (slot, wrong) => malformed(slot.family.metric.name, wrong),
      zeros: newPieces(),
    };
    const points: Point[] = [];
    for (const family of families.all()) emit(family, moment, points);
    lastGood = time;
    if (generation % 16 === 0 || parts.size() > 2 * scan.samples + 1000) sweep(generation);
    return {
      points,
      samples: scan.samples,
      afterRelabel: scan.samples - scan.dropped,
      added: scan.added,
      duplicates: scan.duplicates,
      firstDuplicate: scan.firstDuplicate,
      badLines,
      firstBad,
    };
  };

  return {
    read,
    miss(time) {
      const points: Point[] = [];
      for (const family of families.all()) for (const slot of family.slots) if (slot.live) end(slot, time, points);
      const generation = lines.skip();
      if (generation % 16 === 0) sweep(generation);
      return points;
    },
    resource: who.target,
    size: () => ({ series: parts.size(), lines: lines.size() }),
  };
}

/** Equal strings become one; a slice would keep its whole line alive. */
function interner(): (s: string) => string {
  const strings = new Map<string, string>();
  return (s) => {
    const known = strings.get(s);
    if (known !== undefined) return known;
    const own = Buffer.from(s, 'utf8').toString('utf8');
    if (strings.size >= MAX_INTERNED) strings.clear();
    strings.set(own, own);
    return own;
  };
}

function checkLimits(name: string, labels: Labels, limits: SampleLimits): void {
  const metric = name.slice(0, 50);
  const number = labels.length / 2 + 1;
  if (limits.labels > 0 && number > limits.labels) {
    throw new PageRefused(
      `label_limit exceeded (metric: ${metric}, number of labels: ${number}, limit: ${limits.labels})`,
    );
  }
  if (limits.labelNameLength === 0 && limits.labelValueLength === 0) return;
  const pairs = ['__name__', name, ...labels];
  for (let i = 0; i < pairs.length; i += 2) {
    const label = pairs[i]!;
    const value = pairs[i + 1]!;
    const about = `metric: ${metric}, label name: ${label.slice(0, 50)}`;
    if (limits.labelNameLength > 0 && label.length > limits.labelNameLength) {
      throw new PageRefused(
        `label_name_length_limit exceeded (${about}, length: ${label.length}, limit: ${limits.labelNameLength})`,
      );
    }
    if (limits.labelValueLength > 0 && value.length > limits.labelValueLength) {
      throw new PageRefused(
        `label_value_length_limit exceeded (${about}, value: ${JSON.stringify(value.slice(0, 50))}, length: ${value.length}, limit: ${limits.labelValueLength})`,
      );
    }
  }
}

function sameMetadata(a: ReadonlyMap<string, FamilyMetadata>, b: ReadonlyMap<string, FamilyMetadata>): boolean {
  if (a.size !== b.size) return false;
  for (const [name, x] of a) {
    const y = b.get(name);
    if (!y || x.type !== y.type || x.help !== y.help || x.unit !== y.unit) return false;
  }
  return true;
}
