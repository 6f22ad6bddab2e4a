/**
 * What runs where no config was given: look for engines on this machine, or at the addresses on the command line, and show
 * what they do. The same as a file would say it, so that it can be saved and grown.
 */

/** Where engines and their routers listen unless they are told otherwise: vLLM, SGLang, TGI, Dynamo, LMCache, llm-d. */
export const WELL_KNOWN_PORTS: readonly number[] = [8000, 30000, 3000, 8080, 8081, 9090];

/** The text of the default config, for the given addresses or, without any, for this machine's well-known ports. */
export function defaultConfig(urls: readonly string[]): string {
  const targets = urls.length > 0 ? urls : WELL_KNOWN_PORTS.map((port) => `http://127.0.0.1:${port}`);
  const list = targets.map((url) => `      - ${quoted(url)}`);
  const hint = `Looked at ${targets.join(', ')}. To watch an engine elsewhere: npm start -- http://HOST:PORT`;
  return `receivers:
  engine:
    collection_interval: 2s
    targets:
${list.join('\n')}
processors:
  normalize: {}
exporters:
  console:
    hint: ${quoted(hint)}
service:
  pipelines:
    inference:
      receivers: [engine]
      processors: [normalize]
      exporters: [console]
  shutdown_timeout: 2s
  telemetry:
    logs: { level: warn }
`;
}

/** As YAML text; in a config, $ begins a variable. */
const quoted = (text: string): string => JSON.stringify(text.replaceAll('$', '$$$$'));
