/** One post, whatever it came over: read, cleaned of content, handed to the pipeline, and what to tell the sender. */
import type { Consumer, Context } from '../../pipeline/component.ts';
import { describeError, PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { HttpError } from '../../pipeline/kit/http-server.ts';
import { type Span, tracesBatch } from '../../pipeline/model.ts';
import {
  createInterner,
  createRejections,
  decodeRequest,
  type OtlpEncoding,
  OtlpJsonError,
  ProtobufError,
} from '../../pipeline/wire/otlp/index.ts';
import { createGuard } from './content.ts';
import { type Control, createControl, KINDS, type Kind, type KindState } from './control.ts';
import { FrameError, readFrame } from './frame.ts';
import type { HooksConfig } from './options.ts';
import { createSpanMaker } from './spans.ts';

/** What became of a post. */
export interface Taken {
  readonly accepted: number;
  readonly rejected: number;
  /** Why some were rejected; '' if none. */
  readonly message: string;
}

export interface Intake {
  readonly control: Control;
  /** Both resolve once the pipeline has accepted the events; reject with an HttpError. */
  frame(bytes: Uint8Array): Promise<Taken>;
  otlp(bytes: Uint8Array, encoding: OtlpEncoding): Promise<Taken>;
}

export function createIntake(config: HooksConfig, next: Consumer, context: Context): Intake {
  const { meter, log, clock } = context;
  const guard = createGuard({
    contentKeys: config.content_keys,
    hashIdentifiers: config.identifiers === 'hash',
    hashKey: config.hash_key?.reveal() ?? '',
  });
  const initial = Object.fromEntries(
    KINDS.map((kind): [Kind, KindState] => {
      const { enabled, rate, bytes_per_second: bytesPerSecond } = config.events[kind];
      return [kind, { enabled, rate, bytesPerSecond }];
    }),
  ) as Record<Kind, KindState>;
  const control = createControl(
    initial,
    { postIntervalMs: config.post_interval, silenceMs: config.silence, openAfterMs: config.open_after },
    clock,
  );
  const maker = createSpanMaker(guard);
  const interner = createInterner();
  const malformed = meter.counter(
    'receiver_hooks_malformed_posts',
    'Posts that were refused because they are neither a frame nor OTLP.',
    '{request}',
  );
  const lost = meter.counter(
    'receiver_hooks_lost_events',
    'Events that hooks inside engines lost, as they say themselves: their ring was full.',
    '{event}',
  );
  meter.gauge(
    'receiver_hooks_content_removed',
    'Values of content attributes that were replaced by a marker.',
    () => guard.removed(),
    '{value}',
  );
  meter.gauge(
    'receiver_hooks_senders',
    'Processes that sent hooks lately.',
    () => control.senders().length,
    '{process}',
  );
  meter.gauge(
    'receiver_hooks_pressure',
    'Share of the configured rates that hooks are asked for; below 1 while the pipeline cannot keep up.',
    () => control.pressure(),
    '1',
  );

  const hand = async (spans: readonly Span[], rejected: number, message: string): Promise<Taken> => {
    if (rejected > 0) {
      meter.dropped('traces', rejected, 'bad_line');
      log.warn('Events of hooks were left out.', { events: rejected, error: message });
    }
    if (spans.length === 0) return { accepted: 0, rejected, message };
    try {
      await next.consume(tracesBatch(spans));
    } catch (error) {
      if (error instanceof PermanentError) {
        if (error.rejected !== undefined && error.rejected < spans.length) {
          return {
            accepted: spans.length - error.rejected,
            rejected: rejected + error.rejected,
            message: [message, error.message].filter((part) => part !== '').join('; '),
          };
        }
        throw new HttpError(400, error.message);
      }
      if (error instanceof RetryableError) {
        control.refused();
        // Hooks do not keep what was refused: what an engine did a minute ago is worth less than its memory.
        const seconds = Math.max(1, Math.ceil((error.retryAfterMs ?? 1000) / 1000));
        throw new HttpError(error.exhausted ? 429 : 503, error.message, { 'retry-after': String(seconds) });
      }
      log.error('A pipeline failed because of a bug.', { error: describeError(error) });
      throw new HttpError(500, 'internal error');
    }
    control.accepted();
    return { accepted: spans.length, rejected, message };
  };

  const refuse = (form: string, error: Error): never => {
    malformed.add(1, { form });
    log.warn('A post of hooks could not be read and was refused.', { form, error: error.message });
    throw new HttpError(
      400,
      `the body is not ${form === 'frame' ? 'a frame of hook events' : 'OTLP'}: ${error.message}`,
    );
  };

  return {
    control,
    async frame(bytes) {
      let frame: ReturnType<typeof readFrame>;
      try {
        frame = readFrame(bytes);
      } catch (error) {
        if (error instanceof FrameError) return refuse('frame', error);
        throw error;
      }
      const { spans, bad, reason } = maker.read(frame);
      let lostHere = 0;
      for (const [event, n] of Object.entries(frame.lost)) {
        if (n <= 0) continue;
        lostHere += n;
        lost.add(n, { event: (KINDS as readonly string[]).includes(event) ? event : 'other' });
      }
      control.heard({ ...frame, events: spans.length, lost: lostHere });
      return hand(spans, bad, reason);
    },
    async otlp(bytes, encoding) {
      const rejections = createRejections();
      let spans: readonly Span[];
      try {
        spans = decodeRequest('traces', bytes, encoding, { interner, rejections }).items as readonly Span[];
      } catch (error) {
        if (error instanceof ProtobufError || error instanceof OtlpJsonError) return refuse('otlp', error);
        throw error;
      }
      let changed: Span[] | undefined;
      for (let i = 0; i < spans.length; i++) {
        const span = guard.span(spans[i]!);
        if (span === spans[i]) continue;
        changed ??= [...spans];
        changed[i] = span;
      }
      return hand(changed ?? spans, rejections.count, rejections.message);
    },
  };
}
