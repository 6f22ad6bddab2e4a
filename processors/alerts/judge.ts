/**
 * Conditions to answers: true, false, or not known. Not known is what it is for a person: with `all`, one false still makes
 * it false, with `any`, one true makes it true. A condition on what an entity does not expose at all has no say in an `any`
 * whose other conditions can be judged.
 */
import { COMMON_WORDS, type Condition, type Fold, type Rule, type Term } from '../../pipeline/kit/rules/rule.ts';
import { type Channel, isAlive } from './channel.ts';
import { type Group, groupKey, type Store, type TermIndex } from './store.ts';

export type Answer = boolean | undefined;

export interface Judgement {
  readonly answer: Answer;
  /** What the first bound that decided came to; NaN where nothing is known. */
  readonly value: number;
  /** Not known because the entity has no such series. */
  readonly absent?: true;
}

/** Where a series that has ended says "none", not "not known". */
const NONE_WHEN_GONE = new Set(['enginelight_finding_active', 'enginelight_incident_open']);

const UNKNOWN: Judgement = { answer: undefined, value: Number.NaN };
const ABSENT: Judgement = { answer: undefined, value: Number.NaN, absent: true };

/** A term's series in words: its signal, and what was asked of its attributes. */
const selectorOf = (term: Term): string => {
  const where = term.where
    .filter((w) => !w.view)
    .map((w) => `${w.attribute}=${w.negated ? '!' : ''}${w.values === '*' ? '*' : w.values.join('|')}`);
  return where.length > 0 ? `${term.signal}{${where.join(', ')}}` : term.signal;
};

const COUNTING = new Set<Fold>(['increase', 'rate', 'count', 'quantile', 'share_above']);
const canGive = (channel: Channel, fold: Fold): boolean =>
  fold === 'mean' || fold === 'age' || COUNTING.has(fold) === channel.counts;

export interface Judge {
  /** The entities that a rule can be about now. */
  groups(rule: Rule): Map<string, Readonly<Record<string, string>>>;
  judge(rule: Rule, values: Readonly<Record<string, string>>, firing: boolean, now: number): Judgement;
  /** Labels on which all series of the entity agree. */
  common(rule: Rule, values: Readonly<Record<string, string>>): Readonly<Record<string, string>>;
  /** Signals for want of which a rule cannot come true for anything; empty if it can. */
  missing(rule: Rule): readonly string[];
}

export function createJudge(store: Store): Judge {
  function groupOf(index: TermIndex, values: Readonly<Record<string, string>>): Group | undefined {
    return index.groups.get(groupKey(index.by, values));
  }

  function termValue(
    term: Term,
    rule: Rule,
    values: Readonly<Record<string, string>>,
    now: number,
  ): number | undefined {
    const index = store.index(term);
    // A term about a larger thing finds it by what the entity's own series say of it.
    const of = index.by === rule.by ? values : { ...common(rule, values), ...values };
    const group = groupOf(index, of);
    if (!group) return undefined;
    if (group.memoAt !== now) {
      group.memoAt = now;
      group.memo = fold(term, group, now);
    }
    const own = group.memo;
    if (own === undefined || !term.dividedBy) return own;
    const by = termValue(term.dividedBy, rule, values, now);
    if (by === undefined || by === 0 || by < term.minCount) return undefined;
    return own / by;
  }

  function judge(
    condition: Condition,
    rule: Rule,
    values: Readonly<Record<string, string>>,
    firing: boolean,
    now: number,
  ): Judgement {
    switch (condition.kind) {
      case 'bound': {
        const value = termValue(condition.term, rule, values, now);
        if (value === undefined || Number.isNaN(value)) return unknownOf(condition.term, rule, values);
        const bound = firing ? condition.clear : condition.bound;
        switch (condition.comparison) {
          case '>':
            return { answer: value > bound, value };
          case '>=':
            return { answer: value >= bound, value };
          case '<':
            return { answer: value < bound, value };
          default:
            return { answer: value <= bound, value };
        }
      }
      case 'not': {
        const inner = judge(condition.of, rule, values, false, now);
        return inner.answer === undefined ? inner : { answer: !inner.answer, value: inner.value };
      }
      default: {
        const decides = condition.kind === 'any';
        let unknown = false;
        let absent = 0;
        let first: Judgement | undefined;
        for (const one of condition.of) {
          const got = judge(one, rule, values, firing, now);
          if (got.answer === decides) return { answer: decides, value: decides ? got.value : (first ?? got).value };
          if (got.absent) absent++;
          else if (got.answer === undefined) unknown = true;
          if (first === undefined || Number.isNaN(first.value)) first = got;
        }
        // All of nothing known is not known; of several ways to come true, those that are not there do not count.
        if (absent === condition.of.length || (absent > 0 && !decides))
          return { answer: undefined, value: Number.NaN, absent: true };
        return { answer: unknown ? undefined : !decides, value: first?.value ?? Number.NaN };
      }
    }
  }

  function unknownOf(term: Term, rule: Rule, values: Readonly<Record<string, string>>): Judgement {
    const index = store.index(term);
    const group = groupOf(index, index.by === rule.by ? values : { ...common(rule, values), ...values });
    const there = group && [...group.channels].some((channel) => canGive(channel, term.fold));
    return there ? UNKNOWN : ABSENT;
  }

  function common(rule: Rule, values: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    let agreed: Record<string, string> | undefined;
    for (const index of ownIndexes(rule)) {
      for (const channel of groupOf(index, values)?.channels ?? []) {
        if (!agreed) agreed = pick(channel.labels);
        else for (const [k, v] of Object.entries(agreed)) if ((channel.labels[k] ?? v) !== v) delete agreed[k];
      }
    }
    return agreed ?? {};
  }

  const own = new WeakMap<Rule, readonly TermIndex[]>();
  /** Terms that are about the rule's own entity. */
  function ownIndexes(rule: Rule): readonly TermIndex[] {
    let list = own.get(rule);
    if (!list) {
      list = boundTerms(rule.when)
        .map((term) => store.index(term))
        .filter((index) => index.by === rule.by);
      own.set(rule, list);
    }
    return list;
  }

  function missing(condition: Condition): readonly string[] {
    switch (condition.kind) {
      case 'bound': {
        const chain: string[] = [];
        for (let t: Term | undefined = condition.term; t; t = t.dividedBy) {
          if (store.index(t).groups.size === 0 && !NONE_WHEN_GONE.has(t.signal)) chain.push(selectorOf(t));
        }
        return chain;
      }
      case 'not':
        return missing(condition.of);
      case 'all':
        return [...new Set(condition.of.flatMap(missing))];
      case 'any': {
        const each = condition.of.map(missing);
        return each.some((m) => m.length === 0) ? [] : [...new Set(each.flat())];
      }
    }
  }

  return {
    groups(rule) {
      const out = new Map<string, Readonly<Record<string, string>>>();
      for (const index of ownIndexes(rule)) for (const [key, group] of index.groups) out.set(key, group.values);
      return out;
    },
    judge: (rule, values, firing, now) => judge(rule.when, rule, values, firing, now),
    common,
    missing: (rule) => missing(rule.when),
  };
}

/** What other rules tell entities apart by is nothing to this one. */
function pick(labels: Readonly<Record<string, string>>): Record<string, string> {
  const out: Record<string, string> = Object.create(null);
  for (const word of COMMON_WORDS) if (labels[word] !== undefined) out[word] = labels[word];
  return out;
}

function boundTerms(condition: Condition): readonly Term[] {
  if (condition.kind === 'bound') return [condition.term];
  return condition.kind === 'not' ? boundTerms(condition.of) : condition.of.flatMap(boundTerms);
}

/** What a term comes to over the series of one entity; undefined where nothing is known. */
function fold(term: Term, group: Group, now: number): number | undefined {
  const to = now - term.offsetMs;
  const from = to - term.windowMs;
  const reach = term.offsetMs + term.windowMs;
  const { channels } = group;
  if (term.fold === 'age')
    return combine(
      term,
      [...channels].map((c) => (now - c.lastMs) / 1000),
    );
  if (term.fold === 'quantile') return quantile(term, channels, from, to);
  const ratio = (of: 'sum' | number): number | undefined => {
    let part = 0;
    let whole = 0;
    for (const c of channels) {
      const p = c.grown(of, from, to, reach, term.coverage);
      const w = c.grown('count', from, to, reach, term.coverage);
      if (!p || !w) continue;
      part += p.amount;
      whole += w.amount;
    }
    return whole > 0 && whole >= term.minCount ? part / whole : undefined;
  };
  if (term.fold === 'share_above') return ratio(term.threshold);
  const list = [...channels];
  if (term.fold === 'mean' && list.some((c) => c.grown('count', from, to, reach, 0) !== undefined)) {
    if (term.combine === 'sum') return ratio('sum');
    const means = list.map((c) => {
      const sum = c.grown('sum', from, to, reach, term.coverage);
      const count = c.grown('count', from, to, reach, term.coverage);
      return sum && count && count.amount > 0 && count.amount >= term.minCount ? sum.amount / count.amount : undefined;
    });
    return combine(term, means);
  }
  return combine(
    term,
    list.map((c) => single(term, c, from, to, reach, now)),
  );
}

function single(term: Term, c: Channel, from: number, to: number, reach: number, now: number): number | undefined {
  switch (term.fold) {
    case 'increase':
    case 'rate': {
      const got = c.grown('value', from, to, reach, term.coverage) ?? c.grown('count', from, to, reach, term.coverage);
      if (!got) return undefined;
      return term.fold === 'increase' ? got.amount : got.amount / got.seconds;
    }
    case 'count':
      return c.grown('count', from, to, reach, term.coverage)?.amount;
    default:
      if (NONE_WHEN_GONE.has(c.signal) && !isAlive(c, now)) return 0;
      return c.number(term.fold, from, to, reach, term.coverage);
  }
}

function combine(term: Term, values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((v) => v !== undefined);
  if (known.length === 0) return undefined;
  switch (term.combine) {
    case 'sum':
      return known.reduce((a, b) => a + b, 0);
    case 'mean':
      return known.reduce((a, b) => a + b, 0) / known.length;
    case 'max':
      return Math.max(...known);
    case 'min':
      return Math.min(...known);
    case 'count':
      return known.length;
    default: {
      const sorted = known.sort((a, b) => a - b);
      const mid = sorted.length >> 1;
      return sorted.length % 2 === 1 ? sorted[mid] : (sorted[mid - 1]! + sorted[mid]!) / 2;
    }
  }
}

/**
 * A quantile of all observations together. Beyond the last finite bound only "at least that bound" is known, so a value there
 * is said to be infinite: above every threshold that lies in known buckets, and nothing finite is made up.
 */
function quantile(term: Term, channels: Iterable<Channel>, from: number, to: number): number | undefined {
  let bounds: Float64Array | undefined;
  let counts: Float64Array | undefined;
  for (const channel of channels) {
    const got = channel.buckets(from, to, term.coverage);
    if (!got) continue;
    if (!counts) {
      bounds = got.bounds;
      counts = got.counts.slice();
    } else if (got.counts.length === counts.length && got.bounds.every((b, i) => b === bounds![i])) {
      for (let i = 0; i < counts.length; i++) counts[i]! += got.counts[i]!;
    } else return undefined;
  }
  if (!bounds || !counts) return undefined;
  const total = counts.reduce((a, b) => a + b, 0);
  if (total === 0 || total < term.minCount) return undefined;
  let rank = term.quantile * total;
  for (let i = 0; i < counts.length; i++) {
    if (rank > counts[i]! || counts[i] === 0) {
      rank -= counts[i]!;
      continue;
    }
    if (i >= bounds.length) return Number.POSITIVE_INFINITY;
    const low = i === 0 ? Math.min(0, bounds[0]!) : bounds[i - 1]!;
    return low + (bounds[i]! - low) * (rank / counts[i]!);
  }
  return undefined;
}
