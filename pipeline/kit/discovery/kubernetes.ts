/**
 * Targets from the pods of a Kubernetes cluster: a list, then a watch that goes on where the list ended. Needs `get`,
 * `list` and `watch` on pods of the namespaces it is given and only ever sends GET. Without a cluster it says so and the
 * daemon goes on without it.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError } from '../../errors.ts';
import type { ClientOptions } from '../client-options.ts';
import { GetFailure, type Getter, getter } from '../get.ts';
import type { Discovery, DiscoveryContext, TargetLabels } from './discovery.ts';
import { type Pod, podTargets } from './pods.ts';

export interface KubernetesOptions {
  /** Default: the cluster this process runs in. */
  readonly apiServer?: string | undefined;
  /** Default: the service account's token and certificate authority. */
  readonly client: Partial<ClientOptions>;
  /** Empty: all of them. */
  readonly namespaces: readonly string[];
  /** Also the namespace this process runs in. */
  readonly ownNamespace: boolean;
  readonly labelSelector: string;
  readonly fieldSelector: string;
  /** Name or number of the port to take; absent: each declared one is a target. */
  readonly port?: string | undefined;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly serviceAccountFolder?: string;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
const PAGE = 500;
const LIST_TIMEOUT_MS = 30_000;
const WATCH_SECONDS = 300;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 60_000;
const MAX_LIST_BYTES = 256 << 20;
const MAX_EVENT_BYTES = 8 << 20;

/** Only pods, of all namespaces or one. */
const allow = (path: string): boolean => /^\/api\/v1\/(namespaces\/[a-z0-9-]+\/)?pods$/.test(path);

interface PodEvent {
  type?: string;
  object?: Pod & { code?: number; message?: string };
}

/** The API server says that the version we know is too old: only a new list helps. */
class Expired extends Error {}

export function fromKubernetes(options: KubernetesOptions): Discovery {
  const folder = options.serviceAccountFolder ?? SERVICE_ACCOUNT;
  return async (update, context) => {
    const { clock, log, problem } = context;
    const stopping = new AbortController();
    const place = placeOf(options, folder);
    if (typeof place === 'string') {
      log.warn('Kubernetes discovery is off.', { reason: place });
      problem(place);
      return { stop: async () => {} };
    }
    const client = getter({ origin: place.server, allow, client: place.client, clock, log });
    const namespaces = new Set<string | undefined>(options.namespaces);
    if (options.ownNamespace) {
      const own = await readFile(join(folder, 'namespace'), 'utf8').catch(() => '');
      if (own.trim() !== '') namespaces.add(own.trim());
      else problem('own_namespace is set, but the namespace of this process is not known');
    }
    if (namespaces.size === 0) namespaces.add(undefined);

    const all = new Map<string | undefined, Map<string, readonly TargetLabels[]>>();
    const problems = new Map<string | undefined, string>();
    let told = '';
    const publish = () => {
      if (stopping.signal.aborted || all.size < namespaces.size) return;
      const targets = [...all.values()].flatMap((pods) => [...pods.values()].flat());
      const text = JSON.stringify(targets);
      if (text === told) return;
      told = text;
      update(targets);
    };
    const follow = followNamespace({
      client,
      context,
      options,
      signal: stopping.signal,
      publish,
      say: (namespace, message) => {
        if (message === undefined) {
          if (problems.delete(namespace)) log.info('Kubernetes answers again.', { namespace: namespace ?? 'all' });
        } else if (problems.get(namespace) !== message) {
          problems.set(namespace, message);
          log.warn('Cannot look up pods.', { namespace: namespace ?? 'all', api_server: place.server, error: message });
        }
        problem([...problems.values()][0]);
      },
    });
    const loops = [...namespaces].map((namespace) => follow(namespace, all));
    return {
      async stop() {
        stopping.abort();
        await Promise.all(loops);
        client.close();
      },
    };
  };
}

function placeOf(
  options: KubernetesOptions,
  folder: string,
): { server: string; client: Partial<ClientOptions> } | string {
  const env = options.env ?? process.env;
  if (options.apiServer) return { server: options.apiServer, client: options.client };
  const host = env['KUBERNETES_SERVICE_HOST'];
  const port = env['KUBERNETES_SERVICE_PORT'];
  if (!host || !port) {
    return 'this process does not run in a Kubernetes cluster (no KUBERNETES_SERVICE_HOST); set api_server to use one from outside';
  }
  const tls = {
    insecure: false,
    insecure_skip_verify: false,
    include_system_ca_certs_pool: false,
    min_version: '1.2' as const,
    reload_interval: 1000,
    ca_file: join(folder, 'ca.crt'),
  };
  const own: Partial<ClientOptions> = {
    tls,
    authorization: { type: 'Bearer', credentials_file: join(folder, 'token') },
  };
  const given = Object.fromEntries(Object.entries(options.client).filter(([, value]) => value !== undefined));
  return { server: `https://${host.includes(':') ? `[${host}]` : host}:${port}`, client: { ...own, ...given } };
}

interface Follow {
  readonly client: Getter;
  readonly context: DiscoveryContext;
  readonly options: KubernetesOptions;
  readonly signal: AbortSignal;
  readonly publish: () => void;
  readonly say: (namespace: string | undefined, problem: string | undefined) => void;
}

/** A loop that keeps the pods of one namespace (undefined: of all) until the signal aborts. */
function followNamespace(f: Follow) {
  const { client, options, signal, context } = f;
  return async (
    namespace: string | undefined,
    all: Map<string | undefined, Map<string, readonly TargetLabels[]>>,
  ): Promise<void> => {
    const path = namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${namespace}/pods`;
    const query = (more: Record<string, string>) => {
      const q = new URLSearchParams(more);
      if (options.labelSelector !== '') q.set('labelSelector', options.labelSelector);
      if (options.fieldSelector !== '') q.set('fieldSelector', options.fieldSelector);
      return `${path}?${q}`;
    };
    const keyOf = (pod: Pod) => `${pod.metadata?.namespace}/${pod.metadata?.name}`;
    let delay = FIRST_RETRY_MS;
    let version: string | undefined;

    const list = async (): Promise<string> => {
      const pods = new Map<string, readonly TargetLabels[]>();
      let next = '';
      for (;;) {
        const answer = await client.get({
          path: query({ limit: String(PAGE), ...(next === '' ? {} : { continue: next }) }),
          timeoutMs: LIST_TIMEOUT_MS,
          maxBytes: MAX_LIST_BYTES,
          headers: { accept: 'application/json' },
          gzip: true,
          signal,
        });
        const page = JSON.parse(answer.body.toString('utf8')) as {
          metadata?: { resourceVersion?: string; continue?: string };
          items?: Pod[];
        };
        for (const pod of page.items ?? []) pods.set(keyOf(pod), podTargets(pod, options.port));
        next = page.metadata?.continue ?? '';
        if (next === '') {
          all.set(namespace, pods);
          f.publish();
          return page.metadata?.resourceVersion ?? '';
        }
      }
    };

    const take = (event: PodEvent) => {
      const { type, object = {} } = event;
      if (type === 'ERROR') {
        if (object.code === 410) throw new Expired(object.message ?? 'resource version too old');
        throw new Error(object.message ?? `watch ended with code ${object.code}`);
      }
      version = object.metadata?.resourceVersion ?? version;
      const pods = all.get(namespace)!;
      if (type === 'DELETED') pods.delete(keyOf(object));
      else if (type === 'ADDED' || type === 'MODIFIED') pods.set(keyOf(object), podTargets(object, options.port));
    };

    const watch = async (): Promise<void> => {
      const silent = new AbortController();
      const stop = () => silent.abort();
      signal.addEventListener('abort', stop, { once: true });
      // The server ends a watch by itself; one that outlives its time is a dead connection.
      const timer = context.clock.after((WATCH_SECONDS + 30) * 1000, stop);
      const lines = eventLines();
      let said: unknown;
      try {
        await client.stream(
          {
            path: query({
              watch: '1',
              allowWatchBookmarks: 'true',
              resourceVersion: version ?? '',
              timeoutSeconds: String(WATCH_SECONDS),
            }),
            timeoutMs: LIST_TIMEOUT_MS,
            maxBytes: MAX_EVENT_BYTES,
            headers: { accept: 'application/json' },
            signal: silent.signal,
          },
          (chunk) => {
            try {
              for (const line of lines(chunk)) take(JSON.parse(line) as PodEvent);
            } catch (error) {
              said = error;
              throw error;
            }
            delay = FIRST_RETRY_MS;
            f.publish();
          },
        );
      } catch (error) {
        // What the server said counts, not that the connection was given up for it.
        if (said !== undefined) throw said;
        if (silent.signal.aborted && !signal.aborted) return;
        throw error;
      } finally {
        timer.cancel();
        signal.removeEventListener('abort', stop);
      }
    };

    while (!signal.aborted) {
      try {
        version ??= await list();
        f.say(namespace, undefined);
        const begun = context.clock.monotonic();
        await watch();
        // A server that ends watches at once must not be asked in a tight loop.
        if (context.clock.monotonic() - begun < FIRST_RETRY_MS) await context.clock.sleep(FIRST_RETRY_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        const gone = error instanceof Expired || (error instanceof GetFailure && error.status === 410);
        version = undefined;
        if (gone) {
          context.log.debug('Listing pods anew: the known version is too old.', { namespace: namespace ?? 'all' });
        } else f.say(namespace, hint(error, namespace));
        await context.clock.sleep((gone ? delay / 10 : delay) * (0.75 + Math.random() / 2), signal);
        delay = Math.min(delay * 2, LAST_RETRY_MS);
      }
    }
  };
}

function hint(error: unknown, namespace: string | undefined): string {
  const text = describeError(error);
  if (!(error instanceof GetFailure)) return text;
  const where = namespace === undefined ? 'in all namespaces' : `in namespace ${namespace}`;
  if (error.status === 403) return `${text}: the service account needs get, list and watch on pods ${where}`;
  if (error.status === 401) return `${text}: the token is not accepted`;
  if (error.status === 404) return `${text}: no pods ${where}, or not an API server`;
  return text;
}

/** Splits a stream into lines; throws when one is too long. */
function eventLines(): (chunk: Buffer) => string[] {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const out: string[] = [];
    for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10)) {
      const line = data.toString('utf8', 0, at).trim();
      if (line !== '') out.push(line);
      data = data.subarray(at + 1);
    }
    if (data.length > MAX_EVENT_BYTES) throw new Error('an event of the watch is too long');
    rest = data;
    return out;
  };
}
