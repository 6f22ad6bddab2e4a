/** `enginelight flamegraph`: where the time of requests, steps and ranks in a recording went. */
import { writeFile } from 'node:fs/promises';
import { extname, resolve as resolvePath } from 'node:path';
import { describeError } from '../pipeline/errors.ts';
import { diffFlames, diffLines } from '../pipeline/kit/flame/diff.ts';
import { type Drawn, drawFlame, drawRanks, VIEWS, type ViewName } from '../pipeline/kit/flame/draw.ts';
import { foldedLines } from '../pipeline/kit/flame/folded.ts';
import { diffPage, diffSvgFile, diffVerdict, flamePage, flameSvgFile } from '../pipeline/kit/flame/page.ts';
import { pprofFile } from '../pipeline/kit/flame/pprof.ts';
import { rankProfiles, rankSpeedscope } from '../pipeline/kit/flame/rank-profile.ts';
import { type Per, sideOf, unitsIn } from '../pipeline/kit/flame/side.ts';
import { speedscope } from '../pipeline/kit/flame/speedscope.ts';
import type { SpanStore } from '../pipeline/kit/flame/store.ts';
import type { Grouping } from '../pipeline/kit/flame/views.ts';
import { type ArgSpec, parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';
import { readRanks, readSpans } from './flamegraph/read.ts';

const FORMATS = ['folded', 'speedscope', 'pprof', 'html', 'svg'] as const;
type Format = (typeof FORMATS)[number];

const SPEC = {
  usage: 'flamegraph RECORDING…',
  description: `Draws where the time in recordings went, from the spans in them: requests, engine steps, collectives. With
--against, what became longer and shorter since another recording, per request, and what of it is more than chance.`,
  flags: {
    view: {
      value: 'VIEW',
      choices: VIEWS,
      description:
        'resource (default): what everything was busy with; critical-path: what made requests as long as they were; ranks: what each rank did.',
    },
    format: {
      value: 'FORMAT',
      choices: FORMATS,
      description: 'By the end of the output file (.html, .svg, .json, .pb.gz) if absent, else folded.',
    },
    by: {
      value: 'WHAT',
      choices: ['service', 'role', 'replica'],
      description: 'What frames begin with: one for a service, one for each role (default), one for each replica.',
    },
    against: { value: 'RECORDING', repeated: true, description: 'The recording before; makes the graph differential.' },
    per: {
      value: 'UNIT',
      choices: ['request', 'token', 'step'],
      description:
        'With --against, what times are divided by: request (default), token (of output), or step (of engines).',
    },
    output: { value: 'FILE', short: 'o', description: 'Where the result goes; standard output otherwise.' },
  },
  positional: 'RECORDING…',
  examples: [
    'enginelight flamegraph hour.jsonl.gz --output hour.html',
    'enginelight flamegraph hour.jsonl.gz --view critical-path --format speedscope > hour.speedscope.json',
    'enginelight flamegraph hour.jsonl.gz --view ranks --by replica --output ranks.speedscope.json',
    'enginelight flamegraph after.jsonl.gz --against before.jsonl.gz --output diff.html',
  ],
} as const satisfies ArgSpec;

type SpanView = Exclude<ViewName, 'ranks'>;

interface Wanted {
  readonly format: Format;
  readonly view: ViewName;
  readonly by: Grouping;
  readonly per: string | undefined;
  readonly output: string | undefined;
}

export const flamegraph: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  if (positionals.length === 0) throw new UsageError('name a recording');
  const wanted: Wanted = {
    format: (flags.format ?? formatOf(flags.output)) as Format,
    view: (flags.view ?? 'resource') as ViewName,
    by: (flags.by ?? 'role') as Grouping,
    per: flags.per,
    output: flags.output,
  };
  const differential = flags.against.length > 0;
  if (wanted.format === 'pprof' && wanted.output === undefined)
    throw new UsageError('pprof is not text; name a file with --output');
  if (differential && (wanted.format === 'pprof' || wanted.format === 'speedscope'))
    throw new UsageError(`${wanted.format} has no two sides; use html, svg or folded with --against`);
  if (!differential && wanted.per !== undefined) throw new UsageError('--per is for --against');
  if (differential && wanted.view === 'ranks')
    throw new UsageError('the time lines of ranks have no two sides; use --view resource --per step with --against');
  try {
    if (wanted.view === 'ranks') return await ranks(positionals, wanted, io);
    const spans = await readSpans(positionals, io);
    if (!spans) return 1;
    if (!differential) return await one(spans, wanted, positionals.join(', '), io);
    const before = await readSpans(flags.against, io);
    if (!before) return 1;
    return await two(before, spans, wanted, `${flags.against.join(', ')} → ${positionals.join(', ')}`, io);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    io.err(`${describeError(error)}\n`);
    return 1;
  }
};

function formatOf(output: string | undefined): Format {
  const end = output === undefined ? '' : extname(output).toLowerCase();
  if (end === '.html' || end === '.htm') return 'html';
  if (end === '.svg') return 'svg';
  if (end === '.json') return 'speedscope';
  return end === '.pb' || end === '.gz' ? 'pprof' : 'folded';
}

async function one(spans: SpanStore, { format, view, by, output }: Wanted, of: string, io: CommandIo): Promise<number> {
  const drawn = drawFlame(spans, { view: view as SpanView, by });
  for (const note of drawn.notes) io.err(`${note}\n`);
  if (drawn.tree.size < 2) {
    io.err(`There is nothing in ${of} that this view shows.\n`);
    return 1;
  }
  const version = `enginelight ${io.version}`;
  return put(contents(drawn, format, of, io.version, version), output, io);
}

async function ranks(files: readonly string[], { format, by, output }: Wanted, io: CommandIo): Promise<number> {
  const store = await readRanks(files, io);
  if (!store) return 1;
  const of = files.join(', ');
  const version = `enginelight ${io.version}`;
  const found = rankProfiles(store, by);
  const drawn = drawRanks(store, found.ranks);
  for (const note of drawn.notes) io.err(`${note}\n`);
  // Its viewer shows time: each rank in order is more than their sum.
  if (format === 'speedscope') return put(rankSpeedscope(found, of, version), output, io);
  return put(contents(drawn, format, of, io.version, version), output, io);
}

function contents(
  drawn: Drawn,
  format: Format,
  of: string,
  version: string,
  by: string,
): Iterable<string> | Uint8Array {
  switch (format) {
    case 'folded':
      return foldedLines(drawn.tree);
    case 'speedscope':
      return speedscope([{ name: drawn.title, tree: drawn.tree }], of, by);
    case 'pprof':
      return pprofFile(drawn.tree, drawn.start, drawn.durationNanos, `${by}: ${drawn.title} of ${of}`);
    case 'html':
      return [flamePage(drawn, { of, version })];
    case 'svg':
      return [flameSvgFile(drawn, { of, version })];
  }
}

async function two(before: SpanStore, after: SpanStore, wanted: Wanted, of: string, io: CommandIo): Promise<number> {
  const [a, b] = [unitsIn(before), unitsIn(after)];
  const per = (wanted.per ?? (a.requests && b.requests ? 'request' : 'step')) as Per;
  const options = {
    view: wanted.view as SpanView,
    by: wanted.by,
    only: per === 'step' ? 'ranks' : 'requests',
  } as const;
  const sides = [sideOf(before, options, per), sideOf(after, options, per)] as const;
  const notes = sides.flatMap((side, i) => side.drawn.notes.map((note) => `${i === 0 ? 'Before' : 'After'}: ${note}`));
  for (const note of notes) io.err(`${note}\n`);
  const empty = sides.findIndex((side) => side.units === 0);
  if (empty >= 0) {
    io.err(`There is no ${per} in the recording ${empty === 0 ? 'before' : 'after'}.\n`);
    return 1;
  }
  const diff = diffFlames(...sides, per);
  io.err(`${diffVerdict(diff)}.\n`);
  const page = { of, version: io.version };
  const text =
    wanted.format === 'html'
      ? [diffPage(diff, notes, page)]
      : wanted.format === 'svg'
        ? [diffSvgFile(diff, page)]
        : diffLines(diff);
  return put(text, wanted.output, io);
}

async function put(pieces: Iterable<string> | Uint8Array, output: string | undefined, io: CommandIo): Promise<number> {
  if (output === undefined) {
    for (const piece of pieces as Iterable<string>) io.out(piece);
    return 0;
  }
  const whole = pieces instanceof Uint8Array ? pieces : [...pieces].join('');
  try {
    await writeFile(resolvePath(io.cwd ?? process.cwd(), output), whole, { mode: 0o600 });
    return 0;
  } catch (error) {
    io.err(`The result could not be written: ${describeError(error)}\n`);
    return 1;
  }
}
