/** `enginelight components`: what a config can name. */
import { kindOf, SECTIONS } from '../config/checker.ts';
import { loadConfig } from '../config/load.ts';
import { formatIssues } from '../config/report.ts';
import { didYouMean } from '../config/suggest.ts';
import type { AnyDefinition, Registry } from '../pipeline/component.ts';
import { CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { wantsColour } from './validate.ts';

/** For commands that describe a registry: the plug-ins of a config count too. */
export const PLUGIN_FLAGS = {
  config: { ...CONFIG_FLAGS.config, description: 'A config file whose plug-ins are to be included.' },
} as const;

const SPEC = {
  usage: 'components [NAME…] [--json] [--catalog]',
  description: `Lists what a config can name: type, signals, stability and one line about each. With --catalog: every metric
that is known of engines, exporters and hosts, and the engine-neutral signal that it becomes.`,
  flags: {
    json: { description: 'As JSON, with the other spellings of each type.' },
    catalog: { description: 'Lists metrics and signals; NAME is then a source, such as vllm or dcgm.' },
    ...PLUGIN_FLAGS,
  },
  positional: 'NAME…',
  examples: ['enginelight components', 'enginelight components --catalog vllm'],
} as const;

export const components: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const registry = await registryOf(parsed.flags, io);
  if (!registry) return 1;
  const { flags, positionals } = parsed;
  if (flags.catalog) {
    const { catalogText, rowsOf, sourceNames } = await import('./catalog-listing.ts');
    checkNames(positionals, sourceNames(registry.catalog), 'source');
    const rows = rowsOf(registry.catalog, positionals);
    io.out(flags.json ? `${JSON.stringify(rows, undefined, 2)}\n` : catalogText(registry.catalog, rows));
    return 0;
  }
  checkNames(
    positionals,
    SECTIONS.flatMap((section) => registry[section].flatMap(spellings)),
    'component',
  );
  const wanted = positionals.length === 0 ? registry : only(registry, positionals);
  io.out(flags.json ? `${JSON.stringify(listing(wanted), undefined, 2)}\n` : table(wanted));
  return 0;
};

const spellings = (definition: AnyDefinition): string[] => [definition.type, ...(definition.aliases ?? [])];

function only(registry: Registry, types: readonly string[]): Registry {
  const wanted = (definition: AnyDefinition) => spellings(definition).some((name) => types.includes(name));
  return {
    ...registry,
    receivers: registry.receivers.filter(wanted),
    processors: registry.processors.filter(wanted),
    exporters: registry.exporters.filter(wanted),
    extensions: registry.extensions.filter(wanted),
  };
}

/** Wrong usage if one of the names is not there. */
export function checkNames(names: readonly string[], known: readonly string[], what: string): void {
  for (const name of names) {
    if (known.includes(name)) continue;
    throw new UsageError(`there is no ${what} "${name}"${didYouMean(name, known)}`);
  }
}

/** The built-in registry, or with the plug-ins of a config; undefined after saying what is wrong with them. */
export async function registryOf(
  flags: { readonly config: readonly string[] },
  io: CommandIo,
): Promise<Registry | undefined> {
  const registry = await io.registry();
  if (flags.config.length === 0) return registry;
  const result = await loadConfig(
    { configs: flags.config, sets: [] },
    { registry, env: io.env, cwd: io.cwd ?? process.cwd() },
  );
  const about = result.mistakes.filter((m) => m.path === '' || m.path.startsWith('service::plugins'));
  io.err(formatIssues(about, [], wantsColour(io)));
  return about.length > 0 ? undefined : result.registry;
}

const signalsOf = (definition: AnyDefinition): readonly string[] => ('signals' in definition ? definition.signals : []);

function listing(registry: Registry): unknown {
  return SECTIONS.flatMap((section) =>
    (registry[section] as readonly AnyDefinition[]).map((definition) => ({
      kind: kindOf(section),
      type: definition.type,
      aliases: definition.aliases ?? [],
      signals: signalsOf(definition),
      stability: definition.stability,
      summary: definition.summary,
    })),
  );
}

function table(registry: Registry): string {
  const rows = SECTIONS.map((section) => ({
    section,
    lines: (registry[section] as readonly AnyDefinition[]).map((definition) => [
      [definition.type, ...(definition.aliases ?? []).map((alias) => `(${alias})`)].join(' '),
      signalsOf(definition).join(' '),
      definition.stability,
      definition.summary,
    ]),
  }));
  const widths = [0, 1, 2].map((column) =>
    Math.max(0, ...rows.flatMap(({ lines }) => lines.map((line) => line[column]!.length))),
  );
  return rows
    .filter(({ lines }) => lines.length > 0)
    .map(({ section, lines }) => {
      const text = lines.map((line) => `  ${line.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}`.trimEnd());
      return `${section}:\n${text.join('\n')}\n`;
    })
    .join('\n');
}
