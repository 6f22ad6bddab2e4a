/**
 * What really happened in a recording, as a label says it: the truth that the simulator writes, or one that a person wrote
 * beside a recording of their own (docs/score.md). Only `roots` is needed; all else has a sensible default.
 */

/** How much of a cause some set of telemetry can show. */
export type Observability = true | 'partial' | false;

export interface LabelRoot {
  /** Detector id. */
  readonly id: string;
  /** `kind:id`, as in reports. */
  readonly entity: string;
  /** Answers that are as right, `detector@kind:id`; `*` stands for any id, or for any kind and id. */
  readonly accept: readonly string[];
  /** What was done, for the report card; the detector id when nobody says. */
  readonly fault: string;
  /** Share of the victim's capacity that was lost, 0…1; 0 when unknown. */
  readonly dose: number;
  readonly shape: string;
  /** Seconds since the start of the recording. */
  readonly onset: number;
  readonly end: number;
  readonly impact: boolean;
  readonly observable: Readonly<Record<string, Observability>>;
}

export interface Label {
  readonly name: string;
  readonly seed: number;
  readonly durationS: number;
  readonly roots: readonly LabelRoot[];
  /** Ways from a root to the users, as `detector@kind:id`. */
  readonly paths: readonly (readonly string[])[];
  /** Seconds since the start of the recording. */
  readonly impactOnset: number | null;
  /** Which healthy pattern it is, when it has no root. */
  readonly control: string | null;
}

export class BadLabel extends Error {
  override readonly name = 'BadLabel';
}

type Json = Readonly<Record<string, unknown>>;

/** Reads a label; `name` and `durationS` are those of the recording. Throws BadLabel with every mistake in one message. */
export function readLabel(value: unknown, name: string, durationS: number): Label {
  const mistakes: string[] = [];
  const outer = object(value);
  const truth = outer ? (object(outer['truth']) ?? outer) : undefined;
  if (!truth) throw new BadLabel(`${name}: a label is a JSON object; see docs/score.md`);
  const rows = truth['roots'];
  if (!Array.isArray(rows)) {
    throw new BadLabel(`${name}: roots is missing; a healthy recording says "roots": []`);
  }
  const end = number(truth['durationS']) ?? durationS;
  const roots = rows.map((row: unknown, i): LabelRoot => {
    const r = object(row) ?? {};
    const id = typeof r['id'] === 'string' ? r['id'] : '';
    const entity = typeof r['entity'] === 'string' ? r['entity'] : '';
    if (id === '') mistakes.push(`roots[${i}].id is missing: the detector that should name the cause`);
    if (!/^[a-z]+:./.test(entity)) {
      mistakes.push(`roots[${i}].entity is ${JSON.stringify(r['entity'])}; write kind:id, for example replica:r2`);
    }
    const onset = number(r['onset']);
    if (onset === undefined) mistakes.push(`roots[${i}].onset is missing: seconds since the start of the recording`);
    return {
      id,
      entity,
      accept: strings(r['accept']),
      fault: typeof r['fault'] === 'string' ? r['fault'] : id,
      dose: number(r['dose']) ?? 0,
      shape: typeof r['shape'] === 'string' ? r['shape'] : 'step',
      onset: onset ?? 0,
      end: number(r['end']) ?? end,
      impact: r['impact'] !== false && truth['impact'] !== false,
      observable: (object(r['observable']) ?? object(truth['observable']) ?? {}) as LabelRoot['observable'],
    };
  });
  if (mistakes.length > 0) throw new BadLabel(`${name}: ${mistakes.join('; ')}`);
  const path = strings(truth['path']);
  return {
    name,
    seed: number(truth['seed']) ?? number(outer?.['seed']) ?? 0,
    durationS: end,
    roots,
    paths: Array.isArray(truth['paths']) ? truth['paths'].map(strings) : path.length > 0 ? [path] : [],
    impactOnset: number(truth['impactOnset']) ?? null,
    control: typeof truth['control'] === 'string' ? truth['control'] : roots.length === 0 ? 'healthy' : null,
  };
}

/** True when the answer is the labelled one, or one that is as right. */
export function matches(root: LabelRoot, detector: string, kind: string, id: string): boolean {
  if (detector === root.id && `${kind}:${id}` === root.entity) return true;
  return root.accept.some((pattern) => {
    const at = pattern.indexOf('@');
    if (pattern.slice(0, at) !== detector) return false;
    const entity = pattern.slice(at + 1);
    return entity === '*' || entity === `${kind}:${id}` || entity === `${kind}:*`;
  });
}

/** True when the kind of cause is right, whoever it was pinned on: half the credit. */
export const matchesKind = (root: LabelRoot, detector: string): boolean =>
  detector === root.id || root.accept.some((pattern) => pattern.startsWith(`${detector}@`));

const object = (value: unknown): Json | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : undefined;
const number = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined;
const strings = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((v): v is string => typeof v === 'string') : [];
