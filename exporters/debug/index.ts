/** Shows what flows: a line per batch, a line per item, or everything. */
import { options, t } from '../../config/schema.ts';
import { defineExporter } from '../../pipeline/component.ts';
import { RetryableError } from '../../pipeline/errors.ts';
import { SIGNALS, type Signal } from '../../pipeline/model.ts';
import { ANSI, PLAIN, render } from './render.ts';

/** Standard output, or what a test puts in its place. */
export interface Screen {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

const config = options({
  verbosity: t.choice(['basic', 'normal', 'detailed'], {
    description: '`basic`: a line per batch; `normal`: also a line per point, span or record; `detailed`: everything.',
    default: 'basic',
  }),
  sampling_initial: t.integer({
    description: 'So many batches of each signal are shown in each second; 0 shows none of the first.',
    default: 2,
    minimum: 0,
  }),
  sampling_thereafter: t.integer({
    description: 'Of further batches in that second every n-th is shown: 1 shows all, 0 none.',
    default: 1,
    minimum: 0,
  }),
  output_paths: t.withoutEffect('it writes to standard output, or to the log'),
  use_internal_logger: t.boolean({
    description:
      "Put each line into the daemon's own log (on standard error, repeats summarised) instead of standard output.",
    default: false,
  }),
});

/** The exporter on a screen of the caller's. */
export const debugOn = (screen: Screen) =>
  defineExporter<typeof config>({
    type: 'debug',
    summary: 'Shows on standard output what flows',
    stability: 'beta',
    signals: SIGNALS,
    config,
    async start(config, { id, log, clock, meter }) {
      const ink = screen.isTTY && !config.use_internal_logger && !process.env['NO_COLOR'] ? ANSI : PLAIN;
      const seconds = new Map<Signal, { until: number; seen: number; hidden: number }>();
      let stopped = false;

      const put = (lines: readonly string[]) => {
        if (config.use_internal_logger) for (const line of lines) log.info(line);
        else screen.write(`${lines.join('\n')}\n`);
      };

      const hiddenLine = (signal: Signal, hidden: number) =>
        `... and ${hidden} more ${hidden === 1 ? 'batch' : 'batches'} of ${signal} not shown (sampling)`;

      /** Whether this batch is one of those shown in its second. */
      const chosen = (signal: Signal): boolean => {
        const now = clock.monotonic();
        let second = seconds.get(signal);
        if (!second || now >= second.until) {
          if (second && second.hidden > 0) put([hiddenLine(signal, second.hidden)]);
          second = { until: now + 1000, seen: 0, hidden: 0 };
          seconds.set(signal, second);
        }
        const further = ++second.seen - config.sampling_initial;
        if (further <= 0) return true;
        if (config.sampling_thereafter > 0 && further % config.sampling_thereafter === 0) return true;
        second.hidden++;
        return false;
      };

      return {
        consume(batch) {
          if (stopped) throw new RetryableError(`${id} is stopping`, { reason: 'shutdown' });
          if (batch.items.length === 0) return;
          if (chosen(batch.signal)) put(render(batch, config.verbosity, clock.now(), ink));
          meter.sent(batch.signal, batch.items.length);
        },
        async stop() {
          stopped = true;
          for (const [signal, { hidden }] of seconds) if (hidden > 0) put([hiddenLine(signal, hidden)]);
          seconds.clear();
        },
      };
    },
  });

export const debugExporter = debugOn(process.stdout);
