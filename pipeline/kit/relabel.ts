/** Relabelling as Prometheus does it: rules that rewrite the labels of a target or of a sample, or drop it. */
import { createHash } from 'node:crypto';
import { type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../component.ts';

/** Text, or a number or boolean that stands for its text, as YAML allows. */
export const scalar = (description: string, fallback?: string) =>
  t.oneOf([t.string({ description }), t.number({ description }), t.boolean({ description })], {
    description,
    ...(fallback === undefined ? {} : { default: fallback }),
  });

const ACTIONS = [
  'replace',
  'keep',
  'drop',
  'keepequal',
  'dropequal',
  'hashmod',
  'labelmap',
  'labeldrop',
  'labelkeep',
  'lowercase',
  'uppercase',
] as const;

export const relabelRule = t.item(
  {
    source_labels: t.list(t.string({ description: 'Name of a label.' }), {
      description: 'Labels whose values are joined and matched.',
      default: [],
    }),
    separator: t.string({ description: 'What the joined values are separated by.', default: ';' }),
    regex: scalar(
      'What the joined values, or for label… actions the names, must match as a whole (RE2 syntax).',
      '(.*)',
    ),
    modulus: t.optional(t.integer({ description: 'For `hashmod`: the number of shards.', minimum: 1 })),
    target_label: t.optional(t.string({ description: 'The label that is written.' })),
    replacement: scalar('What is written; `$1` is the first group of `regex`.', '$1'),
    action: t.choice(ACTIONS, { description: 'What the rule does.', default: 'replace' }),
  },
  { description: 'One rule.' },
);

export const relabelRules = (description: string) => t.list(relabelRule, { description, default: [] });

export type RelabelRule = Static<typeof relabelRule>;

/** Rewrites the labels in place; false: the target or sample is dropped. */
export type Relabel = (labels: Map<string, string>) => boolean;

/** Turns RE2 syntax into a JavaScript expression that must match a whole text. Throws a SyntaxError. */
export function anchored(pattern: string): RegExp {
  let flags = 's';
  let source = pattern;
  const leading = /^\(\?([ims]+)\)/.exec(source);
  if (leading) {
    source = source.slice(leading[0].length);
    for (const flag of leading[1]!) if (!flags.includes(flag)) flags += flag;
  }
  source = source
    .replace(/\(\?P</g, '(?<')
    .replace(/\\A/g, '^')
    .replace(/\\z/g, '$')
    .replace(/\[:(\w+):\]/g, (all, name: string) => POSIX[name] ?? all);
  if (/\\[pP]\{?/.test(source)) {
    flags += 'u';
    source = source.replace(/\\([pP])([A-Z])/g, '\\$1{$2}');
  }
  return new RegExp(`^(?:${source})$`, flags);
}

const POSIX: Readonly<Record<string, string>> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  digit: '0-9',
  lower: 'a-z',
  upper: 'A-Z',
  space: '\\s',
  punct: '!-\\/:-@\\[-`{-~',
  word: '\\w',
  xdigit: '0-9A-Fa-f',
};

/** Go's Expand: `$1`, `${1}`, `$name`, `${name}`, `$$`; a group that is not there is empty. */
function expand(template: string, match: RegExpExecArray): string {
  return template.replace(/\$(?:(\$)|\{(\w+)\}|(\w+))/g, (_, dollar, braced?: string, bare?: string) => {
    if (dollar) return '$';
    const group = (braced ?? bare)!;
    return (/^\d+$/.test(group) ? match[Number(group)] : match.groups?.[group]) ?? '';
  });
}

/** Mistakes that the schema cannot see. */
export function checkRelabel(rules: readonly RelabelRule[], at: readonly (string | number)[]): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [];
  for (const [i, rule] of rules.entries()) {
    const put = (key: string, message: string) => mistakes.push({ path: [...at, i, key], message });
    try {
      anchored(String(rule.regex));
    } catch (error) {
      put('regex', `not a regular expression: ${(error as Error).message}`);
    }
    const { action } = rule;
    const writes = ['replace', 'hashmod', 'lowercase', 'uppercase', 'keepequal', 'dropequal'].includes(action);
    if (writes && !rule.target_label) put('action', `relabel action "${action}" requires 'target_label' value`);
    if (action === 'hashmod' && rule.modulus === undefined) {
      put('action', 'relabel configuration for hashmod requires non-zero modulus');
    }
  }
  return mistakes;
}

/** Makes one function of all the rules; undefined when there is none. */
export function relabel(rules: readonly RelabelRule[]): Relabel | undefined {
  if (rules.length === 0) return undefined;
  const steps = rules.map(step);
  return (labels) => steps.every((s) => s(labels));
}

function step(rule: RelabelRule): Relabel {
  const regex = anchored(String(rule.regex));
  const replacement = String(rule.replacement);
  const target = rule.target_label ?? '';
  const joined = (labels: Map<string, string>) =>
    rule.source_labels.map((l) => labels.get(l) ?? '').join(rule.separator);
  const set = (labels: Map<string, string>, name: string, value: string) => {
    if (value === '') labels.delete(name);
    else labels.set(name, value);
  };
  switch (rule.action) {
    case 'keep':
      return (labels) => regex.test(joined(labels));
    case 'drop':
      return (labels) => !regex.test(joined(labels));
    case 'keepequal':
      return (labels) => joined(labels) === (labels.get(target) ?? '');
    case 'dropequal':
      return (labels) => joined(labels) !== (labels.get(target) ?? '');
    case 'hashmod':
      return (labels) => {
        const hash = createHash('md5').update(joined(labels)).digest().readBigUInt64BE(8);
        labels.set(target, String(hash % BigInt(rule.modulus ?? 1)));
        return true;
      };
    case 'lowercase':
      return (labels) => {
        set(labels, target, joined(labels).toLowerCase());
        return true;
      };
    case 'uppercase':
      return (labels) => {
        set(labels, target, joined(labels).toUpperCase());
        return true;
      };
    case 'labelmap':
      return (labels) => {
        for (const [name, value] of [...labels]) {
          const match = regex.exec(name);
          if (match) set(labels, expand(replacement, match), value);
        }
        return true;
      };
    case 'labeldrop':
      return (labels) => {
        for (const name of [...labels.keys()]) if (regex.test(name)) labels.delete(name);
        return true;
      };
    case 'labelkeep':
      return (labels) => {
        for (const name of [...labels.keys()]) if (!regex.test(name)) labels.delete(name);
        return true;
      };
    default:
      return (labels) => {
        const match = regex.exec(joined(labels));
        if (!match) return true;
        const name = expand(target, match);
        if (name !== '') set(labels, name, expand(replacement, match));
        return true;
      };
  }
}
