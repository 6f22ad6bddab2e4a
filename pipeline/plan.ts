/** What a config asks the graph to be: its nodes and who follows whom, worked out before anything is started. */
import { isDeepStrictEqual } from 'node:util';
import type { ResolvedConfig, ResolvedPipeline } from '../config/types.ts';
import type { AnyDefinition, ComponentKind } from './component.ts';
import { SIGNALS, type Signal } from './model.ts';

/** One component instance: receivers, exporters and extensions once per id, processors once per pipeline. */
export interface Node<D extends AnyDefinition = AnyDefinition> {
  readonly key: string;
  readonly kind: ComponentKind;
  readonly id: string;
  /** Processors only. */
  readonly pipeline?: string;
  /** The pipelines it is part of; empty for extensions. */
  readonly pipelines: readonly string[];
  readonly definition: D;
  readonly config: never;
  readonly fingerprint: string;
  readonly signals: ReadonlySet<Signal>;
}

export interface PipelinePlan {
  readonly id: string;
  /** The signals that something in it takes. */
  readonly carries: ReadonlySet<Signal>;
  readonly receivers: readonly string[];
  /** Keys, first to last. */
  readonly processors: readonly string[];
  readonly exporters: readonly string[];
}

export interface Plan {
  readonly nodes: ReadonlyMap<string, Node>;
  readonly pipelines: readonly PipelinePlan[];
  /** Keys, in the order they start. */
  readonly extensions: readonly string[];
  readonly catalog: ResolvedConfig['registry']['catalog'];
}

/** The plan of a config that was checked: every id in it resolves. */
export function planOf(config: ResolvedConfig): Plan {
  const nodes = new Map<string, Node>();
  const add = (
    kind: ComponentKind,
    id: string,
    component: { definition: AnyDefinition; config: never; fingerprint: string },
    pipelines: readonly string[],
    signals: ReadonlySet<Signal>,
  ): string => {
    const pipeline = kind === 'processor' ? pipelines[0] : undefined;
    const key = pipeline === undefined ? `${kind} ${id}` : `${kind} ${id} in ${pipeline}`;
    const { definition, config: own, fingerprint } = component;
    nodes.set(key, {
      key,
      kind,
      id,
      ...(pipeline === undefined ? {} : { pipeline }),
      pipelines,
      definition,
      config: own,
      fingerprint,
      signals,
    });
    return key;
  };

  const { pipelines } = config.service;
  const carries = new Map(pipelines.map((p) => [p.id, carriedBy(p, config)]));
  const users = (list: 'receivers' | 'exporters', id: string) => pipelines.filter((p) => p[list].includes(id));
  const signalsOf = (definition: { signals: readonly Signal[] }, of: readonly ResolvedPipeline[]) =>
    new Set(definition.signals.filter((signal) => of.some((p) => carries.get(p.id)?.has(signal))));

  const extensions = config.service.extensions.map((id) =>
    add('extension', id, config.extensions.get(id)!, [], new Set()),
  );
  const endpoint = (kind: 'receiver' | 'exporter', id: string): string => {
    const component = kind === 'receiver' ? config.receivers.get(id)! : config.exporters.get(id)!;
    const of = users(kind === 'receiver' ? 'receivers' : 'exporters', id);
    return add(
      kind,
      id,
      component,
      of.map((p) => p.id),
      signalsOf(component.definition, of),
    );
  };
  return {
    nodes,
    extensions,
    catalog: config.registry.catalog,
    pipelines: pipelines.map((p) => ({
      id: p.id,
      carries: carries.get(p.id)!,
      receivers: p.receivers.map((id) => endpoint('receiver', id)),
      processors: p.processors.map((id) => {
        const component = config.processors.get(id)!;
        return add('processor', id, component, [p.id], signalsOf(component.definition, [p]));
      }),
      exporters: p.exporters.map((id) => endpoint('exporter', id)),
    })),
  };
}

function carriedBy(pipeline: ResolvedPipeline, config: ResolvedConfig): ReadonlySet<Signal> {
  const possible = pipeline.signal === 'inference' ? SIGNALS : [pipeline.signal];
  const takers = [
    ...pipeline.processors.map((id) => config.processors.get(id)!.definition.signals),
    ...pipeline.exporters.map((id) => config.exporters.get(id)!.definition.signals),
  ];
  return new Set(possible.filter((signal) => takers.some((signals) => signals.includes(signal))));
}

/** Whether a running node can stay as it is: nothing that it was started with is different. */
export function sameNode(a: Node, b: Node): boolean {
  return (
    a.definition === b.definition &&
    a.fingerprint === b.fingerprint &&
    a.signals.size === b.signals.size &&
    [...a.signals].every((signal) => b.signals.has(signal))
  );
}

/** Whether two plans know the same about engines; where not, everything starts anew. */
export const sameCatalog = (a: Plan, b: Plan): boolean =>
  a.catalog === b.catalog || isDeepStrictEqual(a.catalog, b.catalog);
