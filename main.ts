#!/usr/bin/env node
/** Arguments -> a command. The only file that knows every kind of component. */
import { readFileSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { type Command, type CommandIo, UsageError } from './commands/command.ts';
import { nearest } from './config/suggest.ts';
import type { Registry } from './pipeline/component.ts';

/** Every command: what `--help` says of it, and where it is. A command is loaded only when it is asked for. */
const COMMANDS: Readonly<Record<string, { summary: string; load: () => Promise<Command>; staysForLong?: true }>> = {
  run: {
    summary: 'Run the daemon (the default command)',
    staysForLong: true,
    load: async () => (await import('./commands/run.ts')).run,
  },
  top: {
    summary: 'Replicas, GPUs and incidents, live in the terminal',
    load: async () => (await import('./commands/top.ts')).top,
  },
  compare: {
    summary: 'Say what got better or worse between two recordings, and how sure that is',
    load: async () => (await import('./commands/compare.ts')).compare,
  },
  baseline: {
    summary: 'Say what a service carries, from a load sweep, and keep that to compare with',
    load: async () => (await import('./commands/baseline.ts')).baseline,
  },
  diagnose: {
    summary: 'Say what was wrong in a recording, why, and what to do',
    load: async () => (await import('./commands/diagnose.ts')).diagnose,
  },
  flamegraph: {
    summary: 'Draw where the time of requests, steps and ranks in a recording went',
    load: async () => (await import('./commands/flamegraph.ts')).flamegraph,
  },
  waterfall: {
    summary: 'Say what the time to first token is made of, of slow requests and usual ones',
    load: async () => (await import('./commands/waterfall.ts')).waterfall,
  },
  validate: {
    summary: 'Say every mistake of a config at once, with its place',
    load: async () => (await import('./commands/validate.ts')).validate,
  },
  check: {
    summary: 'Say what answers at some addresses, what is wrong there, and what cannot be seen',
    load: async () => (await import('./commands/check.ts')).check,
  },
  hooks: {
    summary: 'Show and change what the hooks inside engines send to a running daemon',
    load: async () => (await import('./commands/hooks.ts')).hooks,
  },
  components: {
    summary: 'List the receivers, processors, exporters and extensions',
    load: async () => (await import('./commands/components.ts')).components,
  },
  'print-config': {
    summary: 'Print the resolved config with its defaults, secrets redacted',
    load: async () => (await import('./commands/print-config.ts')).printConfig,
  },
  mcp: {
    summary: 'Let an assistant ask a running daemon (Model Context Protocol), read-only',
    load: async () => (await import('./commands/mcp.ts')).mcp,
  },
  demo: {
    summary: 'Watch a simulated cluster break: no GPU, no network, no config',
    load: async () => (await import('./commands/demo.ts')).demo,
  },
  score: {
    summary: 'Say how often the verdicts are right, on simulated or labelled cases',
    load: async () => (await import('./commands/score.ts')).score,
  },
  test: {
    summary: 'Run the tests inside alert rules',
    load: async () => (await import('./commands/test.ts')).test,
  },
  dashboards: {
    summary: 'Dashboards for Grafana',
    load: async () => (await import('./commands/dashboards.ts')).dashboards,
  },
  rules: {
    summary: 'List the alert rules, or export them for Prometheus and Alertmanager',
    load: async () => (await import('./commands/rules.ts')).rules,
  },
  'config-schema': {
    summary: 'Print a JSON Schema of the config file, for editors',
    load: async () => (await import('./commands/config-schema.ts')).configSchemaCommand,
  },
  'settings-docs': {
    summary: 'Print the settings of components as Markdown',
    load: async () => (await import('./commands/settings-docs.ts')).settingsDocs,
  },
};

async function loadRegistry(): Promise<Registry> {
  const [{ receivers }, { processors }, { exporters }, { extensions }, { loadCatalog }] = await Promise.all([
    import('./receivers/index.ts'),
    import('./processors/index.ts'),
    import('./exporters/index.ts'),
    import('./extensions/index.ts'),
    import('./config/catalog.ts'),
  ]);
  return { receivers, processors, exporters, extensions, catalog: loadCatalog() };
}

/** The version in package.json, which lies one folder up from the built file and next to the source. */
function version(): string {
  for (const place of ['./package.json', '../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8')) as { version: string }).version;
    } catch {
      // the other place has it
    }
  }
  return 'unknown';
}

function help(version: string): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const list = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return `enginelight ${version}: the check-engine light of LLM inference

Usage:
  enginelight                       look for inference engines on this machine and show what they do
  enginelight http://HOST:PORT ...  the same, for the engines at these addresses
  enginelight --config FILE ...     run the pipelines of a config file
  enginelight COMMAND --help        what a command does and takes

Commands:
${list.join('\n')}

Options:
  --config FILE   a config file; repeat it to merge several, left to right
  --set a.b=c     override one value of the config; repeatable
  --version       print the version
  --help          print this text

Exit codes: 0 done, 1 the thing asked about failed, 2 wrong usage.
`;
}

/** Runs the command line; resolves with the exit code. */
export async function main(args: readonly string[], io: CommandIo): Promise<number> {
  const [first, ...rest] = args;
  if (first === '--version' || first === '-v') {
    io.out(`enginelight ${io.version}\n`);
    return 0;
  }
  if (first === '--help' || first === '-h' || first === 'help') {
    io.out(help(io.version));
    return 0;
  }
  const isWord = first !== undefined && /^[a-z][a-z-]*$/.test(first);
  try {
    if (isWord && !Object.hasOwn(COMMANDS, first)) {
      const near = nearest(first, Object.keys(COMMANDS));
      throw new UsageError(`there is no command "${first}"${near === undefined ? '' : `; did you mean ${near}?`}`);
    }
    const { load, staysForLong } = COMMANDS[isWord ? first : 'run']!;
    if (staysForLong) {
      // What runs every few seconds is otherwise forgotten and compiled again; and a heap that is small, with much outside it,
      // is collected far too often (docs/decisions/memory.md).
      setFlagsFromString('--no-flush-bytecode');
      setFlagsFromString('--heap-growing-percent=100');
    }
    const command = await load();
    return await command(isWord ? rest : args, io);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    io.err(`enginelight: ${error.message}\nTry: enginelight --help\n`);
    return 2;
  }
}

/** True when this file is what node was asked to run (also through the symbolic link that npm makes for a bin). */
function isEntry(): boolean {
  try {
    return process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url);
  } catch {
    return false;
  }
}

if (isEntry()) {
  // A reader that went away (`enginelight components | head`) ends the output, not the process with a stack trace.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  process.exitCode = await main(process.argv.slice(2), {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    env: process.env,
    cwd: process.cwd(),
    outIsTerminal: process.stdout.isTTY === true,
    errIsTerminal: process.stderr.isTTY === true,
    version: version(),
    registry: loadRegistry,
  });
  // A handle that was left open must not keep a process that is done; output that is still being written may.
  setTimeout(() => process.exit(), 1000).unref();
}
