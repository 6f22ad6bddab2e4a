/** What works, but is probably not what was meant. */
import { describe, expect, test } from 'vitest';
import { options, t } from '../../config/schema.ts';
import { defineExporter, type Registry } from '../../pipeline/component.ts';
import { load, testRegistry, VALID } from '../kit/config.ts';

describe('a valid config is warned about', () => {
  test.each<[string, string, string[]]>([
    ['not at all', VALID, []],
    [
      'when a component is defined but not used',
      VALID.replace('nop:\n', 'nop:\n  page:\n'),
      ['config.yaml:5:3: warning: exporters::page: exporter "page" is defined but not used'],
    ],
    [
      'when an extension is defined but not started',
      `extensions: { health_check: }\n${VALID}`,
      ['config.yaml:1:15: warning: extensions::health_check: extension "health_check" is defined but not used'],
    ],
    [
      'when a deprecated spelling is used',
      VALID.replace('nop:', 'otlphttp: { endpoint: "http://a" }').replace('[nop]', '[otlphttp]'),
      ['config.yaml:4:3: warning: exporters::otlphttp: "otlphttp" is a deprecated name of "otlp_http"'],
    ],
    [
      'when memory_limiter is not first',
      `processors: { memory_limiter: , attributes: }\n${VALID.replace('[otlp]', '[otlp]\n      processors: [attributes, memory_limiter]')}`,
      [
        'config.yaml:10:32: warning: service::pipelines::inference: processor "memory_limiter" is not the first of its pipeline, so what stands before it is not protected',
      ],
    ],
    [
      'when no exporter of an inference pipeline takes logs',
      VALID.replace('nop:', 'page:').replace('[nop]', '[page]'),
      [
        'config.yaml:7:5: warning: service::pipelines::inference: none of its exporters takes logs, so findings, which are log records, go nowhere',
      ],
    ],
    [
      'when a receiver is named twice',
      VALID.replace('[otlp]', '[otlp, otlp]'),
      ['config.yaml:8:25: warning: service::pipelines::inference: references receiver "otlp" multiple times'],
    ],
  ])('%s', async (_name, text, expected) => {
    const { result, mistakes, warnings } = await load(text);
    expect(mistakes).toEqual([]);
    expect(warnings).toEqual(expected);
    expect(result.ok).toBe(true);
  });

  test('about options that are deprecated or have no effect', async () => {
    const old = defineExporter({
      type: 'old',
      summary: 'Has a past',
      stability: 'development',
      signals: ['metrics', 'traces', 'logs'],
      config: options({
        gone: t.optional(t.string({ description: 'Old.', deprecated: 'use "text"' })),
        caller: t.optional(t.boolean({ description: 'Of the Collector.', ignored: 'there are no callers here' })),
      }),
      start: async () => ({ consume: () => {}, stop: async () => {} }),
    });
    const registry: Registry = { ...testRegistry, exporters: [old] };
    const { warnings, mistakes } = await load(
      VALID.replace('nop:', 'old: { gone: x, caller: true }').replace('[nop]', '[old]'),
      { registry },
    );
    expect(mistakes).toEqual([]);
    expect(warnings).toEqual([
      'config.yaml:4:10: warning: exporters::old::gone: "gone" is deprecated: use "text"',
      'config.yaml:4:19: warning: exporters::old::caller: "caller" has no effect: there are no callers here',
    ]);
  });

  test('a wrong reference does not also make its target unused', async () => {
    const { mistakes, warnings } = await load(
      VALID.replace('nop:', 'otlp_http: { endpoint: "http://a" }').replace('[nop]', '[otlphttp]'),
    );
    expect(mistakes).toEqual([
      'config.yaml:9:19: error: service::pipelines::inference: references exporter "otlphttp" which is not configured; did you mean "otlp_http"?',
    ]);
    expect(warnings).toEqual([]);
  });
});

describe('both spellings of a renamed type', () => {
  test('name the same component, under the id that was written', async () => {
    const { result } = await load(
      VALID.replace('nop:', 'otlphttp/a: { endpoint: "http://a" }').replace('[nop]', '[otlphttp/a]'),
    );
    expect([...result.config!.exporters.keys()]).toEqual(['otlphttp/a']);
    expect(result.config!.exporters.get('otlphttp/a')!.definition.type).toBe('otlp_http');
    expect(result.config!.service.pipelines[0]!.exporters).toEqual(['otlphttp/a']);
  });
});
