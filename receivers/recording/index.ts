/** Recordings, played as if they happened now. */
import { options, t } from '../../config/schema.ts';
import { defineReceiver } from '../../pipeline/component.ts';
import { describeError } from '../../pipeline/errors.ts';
import { readRecordings } from '../../pipeline/kit/recording-files.ts';
import { createReplay } from '../../pipeline/kit/replay.ts';
import { nanosFromMs } from '../../pipeline/model.ts';
import { shift } from './shift.ts';

export const recording = defineReceiver({
  type: 'recording',
  summary: 'Recordings (OTLP/JSON lines, scrapes, events), played live or as fast as they are taken',
  stability: 'beta',
  signals: ['metrics', 'traces', 'logs'],
  config: options({
    paths: t.list(t.path({ description: 'A recording: JSON Lines, plain, .gz or .zst.' }), {
      description: 'Recordings to play, merged by time. The Collector’s file exporter writes recordings too.',
      minItems: 1,
    }),
    speed: t.number({
      description: 'How many times faster than it was recorded; 0 plays as fast as the pipeline takes it.',
      default: 1,
      minimum: 0,
    }),
    times: t.choice(['now', 'recorded'], {
      description:
        '`now` moves all times so that the recording begins when it is played: what detectors and live backends need. `recorded` leaves them as they are.',
      default: 'now',
    }),
    loop: t.boolean({ description: 'Begin again at the end.', default: false }),
  }),
  async start(config, next, context) {
    const { clock, log, meter } = context;
    const abort = new AbortController();

    const play = async () => {
      let lines = 0;
      let skipped = 0;
      const skip = (file: string, line: number, what: string) => {
        skipped++;
        meter.dropped('metrics', 1, 'bad_line');
        log.warn('A line of a recording cannot be used; the others are.', { file, line, error: what });
      };
      const replay = createReplay(context.catalog, context.id);
      const began = clock.monotonic();
      const beganWall = clock.now();
      let first: number | undefined;
      for await (const line of readRecordings(config.paths, (bad) => skip(bad.file, bad.line, bad.what))) {
        if (abort.signal.aborted) return;
        lines++;
        if (line.timeMs > 0) first ??= line.timeMs;
        const elapsed = first === undefined ? 0 : line.timeMs - first;
        if (config.speed > 0) {
          const wait = elapsed / config.speed - (clock.monotonic() - began);
          if (wait > 0) await clock.sleep(wait, abort.signal);
          if (abort.signal.aborted) return;
        }
        // Faster than it was: what took an hour then takes a minute now, and so do the times.
        const at = config.speed > 0 ? beganWall + elapsed / config.speed : beganWall + elapsed;
        const offset = config.times === 'now' && line.timeMs > 0 ? nanosFromMs(at) - nanosFromMs(line.timeMs) : 0n;
        try {
          for (const batch of replay.batches(line)) await next.consume(offset === 0n ? batch : shift(batch, offset));
        } catch (error) {
          log.warn('What was recorded was not accepted and is lost.', { error: describeError(error) });
        }
      }
      log.info('The recording is at its end.', { lines, skipped });
    };

    const running = (async () => {
      do {
        try {
          await play();
        } catch (error) {
          context.status('permanent_error', `The recording cannot be played: ${describeError(error)}.`);
          log.error('The recording cannot be played.', { paths: config.paths, error });
          return;
        }
      } while (config.loop && !abort.signal.aborted);
    })();
    return {
      async stop() {
        abort.abort();
        await running;
      },
    };
  },
});
