/**
 * `node dist/simulator/cli.js --seed 4711 --fault thermal-gpu --out case.jsonl.gz`: one case from the command line, with
 * its truth beside it. `--list` shows what can break.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { DIALECTS, generateCase, TOPOLOGIES } from './cases.ts';
import { FAULTS } from './faults/index.ts';
import { ImpossibleSpec } from './simulate.ts';
import { writeCase } from './write.ts';

const USAGE = `usage: node dist/simulator/cli.js [options]
  --seed N           which world (default 1)
  --fault KIND       what breaks; none = a healthy case
  --entity NAME      who breaks (default: drawn from the seed)
  --dose D           0.03 … 0.6 (default 0.3)
  --shape SHAPE      step, ramp or intermittent
  --at S --for S     when and how long (default 480, 600)
  --duration S       simulated seconds (default 1200)
  --topology NAME    aggregated, split or parallel
  --engine NAME      vllm-0.10, vllm-0.20, sglang-0.5 or dynamo-1.1
  --out FILE         the recording, .jsonl or .jsonl.gz (default case.jsonl.gz); the truth goes to FILE.truth.json
  --list             the faults`;

/** Runs the command line; returns the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  let values: Record<string, string | boolean | undefined>;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        seed: { type: 'string' },
        fault: { type: 'string' },
        entity: { type: 'string' },
        dose: { type: 'string' },
        shape: { type: 'string' },
        at: { type: 'string' },
        for: { type: 'string' },
        duration: { type: 'string' },
        topology: { type: 'string' },
        engine: { type: 'string' },
        out: { type: 'string' },
        list: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}\n`);
    return 2;
  }
  if (values['help']) {
    process.stdout.write(`${USAGE}\n`);
    return 0;
  }
  if (values['list']) {
    for (const f of FAULTS)
      process.stdout.write(`${f.kind.padEnd(22)} ${f.victims.join('|').padEnd(16)} ${f.summary}\n`);
    return 0;
  }
  const number = (name: string, fallback: number) => (values[name] === undefined ? fallback : Number(values[name]));
  const out = (values['out'] as string | undefined) ?? 'case.jsonl.gz';
  const refused = wordsRefused(values);
  if (refused.length > 0) {
    process.stderr.write(`${refused.join('\n')}\n`);
    return 2;
  }
  try {
    const spec = generateCase(number('seed', 1), {
      ...(values['fault'] === undefined ? {} : { fault: String(values['fault']) }),
      ...(values['entity'] === undefined ? {} : { entity: String(values['entity']) }),
      ...(values['topology'] === undefined ? {} : { topology: String(values['topology']) }),
      ...(values['engine'] === undefined ? {} : { dialect: String(values['engine']) }),
      ...(values['shape'] === undefined ? {} : { shape: String(values['shape']) }),
      dose: number('dose', 0.3),
      at: number('at', 480),
      durationS: number('duration', 1200),
      forS: number('for', 600),
    });
    const started = performance.now();
    const { truth, bytes, lines } = await writeCase(spec, out);
    writeFileSync(`${out.replace(/\.jsonl(\.gz)?$/, '')}.truth.json`, `${JSON.stringify(truth, null, 2)}\n`);
    const wall = (performance.now() - started) / 1000;
    process.stdout.write(
      `${out}: ${lines} lines, ${(bytes / 1048576).toFixed(2)} MiB, ${spec.durationS} s in ${wall.toFixed(1)} s\n` +
        `${truth.roots.map((r) => `${r.id} at ${r.entity} from second ${r.onset}, impact ${r.impact}`).join('\n') || `control: ${truth.control}`}\n`,
    );
    return 0;
  } catch (error) {
    if (error instanceof ImpossibleSpec) {
      for (const reason of error.reasons) process.stderr.write(`${reason}\n`);
      return 2;
    }
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    process.stderr.write(`--out ${out} cannot be written: ${(error as Error).message}\n`);
    return 1;
  }
}

/** One sentence per option whose word is none of those that there are. */
function wordsRefused(values: Readonly<Record<string, string | boolean | undefined>>): string[] {
  const words: readonly (readonly [string, readonly string[]])[] = [
    ['topology', TOPOLOGIES],
    ['engine', DIALECTS],
  ];
  const out = words.flatMap(([name, known]) => {
    const given = values[name];
    return given === undefined || known.includes(String(given))
      ? []
      : [`--${name} ${given}: there are ${known.join(', ')}`];
  });
  const { seed } = values;
  if (seed !== undefined && !Number.isSafeInteger(Number(seed))) out.push(`--seed ${seed}: a whole number`);
  return out;
}

if (process.argv[1]?.endsWith('cli.js') || process.argv[1]?.endsWith('simulator/cli.ts'))
  process.exitCode = await main(process.argv.slice(2));
