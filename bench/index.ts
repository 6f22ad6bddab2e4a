/**
 * `npm run bench`: every benchmark, each beside its peer in one run. `npm run bench -- NAME…` runs only these; the real
 * Collector is compared with where one is found (see bench/interop), and said loudly to be missing where not.
 */
import { benchDaemon, HEAD } from './daemon/index.ts';
import { benchDetect, detectHead, detectLine, SIZES } from './detect/index.ts';
import { benchExport, tableOf as exportTable } from './export/index.ts';
import { benchFlamegraph, flameTable } from './flamegraph/index.ts';
import { benchHooks, hooksTable } from './hooks/index.ts';
import { benchCodec, benchReceiver, tableOf as otlpTable } from './otlp/index.ts';
import { benchThrough, throughTable } from './otlp/through.ts';
import { reportPipeline } from './pipeline/index.ts';
import { benchProbes } from './probes/index.ts';
import { benchScrape, tableOf as scrapeTable } from './scrape/index.ts';
import { benchSimulator, tableOf as simulatorTable } from './simulator/index.ts';

const say = (line: string) => void process.stdout.write(`${line}\n`);
const BENCHES: Readonly<Record<string, () => Promise<void> | void>> = {
  scrape: () => say(scrapeTable(benchScrape())),
  pipeline: () => reportPipeline(2, say),
  export: () => say(exportTable(benchExport())),
  otlp: async () => say(otlpTable([...benchCodec(), ...(await benchReceiver())])),
  through: async () => say(`\n${throughTable(await benchThrough(8, 3, say))}`),
  hooks: async () => say(hooksTable(await benchHooks())),
  flamegraph: async () => say(flameTable(await benchFlamegraph())),
  simulator: async () => say(simulatorTable(await benchSimulator())),
  probes: () => benchProbes(60, say),
  detect: async () => {
    say(detectHead());
    for (const size of SIZES) say(detectLine(await benchDetect(...size)));
  },
  daemon: async () => {
    say(HEAD);
    await benchDaemon(15, say);
  },
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !Object.hasOwn(BENCHES, name));
if (unknown.length > 0) {
  process.stderr.write(`no such benchmark: ${unknown.join(', ')}; there are ${Object.keys(BENCHES).join(', ')}\n`);
  process.exit(2);
}
say(`node ${process.version}, ${process.platform} ${process.arch}`);
for (const [name, run] of Object.entries(BENCHES)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  say(`\n## ${name}`);
  await run();
}
process.exit(0);
