/** Finds out what answers at an address: which of the catalogue's paths shows metrics, and whose they are. */
import { type Catalog, recognise } from '../../config/catalog.ts';
import { servesInference } from '../../config/recognise.ts';
import { GetFailure, type Getter } from '../../pipeline/kit/get.ts';
import { formatOf } from '../../pipeline/wire/prometheus/format.ts';

/** Paths to try: those of a single engine before the one that all share, where a wrong guess could cost something. */
export function candidatePaths(catalog: Catalog): string[] {
  const usual = '/metrics';
  const paths = new Set<string>();
  for (const source of catalog.sources) {
    if (!servesInference(source)) continue;
    for (const endpoint of source.endpoints) if (endpoint.path !== usual) paths.add(endpoint.path);
  }
  return [...paths, usual];
}

/** Calls that only a server has whose /metrics hands out records once, to whoever reads them first. */
const HANDS_OUT_RECORDS = ['/perf_metrics', '/kv_cache_events'];

export interface ProbeOptions {
  readonly catalog: Catalog;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const MAX_PROBE_BYTES = 16 << 20;

export interface Found {
  readonly path: string;
  /** Undefined for metrics that are no engine's. */
  readonly engine: string | undefined;
}

/**
 * Resolves with the path that shows metrics of an engine, or else any metrics. Rejects with the GetFailure that says why
 * there are none.
 */
export async function findMetrics(client: Getter, options: ProbeOptions): Promise<Found> {
  const ask = (path: string) =>
    client.get({ path, timeoutMs: options.timeoutMs, maxBytes: MAX_PROBE_BYTES, signal: options.signal });
  const paths = candidatePaths(options.catalog);
  let fallback: string | undefined;
  let failure: unknown;
  for (const [i, path] of paths.entries()) {
    const last = i === paths.length - 1;
    try {
      if (last && (await handsOutRecords(ask))) {
        throw new GetFailure(
          'forbidden',
          'this looks like trtllm-serve without its Prometheus page, and reading its /metrics would take records away from others: set return_perf_metrics: true there, or use the trtllm receiver with the path /metrics',
        );
      }
      const { body, contentType } = await ask(path);
      if (typeof formatOf(contentType, body) !== 'string') continue;
      const { engine } = recognise(options.catalog, namesOn(body));
      if (engine !== undefined) return { path, engine };
      if (/^# TYPE /m.test(body.toString('latin1', 0, 1 << 16))) fallback ??= path;
    } catch (error) {
      // Nobody there: the other paths are not there either.
      if (!(error instanceof GetFailure) || error.reason !== 'status') throw error;
      failure = error;
    }
  }
  if (fallback !== undefined) return { path: fallback, engine: undefined };
  throw failure ?? new GetFailure('status', `no metrics at any of ${paths.join(', ')}`);
}

async function handsOutRecords(ask: (path: string) => Promise<{ body: Buffer }>): Promise<boolean> {
  try {
    const { body } = await ask('/openapi.json');
    const { paths = {} } = JSON.parse(body.toString('utf8')) as { paths?: Record<string, unknown> };
    return HANDS_OUT_RECORDS.some((path) => Object.hasOwn(paths, path));
  } catch (error) {
    if (error instanceof GetFailure && error.reason !== 'status') throw error;
    return false;
  }
}

/** Names of the families of a page, and of its samples where it has no comments. */
export function namesOn(body: Buffer): Set<string> {
  const names = new Set<string>();
  const text = body.toString('utf8');
  for (const match of text.matchAll(/^# TYPE ([^\s{]+) /gm)) names.add(match[1]!);
  if (names.size === 0) for (const match of text.matchAll(/^([a-zA-Z_:][a-zA-Z0-9_:]*)[{ ]/gm)) names.add(match[1]!);
  return names;
}
