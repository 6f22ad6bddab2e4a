/**
 * Looks a protobuf request over without making anything of it: whether it is well-formed, all the way down, and how many
 * items it has. What only passes through needs no more.
 */
import type { Signal } from '../../model.ts';
import type { Reader } from '../protobuf/reader.ts';
import { MAX_DEPTH } from './decode-common.ts';

/** What is checked of a field that has this tag: a message, an id of so many bytes, or a packed list. */
type Check = MessageCheck | 'id8' | 'id16' | 'packed64' | 'packedVarint';

interface MessageCheck {
  readonly fields: (Check | undefined)[];
  /** An item: it is counted. */
  readonly item: boolean;
  readonly kind: 'plain' | 'any' | 'keyValue' | 'metric' | 'histogram';
}

const message = (kind: MessageCheck['kind'] = 'plain', item = false): MessageCheck => ({ fields: [], item, kind });

/** Sets checks by field number; all of these are length-delimited. */
function fields(target: MessageCheck, checks: Readonly<Record<number, Check>>): MessageCheck {
  for (const [number, check] of Object.entries(checks)) target.fields[(Number(number) << 3) | 2] = check;
  return target;
}

const any = message('any');
const keyValue = fields(message('keyValue'), { 2: any });
fields(any, { 5: fields(message(), { 1: any }), 6: fields(message(), { 1: keyValue }) });
const resource = fields(message(), { 1: keyValue, 3: message() });
const scope = fields(message(), { 3: keyValue });
const request = (item: MessageCheck) =>
  fields(message(), { 1: fields(message(), { 1: resource, 2: fields(message(), { 1: scope, 2: item }) }) });

const exemplar = fields(message(), { 4: 'id8', 5: 'id16', 7: keyValue });
const numberPoint = fields(message('plain', true), { 5: exemplar, 7: keyValue });
const histogramPoint = fields(message('histogram', true), { 6: 'packed64', 7: 'packed64', 8: exemplar, 9: keyValue });
const buckets = fields(message(), { 2: 'packedVarint' });
const exponentialPoint = fields(message('plain', true), { 1: keyValue, 8: buckets, 9: buckets, 11: exemplar });
const summaryPoint = fields(message('plain', true), { 6: message(), 7: keyValue });
const data = (point: MessageCheck) => fields(message(), { 1: point });
const metric = fields(message('metric'), {
  5: data(numberPoint),
  7: data(numberPoint),
  9: data(histogramPoint),
  10: data(exponentialPoint),
  11: data(summaryPoint),
  12: keyValue,
});

const event = fields(message(), { 3: keyValue });
const link = fields(message(), { 1: 'id16', 2: 'id8', 4: keyValue });
const span = fields(message('plain', true), {
  1: 'id16',
  2: 'id8',
  4: 'id8',
  9: keyValue,
  11: event,
  13: link,
  15: message(),
});
const logRecord = fields(message('plain', true), { 5: any, 6: keyValue, 9: 'id16', 10: 'id8' });

const REQUESTS: Readonly<Record<Signal, MessageCheck>> = {
  metrics: request(metric),
  traces: request(span),
  logs: request(logRecord),
};

/** Tags of a metric's data, of which a metric can have one kind only. */
const isData = (tag: number) => tag === 0x2a || tag === 0x3a || tag === 0x4a || tag === 0x52 || tag === 0x5a;

/**
 * The number of items; throws a ProtobufError if the request is malformed. Undefined if it is well-formed but holds
 * something that has to be looked at closely (a histogram that does not fit together, a metric of two kinds).
 */
export function inspectRequest(signal: Signal, r: Reader): number | undefined {
  const state = { items: 0, odd: false };
  walk(r, r.buffer.length, REQUESTS[signal], 0, state);
  r.at = 0;
  return state.odd ? undefined : state.items;
}

/** Whether a KeyValue is exactly a short key and a short string, as nearly all are: then there is nothing to check in it. */
function isTextAttribute(r: Reader, stop: number): boolean {
  const { at, buffer } = r;
  if (stop - at < 6 || buffer[at] !== 0x0a) return false;
  const value = at + 2 + buffer[at + 1]!;
  if (buffer[at + 1]! >= 0x80 || value + 4 > stop || buffer[value] !== 0x12) return false;
  const length = buffer[value + 1]!;
  return length < 0x80 && value + 2 + length === stop && buffer[value + 2] === 0x0a && buffer[value + 3] === length - 2;
}

function walk(
  r: Reader,
  end: number,
  check: MessageCheck,
  depth: number,
  state: { items: number; odd: boolean },
): void {
  if (check.item) state.items++;
  const { fields, kind } = check;
  let dataTag = 0;
  let bounds = 0;
  let counts = 0;
  while (r.at < end) {
    const tag = r.tag(end);
    const inner = fields[tag];
    if (inner === undefined) {
      // Unpacked elements of a histogram's lists.
      if (kind === 'histogram' && (tag === 0x31 || tag === 0x39)) tag === 0x31 ? counts++ : bounds++;
      r.skip(tag, end);
      continue;
    }
    if (typeof inner === 'object') {
      const stop = r.enter(end);
      if (inner === keyValue && isTextAttribute(r, stop)) {
        r.at = stop;
        continue;
      }
      if (inner === any) {
        if (depth > MAX_DEPTH) r.fail(`values are nested more than ${MAX_DEPTH} deep`);
        // Nearly every value is a string that fills its AnyValue.
        const { at, buffer } = r;
        if (stop - at >= 2 && buffer[at] === 0x0a && buffer[at + 1] === stop - at - 2) r.at = stop;
        else walk(r, stop, inner, depth + 1, state);
        continue;
      }
      if (kind === 'metric' && isData(tag)) {
        if (dataTag !== 0 && dataTag !== tag) state.odd = true;
        dataTag = tag;
      }
      walk(r, stop, inner, depth, state);
      continue;
    }
    if (inner === 'id8' || inner === 'id16') {
      const field = r.at;
      const stop = r.enter(end);
      const size = stop - r.at;
      const wanted = inner === 'id8' ? 8 : 16;
      if (size !== 0 && size !== wanted) r.fail(`an id has ${size} bytes instead of ${wanted}`, field);
      r.at = stop;
    } else {
      const stop = r.enter(end);
      const size = stop - r.at;
      if (inner === 'packed64') {
        if (size % 8 !== 0) r.fail('a packed list of 64-bit numbers has a length that is no multiple of 8');
        if (tag === 0x32) counts += size / 8;
        else bounds += size / 8;
        r.at = stop;
      } else while (r.at < stop) r.skip(0, stop);
    }
  }
  if (kind === 'histogram' && counts !== bounds + 1 && (counts !== 0 || bounds !== 0)) state.odd = true;
}
