/** Labels of a source to attributes: who a number is about (the resource), and what it counts (the point). */
import { fulfils, type LabelRule, type Mapping, RANKS } from '../../config/mapping.ts';
import type { AnyValue, Attributes, Series } from '../../pipeline/model.ts';

/** What a page knows that a single series does not. */
export interface Around {
  /** The attributes that the resource already has. */
  readonly base: Attributes;
  /** Whether the page shows more than one value of a label. */
  several(label: string): boolean;
}

export interface SplitLabels {
  readonly resource: Record<string, AnyValue>;
  readonly point: Record<string, AnyValue>;
  /** Among series that come out the same the lowest counts: the ranks, or list positions, that were left out. */
  readonly order: number;
}

/** The text of a label; '' when it is absent. */
export function labelText(series: Series, name: string): string {
  const value = series.attributes[name];
  if (typeof value === 'string') return value;
  return value === undefined || value === null ? '' : String(value);
}

export const appliesTo = (mapping: Mapping, series: Series): boolean =>
  mapping.when.size === 0 || fulfils(mapping.when, (name) => labelText(series, name));

/** Labels that the configuration of a target gives (see docs/config.md), where a scrape puts them on every point. */
const TARGET_LABELS: Readonly<Record<string, string>> = {
  replica: 'service.instance.id',
  node: 'host.name',
  role: 'inference.role',
  pool: 'inference.pool',
  service: 'service.name',
  pod: 'k8s.pod.name',
  namespace: 'k8s.namespace.name',
  container: 'k8s.container.name',
  model: 'gen_ai.request.model',
  gpu_uuid: 'hw.id',
};

export function splitLabels(mapping: Mapping, series: Series, around: Around): SplitLabels {
  const resource: Record<string, AnyValue> = {};
  const point: Record<string, AnyValue> = {};
  let order = 0;
  for (const [label, rules] of mapping.labels) {
    const text = labelText(series, label);
    if (text === '') continue;
    for (const rule of rules) {
      const rank = rule.to === undefined ? -1 : (RANKS as readonly string[]).indexOf(rule.to);
      if (rank >= 0 && mapping.ranks === 'replicated') {
        order = order * 4096 + Math.min(4095, positive(text));
        continue;
      }
      if ((rank >= 0 && mapping.ranks === 'several') || rule.keep === 'several') {
        if (!around.several(label)) continue;
      }
      if (rule.to === undefined) {
        if (rule.lowest) order = order * 4096 + Math.min(4095, positive(text));
        continue;
      }
      const value = converted(rule, text);
      if (value === undefined) continue;
      const target = rule.on === 'resource' ? resource : point;
      if (rule.fill && (target[rule.to] !== undefined || around.base[rule.to] !== undefined)) continue;
      target[rule.to] = value;
    }
  }
  if (!mapping.dropOthers) {
    for (const label in series.attributes) {
      if (mapping.labels.has(label)) continue;
      const value = series.attributes[label]!;
      if (value === '' || value === null || fromTarget(label, value, around.base)) continue;
      point[label] = value;
    }
  }
  for (const name in mapping.set) point[name] = mapping.set[name]!;
  for (const name in mapping.about) resource[name] = mapping.about[name]!;
  return { resource, point, order };
}

/** The resource says it already: the scrape copied a label of the target onto the point. */
function fromTarget(label: string, value: AnyValue, base: Attributes): boolean {
  const name = Object.hasOwn(TARGET_LABELS, label) ? TARGET_LABELS[label]! : label;
  return base[name] === value;
}

const positive = (text: string): number => {
  const n = Number(text);
  return n >= 0 ? n : 4095;
};

function converted(rule: LabelRule, text: string): AnyValue | undefined {
  const { values } = rule;
  const named = values && (Object.hasOwn(values, text) ? values[text]! : (values['*'] ?? text));
  const value = named ?? text;
  if (value === '') return undefined;
  switch (rule.as) {
    case 'text':
      return value;
    case 'int':
      return /^\d{1,15}$/.test(value) ? Number(value) : value;
    case 'index': {
      const digits = /(\d+)$/.exec(value)?.[1];
      return digits === undefined ? value : Number(digits);
    }
    case 'hex':
      return decimal(value);
    case 'pci':
      return pciBusId(value);
    case 'container_id':
      return /[0-9a-f]{64}/.exec(value)?.[0];
  }
}

/** `1f` and `0x1f` to `31`; what is not hexadecimal stays. */
const decimal = (text: string): string => {
  const digits = text.replace(/^0x/i, '');
  return /^[0-9a-f]{1,16}$/i.test(digits) ? BigInt(`0x${digits}`).toString() : text;
};

/** `00000000:17:00.0`, `0000:17:00.0` and `17:00.0` to `0000:17:00.0`, in lower case: the last four digits of the domain. */
export function pciBusId(text: string): string {
  const match = /^(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-9a-f])?)$/i.exec(text.trim());
  if (!match) return text.toLowerCase();
  const domain = (match[1] ?? '').padStart(8, '0').slice(-8);
  const short = domain.startsWith('0000') ? domain.slice(4) : domain;
  const rest = match[2]!.includes('.') ? match[2]! : `${match[2]}.0`;
  return `${short}:${rest}`.toLowerCase();
}
