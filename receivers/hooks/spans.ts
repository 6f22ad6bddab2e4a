/** Frames of hooks to spans, named and attributed as any OTLP sender of such events would. */
import { COMM_OPS, hashHex, hex8, hex16 } from '../../pipeline/kit/hook-span.ts';
import type { AnyValue, Attributes, Resource, Scope, Span } from '../../pipeline/model.ts';
import { NO_ATTRIBUTES, resource, scope } from '../../pipeline/model.ts';
import type { Guard } from './content.ts';
import { COLUMNS, type Frame, type RowKind } from './frame.ts';

export interface ReadSpans {
  readonly spans: readonly Span[];
  readonly bad: number;
  /** What was wrong with the first bad one; '' if none was. */
  readonly reason: string;
}

export interface SpanMaker {
  read(frame: Frame): ReadSpans;
}

const MOST_RESOURCES = 4096;
/** Longer than a day, or a day away from when its frame was made, is a clock that was read wrongly, not an operation. */
const DAY_NS = 86_400e9;
const fits = (start: number, end: number) => end >= start && end - start <= DAY_NS && Math.abs(end) <= DAY_NS;
const UNSET = Object.freeze({ code: 0, message: '' });
const NOTHING: readonly never[] = Object.freeze([]);

/** Resources and scopes are the same objects in every frame of a sender. */
export function createSpanMaker(guard: Guard): SpanMaker {
  const resources = new Map<string, Resource>();
  const scopes = new Map<string, Scope>();
  const resourceOf = ({ resourceText, resource: given }: Frame): Resource => {
    let found = resources.get(resourceText);
    if (!found) {
      if (resources.size >= MOST_RESOURCES) resources.delete(resources.keys().next().value!);
      found = resource(guard.attributes(given));
      resources.set(resourceText, found);
    }
    return found;
  };
  const scopeOf = (version: string): Scope => {
    let found = scopes.get(version);
    if (!found) {
      if (scopes.size >= 64) scopes.clear();
      found = scope('enginelight.hooks', version);
      scopes.set(version, found);
    }
    return found;
  };
  let spanSerial = 0;

  return {
    read(frame) {
      const about = resourceOf(frame);
      const by = scopeOf(frame.version);
      const spans: Span[] = [];
      let bad = frame.badSpans;
      let reason = bad > 0 ? 'a span has no name or no times' : '';
      const refuse = (why: string) => {
        bad++;
        if (reason === '') reason = why;
      };
      // Together with a serial number unique while the daemon lives; the sender makes it so between daemons.
      const idBegin = frame.sender.slice(0, 8).padStart(8, '0');
      const nextId = () => {
        spanSerial = spanSerial >= 0xffffffff ? 1 : spanSerial + 1;
        return idBegin + hex8(spanSerial);
      };
      const { epoch } = frame;
      const emit = (
        name: string,
        start: number,
        end: number,
        traceId: string,
        attributes: Attributes,
        status: Span['status'] = UNSET,
        parentSpanId = '',
        spanId = nextId(),
      ) => {
        spans.push({
          resource: about,
          scope: by,
          traceId,
          spanId,
          parentSpanId,
          traceState: '',
          flags: 0,
          name,
          kind: 1,
          startTime: epoch + BigInt(start),
          endTime: epoch + BigInt(end),
          attributes,
          droppedAttributesCount: 0,
          events: NOTHING,
          droppedEventsCount: 0,
          links: NOTHING,
          droppedLinksCount: 0,
          status,
        });
      };

      const ops = frame.ops.map((entry) => {
        const group = frame.groups[entry.group];
        if (!group || !COMM_OPS.has(entry.op) || group.size === 0) return undefined;
        // One trace per operation: its spans on every rank show side by side in a trace viewer.
        return { entry, group, trace: hashHex(`${group.id}/${entry.op}`) };
      });
      const text = (index: number): string => frame.strings[index] ?? '';
      const traceOfSender = hashHex(frame.sender);

      for (const { kind, values } of frame.blocks) {
        const width = COLUMNS[kind].length;
        for (let i = 0; i < values.length; i += width) {
          const start = values[i]!;
          const end = values[i + 1]!;
          if (!fits(start, end)) {
            refuse(`a ${kind} ends before it starts, or is more than a day long or old`);
            continue;
          }
          if (kind === 'collective') {
            const op = ops[values[i + 2]!];
            const seq = values[i + 3]!;
            const bytes = values[i + 4]!;
            if (!op || seq < 0) {
              refuse('a collective names an operation or group that its frame does not describe');
              continue;
            }
            const { entry, group } = op;
            const attributes: Record<string, AnyValue> = {
              'comm.id': group.id,
              'comm.seq': seq,
              'comm.op': entry.op,
              'comm.bytes': bytes < 0 ? 0 : bytes,
              'comm.size': group.size,
              'comm.rank': group.rank,
              'comm.backend': group.backend,
              'hook.clock': entry.clock,
            };
            if (entry.peer !== undefined) attributes['comm.peer'] = entry.peer;
            if (entry.open) {
              attributes['hook.open'] = true;
              attributes['hook.open_ns'] = end - start;
            }
            emit('collective', start, end, op.trace + hex16(seq), attributes);
          } else {
            const attributes = rowAttributes(kind, values, i, text, guard);
            const error = kind === 'kv_transfer' && values[i + 9]! >= 0 ? text(values[i + 9]!) : undefined;
            emit(
              kind,
              start,
              end,
              // Events of one step belong together; a transfer is a thing of its own.
              traceOfSender + (kind === 'kv_transfer' ? nextId() : hex16Or(rowStep(kind, values, i), nextId)),
              attributes,
              error === undefined ? UNSET : { code: 2, message: error },
            );
          }
        }
      }
      for (const span of frame.spans) {
        if (!fits(span.start, span.end)) {
          refuse(`a ${span.name} ends before it starts, or is more than a day long or old`);
          continue;
        }
        emit(
          span.name,
          span.start,
          span.end,
          span.traceId === '' ? traceOfSender + nextId() : span.traceId,
          guard.attributes(span.attributes),
          span.error === undefined ? UNSET : { code: 2, message: span.error },
          span.parentSpanId,
          span.spanId === '' ? nextId() : span.spanId,
        );
      }
      return { spans, bad, reason };
    },
  };
}

const rowStep = (kind: RowKind, v: Float64Array, i: number) => (kind === 'engine_step' ? v[i + 2]! : v[i + 5]!);

function rowAttributes(
  kind: RowKind,
  v: Float64Array,
  i: number,
  text: (index: number) => string,
  guard: Guard,
): Attributes {
  const out: Record<string, AnyValue> = {};
  const number = (key: string, value: number) => {
    if (value >= 0) out[key] = value;
  };
  const word = (key: string, index: number) => {
    const found = index < 0 ? '' : text(index);
    if (found !== '') out[key] = found;
  };
  switch (kind) {
    case 'pipeline_stage':
      number('stage.index', v[i + 2]!);
      number('stage.count', v[i + 3]!);
      number('microbatch', v[i + 4]!);
      number('step.id', v[i + 5]!);
      number('stage.tokens', v[i + 6]!);
      return out;
    case 'engine_step':
      number('step.id', v[i + 2]!);
      number('step.prefill_tokens', v[i + 3]!);
      number('step.decode_seqs', v[i + 4]!);
      number('step.gpu_time_ns', v[i + 5]!);
      number('step.schedule_time_ns', v[i + 6]!);
      word('step.graph', v[i + 7]!);
      return out;
    case 'kv_transfer': {
      const request = v[i + 2]! < 0 ? '' : text(v[i + 2]!);
      if (request !== '') out['kv.request_id'] = guard.identifier(request);
      word('kv.source', v[i + 3]!);
      word('kv.destination', v[i + 4]!);
      number('kv.bytes', v[i + 5]!);
      number('kv.blocks', v[i + 6]!);
      out['kv.transport'] = text(v[i + 7]!) || 'unknown';
      number('kv.wait_ns', v[i + 8]!);
      return out;
    }
    default:
      return NO_ATTRIBUTES;
  }
}

const hex16Or = (n: number, otherwise: () => string): string => (n < 0 ? otherwise() : hex16(n));
