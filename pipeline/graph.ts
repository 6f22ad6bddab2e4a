/**
 * A config made to run: exporters start first, each pipeline's processors from last to first, receivers last; stopping
 * goes the other way round. A running graph can be turned into that of another config: what did not change stays as it is,
 * with its state, and is only connected anew.
 */
import type { ResolvedConfig } from '../config/types.ts';
import type {
  AnyDefinition,
  ComponentStatus,
  Consumer,
  Context,
  Host,
  ProcessorDefinition,
  ReceiverDefinition,
  Running,
  Stage,
} from './component.ts';
import { type EdgeNeeds, type Inlet, inlet, type Outlet, outlet, ownerLabels, timed } from './edges.ts';
import { describeError } from './errors.ts';
import { type Branch, fanOut } from './fan-out.ts';
import type { Clock } from './kit/clock.ts';
import type { Logger } from './kit/log.ts';
import { itemCount, SIGNALS, type Signal } from './model.ts';
import { type Node, type PipelinePlan, type Plan, planOf, sameCatalog, sameNode } from './plan.ts';
import type { MeterHandle, Telemetry } from './telemetry.ts';
import { METRICS } from './telemetry-metrics.ts';

/** How long a component may go on after it was told to give up, before the graph goes on without it. */
const GRACE_MS = 2000;

export interface GraphNeeds {
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly log: Logger;
  readonly stacks?: boolean;
  /** Whether to measure the time inside each component that starts from now on. */
  readonly detailed?: () => boolean;
}

/** What `turnInto` did. */
export interface Changes {
  readonly stopped: readonly string[];
  readonly started: readonly string[];
  readonly kept: readonly string[];
}

export interface Graph {
  readonly host: Host;
  /**
   * Makes the graph that of `config`; the first call is the start. Rejects with the Collector's sentence if a component
   * does not start; then everything that this call started is stopped again, and nothing else. With `tolerant` it
   * does not reject: what does not start is left out, and data for it is refused.
   */
  turnInto(
    config: ResolvedConfig,
    options?: { deadline?: AbortSignal; cancel?: AbortSignal; tolerant?: boolean },
  ): Promise<Changes>;
  /** Stops everything, receivers first. Components flush until `deadline` aborts. Never rejects. */
  stop(deadline?: AbortSignal): Promise<void>;
}

interface Live {
  node: Node;
  readonly meter: MeterHandle;
  readonly releaseStatus: () => void;
  readonly log: Logger;
  /** Absent while it starts, and if it could not. */
  running?: Running | Stage;
  status: ComponentStatus;
  message: string;
  since: number;
}

/** An empty graph; `turnInto` starts it. */
export function createGraph(needs: GraphNeeds): Graph {
  const { telemetry, clock, log } = needs;
  const live = new Map<string, Live>();
  const inlets = new Map<string, Inlet>();
  const outlets = new Map<string, Outlet>();
  let current: Plan | undefined;
  let state: ReturnType<Host['state']> = 'starting';

  const fieldsOf = (node: Node) => ({ component: node.id, kind: node.kind, pipeline: node.pipeline });
  const edgeNeeds = (node: Node): EdgeNeeds => ({
    telemetry,
    clock,
    log: log.with(fieldsOf(node)),
    stacks: needs.stacks ?? true,
  });
  const edge = <E>(edges: Map<string, E>, node: Node, make: (node: Node, needs: EdgeNeeds) => E): E => {
    let found = edges.get(node.key);
    if (!found) {
      found = make(node, edgeNeeds(node));
      edges.set(node.key, found);
    }
    return found;
  };
  const inletOf = (node: Node) => edge(inlets, node, inlet);
  const outletOf = (node: Node) => edge(outlets, node, outlet);

  const setStatus = (entry: Live, status: ComponentStatus, message = '') => {
    entry.message = message;
    if (entry.status === status) return;
    entry.status = status;
    entry.since = clock.now();
  };

  const host: Host = {
    state: () => state,
    components: () =>
      [...live.values()].map(({ node, status, message, since }) => ({
        kind: node.kind,
        id: node.id,
        pipelines: node.pipelines,
        status,
        message,
        since,
      })),
  };

  // --- starting -----------------------------------------------------------------------------------------------------

  function add(node: Node, plan: Plan): { entry: Live; context: Context } {
    const meter = telemetry.meter(node.kind, node.id, node.pipeline);
    const nodeLog = log.with(fieldsOf(node));
    const entry: Live = {
      node,
      meter,
      log: nodeLog,
      status: 'starting',
      message: '',
      since: clock.now(),
      releaseStatus: telemetry.observe(METRICS.componentHealthy, { kind: node.kind, ...ownerLabels(node) }, () =>
        entry.status === 'ok' ? 1 : 0,
      ),
    };
    live.set(node.key, entry);
    const context: Context = {
      id: node.id,
      kind: node.kind,
      log: nodeLog,
      clock,
      meter: meter.meter,
      catalog: plan.catalog,
      signals: node.signals,
      status(status, message) {
        if (entry.status !== 'stopping' && entry.status !== 'stopped') setStatus(entry, status, message);
      },
    };
    return { entry, context };
  }

  async function startNode(node: Node, plan: Plan, cancel: AbortSignal | undefined): Promise<void> {
    const { entry, context } = add(node, plan);
    const starting = begin(node, context);
    try {
      entry.running = await unlessCancelled(starting, cancel);
    } catch (error) {
      throw new Error(`failed to start "${node.id}" ${node.kind}: ${describeError(error)}`, { cause: error });
    }
    if (entry.status === 'starting') setStatus(entry, 'ok');
    if (node.kind !== 'processor' && node.kind !== 'exporter') return;
    const stage = entry.running as Stage;
    const busy = () => telemetry.cell(METRICS.componentBusy, { kind: node.kind, ...ownerLabels(node) });
    inletOf(node).open(needs.detailed?.() ? timed(stage, busy(), clock) : stage);
  }

  /** Calls `start`; an exception that is thrown instead of rejected is no different. */
  async function begin(node: Node, context: Context): Promise<Running | Stage> {
    const definition: AnyDefinition = node.definition;
    switch (definition.kind) {
      case 'exporter':
        return definition.start(node.config, context);
      case 'processor':
        return (definition as ProcessorDefinition).start(node.config, outletOf(node), context);
      case 'receiver':
        return (definition as ReceiverDefinition).start(node.config, outletOf(node), context);
      case 'extension':
        return definition.start(node.config, context, host);
    }
  }

  // --- wiring -------------------------------------------------------------------------------------------------------

  const branchOf = (plan: Plan, key: string): Branch => {
    const node = plan.nodes.get(key)!;
    return {
      name: `exporter "${node.id}"`,
      consumer: inletOf(node),
      lost(signal, items, reason) {
        telemetry.cell(METRICS.exporterDropped, { component: node.id, signal, reason }).value += items;
      },
    };
  };

  /** What is behind the last processor of a pipeline, for one signal. */
  function endOf(pipeline: PipelinePlan, plan: Plan, signal: Signal): Consumer {
    const takers = pipeline.exporters.filter((key) => plan.nodes.get(key)!.signals.has(signal));
    const branches = pipeline.carries.has(signal) ? takers.map((key) => branchOf(plan, key)) : [];
    return branches.length > 0 ? fanOut(branches) : deadEnd(pipeline, signal);
  }

  function deadEnd(pipeline: PipelinePlan, signal: Signal): Consumer {
    let said = false;
    return {
      consume(batch) {
        telemetry.cell(METRICS.pipelineDropped, { pipeline: pipeline.id, signal, reason: 'unsupported' }).value +=
          itemCount(batch);
        if (said) return;
        said = true;
        const remedy = pipeline.carries.has(signal)
          ? `add an exporter that takes ${signal}`
          : `name the pipeline "inference" to carry all signals in it`;
        log.warn(`Nothing at the end of the pipeline takes ${signal}; they end there.`, {
          pipeline: pipeline.id,
          remedy,
        });
      },
    };
  }

  const entriesOf = new Map<string, Partial<Record<Signal, Consumer>>>();

  /** Connects a pipeline from its end, calling `ready` on each processor once what follows it is connected. */
  async function connect(pipeline: PipelinePlan, plan: Plan, ready: (node: Node) => Promise<void>): Promise<void> {
    const table: Partial<Record<Signal, Consumer>> = {};
    for (const signal of SIGNALS) table[signal] = endOf(pipeline, plan, signal);
    for (const key of pipeline.processors.toReversed()) {
      const node = plan.nodes.get(key)!;
      outletOf(node).point({ ...table });
      await ready(node);
      for (const signal of node.signals) table[signal] = inletOf(node);
    }
    entriesOf.set(pipeline.id, table);
  }

  function pointReceiver(node: Node, plan: Plan): void {
    const table: Partial<Record<Signal, Consumer>> = {};
    for (const signal of node.signals) {
      const branches = plan.pipelines
        .filter((p) => p.receivers.includes(node.key) && p.carries.has(signal))
        .map((p) => ({
          name: `pipeline "${p.id}"`,
          consumer: entriesOf.get(p.id)![signal]!,
          lost: (of: Signal, items: number, reason: string) => {
            telemetry.cell(METRICS.pipelineDropped, { pipeline: p.id, signal: of, reason }).value += items;
          },
        }));
      if (branches.length > 0) table[signal] = fanOut(branches);
    }
    outletOf(node).point(table);
  }

  // --- stopping -----------------------------------------------------------------------------------------------------

  async function stopNode(entry: Live, deadline: AbortSignal | undefined, willReturn: boolean): Promise<void> {
    const { node, running } = entry;
    setStatus(entry, 'stopping');
    const way = inlets.get(node.key);
    if (willReturn) way?.close();
    else way?.refuse(`${node.kind} "${node.id}" is stopping`);
    try {
      if (running) await withGrace(running.stop(deadline), deadline, entry);
    } catch (error) {
      entry.log.error('A component did not stop cleanly.', { error });
    }
    setStatus(entry, 'stopped');
    entry.meter.close();
    entry.releaseStatus();
    live.delete(node.key);
  }

  /** A component that ignores its deadline must not keep the process. */
  async function withGrace(stopping: Promise<void>, deadline: AbortSignal | undefined, entry: Live): Promise<void> {
    if (!deadline) return stopping;
    let done = false;
    const finished = stopping.finally(() => {
      done = true;
    });
    const over = async () => {
      await aborted(deadline);
      await clock.sleep(GRACE_MS);
      if (!done) entry.log.error('A component did not stop in time; it is left behind.');
    };
    await Promise.race([finished, over()]);
  }

  /** Stops these nodes in the order in which data flows. */
  async function stopAll(
    keys: ReadonlySet<string>,
    plan: Plan | undefined,
    deadline: AbortSignal | undefined,
    next?: Plan,
  ): Promise<void> {
    const stop = async (wanted: readonly string[]) => {
      const entries = wanted.map((key) => (keys.has(key) ? live.get(key) : undefined)).filter((e) => e !== undefined);
      await Promise.all(entries.map((entry) => stopNode(entry, deadline, next?.nodes.has(entry.node.key) ?? false)));
    };
    const ofKind = (kind: string) => [...live.values()].filter((e) => e.node.kind === kind).map((e) => e.node.key);
    await stop(ofKind('receiver'));
    await Promise.all(
      (plan?.pipelines ?? []).map(async (p) => {
        for (const key of p.processors) await stop([key]);
      }),
    );
    await stop(ofKind('processor'));
    await stop(ofKind('exporter'));
    for (const key of ofKind('extension').reverse()) await stop([key]);
  }

  // --- the two verbs ------------------------------------------------------------------------------------------------

  const turnInto: Graph['turnInto'] = async (config, options = {}) => {
    const { deadline, cancel, tolerant = false } = options;
    const plan = planOf(config);
    const fresh = current !== undefined && !sameCatalog(current, plan);
    const stays = ({ node, running }: Live) => {
      const wanted = plan.nodes.get(node.key);
      return running !== undefined && wanted !== undefined && !fresh && sameNode(node, wanted);
    };
    const going = new Set([...live.values()].filter((entry) => !stays(entry)).map((entry) => entry.node.key));
    await stopAll(going, current, deadline, plan);
    const kept = [...live.keys()];
    const started = new Set<string>();

    const ready = async (node: Node): Promise<void> => {
      const entry = live.get(node.key);
      if (entry) {
        // It stays; only its place in the pipelines may be another.
        entry.node = node;
        return;
      }
      started.add(node.key);
      try {
        await startNode(node, plan, cancel);
      } catch (error) {
        if (!tolerant) throw error;
        const broken = live.get(node.key);
        if (broken) setStatus(broken, 'permanent_error', describeError(error));
        if (node.kind === 'processor' || node.kind === 'exporter') inletOf(node).refuse(describeError(error));
        log.error('A component could not be started; the daemon runs without it.', { ...fieldsOf(node), error });
      }
    };
    const nodesOf = (keys: Iterable<string>) => [...new Set(keys)].map((key) => plan.nodes.get(key)!);

    try {
      for (const node of nodesOf(plan.extensions)) await ready(node);
      for (const node of nodesOf(plan.pipelines.flatMap((p) => p.exporters))) await ready(node);
      for (const pipeline of plan.pipelines) await connect(pipeline, plan, ready);
      const receivers = nodesOf(plan.pipelines.flatMap((p) => p.receivers));
      for (const node of receivers) pointReceiver(node, plan);
      for (const node of receivers) await ready(node);
    } catch (error) {
      await stopAll(started, plan, deadline);
      throw error;
    }
    for (const edges of [inlets, outlets]) {
      for (const key of edges.keys()) if (!plan.nodes.has(key)) edges.delete(key);
    }
    for (const id of entriesOf.keys()) if (!plan.pipelines.some((p) => p.id === id)) entriesOf.delete(id);
    current = plan;
    state = 'running';
    return { stopped: [...going], started: [...started], kept };
  };

  return {
    host,
    turnInto,
    async stop(deadline) {
      state = 'stopping';
      await stopAll(new Set(live.keys()), current, deadline);
    },
  };
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

/** The started component; or, once cancelled, an error, and the component is stopped when it turns up after all. */
async function unlessCancelled<R extends Running>(starting: Promise<R>, cancel: AbortSignal | undefined): Promise<R> {
  if (!cancel) return starting;
  let given = false;
  let giveUp = () => {};
  const cancelled = new Promise<never>((_resolve, reject) => {
    giveUp = () => reject(new Error('the start was cancelled'));
  });
  if (cancel.aborted) giveUp();
  else cancel.addEventListener('abort', giveUp, { once: true });
  starting.then(
    (running) => {
      if (!given && cancel.aborted) void running.stop(AbortSignal.abort()).catch(() => {});
    },
    () => {},
  );
  try {
    const running = await Promise.race([starting, cancelled]);
    given = true;
    return running;
  } finally {
    // The signal lives as long as the daemon: a listener for every component of every reload would stay with it.
    cancel.removeEventListener('abort', giveUp);
  }
}
