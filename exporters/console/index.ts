/** A table on standard output, again and again: what each replica does, from the engine-neutral signals. */
import { options, t } from '../../config/schema.ts';
import { defineExporter } from '../../pipeline/component.ts';
import { PermanentError, RetryableError } from '../../pipeline/errors.ts';
import { createReplicas } from './replicas.ts';
import { printable, table } from './table.ts';
import { createVerdicts } from './verdicts.ts';

/** Standard output, or what a test puts in its place. */
export interface Screen {
  write(text: string): unknown;
}

const config = options({
  interval: t.duration({ description: 'How often the table is shown.', default: '5s', minimum: '100ms' }),
  hint: t.string({
    description: 'Shown while no engine has been heard of.',
    default: 'Are the targets right, and does a `normalize` processor come before this exporter?',
  }),
});

/** Nobody who just started it wants to wait for long, but a first scrape needs its time. */
const FIRST_MS = 3000;

/** The exporter on a screen of the caller's. */
export const consoleOn = (screen: Screen) =>
  defineExporter<typeof config>({
    type: 'console',
    summary: 'A table on standard output: load, latency and throughput of every replica, and what is found',
    stability: 'beta',
    signals: ['metrics', 'logs'],
    config,
    async start({ interval, hint }, context) {
      const { clock } = context;
      const replicas = createReplicas();
      const lineOf = createVerdicts();
      const startedAt = clock.monotonic();
      let saidHint = false;
      let stopped = false;

      // One table after the other, never over each other: what the log says in between must stay readable.
      const show = () => {
        const rows = replicas.rows(clock.now());
        if (rows.length > 0) {
          screen.write(`${[new Date(clock.now()).toISOString(), ...table(rows)].join('\n')}\n\n`);
          saidHint = false;
        } else if (!saidHint) {
          const seconds = Math.round((clock.monotonic() - startedAt) / 1000);
          screen.write(`No inference engine seen yet after ${seconds} s; still looking. ${hint}\n`);
          saidHint = true;
        }
      };
      let timer = clock.after(Math.min(interval, FIRST_MS), function tick() {
        show();
        timer = clock.after(interval, tick);
      });

      return {
        consume(batch) {
          if (stopped) throw new RetryableError(`${context.id} is stopping`);
          if (batch.signal === 'traces') throw new PermanentError(`${context.id} does not show traces`);
          if (batch.signal === 'metrics') replicas.take(batch.items, clock.now());
          else {
            for (const record of batch.items) {
              const line = lineOf(record);
              if (line !== undefined) screen.write(`${new Date(clock.now()).toISOString()} ${printable(line)}\n`);
            }
          }
          context.meter.sent(batch.signal, batch.items.length);
        },
        async stop() {
          stopped = true;
          timer.cancel();
        },
      };
    },
  });

export const consoleExporter = consoleOn(process.stdout);
