/** Spans for tests of flame graphs and waterfalls. */
import { loadCatalog } from '../../../../config/catalog.ts';
import { SpanStore } from '../../../../pipeline/kit/flame/store.ts';
import { type AnyValue, type Resource, resource, type Span, scope } from '../../../../pipeline/model.ts';

export const catalog = loadCatalog();
export const BASE = 1_777_636_800_000_000_000n;
const SCOPE = scope('test');
const NOBODY = resource({ 'service.name': 'chat' });

export interface Told {
  readonly id: number;
  readonly parent?: number;
  readonly trace?: number;
  readonly name?: string;
  /** Milliseconds after the beginning, and how long. */
  readonly at: number;
  readonly took: number;
  readonly attributes?: Record<string, AnyValue>;
  readonly resource?: Resource;
}

export const hex = (n: number, width: number) => n.toString(16).padStart(width, '0');

export const span = (told: Told): Span => ({
  resource: told.resource ?? NOBODY,
  scope: SCOPE,
  traceId: hex(told.trace ?? 1, 32),
  spanId: hex(told.id, 16),
  parentSpanId: told.parent === undefined ? '' : hex(told.parent, 16),
  traceState: '',
  flags: 0,
  name: told.name ?? `s${told.id}`,
  kind: 1,
  startTime: BASE + BigInt(Math.round(told.at * 1e6)),
  endTime: BASE + BigInt(Math.round(told.at * 1e6)) + BigInt(Math.round(told.took * 1e6)),
  attributes: told.attributes ?? {},
  droppedAttributesCount: 0,
  events: [],
  droppedEventsCount: 0,
  links: [],
  droppedLinksCount: 0,
  status: { code: 0, message: '' },
});

export function storeOf(spans: readonly Told[]): SpanStore {
  const store = new SpanStore(catalog);
  for (const told of spans) store.add(span(told));
  return store;
}
