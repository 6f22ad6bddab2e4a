/**
 * The proof that receivers only read: of all code that a scraping receiver can reach, one file makes requests, and it can
 * only GET; and whatever the targets answer and whatever is configured, nothing else leaves the process.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mayAskEngine } from '../../pipeline/kit/get-paths.ts';
import { receivers } from '../../receivers/index.ts';
import { scraping } from '../kit/scraping.ts';
import { fakeSocket, fakeTarget, page } from '../kit/targets.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCRAPING = ['engine', 'vllm', 'sglang', 'dynamo', 'llm_d', 'lmcache', 'trtllm', 'tgi', 'prometheus'];

/** Packages that receivers may reach; none of them knows a network. */
const PACKAGES = ['@sinclair/typebox', 'yaml', 'ajv/dist/2020.js'];

const parse = (file: string) =>
  ts.createSourceFile(file, readFileSync(join(ROOT, file), 'utf8'), ts.ScriptTarget.ES2023, true);

/** Modules that a file imports at run time. */
function imports(file: string): { module: string; names: string[] }[] {
  const out: { module: string; names: string[] }[] = [];
  const source = parse(file);
  source.forEachChild((node) => {
    if (!(ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) || !node.moduleSpecifier) return;
    if (ts.isImportDeclaration(node) && node.importClause?.isTypeOnly) return;
    const bindings = ts.isImportDeclaration(node) ? node.importClause?.namedBindings : undefined;
    const names =
      bindings && ts.isNamedImports(bindings)
        ? bindings.elements.filter((e) => !e.isTypeOnly).map((e) => (e.propertyName ?? e.name).text)
        : ['*'];
    if (names.length > 0) out.push({ module: (node.moduleSpecifier as ts.StringLiteral).text, names });
  });
  return out;
}

/** Every file that these can reach. */
function reach(files: readonly string[]): Set<string> {
  const seen = new Set<string>();
  const queue = [...files];
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    for (const { module } of imports(file)) {
      if (!module.startsWith('.')) continue;
      const to = relative(ROOT, join(ROOT, dirname(file), module));
      if (to.endsWith('.ts') && existsSync(join(ROOT, to))) queue.push(to);
    }
  }
  return seen;
}

describe('the code of receivers that scrape', () => {
  const reached = [...reach(SCRAPING.map((type) => `receivers/${type}/index.ts`))].sort();

  it('reaches the network in these files only', () => {
    const network = /^(node:)?(http|https|http2|net|tls|dgram|dns)(\/promises)?$/;
    const found = reached.flatMap((file) =>
      imports(file)
        .filter(({ module }) => network.test(module))
        .map(({ module, names }) => `${file}: ${names.sort().join(', ')} of ${module}`),
    );
    expect(found).toEqual([
      'pipeline/kit/discovery/dns.ts: promises of node:dns',
      'pipeline/kit/get.ts: Agent, request of node:http',
      'pipeline/kit/get.ts: Agent, request of node:https',
      'pipeline/kit/get.ts: connect of node:tls',
      // Asks a proxy that is configured for a tunnel (CONNECT); what goes through it comes from get.ts.
      'pipeline/kit/post-proxy.ts: request of node:http',
      'pipeline/kit/post-proxy.ts: request of node:https',
      'pipeline/kit/post-proxy.ts: BlockList, isIP of node:net',
      'pipeline/kit/tls.ts: createSecureContext, rootCertificates of node:tls',
    ]);
  });

  it('has no other way out: no fetch, no sockets of the browser, no child processes, no packages that could', () => {
    const ways: string[] = [];
    for (const file of reached) {
      const visit = (node: ts.Node) => {
        const called = ts.isCallExpression(node) || ts.isNewExpression(node) ? node.expression : undefined;
        const name = called && (called.kind === ts.SyntaxKind.ImportKeyword ? 'import' : called.getText());
        const loads = PACKAGES.some((p) => node.getText() === `require('${p}')`);
        if (
          name &&
          !loads &&
          /^(globalThis\.)?(fetch|WebSocket|EventSource|XMLHttpRequest|import|require)$/.test(name)
        ) {
          ways.push(`${file}: ${(node as ts.CallExpression).getText().slice(0, 60)}`);
        }
        node.forEachChild(visit);
      };
      visit(parse(file));
      for (const { module } of imports(file)) {
        if (/child_process|worker_threads|cluster/.test(module)) ways.push(`${file}: ${module}`);
        if (!/^[.]|^node:/.test(module) && !PACKAGES.includes(module)) ways.push(`${file}: ${module}`);
      }
    }
    expect(ways).toEqual([]);
  });

  it('makes requests in one file, each of them a GET without a body', () => {
    const methods: string[] = [];
    const visit = (node: ts.Node) => {
      if (ts.isCallExpression(node) && /^https?Request$/.test(node.expression.getText())) {
        const method = /method: '([A-Z]+)'/.exec(node.arguments.map((a) => a.getText()).join(' '))?.[1];
        methods.push(method ?? 'none given');
      }
      if (
        ts.isCallExpression(node) &&
        /\.(write|end)$/.test(node.expression.getText()) &&
        node.expression.getText().startsWith('sent')
      ) {
        expect(node.arguments).toHaveLength(0);
      }
      node.forEachChild(visit);
    };
    visit(parse('pipeline/kit/get.ts'));
    expect(methods).toEqual(['GET', 'GET', 'GET']);
    expect(readFileSync(join(ROOT, 'pipeline/kit/post-proxy.ts'), 'utf8').match(/method: '[A-Z]+'/g)).toEqual([
      "method: 'CONNECT'",
    ]);
  });

  it('is every receiver that has targets', () => {
    const withTargets = receivers.filter((r) => Object.hasOwn(r.config.properties, 'targets')).map((r) => r.type);
    expect(withTargets.sort()).toEqual([...SCRAPING].sort());
  });
});

describe('what leaves the process', () => {
  const sent: string[] = [];
  const note = (message: unknown) => {
    const { request } = message as { request: { method: string; path: string } };
    sent.push(`${request.method} ${request.path}`);
  };
  beforeAll(() => subscribe('http.client.request.start', note));
  afterAll(() => {
    unsubscribe('http.client.request.start', note);
  });

  const answers: Record<string, Parameters<typeof fakeTarget>[0]> = {
    metrics: page('# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 1\n'),
    'a redirect to /sleep': (_q, r) => r.writeHead(307, { location: '/sleep?level=1' }).end(),
    'a redirect to /metrics/../reset_prefix_cache': (_q, r) =>
      r.writeHead(302, { location: '/metrics/%2e%2e/reset_prefix_cache' }).end(),
    'a redirect to another host': (_q, r) => r.writeHead(308, { location: 'http://127.0.0.1:1/metrics' }).end(),
    'a redirect as POST': (_q, r) => r.writeHead(307, { location: '/collective_rpc', allow: 'POST' }).end(),
    '405 method not allowed': (_q, r) => r.writeHead(405, { allow: 'POST' }).end(),
    'a refresh header and links': (_q, r) =>
      r.writeHead(200, { refresh: '0; url=/sleep', link: '</sleep>; rel=preload' }).end('a 1\n'),
    nothing: (_q, r) => r.destroy(),
  };

  it.each(SCRAPING)('%s: GET on allowed paths, whatever targets answer', async (type) => {
    const definition = receivers.find((r) => r.type === type)!;
    for (const [what, answer] of Object.entries(answers)) {
      const t = await fakeTarget(answer);
      const from = sent.length;
      const s = await scraping(definition, { targets: [t.url, `${t.url}/metrics`] });
      for (let i = 0; i < 3; i++) await s.round();
      await s.running.stop(AbortSignal.abort());
      const requests = sent.slice(from);
      expect(requests.length, what).toBeGreaterThan(0);
      for (const request of requests) {
        const [method, path] = request.split(' ');
        expect(method, what).toBe('GET');
        expect(mayAskEngine(path!.split('?')[0]!), `${what}: ${request}`).toBe(true);
      }
      // What the servers saw is what was seen leaving.
      expect(
        t.asked.every((a) => a.method === 'GET' && mayAskEngine(a.url)),
        what,
      ).toBe(true);
    }
  });

  it.each(SCRAPING)('%s: nothing at all for a path that acts, however it is written', async (type) => {
    const definition = receivers.find((r) => r.type === type)!;
    const t = await fakeTarget(page('a 1\n'));
    const paths = [
      '/sleep',
      '/reset_prefix_cache',
      '/collective_rpc?x=1',
      '/scale_elastic_ep',
      '/metrics/../sleep',
      '/%73leep',
      '/flush_cache',
    ];
    const s = await scraping(definition, { targets: paths.map((path) => t.url + path) });
    const from = sent.length;
    for (let i = 0; i < 2; i++) await s.round();
    expect(sent.slice(from)).toEqual([]);
    expect(t.asked).toEqual([]);
  });

  it('one request line and headers, and not a byte more', async () => {
    const seen: string[] = [];
    const peer = await fakeSocket((socket) =>
      socket.on('data', (data) => {
        seen.push(data.toString('latin1'));
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\na 1\n');
      }),
    );
    const s = await scraping(receivers.find((r) => r.type === 'vllm')!, { targets: [peer.url] });
    for (let i = 0; i < 3; i++) await s.round();
    expect(seen).toHaveLength(3);
    for (const text of seen) {
      expect(text).toMatch(/^GET \/metrics HTTP\/1\.1\r\n/);
      expect(text.endsWith('\r\n\r\n')).toBe(true);
      expect(text).not.toMatch(/content-length|transfer-encoding|expect:/i);
    }
  });
});
