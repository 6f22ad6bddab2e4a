/** The image, the manifests and the compose file, as far as they can be checked without Docker and without a cluster. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { loadCatalog } from '../config/catalog.ts';
import { loadConfig } from '../config/load.ts';
import { formatIssue } from '../config/report.ts';
import { resolve } from '../config/schema.ts';
import { exporters } from '../exporters/index.ts';
import { healthCheck } from '../extensions/health_check/index.ts';
import { extensions } from '../extensions/index.ts';
import { processors } from '../processors/index.ts';
import { receivers } from '../receivers/index.ts';
import { testContext } from './kit/harness.ts';

const ROOT = new URL('../', import.meta.url).pathname;
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

const registry = { receivers, processors, exporters, extensions, catalog: loadCatalog() };
const env = { K8S_POD_NAME: 'llm-0', K8S_NAMESPACE: 'serving', K8S_NODE_NAME: 'n1' };

/** Every mistake and warning of a config, as text. */
async function issues(text: string): Promise<string[]> {
  const { mistakes, warnings } = await loadConfig(
    { configs: [`yaml:${text}`], sets: [] },
    { registry, env, cwd: ROOT },
  );
  return [...mistakes, ...warnings].map((issue) => formatIssue(issue));
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly rules?: readonly { resources: readonly string[]; verbs: readonly string[] }[];
  readonly spec?: { readonly template?: { readonly spec: PodSpec } };
}
interface PodSpec {
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly volumes: readonly { readonly name: string; readonly configMap?: { readonly name: string } }[];
  readonly containers: readonly {
    readonly name: string;
    readonly image: string;
    readonly securityContext?: Record<string, unknown>;
    readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
    readonly livenessProbe?: { readonly httpGet: { readonly port: string } };
    readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
    readonly resources: { readonly limits?: Record<string, string> };
  }[];
}

const FOLDER = 'config/examples/kubernetes';

describe.each(readdirSync(join(ROOT, FOLDER)))('the Kubernetes manifest %s', (file) => {
  const documents = parseAllDocuments(read(`${FOLDER}/${file}`));
  const manifests = documents.map((document) => document.toJS() as Manifest);
  const pods = manifests.flatMap((m) => (m.spec?.template ? [m.spec.template.spec] : []));
  const own = pods.flatMap((pod) => pod.containers.filter((c) => c.name === 'enginelight').map((c) => ({ pod, c })));

  it('is YAML without mistakes, each document with a kind and a name', () => {
    expect(documents.flatMap((d) => [...d.errors, ...d.warnings])).toEqual([]);
    for (const { kind, metadata } of manifests) expect([kind, metadata.name]).not.toContain(undefined);
    expect(own).toHaveLength(1);
  });

  it('holds a config without a mistake or a warning', async () => {
    const configs = manifests.filter((m) => m.kind === 'ConfigMap').map((m) => m.data?.['config.yaml']);
    expect(configs).toHaveLength(1);
    expect(await issues(configs[0]!)).toEqual([]);
  });

  it('gives no right but to read pods of one namespace', () => {
    expect(manifests.map((m) => m.kind)).not.toContain('ClusterRole');
    for (const { rules = [] } of manifests) {
      for (const { resources, verbs } of rules) {
        expect(resources).toEqual(['pods']);
        expect(verbs).toEqual(['get', 'list', 'watch']);
      }
    }
    const needsToken = manifests.some((m) => m.kind === 'Role');
    for (const pod of pods) {
      if (needsToken)
        expect(manifests).toContainEqual(
          expect.objectContaining({ kind: 'ServiceAccount', metadata: { name: pod.serviceAccountName } }),
        );
      else expect(pod.automountServiceAccountToken).toBe(false);
    }
  });

  it('runs without rights, on a read-only root, within limits, with time to drain', () => {
    for (const { pod, c } of own) {
      expect(c.securityContext).toEqual({
        runAsNonRoot: true,
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
        seccompProfile: { type: 'RuntimeDefault' },
      });
      expect(c.resources.limits?.['memory']).toBeDefined();
      expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(30);
      expect(c.image).toBe(`enginelight:${(JSON.parse(read('package.json')) as { version: string }).version}`);
    }
  });

  it('fits together: probes, ports, volumes and config maps name things that exist', () => {
    const configMaps = manifests.filter((m) => m.kind === 'ConfigMap').map((m) => m.metadata.name);
    for (const { pod, c } of own) {
      expect(c.ports.map((p) => p.name)).toContain(c.livenessProbe?.httpGet.port);
      expect(c.ports.find((p) => p.name === 'health')?.containerPort).toBe(13133);
      for (const mount of c.volumeMounts ?? []) expect(pod.volumes.map((v) => v.name)).toContain(mount.name);
      for (const volume of pod.volumes) if (volume.configMap) expect(configMaps).toContain(volume.configMap.name);
      expect(c.volumeMounts?.[0]?.mountPath).toBe('/etc/enginelight');
    }
  });
});

describe('the compose file', () => {
  const folder = 'config/examples/compose';
  const compose = parse(read(`${folder}/compose.yaml`)) as {
    services: Record<string, { image?: string; build?: string; volumes?: string[]; read_only?: boolean }>;
  };

  it('names files that exist, images with a version, and a read-only daemon', () => {
    for (const { image, build, volumes = [] } of Object.values(compose.services)) {
      for (const volume of volumes) expect(existsSync(join(ROOT, folder, volume.split(':')[0]!))).toBe(true);
      if (image !== undefined) expect(image).toMatch(/:v?\d+\.\d+\.\d+$/);
      if (build !== undefined) expect(existsSync(join(ROOT, folder, build, 'Dockerfile'))).toBe(true);
    }
    expect(compose.services['enginelight']?.read_only).toBe(true);
  });

  it.each(['compose/enginelight.yaml', 'container.yaml'])('%s has no mistake and no warning', async (file) => {
    expect(await issues(read(`config/examples/${file}`))).toEqual([]);
  });
});

describe('the Dockerfile', () => {
  const text = read('Dockerfile');

  it('copies only what is there after the build', () => {
    const sources = [...text.matchAll(/^COPY --from=\w+ (.+)$/gm)].flatMap((m) => m[1]!.split(' ').slice(0, -1));
    expect(sources.length).toBeGreaterThan(4);
    for (const source of sources) {
      const path = source.replace(/^\/src\//, '');
      if (path !== 'dist' && path !== 'node_modules') expect(existsSync(join(ROOT, path)), path).toBe(true);
    }
    const ignored = read('.dockerignore').split('\n');
    for (const needed of ['config', 'pipeline', 'LICENSE']) expect(ignored).not.toContain(needed);
  });

  it('ends as a user without rights, with commands that need no shell', () => {
    const last = text.slice(text.lastIndexOf('\nFROM '));
    expect(last).toMatch(/^USER 65532:65532$/m);
    expect(last).not.toMatch(/^RUN /m);
    for (const keyword of ['ENTRYPOINT', 'CMD']) expect(last).toMatch(new RegExp(`^${keyword} \\[`, 'm'));
  });

  it('has a health check that tells a healthy daemon from one that is not or is not there', async () => {
    const [, json] = /^HEALTHCHECK .* CMD (\[.*\])$/m.exec(text)!;
    const [node, flag, script] = JSON.parse(json!) as [string, string, string];
    expect([node, flag]).toEqual(['/nodejs/bin/node', '-e']);
    let state: 'running' | 'starting' = 'running';
    const context = testContext({ kind: 'extension' });
    const config = resolve(healthCheck.config, { endpoint: '127.0.0.1:0' });
    const running = await healthCheck.start(config, context, { state: () => state, components: () => [] });
    const url = String(context.log.records.find((r) => r.fields['url'])?.fields['url']);
    const check = () =>
      new Promise<number | null>((done) => {
        spawn(process.execPath, ['-e', script.replace('http://127.0.0.1:13133', url)]).on('exit', done);
      });
    expect(await check()).toBe(0);
    state = 'starting';
    expect(await check()).toBe(1);
    await running.stop();
    expect(await check()).toBe(1);
  });
});
