/** What the demo shows: one line on how the cluster does, and every incident as it opens, changes its mind and ends. */
import { entityWords, type Incident, incidentOf, type RootCause } from '../../pipeline/kit/verdict.ts';
import { type Batch, isNumberPoint, isStale, msFromNanos, type Series } from '../../pipeline/model.ts';
import { plain, wrap } from './wrap.ts';

const CODES = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33', cyan: '36' } as const;
export type Paint = (style: keyof typeof CODES, text: string) => string;

/** ANSI colours, or none. */
export const painter =
  (colour: boolean): Paint =>
  (style, text) =>
    colour ? `\x1b[${CODES[style]}m${text}\x1b[0m` : text;

/** `mm:ss` of simulated seconds. */
export const stamp = (seconds: number): string => {
  const s = Math.max(0, Math.round(seconds));
  return `${String(Math.floor(s / 60)).padStart(2, '0')}:${String(s % 60).padStart(2, '0')}`;
};

/** An incident as it was said, with the simulated second. */
export interface Said {
  readonly at: number;
  readonly incident: Incident;
}

export interface Screen {
  /** Takes what leaves the pipeline. */
  see(batch: Batch): void;
  /** A line of the story. */
  say(text: string): void;
  /** Redraws the status line (a terminal only). */
  tick(elapsedS: number): void;
  clear(): void;
  /** Every state of every incident, in order. */
  readonly said: readonly Said[];
}

export function createScreen(
  write: (text: string) => void,
  paint: Paint,
  live: boolean,
  startMs: () => number,
  /** Columns of the terminal; Infinity where lines are not to be broken. */
  columns: () => number = () => Number.POSITIVE_INFINITY,
): Screen {
  const said: Said[] = [];
  const shown = new Map<string, string>();
  const latest = new Map<Series, number>();
  let status = '';
  const clear = () => {
    if (live && status !== '') write('\r\x1b[2K');
    status = '';
  };
  const say = (text: string) => {
    clear();
    const width = columns();
    // Under the text of a row (`why`, `do`), of a moment, or of nothing.
    const hang = (line: string) => {
      const bare = plain(line);
      return bare.startsWith(indent) ? indent.length + 8 : bare.startsWith('  ') ? indent.length : 0;
    };
    write(
      `${text
        .split('\n')
        .map((line) => wrap(line, width, hang(line)))
        .join('\n')}\n`,
    );
  };
  const total = (signal: string): number => {
    let sum = 0;
    for (const [series, value] of latest) if (series.metric.name === signal) sum += value;
    return sum;
  };
  return {
    said,
    say,
    clear,
    see(batch) {
      if (batch.signal === 'metrics') {
        for (const point of batch.items) {
          const name = point.series.metric.name;
          if (name !== RUNNING && name !== WAITING && name !== ACTIVE) continue;
          if (isNumberPoint(point) && !isStale(point)) latest.set(point.series, Number(point.value));
          else latest.delete(point.series);
        }
        return;
      }
      if (batch.signal !== 'logs') return;
      for (const record of batch.items) {
        const incident = incidentOf(record);
        if (!incident) continue;
        const at = (msFromNanos(record.time) - startMs()) / 1000;
        said.push({ at, incident });
        const head = `${incident.state} ${incident.root.detector} ${incident.root.entity.id}`;
        const before = shown.get(incident.id);
        if (before === head) continue;
        shown.set(incident.id, head);
        say(incidentText(incident, at, before, paint));
      }
    },
    tick(elapsedS) {
      if (!live) return;
      const findings = total(ACTIVE);
      status = `  ${stamp(elapsedS)}  ${Math.round(total(RUNNING))} requests running, ${Math.round(total(WAITING))} waiting, ${findings === 0 ? 'nothing found' : `${findings} finding${findings === 1 ? '' : 's'}`}`;
      status = status.slice(0, Math.max(10, columns() - 1));
      write(`\r\x1b[2K${paint('dim', status)}`);
    },
  };
}

const RUNNING = 'inference.requests.running';
const WAITING = 'inference.requests.waiting';
const ACTIVE = 'enginelight_finding_active';

const indent = ' '.repeat(9);

function incidentText(incident: Incident, at: number, before: string | undefined, paint: Paint): string {
  const time = paint('dim', `  ${stamp(at)}`);
  if (incident.state === 'resolved') {
    return `${time}  ${paint('green', 'over')}      ${rootText(incident.root)}`;
  }
  const colour = incident.severity === 'critical' ? 'red' : incident.severity === 'warning' ? 'yellow' : 'cyan';
  const word = before === undefined ? `${incident.severity} incident` : 'now sees more';
  const lines = [
    `${time}  ${paint(colour, word)}  ${paint('bold', rootText(incident.root))}  ${Math.round(incident.root.probability * 100)} % sure`,
  ];
  const row = (name: string, text: string) => lines.push(`${indent}${paint('dim', name.padEnd(7))} ${text}`);
  row('why', incident.summary.replace(/ Path: .*$/, ''));
  if (incident.path.length > 1) {
    row('path', incident.path.map((s) => `${s.detector} (${s.entity.kind} ${shortId(s.entity.id)})`).join(' -> '));
  }
  const { slo, before: usual, during, unit } = incident.impact;
  if (usual !== null && during !== null && usual !== during) {
    row('users', `${slo} ${amount(usual, unit)} -> ${amount(during, unit)}`);
  }
  const remedy = incident.remedies[0];
  if (remedy) row('do', `${remedy.action}${remedy.flag === undefined ? '' : ` (${remedy.flag})`}`);
  if (incident.ambiguous !== null) row('or', incident.ambiguous);
  return lines.join('\n');
}

const rootText = (root: RootCause): string => `${root.detector} on ${entityWords(root.entity)}`;

/** A GPU's UUID shortened for a line that has many of them. */
const shortId = (id: string): string => (id.length > 16 && id.startsWith('GPU-') ? `${id.slice(0, 12)}…` : id);

const amount = (x: number, unit: string): string =>
  unit === 's' ? (x < 1 ? `${(x * 1000).toFixed(x < 0.1 ? 1 : 0)} ms` : `${x.toFixed(2)} s`) : x.toPrecision(3);
