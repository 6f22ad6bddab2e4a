/** docs/signals.md: the vocabulary for people, from the data that the code runs on. */
import { allSignals, type Catalog, mappingsOf, type SignalInfo } from './catalog.ts';
import type { Form } from './signals.ts';

const INTRO = `# Signals

What a number means, whoever said it: the names that \`normalize\` gives to the metrics of engines, GPU exporters, hosts and
Kubernetes, and that probes and detectors use as well. Generated from \`config/signals.yaml\` and \`config/catalog/\`; do not
edit. \`enginelight components --catalog\` lists every metric that becomes one of these.

- **Type and unit.** As in OpenTelemetry. Further lines are other shapes in which some source gives the same thing (a rate
  instead of a counter, blocks instead of tokens): name, type and unit together say which one a series is.
- **Parts** are attributes that split a whole: series of one entity that differ only in these add up to the total.
- **Views** are attributes that show the same thing otherwise (another cache tier, a statistic, one stage of it): pick one
  value, never add up. Without a view attribute a series is the source's own overall value.
- **Late** values move when a request ends, so during an incident they lag by a whole request; all others are live.
- **Ranks** that all say the same are counted once (*alike*); *apart if several* and *always apart* carry \`inference.rank.*\`.
- Names marked with a star are OpenTelemetry's; the others are ours, under \`inference.\` or beside OpenTelemetry's own.
- Who a number is about (replica, model, rank, GPU, pod, node) stands in the resource: see docs/config.md.

`;

const RANKS: Record<SignalInfo['ranks'], string> = {
  replicated: 'alike',
  several: 'apart if several',
  each: '',
};

/** The whole document. */
export function signalsDoc(catalog: Catalog): string {
  const given = new Map<string, Set<string>>();
  for (const source of catalog.sources) {
    for (const { signal } of mappingsOf(source)) {
      if (!signal) continue;
      const set = given.get(signal.name) ?? new Set();
      given.set(signal.name, set.add(source.name));
    }
  }
  const groups = new Map<string, SignalInfo[]>();
  for (const signal of allSignals(catalog)) {
    const list = groups.get(signal.group) ?? [];
    groups.set(signal.group, [...list, signal]);
  }
  let out = INTRO;
  for (const [group, signals] of groups) {
    out += `## ${group}\n\n| signal | type and unit | parts, views | meaning | from |\n|---|---|---|---|---|\n`;
    for (const signal of signals) out += row(signal, [...(given.get(signal.name) ?? [])].sort());
    out += '\n';
  }
  return `${out.trimEnd()}\n`;
}

function row(signal: SignalInfo, sources: readonly string[]): string {
  const forms = [signal, ...signal.forms].map(form).join('<br>');
  const attributes = [
    signal.attributes.length > 0 ? code(signal.attributes) : '',
    signal.views.length > 0 ? `views: ${code(signal.views)}` : '',
  ].filter((text) => text !== '');
  const notes = [
    signal.meaning,
    signal.population === 'at_completion' ? 'late' : '',
    RANKS[signal.ranks] === '' ? '' : `ranks ${RANKS[signal.ranks]}`,
  ].filter((text) => text !== '');
  const star = signal.otel === 'proposed' ? '' : ' *';
  return `| \`${signal.name}\`${star} | ${forms} | ${attributes.join('<br>')} | ${notes.join('; ')} | ${sources.join(', ')} |\n`;
}

const form = ({ instrument, unit }: Form): string => `${instrument}, \`${unit}\``;
const code = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(', ');
