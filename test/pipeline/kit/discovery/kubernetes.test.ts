import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { manualClock } from '../../../../pipeline/kit/clock.ts';
import type { TargetLabels } from '../../../../pipeline/kit/discovery/discovery.ts';
import { fromKubernetes, type KubernetesOptions } from '../../../../pipeline/kit/discovery/kubernetes.ts';
import { podTargets } from '../../../../pipeline/kit/discovery/pods.ts';
import { memoryLogger } from '../../../../pipeline/kit/log.ts';
import { apiServer, pod } from '../../../kit/api-server.ts';
import { authority } from '../../../kit/certificates.ts';
import { until } from '../../../kit/targets.ts';

async function discover(options: Partial<KubernetesOptions>) {
  const clock = manualClock();
  const log = memoryLogger();
  const updates: (readonly TargetLabels[])[] = [];
  const problems: (string | undefined)[] = [];
  const running = await fromKubernetes({
    client: {},
    namespaces: ['prod'],
    ownNamespace: false,
    labelSelector: '',
    fieldSelector: '',
    env: {},
    ...options,
  })((targets) => updates.push(targets), { clock, log, problem: (p) => problems.push(p) });
  onTestFinished(() => running.stop());
  const names = () => (updates.at(-1) ?? []).map((t) => t['__meta_kubernetes_pod_name']);
  return { clock, log, updates, problems, running, names };
}

describe('pods of a cluster', () => {
  it('are listed, then watched: what comes, changes and goes is known at once', async () => {
    const api = await apiServer();
    api.put(pod('a'));
    const d = await discover({ apiServer: api.url });
    await until('the list', () => d.updates.length === 1);
    expect(d.names()).toEqual(['a']);
    await until('a watch', () => api.watches() === 1);
    api.put(pod('b', { status: { podIP: '10.0.0.2' } }));
    await until('b', () => d.names().includes('b'));
    api.put(pod('b', { status: { podIP: '10.0.0.3' } }));
    await until('the new address', () => d.updates.at(-1)!.some((t) => t['__address__'] === '10.0.0.3:8000'));
    api.remove('a');
    await until('the end of a', () => !d.names().includes('a'));
    expect(api.lists()).toBe(1);
    expect(new Set(api.asked.map((a) => a.method))).toEqual(new Set(['GET']));
    expect(api.asked[1]!.url).toContain('resourceVersion=101');
    expect(api.asked[1]!.url).toContain('allowWatchBookmarks=true');
  });

  it('are asked for by namespace and selectors, in pages', async () => {
    const api = await apiServer({ pageSize: 2 });
    for (const name of ['a', 'b', 'c', 'd', 'e']) api.put(pod(name));
    api.put(pod('other', { metadata: { name: 'other', namespace: 'prod', labels: { app: 'x' } } }));
    api.put(pod('away', { metadata: { name: 'away', namespace: 'test', labels: { app: 'vllm' } } }));
    const d = await discover({ apiServer: api.url, labelSelector: 'app=vllm', fieldSelector: 'spec.nodeName=node-1' });
    await until('the list', () => d.updates.length === 1);
    expect(d.names()).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(api.asked[0]!.url).toMatch(
      /^\/api\/v1\/namespaces\/prod\/pods\?limit=500&labelSelector=app%3Dvllm&fieldSelector=spec.nodeName%3Dnode-1$/,
    );
    expect(api.lists()).toBe(3);
    const all = await discover({ apiServer: api.url, namespaces: [] });
    await until('the list of all', () => all.updates.length === 1);
    expect(all.names()).toHaveLength(7);
    const two = await discover({ apiServer: api.url, namespaces: ['prod', 'test'] });
    await until('both lists', () => two.updates.length === 1);
    expect(two.names()).toHaveLength(7);
  });

  it('a watch that ends is taken up where it was, with the version of the latest bookmark', async () => {
    const api = await apiServer();
    api.put(pod('a'));
    const d = await discover({ apiServer: api.url });
    await until('a watch', () => api.watches() === 1);
    api.bookmark();
    api.bookmark();
    api.put(pod('b'));
    await until('b', () => d.names().includes('b'));
    api.endWatches();
    await until('the end', () => api.watches() === 0);
    api.put(pod('c'));
    await until('c', async () => {
      await d.clock.advance(1000);
      return d.names().includes('c');
    });
    expect(api.lists()).toBe(1);
    expect(api.asked.at(-1)!.url).toContain('resourceVersion=104');
  });

  it.each(['event', 'status'] as const)('a version that is too old (410 as %s) makes a new list', async (how) => {
    const api = await apiServer();
    api.put(pod('a'));
    const d = await discover({ apiServer: api.url });
    await until('a watch', () => api.watches() === 1);
    api.remove('a');
    api.put(pod('b'));
    api.compact(how);
    api.endWatches();
    await until('the new list', async () => {
      await d.clock.advance(2000);
      return api.lists() === 2 && d.names().join() === 'b' && api.watches() === 1;
    });
    expect(d.log.records.filter((r) => r.level === 'warn')).toEqual([]);
  });

  it.each([
    [403, 'the service account needs get, list and watch on pods in namespace prod'],
    [401, 'the token is not accepted'],
    [500, 'HTTP status 500'],
  ])('status %d is said once, with what to do; targets stay, and it is tried again ever more rarely', async (status, hint) => {
    const api = await apiServer();
    api.put(pod('a'));
    const d = await discover({ apiServer: api.url });
    await until('a watch', () => api.watches() === 1);
    api.fail(status);
    api.endWatches();
    await until('a problem', async () => {
      await d.clock.advance(500);
      return d.problems.at(-1) !== undefined;
    });
    expect(d.problems.at(-1)).toContain(hint);
    const before = api.asked.length;
    for (let i = 0; i < 120; i++) {
      await d.clock.advance(1000);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(api.asked.length - before).toBeLessThan(12);
    expect(d.log.records.filter((r) => r.level === 'warn')).toHaveLength(1);
    expect(d.names()).toEqual(['a']);
    api.fail(undefined);
    await until('recovery', async () => {
      await d.clock.advance(10_000);
      return d.problems.at(-1) === undefined && api.watches() === 1;
    });
    expect(d.log.records.at(-1)?.message).toBe('Kubernetes answers again.');
  });

  it('inside a cluster it uses the service account: its authority, its token, re-read when it is rotated', async () => {
    const ca = authority();
    const api = await apiServer({ tls: ca.issue(['127.0.0.1']), token: 'one' });
    api.put(pod('a'));
    const folder = mkdtempSync(join(tmpdir(), 'enginelight-sa-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'ca.crt'), ca.cert);
    writeFileSync(join(folder, 'namespace'), 'prod\n');
    writeFileSync(join(folder, 'token'), 'old');
    const d = await discover({
      namespaces: [],
      ownNamespace: true,
      env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(api.port) },
      serviceAccountFolder: folder,
    });
    await until('a problem', () => d.problems.at(-1) !== undefined);
    expect(d.problems.at(-1)).toContain('the token is not accepted');
    writeFileSync(join(folder, 'token'), 'one');
    await until('the list', async () => {
      await d.clock.advance(1500);
      return d.names().join() === 'a';
    });
    expect(api.asked.at(-1)!.url).toContain('/namespaces/prod/');
  });

  it('without a cluster it says so and nothing else happens', async () => {
    const d = await discover({});
    expect(d.problems).toEqual([expect.stringContaining('does not run in a Kubernetes cluster')]);
    expect(d.updates).toEqual([]);
    await d.running.stop();
  });

  it('stops with a watch open', async () => {
    const api = await apiServer();
    const d = await discover({ apiServer: api.url });
    await until('a watch', () => api.watches() === 1);
    await d.running.stop();
    await until('the end of the watch', () => api.watches() === 0);
    expect(d.clock.pending()).toBe(0);
  });
});

describe('the targets of a pod', () => {
  it('have one address for each declared port, and say what is known of the pod', () => {
    const [target, ...rest] = podTargets(
      pod('a', {
        metadata: {
          name: 'a',
          namespace: 'prod',
          uid: 'u',
          labels: { 'app.kubernetes.io/name': 'x' },
          annotations: { 'prometheus.io/scrape': 'true' },
          ownerReferences: [{ kind: 'ReplicaSet', name: 'rs', controller: true }],
        },
      }),
    );
    expect(rest).toEqual([]);
    const m = '__meta_kubernetes_';
    expect(target).toEqual({
      __address__: '10.0.0.1:8000',
      [`${m}namespace`]: 'prod',
      [`${m}pod_name`]: 'a',
      [`${m}pod_ip`]: '10.0.0.1',
      [`${m}pod_uid`]: 'u',
      [`${m}pod_phase`]: 'Running',
      [`${m}pod_ready`]: 'true',
      [`${m}pod_node_name`]: 'node-1',
      [`${m}pod_host_ip`]: '192.168.0.1',
      [`${m}pod_controller_kind`]: 'ReplicaSet',
      [`${m}pod_controller_name`]: 'rs',
      [`${m}pod_label_app_kubernetes_io_name`]: 'x',
      [`${m}pod_labelpresent_app_kubernetes_io_name`]: 'true',
      [`${m}pod_annotation_prometheus_io_scrape`]: 'true',
      [`${m}pod_annotationpresent_prometheus_io_scrape`]: 'true',
      [`${m}pod_container_name`]: 'engine',
      [`${m}pod_container_image`]: 'vllm:1',
      [`${m}pod_container_id`]: 'containerd://abc',
      [`${m}pod_container_init`]: 'false',
      [`${m}pod_container_port_name`]: 'http',
      [`${m}pod_container_port_number`]: '8000',
      [`${m}pod_container_port_protocol`]: 'TCP',
    });
  });

  it('are none without an address or after its end; without ports it is the bare address', () => {
    expect(podTargets(pod('a', { status: { podIP: '' } }))).toEqual([]);
    for (const phase of ['Succeeded', 'Failed']) expect(podTargets(pod('a', { status: { phase } }))).toEqual([]);
    const bare = podTargets(pod('a', { spec: { containers: [{ name: 'c' }] }, status: { podIP: 'fd00::1' } }));
    expect(bare.map((t) => t['__address__'])).toEqual(['[fd00::1]']);
  });

  it('are the one port that is asked for, by name or number', () => {
    const ports = [
      { name: 'http', containerPort: 8000 },
      { name: 'metrics', containerPort: 9090 },
    ];
    const p = pod('a', { spec: { containers: [{ name: 'c', ports }] } });
    const addresses = (port?: string) => podTargets(p, port).map((t) => t['__address__']);
    expect(addresses()).toEqual(['10.0.0.1:8000', '10.0.0.1:9090']);
    expect(addresses('metrics')).toEqual(['10.0.0.1:9090']);
    expect(addresses('8000')).toEqual(['10.0.0.1:8000']);
    expect(addresses('30000')).toEqual(['10.0.0.1:30000']);
    expect(addresses('nope')).toEqual([]);
  });
});
