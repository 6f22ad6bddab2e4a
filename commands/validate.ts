/** `enginelight validate`: every mistake of a config at once; nothing is started. */
import { loadConfig } from '../config/load.ts';
import { formatIssues } from '../config/report.ts';
import { CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';

const SPEC = {
  usage: 'validate --config FILE…',
  description: `Reads a config as the daemon would, and says every mistake at once: where it is, what is wrong, and the nearest
valid name. Nothing is started and nothing is sent. Exit code 0: valid (warnings allowed), 1: not valid.`,
  flags: {
    ...CONFIG_FLAGS,
    json: { description: 'Prints { valid, mistakes, warnings } as JSON on standard output.' },
  },
  positional: 'FILE…',
  examples: ['enginelight validate --config config.yaml', 'enginelight validate --config base.yaml --config site.yaml'],
} as const;

export const validate: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const sources = sourcesOf(parsed);
  const result = await loadConfig(sources, {
    registry: await io.registry(),
    env: io.env,
    cwd: io.cwd ?? process.cwd(),
  });
  if (parsed.flags.json) {
    const { ok, mistakes, warnings } = result;
    io.out(`${JSON.stringify({ valid: ok, mistakes, warnings }, undefined, 2)}\n`);
    return ok ? 0 : 1;
  }
  io.err(formatIssues(result.mistakes, result.warnings, wantsColour(io)));
  if (!result.ok) return 1;
  const { pipelines } = result.config.service;
  const components = new Set(pipelines.flatMap((p) => [...p.receivers, ...p.processors, ...p.exporters])).size;
  io.out(`valid: ${count(pipelines.length, 'pipeline')}, ${count(components, 'component')}\n`);
  return 0;
};

const count = (n: number, word: string): string => `${n} ${word}${n === 1 ? '' : 's'}`;

/** What a command line says to read. Files may also be given without a flag. */
export function sourcesOf(parsed: {
  readonly flags: { readonly config: readonly string[]; readonly set: readonly string[] };
  readonly positionals: readonly string[];
}): { configs: readonly string[]; sets: readonly string[] } {
  const configs = [...parsed.flags.config, ...parsed.positionals];
  if (configs.length === 0) throw new UsageError('at least one config flag must be provided: --config FILE');
  return { configs, sets: parsed.flags.set };
}

/** Colour is for people: on a terminal, unless NO_COLOR is set. */
export const wantsColour = (io: CommandIo): boolean =>
  io.errIsTerminal === true && !io.env['NO_COLOR'] && io.env['TERM'] !== 'dumb';
