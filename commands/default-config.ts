/**
 * What runs where no config was given: look for engines on this machine, or at the addresses on the command line, and show
 * what they do. The same as a file would say it, so that it can be saved and grown.
 */

/** The text of the default config, for the given addresses or, without any, for this machine. */
export function defaultConfig(urls: readonly string[]): string {
  const places = urls.length > 0 ? urls.join(', ') : 'the ports of this machine where engines usually listen';
  const hint = `Looking at ${places}. To watch an engine elsewhere: npm start -- http://HOST:PORT`;
  const targets = urls.length > 0 ? `\n    targets:\n${urls.map((url) => `      - ${quoted(url)}`).join('\n')}` : '';
  return `receivers:
  engine:
    collection_interval: 2s${targets}
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
