/** `enginelight print-config`: the config as the daemon understands it, defaults filled in, secrets redacted. */
import { loadConfig } from '../config/load.ts';
import { formatIssues } from '../config/report.ts';
import { CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, UsageError } from './command.ts';
import { sourcesOf, wantsColour } from './validate.ts';

const SPEC = {
  usage: 'print-config --config FILE…',
  description: `Prints the merged and expanded config with every default filled in. Secrets are [REDACTED]: values of headers,
passwords, tokens, and passwords in URLs. The output is a config again.`,
  flags: {
    ...CONFIG_FLAGS,
    format: {
      value: 'FORMAT',
      choices: ['yaml', 'json'],
      description: 'How it is printed; yaml unless told otherwise.',
    },
    mode: {
      value: 'MODE',
      choices: ['redacted', 'unredacted'],
      description: 'Only redacted: secrets are never printed.',
    },
  },
  positional: 'FILE…',
} as const;

export const printConfig: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  if (parsed.flags.mode === 'unredacted') throw new UsageError('--mode unredacted: secrets are never printed');
  const result = await loadConfig(sourcesOf(parsed), {
    registry: await io.registry(),
    env: io.env,
    cwd: io.cwd ?? process.cwd(),
  });
  io.err(formatIssues(result.mistakes, result.warnings, wantsColour(io)));
  if (!result.ok) return 1;
  const shown = escapeDollars(result.shown);
  if (parsed.flags.format === 'json') io.out(`${JSON.stringify(shown, undefined, 2)}\n`);
  else io.out((await import('yaml')).stringify(shown, { lineWidth: 0, aliasDuplicateObjects: false }));
  return 0;
};

/** Expressions are expanded by now; a dollar sign that is left must not begin a new one when the output is read. */
function escapeDollars(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll('$', '$$$$');
  if (Array.isArray(value)) return value.map(escapeDollars);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, escapeDollars(inner)]));
}
