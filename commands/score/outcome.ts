/** One case, judged: what the verdicts of a run were worth against its label. */
import type { Finding, Incident, Severity } from '../../pipeline/kit/verdict.ts';
import { findingOf, incidentOf } from '../../pipeline/kit/verdict.ts';
import { type LogRecord, msFromNanos } from '../../pipeline/model.ts';
import { type Label, type LabelRoot, matches, matchesKind } from './labels.ts';

/** A cause somebody named, best first in lists. */
export interface Answer {
  readonly detector: string;
  readonly kind: string;
  readonly id: string;
  /** 0…1; absent where whoever answered says none. */
  readonly probability?: number;
}

export interface RootOutcome {
  readonly fault: string;
  readonly dose: number;
  readonly shape: string;
  readonly id: string;
  readonly entity: string;
  readonly impact: boolean;
  /** Users felt it and the telemetry at hand shows it: it counts for recall. */
  readonly counted: boolean;
  /** Place of the right answer among the answers, 1 is best; null when it is not there. */
  readonly rank: number | null;
  /** Place of the right kind of cause, on whatever entity. */
  readonly kindRank: number | null;
  /** How many true roots were there to be named at once: a place up to that is as good as the first. */
  readonly together: number;
  /** What stood first instead (or as well), for the confusion matrix; null when nothing was answered. */
  readonly first: string | null;
  /** Seconds of the recording. */
  readonly onset: number;
  readonly impactOnset: number | null;
  /** When the right root first headed an incident. */
  readonly namedAt: number | null;
  /** When the first incident of the fault's time opened; null when none did, or all were open before. */
  readonly alarmAt: number | null;
  /** The root is right and the shown way from it to the users is what happened. */
  readonly pathGrounded: boolean;
}

export interface Alarm {
  readonly severity: Severity;
  readonly at: number;
  readonly root: string;
  /** `healthy`: nothing was broken; `early`: before anything broke; `during`: while something was. */
  readonly when: 'healthy' | 'early' | 'during';
  /** Named a true root, whether or not users felt it. */
  readonly right: boolean;
  /** What it finally gave as the probability of its first root. */
  readonly probability: number;
  /** False when it heads with a symptom: "I do not know the cause". */
  readonly answered: boolean;
}

export interface SymptomCount {
  readonly attached: number;
  readonly all: number;
}

export interface Verdicts {
  readonly roots: readonly RootOutcome[];
  readonly alarms: readonly Alarm[];
  /** Findings of warning or worse that fired. */
  readonly findings: number;
  readonly symptoms: SymptomCount;
}

/** Seconds after a fault's end during which an incident may still be about it. */
const LINGER_S = 120;
/** Seconds before the onset that an incident's opening may lie: clocks and scrapes are not that exact. */
const EARLY_S = 15;
const SEVERITY: Readonly<Record<Severity, number>> = { info: 0, warning: 1, critical: 2 };

interface Story {
  readonly id: string;
  readonly openedAt: number;
  /** Every state it was in, with the second it was said. */
  readonly states: { readonly at: number; readonly incident: Incident }[];
}

/** Judges the log records of a run that began at `startMs`. `tier` is the telemetry that it was allowed to see. */
export function judgeRun(records: readonly LogRecord[], startMs: number, label: Label, tier: string): Verdicts {
  const stories = new Map<string, Story>();
  const findings = new Map<string, { finding: Finding; firedAt: number | null; worst: Severity }>();
  for (const record of records) {
    const at = msFromNanos(record.time) / 1000 - startMs / 1000;
    const incident = incidentOf(record);
    if (incident) {
      const story = stories.get(incident.id);
      if (story) story.states.push({ at, incident });
      else stories.set(incident.id, { id: incident.id, openedAt: at, states: [{ at, incident }] });
      continue;
    }
    const finding = findingOf(record);
    if (!finding) continue;
    const old = findings.get(finding.id);
    findings.set(finding.id, {
      finding,
      firedAt: old?.firedAt ?? (finding.state === 'firing' ? at : null),
      worst: old && SEVERITY[old.worst] > SEVERITY[finding.severity] ? old.worst : finding.severity,
    });
  }
  const classOf = (incident: Incident) => findings.get(incident.root.finding)?.finding.class ?? 'root';
  const roots: RootOutcome[] = [];
  let attached = 0;
  let all = 0;
  for (const root of label.roots) {
    const inTime = storiesOf(stories, root);
    const opened = inTime.map((s) => s.openedAt).filter((at) => at >= root.onset - EARLY_S);
    const answers = ranking(inTime.map((s) => finalOf(s, root)));
    const verdict = gradeRoot(label, root, answers, tier);
    const own = inTime.filter((s) => headIsRight(finalOf(s, root), root));
    const named = inTime.flatMap((s) =>
      s.states.filter((x) => x.at >= root.onset - EARLY_S && headIsRight(x.incident, root)),
    );
    roots.push({
      ...verdict,
      namedAt: named.length > 0 ? Math.min(...named.map((x) => x.at)) : null,
      alarmAt: opened.length > 0 ? Math.min(...opened) : null,
      pathGrounded: own.some((s) => isGrounded(finalOf(s, root), root, label)),
    });
    if (!verdict.counted) continue;
    const explained = new Set(own.flatMap((s) => s.states.flatMap((x) => x.incident.symptoms)));
    for (const { finding, firedAt } of findings.values()) {
      if (finding.class !== 'symptom' || firedAt === null || finding.observed) continue;
      if (firedAt < root.onset - EARLY_S || firedAt > root.end) continue;
      all++;
      if (explained.has(finding.id)) attached++;
    }
  }
  const alarms = [...stories.values()].map((story): Alarm => {
    const last = openState(story.states, Number.POSITIVE_INFINITY);
    const worst = story.states.reduce<Severity>(
      (a, s) => (SEVERITY[s.incident.severity] > SEVERITY[a] ? s.incident.severity : a),
      'info',
    );
    const during = label.roots.filter((r) => overlaps(story, r));
    return {
      severity: worst,
      at: story.openedAt,
      root: `${last.root.detector}@${last.root.entity.kind}:${last.root.entity.id}`,
      when:
        label.roots.length === 0
          ? 'healthy'
          : label.roots.every((r) => story.openedAt < r.onset - EARLY_S)
            ? 'early'
            : 'during',
      right: during.some((r) => last.roots.some((x) => matches(r, x.detector, x.entity.kind, x.entity.id))),
      probability: last.root.probability,
      answered: classOf(last) === 'root' || label.roots.some((r) => headIsRight(last, r)),
    };
  });
  return {
    roots,
    alarms,
    findings: [...findings.values()].filter((f) => f.firedAt !== null && f.worst !== 'info' && !f.finding.observed)
      .length,
    symptoms: { attached, all },
  };
}

/** Grades a list of answers, best first, against one root; also for the naive baselines. */
export function gradeRoot(
  label: Label,
  root: LabelRoot,
  answers: readonly Answer[],
  tier: string,
): Omit<RootOutcome, 'namedAt' | 'alarmAt' | 'pathGrounded'> {
  const together = Math.max(
    1,
    label.roots.filter((r) => r.onset < root.end && root.onset < r.end && isCounted(r, tier)).length,
  );
  const at = answers.findIndex((a) => matches(root, a.detector, a.kind, a.id));
  const kindAt = answers.findIndex((a) => matchesKind(root, a.detector));
  return {
    fault: root.fault,
    dose: root.dose,
    shape: root.shape,
    id: root.id,
    entity: root.entity,
    impact: root.impact,
    counted: isCounted(root, tier),
    rank: at < 0 ? null : at + 1,
    kindRank: kindAt < 0 ? null : kindAt + 1,
    together,
    first: answers[0]?.detector ?? null,
    onset: root.onset,
    impactOnset: label.impactOnset === null ? null : Math.max(label.impactOnset, root.onset),
  };
}

const isCounted = (root: LabelRoot, tier: string): boolean => root.impact && root.observable[tier] !== false;

const overlaps = (story: Story, root: LabelRoot): boolean =>
  story.openedAt <= root.end + LINGER_S && story.states.at(-1)!.at >= root.onset - EARLY_S;

/** Incidents of the fault's time: worst first, and those that it may have opened before those that were there already. */
function storiesOf(stories: ReadonlyMap<string, Story>, root: LabelRoot): Story[] {
  const fresh = (s: Story) => (s.openedAt >= root.onset - EARLY_S ? 0 : 1);
  return [...stories.values()]
    .filter((s) => overlaps(s, root))
    .sort(
      (a, b) =>
        fresh(a) - fresh(b) ||
        SEVERITY[finalOf(b, root).severity] - SEVERITY[finalOf(a, root).severity] ||
        a.openedAt - b.openedAt,
    );
}

/** What an incident said last while it was open and the fault was there (or just gone). */
const finalOf = (story: Story, root: LabelRoot): Incident => openState(story.states, root.end + LINGER_S);

function openState(states: Story['states'], until: number): Incident {
  let best = states[0]!;
  for (const s of states)
    if (s.at <= until && (s.incident.state === 'open' || best.incident.state !== 'open')) best = s;
  return best.incident;
}

/** Everything the incidents name as a cause: their roots first, in their order, then the other candidates by probability. */
function ranking(incidents: readonly Incident[]): Answer[] {
  const out = new Map<string, Answer>();
  const add = (c: Incident['root']) => {
    const answer = { detector: c.detector, kind: c.entity.kind, id: c.entity.id, probability: c.probability };
    const key = `${answer.detector}@${answer.kind}:${answer.id}`;
    if (!out.has(key)) out.set(key, answer);
  };
  for (const i of incidents) for (const root of i.roots.length > 0 ? i.roots : [i.root]) add(root);
  for (const c of incidents.flatMap((i) => i.candidates).sort((a, b) => b.probability - a.probability)) add(c);
  return [...out.values()];
}

const headIsRight = (incident: Incident, root: LabelRoot): boolean =>
  (incident.roots.length > 0 ? incident.roots : [incident.root]).some((r) =>
    matches(root, r.detector, r.entity.kind, r.entity.id),
  );

/** True when every step between the root and the last one really happened. */
function isGrounded(incident: Incident, root: LabelRoot, label: Label): boolean {
  const happened = new Set(label.paths.flat());
  const cause = incident.roots.find((r) => matches(root, r.detector, r.entity.kind, r.entity.id)) ?? incident.root;
  const path = cause.path.length > 0 ? cause.path : incident.path;
  const between = path.slice(1).filter((step) => step.detector !== 'slo-burn');
  return path.length > 1 && between.every((s) => happened.has(`${s.detector}@${s.entity.kind}:${s.entity.id}`));
}
