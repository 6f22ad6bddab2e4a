/** The options that decide how our data is called in Prometheus; shared by what exposes and what writes it. */
import { type Static, t } from '../../config/schema.ts';
import { STRATEGIES, type TranslationStrategy } from '../wire/prometheus-text-names.ts';
import type { LabelOptions } from '../wire/prometheus-text-series.ts';

/** Attributes of resources that tell series of one target apart: its ranks, GPUs, links, pods. */
const IDENTIFYING = [
  'inference.*',
  'gen_ai.request.model',
  'host.name',
  'hw.*',
  'network.interface.name',
  'k8s.namespace.name',
  'k8s.pod.name',
  'k8s.container.name',
  'k8s.node.name',
];

/** Spread into the options of an exporter. */
export const prometheusNameOptions = {
  namespace: t.string({ description: 'Put in front of every name, with an underscore.', default: '' }),
  resource_to_telemetry_conversion: t.section(
    { enabled: t.boolean({ description: 'Make every attribute of the resource a label.', default: false }) },
    { description: 'All or nothing; `resource_constant_labels` is the finer choice.' },
  ),
  resource_constant_labels: t.section(
    {
      included: t.list(t.string({ description: 'A name; `*` stands for any characters.' }), {
        description:
          'Attributes of the resource that become labels of every series. The default are those that tell the ranks, GPUs and pods of one job and instance apart.',
        default: IDENTIFYING,
      }),
      excluded: t.list(t.string({ description: 'A name; `*` stands for any characters.' }), {
        description: 'Exceptions from `included`.',
        default: [],
      }),
    },
    { description: 'Which attributes of the resource become labels; all of them are on target_info in any case.' },
  ),
  without_scope_info: t.boolean({
    description: 'Leave out the labels otel_scope_name, otel_scope_version and their companions.',
    default: false,
  }),
  translation_strategy: t.choice(STRATEGIES, {
    description:
      'How names are made: with old characters only or all of UTF-8, with or without suffixes for unit and type. Scraped metrics keep the name they had.',
    default: 'UnderscoreEscapingWithSuffixes',
  }),
  add_metric_suffixes: t.optional(
    t.boolean({
      description: 'Older spelling: false is `translation_strategy: UnderscoreEscapingWithoutSuffixes`.',
    }),
  ),
};

/** What the code gets for `prometheusNameOptions`. */
export interface PrometheusNameConfig {
  readonly namespace: string;
  readonly resource_to_telemetry_conversion: { readonly enabled: boolean };
  readonly resource_constant_labels: Static<(typeof prometheusNameOptions)['resource_constant_labels']>;
  readonly without_scope_info: boolean;
  readonly translation_strategy: TranslationStrategy;
  readonly add_metric_suffixes?: boolean;
}

/** The options as the writers of names and labels want them. */
export function labelOptions(
  config: PrometheusNameConfig,
  constLabels: Readonly<Record<string, string>>,
): LabelOptions & { readonly namespace: string } {
  const included = matcher(config.resource_constant_labels.included);
  const excluded = matcher(config.resource_constant_labels.excluded);
  const all = config.resource_to_telemetry_conversion.enabled;
  return {
    namespace: config.namespace,
    strategy: config.add_metric_suffixes === false ? 'UnderscoreEscapingWithoutSuffixes' : config.translation_strategy,
    constLabels: Object.entries(constLabels),
    resourceLabel: (name) => (all || included(name)) && !excluded(name),
    scopeLabels: !config.without_scope_info,
  };
}

/** True for names that match one of the patterns. */
function matcher(patterns: readonly string[]): (name: string) => boolean {
  if (patterns.length === 0) return () => false;
  const escaped = patterns.map((p) =>
    p
      .split('*')
      .map((s) => s.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
      .join('.*'),
  );
  const any = new RegExp(`^(?:${escaped.join('|')})$`);
  return (name) => any.test(name);
}
