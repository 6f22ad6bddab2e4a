/** The schema that editors use agrees with what the daemon accepts; ajv in its draft-07 form is the judge. */
import { Ajv, type ValidateFunction } from 'ajv';
import { beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { configSchemaCommand } from '../../commands/config-schema.ts';
import { configSchema } from '../../config/json-schema.ts';
import { exporters } from '../../exporters/index.ts';
import { extensions } from '../../extensions/index.ts';
import { processors } from '../../processors/index.ts';
import { receivers } from '../../receivers/index.ts';
import { runCommand } from '../kit/command.ts';
import { load, testRegistry, VALID } from '../kit/config.ts';

type Json = Record<string, unknown>;
/** Two keywords are the editors' own. */
const editorAjv = () =>
  new Ajv({ allErrors: true, allowUnionTypes: true }).addVocabulary(['errorMessage', 'patternErrorMessage']);

let accepts: ValidateFunction;

beforeAll(() => {
  accepts = editorAjv().compile(configSchema(testRegistry));
});

const problems = (text: string): string[] => {
  accepts(parse(text));
  return (accepts.errors ?? []).map((error) => error.instancePath);
};

const ACCEPTED: [string, string][] = [
  ['a small config', VALID],
  ['empty bodies', VALID.replace('{ protocols: { http: {} } }', '{ protocols: { http: } }')],
  [
    'named components and aliases',
    VALID.replace('nop:', 'otlphttp/a: { endpoint: "http://h" }').replace('[nop]', '[otlphttp/a]'),
  ],
  ['an expression for a number', `processors: { memory_limiter: { limit_mib: "\${env:N:-5}" } }\n${VALID}`],
  [
    'an expression for a section',
    VALID.replace('{ protocols: { http: {} } }', '{ protocols: { http: "${yaml:endpoint: h:1}" } }'),
  ],
  ['an expression inside an endpoint', `extensions: { health_check: { endpoint: "\${env:H:-h}:13133" } }\n${VALID}`],
  [
    'a target in each of its shapes',
    VALID.replace(
      'otlp:',
      'scraper: { targets: [ "http://a", { url: "http://b", labels: { rank: 0, spot: true } } ] }\n  otlp:',
    ),
  ],
  ['a target list as a text', VALID.replace('otlp:', 'scraper: { targets: "http://a,http://b" }\n  otlp:')],
  ['a section switched off', VALID.replace('otlp:', 'scraper: { auth: { enabled: false } }\n  otlp:')],
  [
    'a duration of nought',
    VALID.replace('nop:', 'otlp_http: { endpoint: "http://h", timeout: 0 }').replace('[nop]', '[otlp_http]'),
  ],
  [
    'several pipelines',
    VALID.replace('    inference:', '    traces/2: { receivers: [otlp], exporters: [nop] }\n    inference:'),
  ],
  [
    'telemetry',
    VALID.replace('service:\n', 'service:\n  telemetry: { logs: { level: debug } }\n  shutdown_timeout: 5s\n'),
  ],
];

describe('the schema accepts what the daemon accepts', () => {
  test.each(ACCEPTED)('%s', async (_name, text) => {
    expect(problems(text)).toEqual([]);
    expect((await load(text)).mistakes).toEqual([]);
  });
});

const REFUSED: [string, string, string][] = [
  ['an unknown top-level key', `unknown: {}\n${VALID}`, ''],
  ['an unknown type', VALID.replace('nop:\n', 'nop:\n  foo:\n'), '/exporters'],
  ['an unknown key', VALID.replace('http: {}', 'htttp: {}'), '/receivers/otlp/protocols'],
  ['a missing key', VALID.replace('nop:\n', 'nop:\n  otlp_http: {}\n'), '/exporters/otlp_http'],
  [
    'a text for a number',
    `processors: { memory_limiter: { limit_mib: lots } }\n${VALID}`,
    '/processors/memory_limiter/limit_mib',
  ],
  [
    'a number out of range',
    `processors: { memory_limiter: { limit_mib: 0 } }\n${VALID}`,
    '/processors/memory_limiter/limit_mib',
  ],
  [
    'a bare number for a duration',
    `processors: { memory_limiter: { check_interval: 5 } }\n${VALID}`,
    '/processors/memory_limiter/check_interval',
  ],
  [
    'a wrong word',
    VALID.replace('nop:\n', 'nop:\n  otlp_http: { endpoint: "http://h", compression: zip }\n'),
    '/exporters/otlp_http/compression',
  ],
  [
    'an endpoint without a port',
    `extensions: { health_check: { endpoint: h } }\n${VALID}`,
    '/extensions/health_check/endpoint',
  ],
  ['a list that is a map', VALID.replace('[otlp]', '{ otlp: }'), '/service/pipelines/inference/receivers'],
  ['an unknown signal', VALID.replace('inference:', 'metric:'), '/service/pipelines'],
  ['an unknown type in a pipeline', VALID.replace('[otlp]', '[otpl]'), '/service/pipelines/inference/receivers/0'],
];

describe('the schema refuses, at the same place, what the daemon refuses', () => {
  test.each(REFUSED)('%s', async (_name, text, place) => {
    expect(problems(text)).toContain(place);
    expect((await load(text)).result.ok).toBe(false);
  });
});

describe('enginelight config-schema', () => {
  test('prints a schema of everything that is built in, and every option has a description', async () => {
    const registry = { ...testRegistry, receivers, processors, exporters, extensions };
    const { code, out } = await runCommand(configSchemaCommand, [], { registry });
    expect(code).toBe(0);
    const schema = JSON.parse(out) as Json;
    editorAjv().compile(schema);
    const missing: string[] = [];
    const walk = (node: Json, path: string) => {
      for (const [key, inner] of Object.entries((node['properties'] ?? {}) as Record<string, Json>)) {
        if (!inner['description'] && !inner['$ref'] && inner['anyOf'] === undefined && !path.endsWith('/pipelines'))
          missing.push(`${path}/${key}`);
        walk(inner, `${path}/${key}`);
      }
    };
    for (const [name, definition] of Object.entries(schema['definitions'] as Record<string, Json>))
      walk(definition, name);
    walk(schema, '');
    expect(JSON.stringify(schema).length).toBeLessThan(300_000);
    expect(missing).toEqual([]);
  });

  test('offers every type, also under its other spelling, for completion', () => {
    const properties = configSchema(testRegistry)['properties'] as Record<string, Json>;
    expect(Object.keys(properties['exporters']!['properties'] as Json)).toEqual([
      'otlp_http',
      'otlphttp',
      'page',
      'nop',
    ]);
    expect(Object.keys(properties)).toEqual(['receivers', 'processors', 'exporters', 'extensions', 'service']);
  });
});
