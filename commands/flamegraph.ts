/** `enginelight flamegraph`: where the time of requests, steps and ranks in a recording went. */
import { writeFile } from 'node:fs/promises';
import { extname, resolve as resolvePath } from 'node:path';
import { describeError } from '../pipeline/errors.ts';
import { type Drawn, drawFlame, VIEWS, type ViewName } from '../pipeline/kit/flame/draw.ts';
import { foldedLines } from '../pipeline/kit/flame/folded.ts';
import { pprofFile } from '../pipeline/kit/flame/pprof.ts';
import { speedscope } from '../pipeline/kit/flame/speedscope.ts';
import type { Grouping } from '../pipeline/kit/flame/views.ts';
import { type ArgSpec, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { readSpans } from './flamegraph/read.ts';

const FORMATS = ['folded', 'speedscope', 'pprof'] as const;
type Format = (typeof FORMATS)[number];

const SPEC = {
  usage: 'flamegraph RECORDING…',
  description: `Draws where the time of the spans in recordings went: requests, engine steps, collectives.`,
  flags: {
    view: {
      value: 'VIEW',
      choices: VIEWS,
      description: `resource (default): what everything was busy with; critical-path: what requests waited for.`,
    },
    format: {
      value: 'FORMAT',
      choices: FORMATS,
      description: 'folded, speedscope or pprof; by the end of the output file otherwise (.json, .pb.gz), else folded.',
    },
    by: {
      value: 'WHAT',
      choices: ['service', 'role', 'replica'],
      description: 'What frames begin with: one for a service, one for each role (default), one for each replica.',
    },
    output: { value: 'FILE', short: 'o', description: 'Where the result goes; standard output otherwise.' },
  },
  positional: 'RECORDING…',
  examples: [
    'enginelight flamegraph hour.jsonl.gz --format speedscope --output hour.speedscope.json',
    'enginelight flamegraph hour.jsonl.gz --view critical-path',
  ],
} as const satisfies ArgSpec;

export const flamegraph: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  if (positionals.length === 0) throw new UsageError('name a recording');
  const format = (flags.format ?? formatOf(flags.output)) as Format;
  const view = (flags.view ?? 'resource') as ViewName;
  const by = (flags.by ?? 'role') as Grouping;
  let drawn: Drawn;
  try {
    const spans = await readSpans(positionals, io);
    if (!spans) return 1;
    drawn = drawFlame(spans, { view, by });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    io.err(`${describeError(error)}\n`);
    return 1;
  }
  for (const note of drawn.notes) io.err(`${note}\n`);
  if (drawn.tree.size < 2) {
    io.err(`There is nothing in ${positionals.join(', ')} that this view shows.\n`);
    return 1;
  }
  return write(drawn, format, flags.output, io, positionals.join(', '));
};

function formatOf(output: string | undefined): Format {
  const end = output === undefined ? '' : extname(output).toLowerCase();
  if (end === '.json') return 'speedscope';
  return end === '.pb' || end === '.gz' ? 'pprof' : 'folded';
}

async function write(drawn: Drawn, format: Format, output: string | undefined, io: CommandIo, title: string) {
  const by = `enginelight ${io.version}`;
  const pieces =
    format === 'speedscope'
      ? speedscope([{ name: drawn.title, tree: drawn.tree }], title, by)
      : format === 'folded'
        ? foldedLines(drawn.tree)
        : undefined;
  if (!pieces) {
    if (output === undefined) throw new UsageError('pprof is not text; name a file with --output');
    const file = pprofFile(drawn.tree, drawn.start, drawn.durationNanos, `${by}: ${drawn.title} of ${title}`);
    return save(output, file, io);
  }
  if (output !== undefined) return save(output, [...pieces].join(''), io);
  for (const piece of pieces) io.out(piece);
  return 0;
}

async function save(output: string, contents: string | Uint8Array, io: CommandIo): Promise<number> {
  try {
    await writeFile(resolvePath(io.cwd ?? process.cwd(), output), contents, { mode: 0o600 });
    return 0;
  } catch (error) {
    io.err(`The result could not be written: ${describeError(error)}\n`);
    return 1;
  }
}
