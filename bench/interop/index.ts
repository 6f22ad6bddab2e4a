/**
 * enginelight between real programs of others: Collector, Prometheus, engines. `npm run interop` runs every check whose
 * other side is on this machine, says loudly what it skipped, and ends with 1 where something that arrived was wrong.
 *
 * `npm run interop -- NAME…` runs only these; `--build-collector` builds a Collector first; with
 * ENGINELIGHT_INTEROP_REQUIRE=1 a skipped check is a failure.
 */
import { checkAlerts } from './alerts.ts';
import { buildCollector, checkCollector } from './collector.ts';
import { checkCrossNode } from './cross-node.ts';
import { checkDashboards } from './dashboards.ts';
import { checkDynamo } from './dynamo.ts';
import { bench, Skipped } from './kit.ts';
import { checkLlmD } from './llm-d.ts';
import { checkNodeExporter } from './node-exporter.ts';
import { checkPrometheus } from './prometheus.ts';
import { checkSenders } from './senders.ts';

const CHECKS = {
  senders: checkSenders,
  collector: checkCollector,
  prometheus: checkPrometheus,
  llm_d: checkLlmD,
  dynamo: checkDynamo,
  node_exporter: checkNodeExporter,
  alerts: checkAlerts,
  dashboards: checkDashboards,
  cross_node: checkCrossNode,
};

const args = process.argv.slice(2);
const wanted = args.filter((arg) => !arg.startsWith('--'));
const unknown = wanted.filter((name) => !Object.hasOwn(CHECKS, name));
if (unknown.length > 0) {
  process.stderr.write(`no such check: ${unknown.join(', ')}; there are ${Object.keys(CHECKS).join(', ')}\n`);
  process.exit(2);
}
if (args.includes('--build-collector')) buildCollector();

const say = (line: string) => process.stdout.write(`${line}\n`);
const results: { readonly name: string; readonly how: 'passed' | 'FAILED' | 'SKIPPED'; readonly why: string }[] = [];
for (const [name, check] of Object.entries(CHECKS)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  say(`\n${name}`);
  const world = bench((line) => say(`  ${line}`));
  try {
    await check(world);
    results.push({ name, how: 'passed', why: '' });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    results.push({ name, how: error instanceof Skipped ? 'SKIPPED' : 'FAILED', why });
    say(`  ${why.replaceAll('\n', '\n  ')}`);
  } finally {
    await world.end();
  }
}
say('');
for (const { name, how, why } of results) {
  say(how === 'SKIPPED' ? `!!! SKIPPED ${name}: ${why}` : `${how} ${name}`);
}
const failed = results.some(({ how }) => how === 'FAILED');
const skipped = results.some(({ how }) => how === 'SKIPPED');
process.exitCode = failed || (skipped && process.env['ENGINELIGHT_INTEROP_REQUIRE'] === '1') ? 1 : 0;
