/**
 * The house rules that a machine can check (docs/architecture.md): who may import whom, no cycles, who may touch the
 * outside, and no engine's metric names in code. All rules are the tables below; to allow something new, add a row that
 * says why.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** What is not part of the product: it may import anything. */
const FREE = /^(test|bench|\.ci)\/|^vitest\.config\.ts$/;

/** First match decides. `may` lists what an area may import besides its own files; `self` is the first group of `files`. */
const AREAS: readonly { readonly name: string; readonly files: RegExp; readonly may: readonly RegExp[] }[] = [
  { name: 'the model imports nothing', files: /^pipeline\/(model)\.ts$/, may: [] },
  {
    name: 'errors import nothing but words',
    files: /^pipeline\/(errors)\.ts$/,
    may: [/^pipeline\/(model|component)\.ts$/],
  },
  {
    name: 'codecs know the model only',
    files: /^(pipeline\/wire\/)/,
    may: [/^pipeline\/(model|errors)\.ts$/],
  },
  {
    name: 'the clock and the log know the model only',
    files: /^pipeline\/kit\/(clock|log)\.ts$/,
    may: [/^pipeline\/(model|errors)\.ts$/, /^pipeline\/kit\/clock\.ts$/],
  },
  {
    name: 'the contract knows the model, the clock, the log, and the form of options',
    files: /^pipeline\/(component|telemetry-options)\.ts$/,
    may: [
      /^pipeline\/(model|errors)\.ts$/,
      /^pipeline\/kit\/(clock|log)\.ts$/,
      /^config\/(schema|catalog[a-z-]*)\.ts$/,
    ],
  },
  {
    name: 'config knows what a component is, never a concrete one',
    files: /^(config\/)/,
    may: [/^pipeline\/(model|errors|component|telemetry-options|index)\.ts$/, /^pipeline\/kit\/clock\.ts$/],
  },
  {
    name: 'parts know the contract, the codecs and config, never a component',
    files: /^(pipeline\/kit\/)/,
    may: [/^pipeline\/(model|errors|component)\.ts$/, /^pipeline\/wire\//, /^config\//],
  },
  {
    name: 'graph, runtime and telemetry know no concrete component',
    files: /^(pipeline\/)/,
    may: [/^config\//],
  },
  {
    name: 'the list of a kind knows its components',
    files: /^(receivers|processors|exporters|extensions)\/index\.ts$/,
    may: [/^pipeline\/component\.ts$/],
  },
  {
    name: 'a component knows pipeline and config, never another component',
    files: /^((?:receivers|processors|exporters|extensions)\/[a-z0-9_]+\/)/,
    may: [/^pipeline\/(model|errors|component)\.ts$/, /^pipeline\/kit\//, /^pipeline\/wire\//, /^config\//],
  },
  {
    name: 'the simulator knows no component, so that it cannot be made to please one',
    files: /^(simulator\/)/,
    may: [/^pipeline\/model\.ts$/, /^pipeline\/wire\//, /^pipeline\/kit\/(clock|log)\.ts$/],
  },
  {
    name: 'commands know everything but concrete components; they are given the registry',
    files: /^(commands\/)/,
    may: [/^(config|pipeline|simulator)\//],
  },
  {
    name: 'main knows all',
    files: /^(main)\.ts$/,
    may: [/^(commands|config|pipeline|receivers|processors|exporters|extensions)\//],
  },
];

/** Modules that reach outside of the process, and the files that may use them. */
const OUTSIDE: readonly { readonly modules: RegExp; readonly files: readonly RegExp[] }[] = [
  {
    modules: /^node:(http|https|http2|net|tls|dns|dgram)(\/promises)?$/,
    // gRPC's client is of use to one exporter only, so it is no part; the live world's engines listen on loopback;
    // two commands talk to the door of a running daemon.
    files: [
      /^pipeline\/kit\//,
      /^pipeline\/telemetry-readers\.ts$/,
      /^exporters\/otlp_grpc\/client\.ts$/,
      /^simulator\/live\.ts$/,
      /^commands\/(hooks|live-client)\.ts$/,
    ],
  },
  { modules: /^node:child_process$/, files: [/^pipeline\/kit\//] },
  {
    modules: /^node:fs(\/promises)?$/,
    files: [
      /^main\.ts$/,
      /^commands\//,
      /^config\/(catalog|catalog-file|config-files|plugins|providers|signals)\.ts$/,
      /^pipeline\/kit\//,
      // Its job is files.
      /^exporters\/(file|recording)\//,
      // They read what only the machine knows: /proc, /sys and cgroups.
      /^receivers\/host\//,
      /^processors\/memory_limiter\/limits\.ts$/,
      // It writes recordings.
      /^simulator\/(cli|write)\.ts$/,
    ],
  },
];

/** Words of the language that reach outside, and the files that may say them. */
const WORDS: readonly { readonly what: string; readonly words: RegExp; readonly files: readonly RegExp[] }[] = [
  {
    what: 'time comes from the clock that is handed in',
    words: /\b(Date\.now|performance\.now|setTimeout|setInterval)\(|\bnew Date\(\)/,
    // All but the clock: the process is kept alive, and ended; a tool says how long it took. No work hangs on them.
    files: [
      /^pipeline\/kit\/clock\.ts$/,
      /^pipeline\/runtime\.ts$/,
      /^main\.ts$/,
      /^commands\/(run|check)\.ts$/,
      /^simulator\/cli\.ts$/,
    ],
  },
  { what: 'no request but through the clients of pipeline/kit', words: /^(globalThis\.)?fetch\(/m, files: [] },
  {
    what: 'nothing ends the process but main and the command that runs the daemon',
    words: /\bprocess\.(exit|abort|kill)\(/,
    // The last asks whether the process that holds a lock still lives.
    files: [/^main\.ts$/, /^commands\/run\.ts$/, /^pipeline\/kit\/deliver-storage\.ts$/],
  },
  { what: 'output goes through the log or the command that was asked', words: /\bconsole\.\w+\(/, files: [] },
];

/** Beginnings of the names that engines and exporters give their metrics: they belong into config/catalog. */
const METRIC_NAMES =
  /^(ray_)?(vllm|sglang|lmcache|dynamo|trtllm|tgi|nv_trt_llm|nv_inference|llm_d|inference_extension|DCGM_FI)(:|_(?=[a-z0-9_]{6}))/;
const MAY_NAME_METRICS = [/^simulator\//];

const FILES = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '--', '*.ts'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && !file.endsWith('.d.ts') && existsSync(join(ROOT, file)));
const PRODUCT = FILES.filter((file) => !FREE.test(file));

const sources = new Map(FILES.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]));
const imports = new Map(
  FILES.map((file) => [
    file,
    [...new Set(ts.preProcessFile(sources.get(file)!, true, true).importedFiles.map((i) => i.fileName))],
  ]),
);

const isRelative = (name: string) => name.startsWith('.');
const target = (file: string, name: string) => posix.normalize(posix.join(dirname(file), name));
const edges = (file: string) =>
  imports
    .get(file)!
    .filter(isRelative)
    .map((name) => target(file, name));

/** What a file calls (`Date.now(`, `new Date()`), one a line, and the texts that it contains. */
function read(text: string): { calls: string; strings: string[] } {
  const strings: string[] = [];
  const calls: string[] = [];
  // A file's own function is not the global of the same name.
  const own = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node)) {
      strings.push(node.text);
    } else if (ts.isCallExpression(node)) {
      calls.push(`${node.expression.getText()}(`);
    } else if (ts.isNewExpression(node)) {
      calls.push(`new ${node.expression.getText()}(${node.arguments?.length ? '…' : ''})`);
    } else if (
      (ts.isParameter(node) ||
        ts.isVariableDeclaration(node) ||
        ts.isBindingElement(node) ||
        ts.isFunctionDeclaration(node)) &&
      node.name
    ) {
      own.add(`${node.name.getText()}(`);
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('file.ts', text, ts.ScriptTarget.Latest, true));
  return { calls: calls.filter((call) => !own.has(call)).join('\n'), strings };
}

describe('imports', () => {
  test('every relative import ends in .ts and leads to a file', () => {
    const wrong = FILES.flatMap((file) =>
      imports
        .get(file)!
        .filter((name) => isRelative(name) && !name.includes('${'))
        .filter((name) => !/\.(ts|mjs|json)$/.test(name) || !existsSync(join(ROOT, target(file, name))))
        .map((name) => `${file} imports ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  test('every file of the product belongs to an area', () => {
    expect(PRODUCT.filter((file) => !AREAS.some((area) => area.files.test(file)))).toEqual([]);
  });

  test.each(AREAS.map((area) => [area.name, area] as const))('%s', (_name, area) => {
    const wrong: string[] = [];
    for (const file of PRODUCT) {
      if (AREAS.find((other) => other.files.test(file)) !== area) continue;
      const self = area.files.exec(file)![1]!;
      for (const other of edges(file)) {
        if (other.startsWith(self) || area.may.some((allowed) => allowed.test(other))) continue;
        wrong.push(`${file} imports ${other}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('there is no cycle, not even of types', () => {
    const state = new Map<string, 'open' | 'done'>();
    const cycles: string[] = [];
    const visit = (file: string, trail: readonly string[]) => {
      if (state.get(file) === 'done' || !imports.has(file)) return;
      if (state.get(file) === 'open') {
        cycles.push([...trail.slice(trail.indexOf(file)), file].join(' -> '));
        return;
      }
      state.set(file, 'open');
      for (const other of edges(file)) visit(other, [...trail, file]);
      state.set(file, 'done');
    };
    for (const file of FILES) visit(file, []);
    expect(cycles).toEqual([]);
  });

  test('node modules carry the prefix node:, and only known files use those that reach outside', () => {
    const builtin =
      /^(assert|buffer|child_process|crypto|dns|events|fs|http|http2|https|net|os|path|stream|tls|url|util|zlib)(\/|$)/;
    const wrong: string[] = [];
    for (const file of PRODUCT) {
      for (const name of imports.get(file)!) {
        const rule = OUTSIDE.find(({ modules }) => modules.test(name));
        if (builtin.test(name) || (rule && !rule.files.some((allowed) => allowed.test(file))))
          wrong.push(`${file} imports ${name}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test('what the product imports is a dependency of the package, not of its development', () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<
      string,
      Record<string, string>
    >;
    const known = new Set(Object.keys({ ...manifest['dependencies'], ...manifest['optionalDependencies'] }));
    const packageOf = (name: string) =>
      name
        .split('/')
        .slice(0, name.startsWith('@') ? 2 : 1)
        .join('/');
    const wrong = PRODUCT.flatMap((file) =>
      imports
        .get(file)!
        .filter((name) => !isRelative(name) && !name.startsWith('node:') && !known.has(packageOf(name)))
        .map((name) => `${file} imports ${name}`),
    );
    expect(wrong).toEqual([]);
  });
});

describe('words', () => {
  const parts = new Map(PRODUCT.map((file) => [file, read(sources.get(file)!)]));

  test.each(WORDS.map((rule) => [rule.what, rule] as const))('%s', (_name, rule) => {
    const wrong = PRODUCT.filter((file) => !rule.files.some((allowed) => allowed.test(file)))
      .map((file) => [file, rule.words.exec(parts.get(file)!.calls)?.[0]] as const)
      .filter(([, word]) => word !== undefined)
      .map(([file, word]) => `${file} says ${word}`);
    expect(wrong).toEqual([]);
  });

  test("no engine's metric name is in code: names are in config/catalog", () => {
    const wrong = PRODUCT.filter((file) => !MAY_NAME_METRICS.some((allowed) => allowed.test(file))).flatMap((file) =>
      parts
        .get(file)!
        .strings.filter((text) => METRIC_NAMES.test(text))
        .map((text) => `${file} names ${text}`),
    );
    expect(wrong).toEqual([]);
  });

  test('the rules see what they forbid', () => {
    const { calls, strings } = read("const a = Date.now(); fetch('vllm:num_requests_running'); // console.log()\n");
    expect(WORDS.filter(({ words }) => words.test(calls)).length).toBe(2);
    expect(strings.some((text) => METRIC_NAMES.test(text))).toBe(true);
    expect(METRIC_NAMES.test('llm_d')).toBe(false);
    expect(METRIC_NAMES.test('sglang')).toBe(false);
  });
});
