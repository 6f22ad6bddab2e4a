/** What a person gets for each mistake: the Collector's sentence, with the place and the nearest valid name. */
import { describe, expect, test } from 'vitest';
import { load, VALID } from '../kit/config.ts';

/** name, config text, what must be one of the lines (a prefix: `line:col: error: path: message`). */
const CASES: [string, string, string][] = [
  ['an unknown top-level key', `unknown: {}\n${VALID}`, "1:1: error: unknown: '' has invalid keys: unknown"],
  [
    'a mistyped top-level key',
    `proccessors: {}\n${VALID}`,
    `1:1: error: proccessors: '' has invalid keys: proccessors; did you mean "processors"?`,
  ],
  [
    'an unknown component type',
    `processors:\n  foo:\n${VALID}`,
    '2:3: error: processors::foo: unknown type: "foo" for id: "foo" (valid values: [memory_limiter attributes spans_only])',
  ],
  [
    'a mistyped component type',
    `processors:\n  memory_limit:\n${VALID}`,
    '2:3: error: processors::memory_limit: unknown type: "memory_limit" for id: "memory_limit" (valid values: [memory_limiter attributes spans_only]); did you mean "memory_limiter"?',
  ],
  [
    'a component in the wrong section',
    `processors:\n  health_check:\n${VALID}`,
    '2:3: error: processors::health_check: unknown type: "health_check" for id: "health_check" (valid values: [memory_limiter attributes spans_only]); there is an extension of this type',
  ],
  [
    'an unknown key in a component',
    VALID.replace('{ protocols: { http: {} } }', '\n    protocols:\n      htttp: {}'),
    `4:7: error: receivers::otlp::protocols::htttp: error reading configuration for "otlp": 'protocols' has invalid keys: htttp; did you mean "http"?`,
  ],
  [
    'a key that belongs elsewhere',
    VALID.replace('nop:', 'otlp_http: { endpoint: "http://a", queue_size: 5 }').replace('[nop]', '[otlp_http]'),
    `4:38: error: exporters::otlp_http::queue_size: error reading configuration for "otlp_http": '' has invalid keys: queue_size; it belongs in "sending_queue::queue_size"`,
  ],
  [
    'a missing required key',
    VALID.replace('nop:', 'otlp_http:').replace('[nop]', '[otlp_http]'),
    '4:3: error: exporters::otlp_http::endpoint: error reading configuration for "otlp_http": the required key "endpoint" is missing: write endpoint: http://127.0.0.1:4318',
  ],
  [
    'pipelines that are a text',
    'receivers: { otlp: { protocols: { http: } } }\nexporters: { nop: }\nservice:\n  pipelines: nope\n',
    "4:14: error: service::pipelines: 'pipelines' expected type 'pipelines.Config', got unconvertible type 'string'",
  ],
  [
    'a list of receivers that is a map',
    VALID.replace('inference', 'traces').replace('[otlp]', '{ otlp: }'),
    "8:18: error: service::pipelines::traces::receivers: '[traces].receivers' source data must be an array or slice, got map",
  ],
  [
    'a pipeline that is a text',
    'receivers: { otlp: { protocols: { http: } } }\nexporters: { nop: }\nservice:\n  pipelines:\n    traces: nope\n',
    `5:13: error: service::pipelines::traces: '[traces]' expected a map or struct, got "string"`,
  ],
  [
    'a section that is a list',
    VALID.replace('exporters:\n  nop:', 'exporters: [nop]'),
    `3:12: error: exporters: 'exporters' expected a map or struct, got "slice"`,
  ],
  [
    'a text for a number',
    `processors: { memory_limiter: { limit_mib: lots } }\n${VALID}`,
    `1:44: error: processors::memory_limiter::limit_mib: error reading configuration for "memory_limiter": 'limit_mib' expected type 'int', got unconvertible type 'string' ("lots"): expected a whole number`,
  ],
  [
    'a number out of range',
    `processors: { memory_limiter: { limit_mib: 0 } }\n${VALID}`,
    `1:44: error: processors::memory_limiter::limit_mib: error reading configuration for "memory_limiter": 'limit_mib' must be at least 1, found 0`,
  ],
  [
    'a duration without a unit',
    `processors: { memory_limiter: { check_interval: 5 } }\n${VALID}`,
    `1:49: error: processors::memory_limiter::check_interval: error reading configuration for "memory_limiter": 'check_interval': time: missing unit in duration "5": write 5s for seconds, 5ms for milliseconds`,
  ],
  [
    'a duration with an unknown unit',
    `processors: { memory_limiter: { check_interval: 5sec } }\n${VALID}`,
    `1:49: error: processors::memory_limiter::check_interval: error reading configuration for "memory_limiter": 'check_interval': time: unknown unit "sec" in duration "5sec"`,
  ],
  [
    'a duration with a space',
    `processors: { memory_limiter: { check_interval: 5 s } }\n${VALID}`,
    `1:49: error: processors::memory_limiter::check_interval: error reading configuration for "memory_limiter": 'check_interval': time: unknown unit " s" in duration "5 s"`,
  ],
  [
    'a word that is not one of the valid ones',
    VALID.replace('nop:', 'otlp_http: { endpoint: "http://a", compression: gzp }').replace('[nop]', '[otlp_http]'),
    `4:51: error: exporters::otlp_http::compression: error reading configuration for "otlp_http": 'compression' has the unknown value "gzp"; did you mean "gzip"?`,
  ],
  [
    'an endpoint without a port',
    `extensions: { health_check: { endpoint: localhost } }\n${VALID}`,
    `1:41: error: extensions::health_check::endpoint: error reading configuration for "health_check": 'endpoint': address localhost: missing port in address; write localhost:PORT`,
  ],
  [
    'a URL without a scheme',
    VALID.replace('otlp: { protocols: { http: {} } }', 'scraper: { targets: [ "h:8000" ] }').replace(
      '[otlp]',
      '[scraper]',
    ),
    `2:25: error: receivers::scraper::targets::0: error reading configuration for "scraper": 'targets.0': invalid URL "h:8000": write http://h:8000`,
  ],
  [
    'an alternative of none of the shapes',
    VALID.replace('otlp: { protocols: { http: {} } }', 'scraper: { targets: [ [a] ] }').replace('[otlp]', '[scraper]'),
    `2:25: error: receivers::scraper::targets::0: error reading configuration for "scraper": 'targets.0' has the wrong shape: expected a URL such as http://host:port or a map with the keys url, labels, found a list`,
  ],
  [
    'a mistake inside the alternative that was meant',
    VALID.replace(
      'otlp: { protocols: { http: {} } }',
      'scraper: { targets: [ { url: "http://a", lables: {} } ] }',
    ).replace('[otlp]', '[scraper]'),
    `2:44: error: receivers::scraper::targets::0::lables: error reading configuration for "scraper": 'targets.0' has invalid keys: lables; did you mean "labels"?`,
  ],
  ['a tab', 'receivers:\n\totlp:\n', '2:1: error: cannot be parsed as YAML: a tab is used for indentation'],
  [
    'a duplicate key',
    VALID.replace('  nop:\n', '  nop:\n  nop: {}\n'),
    '5:3: error: key "nop" is given twice in the same map',
  ],
  [
    'a missing bracket',
    `${VALID}extensions: [health_check\n`,
    '11:1: error: cannot be parsed as YAML: flow sequence in block collection must be sufficiently indented and end with a ]',
  ],
  ['a file that is a text', 'hello\n', '1:1: error: retrieved value (type=string) cannot be used as a Conf'],
  ['an empty id', VALID.replace('nop:\n', 'nop:\n  "": {}\n'), '5:3: error: exporters::: id must not be empty'],
  [
    'an id without a name',
    VALID.replace('inference:', 'metrics/:'),
    '7:5: error: service::pipelines::metrics/: in "metrics/" id: the part after / should not be empty',
  ],
  [
    'an id without a type',
    VALID.replace('inference:', '/metrics:'),
    '7:5: error: service::pipelines::/metrics: in "/metrics" id: the part before / should not be empty',
  ],
  [
    'an id with wrong characters',
    VALID.replace('nop:\n', 'nop:\n  otlp-http: {}\n'),
    '5:3: error: exporters::otlp-http: in "otlp-http" id: invalid character(s) in type "otlp-http"',
  ],
  [
    'ids that are equal after trimming',
    VALID.replace('nop:\n', 'nop:\n  "nop ": {}\n'),
    '5:3: error: exporters::nop : duplicate name "nop" after unmarshaling nop',
  ],
  ['an empty file', '# nothing\n', '1:1: error: empty configuration file'],
  [
    'no receivers',
    'exporters: { nop: }\nservice: { pipelines: { traces: { exporters: [nop] } } }\n',
    '1:1: error: receivers: no receiver configuration specified in config',
  ],
  [
    'no exporters',
    'receivers: { scraper: }\nservice: { pipelines: { metrics: { receivers: [scraper] } } }\n',
    '1:1: error: exporters: no exporter configuration specified in config',
  ],
  [
    'no pipelines',
    'receivers: { scraper: }\nexporters: { nop: }\nservice: { pipelines: }\n',
    '3:12: error: service::pipelines: service must have at least one pipeline',
  ],
  [
    'no service',
    'receivers: { scraper: }\nexporters: { nop: }\n',
    '1:1: error: service::pipelines: service must have at least one pipeline',
  ],
  [
    'a pipeline without receivers',
    VALID.replace('      receivers: [otlp]\n', ''),
    '7:5: error: service::pipelines::inference: must have at least one receiver',
  ],
  [
    'a pipeline with an empty list of exporters',
    VALID.replace('[nop]', '[]'),
    '9:7: error: service::pipelines::inference: must have at least one exporter',
  ],
  [
    'a reference to nothing',
    VALID.replace('[nop]', '[nop, nop/2]'),
    '9:24: error: service::pipelines::inference: references exporter "nop/2" which is not configured; did you mean "nop"?',
  ],
  [
    'a reference in the wrong list',
    VALID.replace('[nop]', '[nop, otlp]'),
    '9:24: error: service::pipelines::inference: references exporter "otlp" which is not configured; "otlp" is configured under receivers',
  ],
  [
    'an extension that is not configured',
    VALID.replace('service:\n', 'service:\n  extensions: [health_check]\n'),
    '6:16: error: service::extensions: references extension "health_check" which is not configured',
  ],
  [
    'a processor named twice',
    `processors: { attributes: }\n${VALID.replace('[otlp]', '[otlp]\n      processors: [attributes, attributes]')}`,
    '10:32: error: service::pipelines::inference: references processor "attributes" multiple times',
  ],
  [
    'a connector',
    `connectors: { forward: }\n${VALID}`,
    '1:15: error: connectors::forward: unknown type: "forward" for id: "forward" (valid values: [])',
  ],
  [
    'a connector that is also an exporter',
    `connectors: { nop: }\n${VALID}`,
    '1:15: error: connectors::nop: ambiguous ID: Found both "nop" exporter and "nop" connector. Change one of the components\' IDs to eliminate ambiguity (e.g. rename connector "nop" to "nop/connector")',
  ],
  [
    "a component's own check",
    VALID.replace('{ protocols: { http: {} } }', '\n    protocols: {}'),
    '3:5: error: receivers::otlp::protocols: must specify at least one protocol when using the OTLP receiver',
  ],
  [
    'profiles',
    VALID.replace('inference:', 'profiles:'),
    '7:5: error: service::pipelines::profiles: pipeline "profiles": profiling signal support is at alpha level, gated under the "service.profilesSupport" feature gate',
  ],
  [
    'an unknown signal',
    VALID.replace('inference:', 'metric:'),
    '7:5: error: service::pipelines::metric: pipeline "metric": unknown signal "metric"; did you mean "metrics"?',
  ],
  [
    'metrics without a reader',
    VALID.replace('service:\n', 'service:\n  telemetry: { metrics: { readers: [] } }\n'),
    '6:27: error: service::telemetry::metrics: collector telemetry metrics reader should exist when metric level is not none',
  ],
  [
    'a reader of metrics that is neither pulled nor periodic',
    VALID.replace('service:\n', 'service:\n  telemetry: { metrics: { readers: [ {} ] } }\n'),
    '6:38: error: service::telemetry::metrics::readers::0: a reader is one of pull',
  ],
  [
    'views below detailed',
    VALID.replace('service:\n', 'service:\n  telemetry: { metrics: { views: [] } }\n'),
    '6:27: error: service::telemetry::metrics::views: service::telemetry::metrics::views can only be set when service::telemetry::metrics::level is detailed',
  ],
  [
    'an unknown key of the service',
    VALID.replace('service:\n', 'service:\n  telemtry: {}\n'),
    `6:3: error: service::telemtry: 'service' has invalid keys: telemtry; did you mean "telemetry"?`,
  ],
  [
    'an unknown key of a pipeline',
    VALID.replace('exporters: [nop]', 'exporters: [nop]\n      procesors: []'),
    `10:7: error: service::pipelines::inference::procesors: '[inference]' has invalid keys: procesors; did you mean "processors"?`,
  ],
  [
    'an exporter that cannot take the signal',
    VALID.replace('inference', 'traces').replace('nop:', 'page:').replace('[nop]', '[page]'),
    '9:19: error: service::pipelines::traces: exporter "page" cannot be used in pipeline "traces": telemetry type is not supported; it takes metrics',
  ],
  [
    'a receiver that does not give the signal',
    VALID.replace('inference', 'logs')
      .replace('otlp: { protocols: { http: {} } }', 'scraper:')
      .replace('[otlp]', '[scraper]'),
    '8:19: error: service::pipelines::logs: receiver "scraper" cannot be used in pipeline "logs": telemetry type is not supported; it gives metrics',
  ],
  [
    'an unsupported scheme',
    VALID.replace('nop:', 'page: { endpoint: "${vault:x}" }').replace('[nop]', '[nop, page]'),
    '4:21: error: exporters::page::endpoint: scheme "vault" is not supported for uri "vault:x"',
  ],
  [
    'an invalid variable name',
    VALID.replace('nop:', 'page: { endpoint: "${env:1A}" }').replace('[nop]', '[nop, page]'),
    '4:21: error: exporters::page::endpoint: environment variable "1A" has invalid name: must match regex ^[a-zA-Z_][a-zA-Z0-9_]*$',
  ],
  [
    'an expression that contains itself',
    VALID.replace('nop:', 'page: { endpoint: "${env:LOOP}" }').replace('[nop]', '[nop, page]'),
    '4:21: error: exporters::page::endpoint: too many recursive expansions',
  ],
  [
    'a list inside a longer text',
    VALID.replace('nop:', 'page: { endpoint: "a${yaml:[1, 2]}" }').replace('[nop]', '[nop, page]'),
    '4:21: error: exporters::page::endpoint: expanding ${yaml:[1, 2]}: retrieved value does not have unambiguous string representation',
  ],
  [
    'a plug-in list that is a text',
    VALID.replace('service:\n', 'service:\n  plugins: x\n'),
    "6:12: error: service::plugins: 'plugins' source data must be an array or slice, got scalar",
  ],
];

describe('a mistake is told by its place, its path and its cause', () => {
  test.each(CASES)('%s', async (_name, text, expected) => {
    const { result, mistakes } = await load(text, { env: { LOOP: '${env:LOOP}' } });
    expect(result.ok).toBe(false);
    expect(mistakes.join('\n')).toContain(`config.yaml:${expected}`);
    // One slip is one mistake, not a cascade, unless the slip leaves a reference without its target.
    expect(mistakes.length).toBeLessThanOrEqual(2);
  });
});

describe('all mistakes at once', () => {
  test('mistakes of every stage are reported in one pass, in the order of the file', async () => {
    const { mistakes } = await load(`receivers:
  otlp: { protocols: { htttp: } }
  nope:
processors:
  memory_limiter: { limit_mib: lots }
exporters:
  otlp_http: { endpoint: "\${env:1A}" }
service:
  extensions: [x]
  pipelines:
    traces: { receivers: [otlp, missing], exporters: [otlp_http] }
    metricks: {}
`);
    expect(mistakes.map((m) => m.split(': ')[0])).toEqual([
      'config.yaml:2:24',
      'config.yaml:3:3',
      'config.yaml:5:32',
      'config.yaml:7:26',
      'config.yaml:9:16',
      'config.yaml:11:33',
      'config.yaml:12:5',
    ]);
  });

  test('after a syntax error, what stands above it is still checked, and nothing below is made up', async () => {
    const { mistakes } = await load('receivers:\n  otpl:\nexporters:\n\tnop:\n');
    expect(mistakes).toEqual([
      'config.yaml:2:3: error: receivers::otpl: unknown type: "otpl" for id: "otpl" (valid values: [otlp scraper]); did you mean "otlp"?',
      'config.yaml:4:1: error: cannot be parsed as YAML: a tab is used for indentation',
    ]);
  });

  test('syntax errors of several files are all reported', async () => {
    const { mistakes } = await load('a: [', {
      files: { 'b.yaml': 'x: "' },
      configs: ['config.yaml', 'b.yaml', 'c.yaml'],
    });
    expect(mistakes.map((m) => m.split(':')[0])).toEqual(['config.yaml', 'b.yaml', 'c.yaml']);
  });

  test('a file of nothing but brackets is a mistake, not a crash', async () => {
    const { mistakes } = await load('['.repeat(100_000));
    expect(mistakes[0]).toContain('error: cannot be parsed as YAML: it is nested too deeply');
  });

  test('aliases that multiply are stopped', async () => {
    const levels = ['a0: &a0 [x,x,x,x,x,x,x,x,x,x]'];
    for (let i = 1; i < 9; i++)
      levels.push(
        `a${i}: &a${i} [${Array(10)
          .fill(`*a${i - 1}`)
          .join(',')}]`,
      );
    const { mistakes } = await load(levels.join('\n'));
    expect(mistakes.join('\n')).toContain('its aliases multiply without end');
  });

  test('a config flag is required', async () => {
    const { mistakes } = await load('', { configs: [] });
    expect(mistakes).toEqual(['error: at least one config flag must be provided']);
  });

  test('a file that does not exist names the one that does', async () => {
    const { result, mistakes } = await load(VALID, { configs: ['confg.yaml'] });
    expect(mistakes).toEqual(['confg.yaml: error: unable to read the file confg.yaml: no such file or directory']);
    expect(result.mistakes[0]!.hint).toBe('did you mean "config.yaml"?');
  });

  test.each(['http://h/c.yaml', 'https://u:pw@h/c.yaml'])('a config is not fetched from %s', async (uri) => {
    const { mistakes } = await load(VALID, { configs: [uri] });
    expect(mistakes[0]).toContain('is not supported for uri');
    expect(mistakes[0]).toContain('makes no request for its config');
    expect(mistakes[0]).not.toContain('pw');
  });
});

describe('a component of the Collector that is something else here', () => {
  test('is named with where it is', async () => {
    const { result } = await load(`processors: { batch: }\n${VALID}`);
    expect(result.mistakes[0]!.hint).toContain('sending_queue: { batch: {} }');
  });
});

describe('a required setting whose variable is unset', () => {
  test('says which variable', async () => {
    const { mistakes, warnings } = await load(
      VALID.replace('nop:', 'otlp_http: { endpoint: "${env:BACKEND}" }').replace('[nop]', '[otlp_http]'),
    );
    expect(mistakes).toEqual([
      'config.yaml:4:26: error: exporters::otlp_http::endpoint: error reading configuration for "otlp_http": "endpoint" is required, but ${env:BACKEND} stands for nothing: the variable is unset or empty',
    ]);
    expect(warnings[0]).toContain(
      'config.yaml:4:26: warning: exporters::otlp_http::endpoint: Configuration references unset environment variable: BACKEND',
    );
  });
});
