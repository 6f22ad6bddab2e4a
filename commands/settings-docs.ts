/** `enginelight settings-docs`: the settings of components, from the declarations that also check them. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { kindOf, SECTIONS, type Section } from '../config/checker.ts';
import type { AnySchema } from '../config/schema.ts';
import { settingsTable, withSettings } from '../config/settings-table.ts';
import { signalsDoc } from '../config/signals-doc.ts';
import type { AnyDefinition, Registry } from '../pipeline/component.ts';
import { shutdownTimeout, telemetryOptions } from '../pipeline/telemetry-options.ts';
import { parseCommandLine } from './args.ts';
import type { Command } from './command.ts';
import { checkNames, PLUGIN_FLAGS, registryOf } from './components.ts';

const SPEC = {
  usage: 'settings-docs [TYPE…]',
  description: 'Prints the settings of components as Markdown: all of them, or those of the given types.',
  flags: {
    write: {
      value: 'FOLDER',
      description: 'Refreshes the READMEs, docs/components.md and docs/signals.md of this source tree instead.',
    },
    ...PLUGIN_FLAGS,
  },
  positional: 'TYPE…',
  examples: ['enginelight settings-docs otlp_http'],
} as const;

export const settingsDocs: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const registry = await registryOf(parsed.flags, io);
  if (!registry) return 1;
  if (parsed.flags.write !== undefined) {
    for (const [path, text] of documents(registry, parsed.flags.write)) {
      writeFileSync(path, text);
      io.out(`${path}\n`);
    }
    return 0;
  }
  const all = SECTIONS.flatMap((section) =>
    (registry[section] as readonly AnyDefinition[]).map((definition) => ({ section, definition })),
  );
  checkNames(
    parsed.positionals,
    all.flatMap(({ definition }) => names(definition)),
    'component',
  );
  const wanted = all.filter(
    ({ definition }) =>
      parsed.positionals.length === 0 || names(definition).some((n) => parsed.positionals.includes(n)),
  );
  io.out(wanted.map(({ section, definition }) => chapter(section, definition)).join('\n'));
  return 0;
};

const names = (definition: AnyDefinition): string[] => [definition.type, ...(definition.aliases ?? [])];

const chapter = (section: Section, definition: AnyDefinition): string =>
  `## ${definition.type} (${kindOf(section)})\n\n${definition.summary}.\n\n${settingsTable(definition.config as AnySchema)}\n`;

/** Every generated document that differs from what is in the tree: path to new text. */
export function documents(registry: Registry, root: string): Map<string, string> {
  const changed = new Map<string, string>();
  const put = (path: string, text: string) => {
    if (!existsSync(path) || readFileSync(path, 'utf8') !== text) changed.set(path, text);
  };
  for (const section of SECTIONS) {
    for (const definition of registry[section] as readonly AnyDefinition[]) {
      const path = join(root, section, definition.type, 'README.md');
      if (!existsSync(path)) continue;
      const text = withSettings(readFileSync(path, 'utf8'), settingsTable(definition.config as AnySchema));
      if (text !== undefined) put(path, text);
    }
  }
  put(join(root, 'docs', 'components.md'), overview(registry));
  put(join(root, 'docs', 'signals.md'), signalsDoc(registry.catalog));
  return changed;
}

const TITLES: Record<Section, string> = {
  receivers: 'Receivers: where data comes from',
  processors: 'Processors: what happens on the way',
  exporters: 'Exporters: where it goes',
  extensions: 'Extensions: what the daemon does besides',
};

function overview(registry: Registry): string {
  const parts = [
    '# Components\n\nMade by `npm run docs` from the declarations in the code; do not edit. What a config looks like: [config.md](config.md).\n',
  ];
  for (const section of SECTIONS) {
    const definitions = registry[section] as readonly AnyDefinition[];
    if (definitions.length === 0) continue;
    parts.push(
      [
        `## ${TITLES[section]}\n`,
        '| Type | Signals | Stability | What it does |',
        '| --- | --- | --- | --- |',
        ...definitions.map((d) => {
          const aliases = (d.aliases ?? []).map((alias) => `\`${alias}\``).join(', ');
          const signals = 'signals' in d ? d.signals.join(', ') : '';
          return `| [\`${d.type}\`](../${section}/${d.type}/README.md)${aliases === '' ? '' : ` (also ${aliases})`} | ${signals} | ${d.stability} | ${d.summary} |`;
        }),
        '',
      ].join('\n'),
    );
  }
  parts.push(`## The daemon itself: \`service\`

| Setting | Type | Default | Description |
| --- | --- | --- | --- |
| \`service.shutdown_timeout\` | duration | \`${String((shutdownTimeout as AnySchema).default)}\` | ${(shutdownTimeout as AnySchema).description} |

### \`service.telemetry\`

${settingsTable(telemetryOptions as AnySchema)}
`);
  return parts.join('\n');
}
