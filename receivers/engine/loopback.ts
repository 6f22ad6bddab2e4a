/** Looks for engines on this machine, at the ports where they listen unless told otherwise. */
import type { Catalog } from '../../config/catalog.ts';
import type { Discovery, TargetLabels } from '../../pipeline/kit/discovery/discovery.ts';
import { GetFailure, getter } from '../../pipeline/kit/get.ts';
import { mayAskEngine } from '../../pipeline/kit/get-paths.ts';
import { findMetrics } from './probe.ts';

export interface LoopbackOptions {
  readonly catalog: Catalog;
  readonly timeoutMs: number;
  /** Default: the usual ports of the catalogue's engines, frameworks and routers. */
  readonly ports?: readonly number[];
}

const LOOK_AGAIN_MS = 15_000;
/** Somebody answers there who is no engine: not to be asked every few seconds. */
const LOOK_AGAIN_AT_OTHERS_MS = 60_000;

/** The usual ports of whatever serves inference. */
export function usualPorts(catalog: Catalog): number[] {
  const ports = new Set<number>();
  for (const source of catalog.sources) {
    if (!['engine', 'framework', 'router'].includes(source.kind)) continue;
    for (const { port } of source.endpoints) if (port !== undefined) ports.add(port);
  }
  return [...ports].sort((a, b) => a - b);
}

export function onLoopback(options: LoopbackOptions): Discovery {
  const ports = options.ports ?? usualPorts(options.catalog);
  return async (update, { clock, log, problem }) => {
    const stopping = new AbortController();
    const found = new Map<number, TargetLabels>();
    const notBefore = new Map<number, number>();

    const look = async (port: number): Promise<void> => {
      if (found.has(port) || (notBefore.get(port) ?? 0) > clock.monotonic()) return;
      const client = getter({ origin: `http://127.0.0.1:${port}`, allow: mayAskEngine, client: {}, clock, log });
      try {
        const { engine } = await findMetrics(client, { ...options, signal: stopping.signal });
        if (engine === undefined) notBefore.set(port, clock.monotonic() + LOOK_AGAIN_AT_OTHERS_MS);
        else {
          log.info('Found an engine on this machine.', { engine, port });
          found.set(port, { __address__: `127.0.0.1:${port}` });
        }
      } catch (error) {
        const nobody = error instanceof GetFailure && error.reason === 'refused';
        if (!nobody) notBefore.set(port, clock.monotonic() + LOOK_AGAIN_AT_OTHERS_MS);
      } finally {
        client.close();
      }
    };

    const lookAround = async () => {
      const before = found.size;
      await Promise.all(ports.map(look));
      if (stopping.signal.aborted) return;
      problem(
        found.size > 0 ? undefined : `no engine answers on this machine (ports ${ports.join(', ')}): set targets`,
      );
      if (found.size > before) update([...found.values()]);
    };
    const loop = async () => {
      while (!stopping.signal.aborted) {
        await lookAround();
        await clock.sleep(LOOK_AGAIN_MS, stopping.signal);
      }
    };
    const running = loop().catch((error) => log.error('Looking for engines failed.', { error }));
    return {
      async stop() {
        stopping.abort();
        await running;
      },
    };
  };
}
