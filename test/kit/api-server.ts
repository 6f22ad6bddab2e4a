/** A small Kubernetes API server: lists and watches pods, with resource versions, bookmarks, pages and expired versions. */
import type { ServerResponse } from 'node:http';
import type { ServerOptions } from 'node:https';
import type { Pod } from '../../pipeline/kit/discovery/pods.ts';
import { type FakeTarget, fakeTarget } from './targets.ts';

export interface ApiServer extends FakeTarget {
  put(pod: Pod): void;
  remove(name: string): void;
  bookmark(): void;
  /** Ends every watch, as API servers do now and then. */
  endWatches(): void;
  /** Forgets history: who watches from an older version is told 410, in the stream or as a status. */
  compact(how: 'event' | 'status'): void;
  /** Answers everything with this status until undefined. */
  fail(status: number | undefined): void;
  watches(): number;
  lists(): number;
}

/** A pod as the server would show it. */
export function pod(name: string, more: Partial<Pod> = {}): Pod {
  return {
    metadata: { name, namespace: 'prod', uid: `uid-${name}`, labels: { app: 'vllm' }, ...more.metadata },
    spec: {
      nodeName: 'node-1',
      containers: [
        { name: 'engine', image: 'vllm:1', ports: [{ name: 'http', containerPort: 8000, protocol: 'TCP' }] },
      ],
      ...more.spec,
    },
    status: {
      phase: 'Running',
      podIP: '10.0.0.1',
      hostIP: '192.168.0.1',
      conditions: [{ type: 'Ready', status: 'True' }],
      containerStatuses: [{ name: 'engine', containerID: 'containerd://abc' }],
      ...more.status,
    },
  };
}

export async function apiServer(
  options: { tls?: ServerOptions; token?: string; pageSize?: number } = {},
): Promise<ApiServer> {
  const pods = new Map<string, Pod>();
  const history: { version: number; event: object }[] = [];
  const watchers = new Map<ServerResponse, { labels: string }>();
  let version = 100;
  let oldest = 0;
  let gone: 'event' | 'status' = 'event';
  let failing: number | undefined;
  let lists = 0;

  const send = (event: { type: string; object: Pod }) => {
    history.push({ version, event });
    for (const response of watchers.keys()) response.write(`${JSON.stringify(event)}\n`);
  };
  const versioned = (p: Pod): Pod => ({ ...p, metadata: { ...p.metadata, resourceVersion: String(version) } });
  const expired = { type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old resource version' } };

  const server = await fakeTarget((request, response) => {
    const url = new URL(request.url!, 'http://api');
    if (failing !== undefined) return void response.writeHead(failing).end('{"kind":"Status"}');
    if (options.token && request.headers.authorization !== `Bearer ${options.token}`) {
      return void response.writeHead(401).end();
    }
    const namespace = /^\/api\/v1\/namespaces\/([^/]+)\/pods$/.exec(url.pathname)?.[1];
    if (!namespace && url.pathname !== '/api/v1/pods') return void response.writeHead(404).end();
    const q = url.searchParams;
    const label = q.get('labelSelector') ?? '';
    const matches = (p: Pod) =>
      (!namespace || p.metadata?.namespace === namespace) &&
      (label === '' || label.split(',').every((s) => p.metadata?.labels?.[s.split('=')[0]!] === s.split('=')[1]));
    if (q.get('watch') === '1') {
      const from = Number(q.get('resourceVersion'));
      if (from < oldest && gone === 'status') return void response.writeHead(410).end();
      response.writeHead(200, { 'content-type': 'application/json' });
      response.flushHeaders();
      if (from < oldest) return void response.end(`${JSON.stringify(expired)}\n`);
      for (const h of history) if (h.version > from) response.write(`${JSON.stringify(h.event)}\n`);
      watchers.set(response, { labels: label });
      response.once('close', () => watchers.delete(response));
      return;
    }
    lists++;
    const all = [...pods.values()].filter(matches);
    const start = Number(q.get('continue') ?? 0);
    const size = options.pageSize ?? 500;
    const more = start + size < all.length;
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({
        kind: 'PodList',
        metadata: { resourceVersion: String(version), ...(more ? { continue: String(start + size) } : {}) },
        items: all.slice(start, start + size),
      }),
    );
  }, options.tls);

  return {
    ...server,
    put(p) {
      version++;
      const known = pods.has(p.metadata!.name!);
      const next = versioned(p);
      pods.set(p.metadata!.name!, next);
      send({ type: known ? 'MODIFIED' : 'ADDED', object: next });
    },
    remove(name) {
      version++;
      const old = versioned(pods.get(name)!);
      pods.delete(name);
      send({ type: 'DELETED', object: old });
    },
    bookmark() {
      version++;
      send({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(version) } } });
    },
    endWatches() {
      for (const response of watchers.keys()) response.end();
    },
    compact(how) {
      gone = how;
      version++;
      oldest = version;
      history.length = 0;
    },
    fail(status) {
      failing = status;
    },
    watches: () => watchers.size,
    lists: () => lists,
  };
}
