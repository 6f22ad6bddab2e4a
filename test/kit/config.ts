/** What config tests need: a small registry whose components do nothing, and configs written to a folder of their own. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { onTestFinished } from 'vitest';
import { loadConfig } from '../../config/load.ts';
import { formatIssue } from '../../config/report.ts';
import { options, t } from '../../config/schema.ts';
import type { LoadResult } from '../../config/types.ts';
import {
  defineExporter,
  defineExtension,
  defineProcessor,
  defineReceiver,
  type Registry,
} from '../../pipeline/component.ts';
import { SIGNALS } from '../../pipeline/model.ts';

const stage = { consume: () => {}, stop: async () => {} };

const protocol = () =>
  t.item(
    {
      endpoint: t.endpoint({ description: 'Where to listen.', default: '127.0.0.1:4317' }),
      max_request_body_size: t.size({ description: 'The largest body.', default: '20MiB' }),
    },
    { description: 'One protocol.' },
  );

export const testRegistry: Registry = {
  receivers: [
    defineReceiver({
      type: 'otlp',
      summary: 'Takes OTLP',
      stability: 'stable',
      signals: SIGNALS,
      config: options({
        protocols: t.item(
          { grpc: t.optional(protocol()), http: t.optional(protocol()) },
          { description: 'What to speak.' },
        ),
      }),
      validate: (config) =>
        Object.keys(config.protocols).length > 0
          ? []
          : [{ path: ['protocols'], message: 'must specify at least one protocol when using the OTLP receiver' }],
      start: async () => stage,
    }),
    defineReceiver({
      type: 'scraper',
      summary: 'Reads metrics pages',
      stability: 'beta',
      signals: ['metrics'],
      config: options({
        targets: t.list(
          t.oneOf(
            [
              t.url({ description: 'The URL of a page.' }),
              t.item(
                {
                  url: t.url({ description: 'The URL of a page.' }),
                  labels: t.map(t.string({ description: 'A label.' }), { description: 'Static labels.', default: {} }),
                },
                { description: 'A page with labels.' },
              ),
            ],
            { description: 'One target.' },
          ),
          { description: 'What to read.', default: [] },
        ),
        collection_interval: t.duration({ description: 'How often.', default: '5s', minimum: '100ms' }),
        auth: t.optional(
          t.section(
            {
              username: t.string({ description: 'The user.', default: '' }),
              password: t.secret({ description: 'The password.', default: '' }),
            },
            { description: 'How to log in.' },
          ),
        ),
      }),
      start: async () => stage,
    }),
  ],
  processors: [
    defineProcessor({
      type: 'memory_limiter',
      summary: 'Refuses when memory is short',
      stability: 'stable',
      signals: SIGNALS,
      config: options({
        limit_mib: t.integer({ description: 'The limit.', default: 512, minimum: 1 }),
        check_interval: t.duration({ description: 'How often memory is read.', default: '1s' }),
      }),
      start: async () => stage,
    }),
    defineProcessor({
      type: 'attributes',
      summary: 'Changes attributes',
      stability: 'beta',
      signals: SIGNALS,
      config: options({
        actions: t.list(
          t.item(
            {
              key: t.string({ description: 'The attribute.' }),
              action: t.choice(['insert', 'update', 'delete'], { description: 'What to do.' }),
              value: t.optional(t.any({ description: 'What to set.' })),
            },
            { description: 'One action.' },
          ),
          { description: 'In order.', default: [] },
        ),
      }),
      start: async () => stage,
    }),
    defineProcessor({
      type: 'spans_only',
      summary: 'Works on spans',
      stability: 'alpha',
      signals: ['traces'],
      config: options({}),
      start: async () => stage,
    }),
  ],
  exporters: [
    defineExporter({
      type: 'otlp_http',
      aliases: ['otlphttp'],
      summary: 'Sends OTLP over HTTP',
      stability: 'stable',
      signals: SIGNALS,
      config: options({
        endpoint: t.url({ description: 'The server.', examples: ['http://127.0.0.1:4318'] }),
        headers: t.map(t.secret({ description: 'A value.' }), { description: 'Request headers.', default: {} }),
        timeout: t.duration({ description: 'Per request.', default: '30s' }),
        compression: t.choice(['gzip', 'none'], { description: 'How bodies are compressed.', default: 'gzip' }),
        sending_queue: t.section(
          {
            enabled: t.boolean({ description: 'Whether there is one.', default: true }),
            queue_size: t.integer({ description: 'Batches that wait.', default: 1000, minimum: 1 }),
          },
          { description: 'What waits.' },
        ),
      }),
      start: async () => stage,
    }),
    defineExporter({
      type: 'page',
      summary: 'Serves a metrics page',
      stability: 'beta',
      signals: ['metrics'],
      config: options({ endpoint: t.endpoint({ description: 'Where.', default: '127.0.0.1:9464' }) }),
      start: async () => stage,
    }),
    defineExporter({
      type: 'nop',
      summary: 'Forgets everything',
      stability: 'stable',
      signals: SIGNALS,
      config: options({}),
      start: async () => stage,
    }),
  ],
  extensions: [
    defineExtension({
      type: 'health_check',
      summary: 'Says how it is',
      stability: 'stable',
      config: options({ endpoint: t.endpoint({ description: 'Where.', default: '127.0.0.1:13133' }) }),
      start: async () => stage,
    }),
  ],
  catalog: { sources: [] },
};

/** A folder with these files, gone when the test is. */
export function folder(files: Readonly<Record<string, string>>): string {
  const path = mkdtempSync(join(tmpdir(), 'enginelight-config-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return path;
}

export interface LoadedTest {
  readonly result: LoadResult;
  /** One line per mistake, without its hint: `config.yaml:5:7: error: …`. */
  readonly mistakes: string[];
  readonly warnings: string[];
  readonly cwd: string;
}

export interface LoadTest {
  readonly files?: Readonly<Record<string, string>>;
  readonly configs?: readonly string[];
  readonly sets?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly registry?: Registry;
}

/** Loads `config.yaml` with this text (or what `configs` says) against the test registry. */
export async function load(text: string, more: LoadTest = {}): Promise<LoadedTest> {
  const cwd = folder({ 'config.yaml': text, ...more.files });
  const result = await loadConfig(
    { configs: more.configs ?? ['config.yaml'], sets: more.sets ?? [] },
    { registry: more.registry ?? testRegistry, env: more.env ?? {}, cwd },
  );
  const lines = (issues: LoadResult['mistakes']) => issues.map((issue) => formatIssue(issue).split('\n')[0]!);
  return { result, mistakes: lines(result.mistakes), warnings: lines(result.warnings), cwd };
}

/** A config that is valid, to be changed by a test. */
export const VALID = `receivers:
  otlp: { protocols: { http: {} } }
exporters:
  nop:
service:
  pipelines:
    inference:
      receivers: [otlp]
      exporters: [nop]
`;
