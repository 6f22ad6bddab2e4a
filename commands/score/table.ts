/** The score board as text. */
import type { Comparison } from './compare.ts';
import {
  ablationRows,
  type KindCard,
  kindCards,
  type Measures,
  measure,
  measureBaselines,
  type Scores,
} from './measures.ts';
import type { CaseOutcome } from './run-case.ts';
import type { Interval } from './statistics.ts';

const percent = (x: number): string => (Number.isNaN(x) ? '-' : `${Math.round(x * 100)} %`);
const range = (i: Interval): string =>
  i.n === 0 || Number.isNaN(i.value)
    ? '-'
    : Number.isNaN(i.low)
      ? percent(i.value)
      : `${percent(i.value)} [${Math.round(i.low * 100)}-${Math.round(i.high * 100)}]`;
const seconds = (x: number): string => (Number.isNaN(x) ? '-' : `${Math.round(x)} s`);
const plain = (x: number, digits = 2): string => (Number.isFinite(x) ? x.toFixed(digits) : '-');
const rate = (i: Interval): string =>
  Number.isNaN(i.value) ? '-' : `${plain(i.value, 1)} [${plain(i.low, 1)}-${plain(i.high, 1)}]`;

/** Columns that line up; the first is left-aligned. */
export function columns(rows: readonly (readonly string[])[]): string {
  const width: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => {
      width[i] = Math.max(width[i] ?? 0, cell.length);
    });
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 || i === row.length - 1 ? cell.padEnd(width[i]!) : cell.padStart(width[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** Everything that a run has to say, as text for a terminal or a log. */
export function board(all: readonly CaseOutcome[], title: string, comparison: Comparison | undefined): string {
  const m = measure(all);
  const parts = [
    `${title}\n${m.cases} cases, ${m.roots} faults; ${m.counted} of them felt by users and visible in the telemetry (these count); 95 % intervals.`,
    methods([m, ...measureBaselines(all)], comparison),
    details(m),
    cards(kindCards(all)),
    confusion(all),
  ];
  const tiers = ablationRows(all);
  if (tiers.length > 0) {
    parts.push(
      `Less telemetry (the same cases; "answered" = named a cause)\n${columns([
        ['telemetry', 'visible', 'answered', 'right of answered', 'wrong and p>=0.8', ''],
        ...tiers.map((t) => [
          t.telemetry,
          String(t.observable),
          percent(t.coverage),
          range(t.accuracyOnAnswered),
          String(t.wrongAndConfident),
          '',
        ]),
      ])}`,
    );
  }
  if (comparison) parts.push(comparison.text);
  return `${parts.filter((p) => p !== '').join('\n\n')}\n`;
}

function methods(rows: readonly Scores[], comparison: Comparison | undefined): string {
  const line = (s: Scores) => [
    s.name,
    range(s.top1),
    range(s.top3),
    percent(s.halfCredit),
    plain(s.macroF1),
    range(s.precision),
    rate(s.falseAlarms),
    seconds(s.latencyP50),
    seconds(s.latencyP95),
  ];
  const before = comparison?.before ? [line({ ...comparison.before, name: 'previous run' })] : [];
  return columns([
    [
      'method',
      'first is right',
      'in first 3',
      'half credit',
      'macro F1',
      'alarms right',
      'false/node-day',
      'p50',
      'p95',
    ],
    line(rows[0]!),
    ...before,
    ...rows.slice(1).map(line),
  ]);
}

function details(m: Measures): string {
  const f = m.falseBySeverity;
  return columns([
    ['right first, by seed', range(m.top1ByCluster), 'bootstrap over seeds'],
    ['right and way is true', range(m.pathGrounded), 'root right, every step of its path happened'],
    [
      'worst kind',
      m.worst ? percent(m.worst.recall) : '-',
      m.worst ? `${m.worst.kind} (n=${m.worst.n})` : 'no kind came up three times',
    ],
    [
      'named after impact',
      `${seconds(m.latencyP50)} / ${seconds(m.latencyP95)}`,
      `p50/p95; after injection ${seconds(m.fromInjectionP50)} / ${seconds(m.fromInjectionP95)}; first alarm p50 ${seconds(m.alarmP50)}`,
    ],
    [
      'false alarms',
      `${f.critical + f.warning}`,
      `${f.critical} critical, ${f.warning} warning, ${f.info} info in ${plain(m.healthyNodeDays)} healthy node-days`,
    ],
    [
      'faults nobody felt',
      `${m.silentWrong} wrong`,
      `alarms with a wrong cause in ${m.silentRoots} cases that should stay quiet`,
    ],
    ['alarms per felt fault', plain(m.alarmsPerFault, 1), `findings per alarm ${plain(m.findingsPerIncident, 1)}`],
    ['symptoms attached', range(m.symptomsAttached), 'to the right root'],
    ['calibration', `ECE ${plain(m.ece)}`, `Brier ${plain(m.brier)}; wrong and p>=0.8: ${range(m.wrongAndConfident)}`],
    [
      'cost',
      `${plain(m.cpuPerCaseS, 1)} s CPU/case`,
      `${plain(m.speedup, 0)}x real time; ${plain(m.cpuPerHourAnd1kSeries)} s CPU per hour and 1,000 series; peak ${Math.round(m.peakRssMib)} MiB (with the simulator)`,
    ],
  ]);
}

function cards(kinds: readonly KindCard[]): string {
  if (kinds.length === 0) return '';
  const dose = (d: number | null, card: KindCard) =>
    card.byDose.every((p) => p.dose === 0) ? '-' : d === null ? 'never' : d.toFixed(2);
  return `Per kind (dose = share of the victim's capacity that is lost; found by dose over all injections)\n${columns([
    ['fault', 'n', 'counted', '1st', 'in 3', 'kind', 'p50', 'd50', 'd90', 'found by dose; what was said instead'],
    ...kinds.map((k) => [
      k.fault,
      String(k.injected),
      String(k.counted),
      String(k.top1),
      String(k.top3),
      String(k.kindOnly),
      seconds(k.latencyP50),
      dose(k.dose50, k),
      dose(k.dose90, k),
      [
        k.byDose.map((p) => `${p.dose}:${p.hits}/${p.n}`).join(' '),
        k.instead.map(([name, n]) => (n > 1 ? `${name} x${n}` : name)).join(', '),
      ]
        .filter((t) => t !== '')
        .join('; '),
    ]),
  ])}`;
}

/** True cause (rows) against what stood first (columns with a number each), sparse: only what happened. */
function confusion(all: readonly CaseOutcome[]): string {
  const rows = new Map<string, Map<string, number>>();
  const add = (truth: string, said: string) => {
    const row = rows.get(truth) ?? new Map<string, number>();
    row.set(said, (row.get(said) ?? 0) + 1);
    rows.set(truth, row);
  };
  for (const c of all) {
    if (c.telemetry !== 'full') continue;
    for (const r of c.roots)
      if (r.counted) add(r.id, r.rank !== null && r.rank <= r.together ? 'right' : (r.first ?? 'nothing'));
    if (c.roots.length === 0) {
      const said = c.alarms.filter((a) => a.severity !== 'info');
      if (said.length === 0) add(`healthy/${c.control}`, 'right');
      for (const a of said) add(`healthy/${c.control}`, a.root.slice(0, a.root.indexOf('@')));
    }
  }
  if (rows.size === 0) return '';
  return `Confusion (true cause: what stood first)\n${columns(
    [...rows]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([truth, said]) => [
        truth,
        [...said]
          .sort((a, b) => b[1] - a[1])
          .map(([name, n]) => `${name} ${n}`)
          .join(', '),
      ]),
  )}`;
}
