/**
 * Turns a running world into the lines of a recording (interfaces.md §5), in time order: scrapes of every target with
 * jitter, losses and starved answers, hook and request spans, and change events.
 */
import { random } from '../random.ts';
import type { Replica, World } from '../world/types.ts';
import { amdPage } from './amd.ts';
import { dcgmPage } from './dcgm.ts';
import { addWorkerFamilies, dynamoFrontendPage, workerLabels } from './dynamo.ts';
import { eppPage } from './epp.ts';
import { hookEmitter } from './hooks.ts';
import { addLmcacheFamilies } from './lmcache.ts';
import { cadvisorPage, nodePage } from './node.ts';
import type { Page } from './page.ts';
import { requestEmitter } from './requests.ts';
import { sglangPage } from './sglang.ts';
import { vllmPage } from './vllm.ts';

/** One thing that answers GET /metrics. */
export interface Target {
  readonly name: string;
  readonly url: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly everyS: number;
  readonly page: Page;
  /** How a scrape would go now: seconds to answer, or why there is no answer. */
  readonly answer: () => { seconds: number; error?: 'timeout' | 'refused' | 'reset' };
}

const TIMEOUT_S = 4;

/** Every target of the world, with the page it shows. */
export function targetsOf(w: World, epochMs: number, escaped: boolean): Target[] {
  const { spec } = w;
  const epoch = epochMs / 1000;
  const targets: Target[] = [];
  const answerRandom = random(spec.seed, 'answers');
  const place = (rep: World['replicas'][number]): Record<string, string> => ({
    service: spec.deploy.service,
    replica: rep.id,
    node: rep.node.name,
    role: rep.role,
    ...(spec.deploy.pd ? { pool: rep.pool } : {}),
    ...(spec.cluster.kubernetes ? { pod: rep.pod, namespace: 'inference' } : {}),
  });
  for (const rep of w.replicas) {
    targets.push({
      name: `engine/${rep.id}`,
      url: rep.url,
      labels: place(rep),
      everyS: spec.observe.engineScrapeS,
      page: enginePage(w, rep, epoch, escaped),
      answer: () => {
        if (rep.state === 'down' || rep.state === 'loading') return { seconds: 0.0006, error: 'refused' };
        const use = Math.min(0.99, rep.api.use);
        const seconds = ((0.005 + 0.004 * answerRandom.exponential()) * rep.hostSlow) / (1 - use) + rep.api.backlogS;
        return seconds > TIMEOUT_S ? { seconds: TIMEOUT_S, error: 'timeout' } : { seconds };
      },
    });
  }
  for (const node of w.nodes) {
    const slow = () => ({ seconds: (0.008 + 0.006 * answerRandom.exponential()) * (1 + node.cpuWait) });
    if (spec.observe.gpuExporter !== 'none')
      targets.push({
        name: `gpu/${node.name}`,
        url: `http://${node.ip}:${node.gpus[0]!.sku.vendor === 'amd' ? 5000 : 9400}/metrics`,
        labels: { node: node.name },
        everyS: spec.observe.gpuScrapeS,
        page: (node.gpus[0]!.sku.vendor === 'amd' ? amdPage : dcgmPage)(
          w,
          node,
          spec.observe.gpuExporter === 'full',
          escaped,
        ),
        answer: slow,
      });
    if (spec.observe.nodeExporter)
      targets.push({
        name: `node/${node.name}`,
        url: `http://${node.ip}:9100/metrics`,
        labels: { node: node.name },
        everyS: spec.observe.nodeScrapeS,
        page: nodePage(w, node, epoch, escaped),
        answer: slow,
      });
    if (spec.observe.cadvisor && spec.cluster.kubernetes && node.replicas.length > 0)
      targets.push({
        name: `cadvisor/${node.name}`,
        url: `http://${node.ip}:10255/metrics/cadvisor`,
        labels: { node: node.name },
        everyS: spec.observe.nodeScrapeS,
        page: cadvisorPage(w, node, escaped),
        answer: slow,
      });
  }
  if (spec.deploy.frontend !== 'none') {
    const f = w.frontend;
    const dynamo = spec.deploy.frontend === 'dynamo';
    targets.push({
      name: `router/${f.name}`,
      url: f.url,
      labels: {
        service: spec.deploy.service,
        replica: f.name,
        node: f.node.name,
        role: dynamo ? 'frontend' : 'router',
      },
      everyS: spec.observe.routerScrapeS,
      page: dynamo ? dynamoFrontendPage(w, escaped) : eppPage(w, escaped),
      answer: () => ({ seconds: 0.003 + 0.003 * answerRandom.exponential() }),
    });
  }
  return targets;
}

function enginePage(w: World, rep: Replica, epoch: number, escaped: boolean): Page {
  const d = w.spec.deploy;
  if (d.engine === 'sglang') return sglangPage(w, rep, escaped);
  if (d.engine === 'dynamo')
    return vllmPage(w, rep, epoch, escaped, workerLabels(rep), (b) => addWorkerFamilies(b, w, rep));
  return vllmPage(w, rep, epoch, escaped, [], d.lmcache ? (b) => addLmcacheFamilies(b, rep) : undefined);
}

/** Wires emission into the world; lines are handed to `put` as time passes. */
export function installRecorder(w: World, put: (line: string) => void): void {
  const { spec } = w;
  const epochMs = Date.parse(spec.start);
  const iso = (t: number) => new Date(epochMs + Math.round(t * 1000)).toISOString();
  const jitter = random(spec.seed, 'scrapes');
  const phases = new Map<string, number>();
  for (const target of targetsOf(w, epochMs, true)) {
    const labels = JSON.stringify(target.labels);
    const url = JSON.stringify(target.url);
    // One receiver asks all its targets at about the same time.
    const kind = target.name.slice(0, target.name.indexOf('/'));
    const base = phases.get(kind) ?? jitter.next() * target.everyS;
    phases.set(kind, base);
    const phase = base + jitter.next() * Math.min(0.4, target.everyS * 0.1);
    const scrape = (due: number) => {
      const next = due + target.everyS;
      if (next < spec.durationS) w.queue.at(next + jitter.next() * spec.observe.scrapeJitterS, () => scrape(next));
      if (jitter.chance(spec.observe.dropScrape)) return;
      const lost = w.unreachable.has(target.name);
      const { seconds, error } = lost ? { seconds: TIMEOUT_S, error: 'timeout' as const } : target.answer();
      const head = `{"scrape":{"time":"${iso(w.now)}","url":${url},"labels":${labels},"duration_ms":${Math.round(seconds * 1e4) / 10}`;
      if (error) put(`${head},"error":"${error}"}}`);
      else put(`${head},"status":200,"body":"${target.page.text()}"}}`);
    };
    if (phase < spec.durationS) w.queue.at(phase, () => scrape(phase));
  }
  const hooks = hookEmitter(w, epochMs, put);
  w.listeners.detail = (rep) => hooks.detail(rep);
  w.listeners.step = (rep, info) => hooks.step(rep, info);
  w.listeners.transfer = (request, info) => hooks.transfer(request, info);
  const requests = requestEmitter(w, epochMs, put);
  w.listeners.finished = (request, outcome) => requests.finished(request, outcome);
  let told = 0;
  const tick = w.listeners.tick;
  w.listeners.tick = (world) => {
    tick?.(world);
    hooks.tick();
    for (; told < w.changes.length; told++) {
      const change = w.changes[told]!;
      if (change.at >= 0)
        put(JSON.stringify({ event: { time: iso(change.at), kind: change.kind, attributes: change.attributes } }));
    }
  };
}
