/**
 * How fast a page is read, beside the libraries that read such pages, in one process and one run: a page of about 3,000
 * lines in the shape of vLLM's, scraped again and again with other values. Time is CPU time of all threads, so that other
 * work on the machine does not count.
 *
 * `node bench/scrape/index.js [CPU seconds per case]` after compiling.
 */
import { createRequire } from 'node:module';
import { parse as parsePromotel } from '@platformatic/promotel';
import { seriesTable } from '../../pipeline/kit/scrape-series.ts';
import { scope } from '../../pipeline/model.ts';
import { type LineTable, lineTable, type Part } from '../../pipeline/wire/prometheus/lines.ts';
import { vllmLikePage } from './page.ts';

const parseTextFormat = createRequire(import.meta.url)('parse-prometheus-text-format') as (page: string) => unknown[];

export interface Measured {
  readonly what: string;
  readonly whose: 'enginelight' | 'parse-prometheus-text-format' | '@platformatic/promotel';
  readonly samplesPerCpuSecond: number;
  readonly msPerPage: number;
}

interface Case {
  readonly what: string;
  readonly whose: Measured['whose'];
  run(i: number): unknown;
}

const table = () =>
  seriesTable({
    attributes: { 'service.name': 'bench', 'service.instance.id': '127.0.0.1:8000' },
    scope: scope('bench'),
    job: 'bench',
    instance: '127.0.0.1:8000',
    labels: [],
    honorLabels: false,
    honorTimestamps: true,
    metricRelabel: undefined,
    limits: { samples: 0, labels: 0, labelNameLength: 0, labelValueLength: 0 },
  });

/** Lines without what makes series of them. */
function bareLines(): (page: Buffer) => number {
  const lines: LineTable<Part> = lineTable();
  return (page) => lines.scan(page, 'text', () => ({ generation: -1, value: 0, tail: undefined })).samples;
}

function shuffled(page: string, seed: number): Buffer {
  const lines = page.trimEnd().split('\n');
  let state = seed;
  for (let i = lines.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [lines[i], lines[j]] = [lines[j]!, lines[i]!];
  }
  return Buffer.from(`${lines.join('\n')}\n`);
}

/** The pages that are scraped in turn. */
export function benchPages(): { texts: string[]; bytes: Buffer[]; lines: number; samples: number } {
  const next = vllmLikePage({ engines: 9 });
  const texts = Array.from({ length: 8 }, next);
  const rows = texts[0]!.trimEnd().split('\n');
  const samples = rows.filter((line) => !line.startsWith('#')).length;
  return { texts, bytes: texts.map((text) => Buffer.from(text)), lines: rows.length, samples };
}

/** Runs every case, `seconds` of CPU each, in turns; medians of the turns. */
export function benchScrape(seconds = 2): { lines: number; samples: number; bytes: number; results: Measured[] } {
  const { texts, bytes, lines, samples } = benchPages();
  const mixed = texts.map((text, i) => shuffled(text, i + 1));
  const scan = bareLines();
  const again = table();
  const disordered = table();
  const of = (i: number) => i % bytes.length;
  let time = 1_700_000_000_000_000_000n;
  const tick = () => {
    time += 5_000_000_000n;
    return time;
  };
  const cases: Case[] = [
    { what: 'values read', whose: 'enginelight', run: (i) => scan(bytes[of(i)]!) },
    {
      what: 'page to points',
      whose: 'enginelight',
      run: (i) => again.read(bytes[of(i)]!, 'text/plain', tick()),
    },
    {
      what: 'page to points, lines shuffled each time',
      whose: 'enginelight',
      run: (i) => disordered.read(mixed[of(i)]!, 'text/plain', tick()),
    },
    {
      what: 'first page of a target',
      whose: 'enginelight',
      run: (i) => table().read(bytes[of(i)]!, 'text/plain', time),
    },
    // Both libraries take text; what arrives is bytes.
    {
      what: 'page to objects',
      whose: 'parse-prometheus-text-format',
      run: (i) => parseTextFormat(bytes[of(i)]!.toString('utf8')),
    },
    {
      what: 'page to objects',
      whose: '@platformatic/promotel',
      run: (i) => parsePromotel(bytes[of(i)]!.toString('utf8')),
    },
  ];
  const turns = 5;
  const rates = cases.map((): number[] => []);
  // Turns alternate between the cases, so that a slow moment of the machine meets all of them. The first is warm-up.
  for (let turn = 0; turn <= turns; turn++) {
    cases.forEach((one, c) => {
      const begin = process.cpuUsage();
      let pages = 0;
      let elapsed = 0;
      do {
        one.run(pages++);
        const { user, system } = process.cpuUsage(begin);
        elapsed = (user + system) / 1e6;
      } while (elapsed < seconds / turns);
      if (turn > 0) rates[c]!.push(pages / elapsed);
    });
  }
  const results = cases.map(({ what, whose }, c): Measured => {
    const perSecond = rates[c]!.sort((a, b) => a - b)[turns >> 1]!;
    return { what, whose, samplesPerCpuSecond: perSecond * samples, msPerPage: 1000 / perSecond };
  });
  return { lines, samples, bytes: bytes[0]!.length, results };
}

/** The results as a table, each with its ratio to parse-prometheus-text-format. */
export function tableOf({ lines, samples, bytes, results }: ReturnType<typeof benchScrape>): string {
  const peer = results.find((r) => r.whose === 'parse-prometheus-text-format')!;
  return [
    `a page of ${lines} lines, ${samples} samples, ${bytes} bytes`,
    `  ${'what'.padEnd(42)}${'whose'.padEnd(32)}${'samples/cpu s'.padStart(14)}${'ms/page'.padStart(10)}  ratio`,
    ...results.map((r) => {
      const rate = Math.round(r.samplesPerCpuSecond).toLocaleString('en-US');
      const ratio = (r.samplesPerCpuSecond / peer.samplesPerCpuSecond).toFixed(1);
      return `  ${r.what.padEnd(42)}${r.whose.padEnd(32)}${rate.padStart(14)}${r.msPerPage.toFixed(3).padStart(10)}  ${ratio}`;
    }),
  ].join('\n');
}

if (process.argv[1] && import.meta.url === new URL(process.argv[1], 'file://').href) {
  console.log(tableOf(benchScrape(Number(process.argv[2] ?? 2))));
}
