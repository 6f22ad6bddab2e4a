/** `enginelight run`, the default command: the daemon. */
import { loadConfig } from '../config/load.ts';
import { formatIssue } from '../config/report.ts';
import { systemClock } from '../pipeline/kit/clock.ts';
import { keepHeapSmall } from '../pipeline/kit/heap.ts';
import { runDaemon } from '../pipeline/runtime.ts';
import { type ArgSpec, CONFIG_FLAGS, parseCommandLine } from './args.ts';
import { type Command, UsageError } from './command.ts';
import { defaultConfig } from './default-config.ts';

const SPEC = {
  usage: 'run [--config FILE…] [URL…]',
  description: `Runs the pipelines of a config until SIGTERM or Ctrl-C. SIGHUP reads the config again: with mistakes in it the
old one runs on, otherwise only what changed is restarted. Without a config it watches the engines at
the given addresses, or looks for engines on this machine, and shows what they do.`,
  flags: CONFIG_FLAGS,
  positional: 'URL…',
  examples: [
    'enginelight                                      engines on this machine',
    'enginelight http://10.0.0.7:8000                 the engine at this address',
    'enginelight --config enginelight.yaml            what the file says',
    'enginelight -c base.yaml -c site.yaml --set exporters.otlp_http.endpoint=http://collector:4318',
  ],
} as const satisfies ArgSpec;

export const run: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  const urls = positionals.map(checkedUrl);
  if (urls.length > 0 && flags.config.length > 0) {
    throw new UsageError('give either addresses or --config; with a config, targets are in its receivers');
  }
  const configs = flags.config.length > 0 ? flags.config : [`yaml:${defaultConfig(urls)}`];
  keepHeapSmall(systemClock);
  return runDaemon({
    // Components are imported here and not before: signals are to be heeded from the first moment.
    load: async () => {
      const options = { registry: await io.registry(), env: io.env, cwd: io.cwd ?? process.cwd() };
      return loadConfig({ configs, sets: flags.set }, options);
    },
    format: (issue) => formatIssue(issue),
    clock: systemClock,
    version: io.version,
    process,
    writeLog: (line) => io.err(`${line}\n`),
    exitNow: (exitCode) => process.exit(exitCode),
  });
};

/** Also takes `host:8000`, as people type it. */
function checkedUrl(text: string): string {
  const url = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`;
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) {
    throw new UsageError(`"${text}" is not an address of an engine; write it as http://HOST:PORT`);
  }
  return url;
}
