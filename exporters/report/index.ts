/** Writes a file for every incident that a person can read without anything else, and the same as JSON. */
import { options, t } from '../../config/schema.ts';
import { defineExporter } from '../../pipeline/component.ts';
import { describeError, RetryableError } from '../../pipeline/errors.ts';
import type { Timer } from '../../pipeline/kit/clock.ts';
import { namePart, openKeptFolder, stamp } from '../../pipeline/kit/kept-files.ts';
import { reportBuilder, reportOf } from '../../pipeline/kit/report.ts';
import { reportHtml } from '../../pipeline/kit/report-html.ts';
import { createHistory } from '../../pipeline/kit/report-series.ts';
import { INCIDENT_EVENT, type Incident, incidentOf, isoTime } from '../../pipeline/kit/verdict.ts';
import { VERSION } from '../../pipeline/kit/version.ts';
import { SIGNALS } from '../../pipeline/model.ts';

const config = options({
  directory: t.path({
    description: 'The folder for the reports, made if it is missing. Only the daemon’s user can read what is in it.',
    examples: ['/var/lib/enginelight/reports'],
  }),
  formats: t.list(t.choice(['html', 'json'], { description: 'A form of the report.' }), {
    description: '`html`: one file that needs nothing else; `json`: the same as enginelight.report/v1.',
    default: ['html', 'json'],
    minItems: 1,
  }),
  interval: t.duration({
    description: 'A report follows the news of its incident this often at most.',
    default: '15s',
    minimum: '1s',
  }),
  window: t.duration({
    description: 'How much of the past the charts show.',
    default: '30m',
    minimum: '5m',
    maximum: '24h',
  }),
  max_reports: t.integer({
    description: 'So many incidents are kept, the oldest are deleted; 0 is no limit.',
    default: 500,
    minimum: 0,
  }),
  max_megabytes: t.integer({
    description: 'All reports together are not larger than this many MiB; 0 is no limit.',
    default: 500,
    minimum: 0,
  }),
  max_days: t.integer({
    description: 'Reports older than this many days are deleted; 0 keeps them.',
    default: 90,
    minimum: 0,
  }),
  max_series: t.integer({
    description:
      'Series kept in memory for charts (about 1.5 KiB each); the evidence of others is shown as numbers only.',
    default: 8000,
    minimum: 0,
  }),
});

const REPORT_FILE = /^\d{8}T\d{6}Z_.*\.(html|json)$/;
const BUCKETS = 180;
/** Incidents that are over stay in memory this long, for the reports of others that name the same findings. */
const FORGET_MS = 2 * 3_600_000;
/** Incidents written in one go; more wait for the next. */
const PER_ROUND = 20;
const MAX_WAITING = 2_000;

export const report = defineExporter({
  type: 'report',
  summary: 'One HTML and JSON file per incident: what broke, why, and what to do',
  stability: 'beta',
  signals: SIGNALS,
  config,
  async start(config, { id, log, clock, meter, status }) {
    const folder = await openKeptFolder(config.directory).catch((error) => {
      throw new Error(`${config.directory} (exporters::${id}::directory) cannot be used: ${describeError(error)}`, {
        cause: error,
      });
    });
    const builder = reportBuilder();
    const history = createHistory({
      full: 'slide',
      buckets: BUCKETS,
      stepMs: Math.ceil(config.window / BUCKETS / 1000) * 1000,
      lines: config.max_series,
    });
    /** Incidents with news, and the name of each one's files: its beginning may be moved, its file stays. */
    const due = new Set<string>();
    const names = new Map<string, string>();
    const written = meter.counter('exporter_report_files', 'Files of reports that were written.', '{file}');
    let timer: Timer | undefined;
    let writing: Promise<void> = Promise.resolve();
    let stopped: Promise<void> | undefined;
    meter.gauge(
      'exporter_report_waiting',
      'Incidents with news that are not written yet.',
      () => due.size,
      '{incident}',
    );

    const write = async (incident: Incident) => {
      const began = Date.parse(incident.impact.started_at);
      let name = names.get(incident.id);
      if (name === undefined) {
        name = `${stamp(Number.isFinite(began) ? began : clock.now())}_${namePart(incident.service)}_${namePart(incident.id)}`;
        names.set(incident.id, name);
      }
      const { startMs } = history.span();
      const full = builder.build({
        window: { start: isoTime(startMs > 0 ? Math.min(startMs, began) : began), end: isoTime(clock.now()) },
      });
      const part = reportOf(full, incident);
      for (const format of config.formats) {
        const text =
          format === 'html'
            ? reportHtml(part, { history, version: VERSION })
            : `${JSON.stringify(part, undefined, 2)}\n`;
        await folder.write(`${name}.${format}`, text);
        written.add(1, { format });
      }
      if (incident.state === 'resolved') names.delete(incident.id);
    };

    const round = async (deadline?: AbortSignal) => {
      const now = clock.now();
      builder.forget(now - FORGET_MS);
      let left = deadline ? due.size : PER_ROUND;
      for (const incidentId of [...due]) {
        if (left-- <= 0 || deadline?.aborted) break;
        const incident = builder.incident(incidentId);
        due.delete(incidentId);
        if (!incident) continue;
        try {
          await write(incident);
          meter.sent('logs', 1);
          status('ok');
        } catch (error) {
          // Tried again with the next round; the newest state is in memory.
          due.add(incidentId);
          log.error('The report of an incident cannot be written; it is tried again. Make room, or fix its folder.', {
            directory: config.directory,
            incident: incidentId,
            error,
          });
          status('recoverable_error', `${config.directory} cannot be written: ${describeError(error)}`);
          break;
        }
      }
      if (names.size > MAX_WAITING) names.delete(names.keys().next().value!);
      await folder
        .prune(
          REPORT_FILE,
          {
            files: config.max_reports * config.formats.length,
            bytes: config.max_megabytes * 2 ** 20,
            ageMs: config.max_days * 86_400_000,
          },
          now,
        )
        .catch((error) => log.warn('Old reports cannot be deleted.', { directory: config.directory, error }));
    };

    const soon = () => {
      if (timer !== undefined || stopped) return;
      timer = clock.after(config.interval, () => {
        writing = writing
          .then(() => round())
          .then(() => {
            timer = undefined;
            if (due.size > 0) soon();
          });
      });
    };

    return {
      consume(batch) {
        if (stopped) throw new RetryableError(`${id} is stopping`, { reason: 'shutdown' });
        builder.add(batch);
        history.add(batch);
        if (batch.signal !== 'logs') return;
        for (const record of batch.items) {
          if (record.eventName !== INCIDENT_EVENT) continue;
          const incident = incidentOf(record);
          if (!incident) continue;
          if (due.size >= MAX_WAITING && !due.has(incident.id)) {
            meter.dropped('logs', 1, 'limit');
            continue;
          }
          due.add(incident.id);
          soon();
        }
      },
      stop(deadline) {
        stopped ??= (async () => {
          timer?.cancel();
          await writing;
          if (due.size > 0) await round(deadline ?? new AbortController().signal);
          if (due.size > 0) meter.dropped('logs', due.size, 'shutdown');
        })();
        return stopped;
      },
    };
  },
});
