/** `enginelight components`: what a config can name. */
import { kindOf, SECTIONS } from '../config/checker.ts';
import { loadConfig } from '../config/load.ts';
import { formatIssues } from '../config/report.ts';
import type { AnyDefinition, Registry } from '../pipeline/component.ts';
import { CONFIG_FLAGS, parseCommandLine } from './args.ts';
import type { Command, CommandIo } from './command.ts';
import { wantsColour } from './validate.ts';

/** For commands that describe a registry: the plug-ins of a config count too. */
export const PLUGIN_FLAGS = {
  config: { ...CONFIG_FLAGS.config, description: 'A config file whose plug-ins are to be included.' },
} as const;

const SPEC = {
  usage: 'components [--json]',
  description: 'Lists what a config can name: type, signals, stability and one line about each.',
  flags: {
    json: { description: 'As JSON, with the other spellings of each type.' },
    ...PLUGIN_FLAGS,
  },
} as const;

export const components: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const registry = await registryOf(parsed.flags, io);
  if (!registry) return 1;
  io.out(parsed.flags.json ? `${JSON.stringify(listing(registry), undefined, 2)}\n` : table(registry));
  return 0;
};

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
