/** `enginelight rules`: the alert rules in force, as a list, as Prometheus' rule files, as Alertmanager's inhibitions. */
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join, resolve as resolvePath } from 'node:path';
import { builtInSignals } from '../config/signals.ts';
import { describeError } from '../pipeline/errors.ts';
import { type LoadedRules, packFolder, rulesFromFiles, shownMistake } from '../pipeline/kit/rules/files.ts';
import { alertmanagerInhibitions, prometheusRules, prometheusTests } from '../pipeline/kit/rules/prometheus.ts';
import { termsOf } from '../pipeline/kit/rules/rule.ts';
import { parseCommandLine } from './args.ts';
import { type Command, type CommandIo, UsageError } from './command.ts';

const SPEC = {
  usage: 'rules list|export|inhibitions [FILE…]',
  description: `Alert rules, those that come with enginelight or those of the files and folders named.
list: what each is about. export: the same as rule files for Prometheus, one for each of ours, over the names that our
exporters give signals there. inhibitions: as inhibit_rules for Alertmanager. What Prometheus cannot say (the second, lower
bound at which an alert ends) is left out of an export and said on standard error. Exit code 1: a file has mistakes.`,
  flags: {
    output: { value: 'FOLDER', short: 'o', description: 'export: where the files go; standard output otherwise.' },
    tests: { description: 'export: also the tests, for `promtool test rules`; needs --output.' },
    json: { description: 'list: prints JSON.' },
    set: { value: 'NAME=VALUE', repeated: true, description: 'A value in place of a parameter: --set kv_pressure=85%' },
  },
  positional: 'ACTION…',
  examples: [
    'enginelight rules list',
    'enginelight rules export --output ./prometheus-rules',
    'enginelight rules inhibitions',
  ],
} as const;

export const rules: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags } = parsed;
  const [action = 'list', ...named] = parsed.positionals;
  const actions: Readonly<Record<string, (files: readonly LoadedRules[]) => Promise<void>>> = {
    list: async (files) => list(files, flags.json, io),
    export: (files) => exportRules(files, flags.output, flags.tests, io),
    inhibitions: async (files) => yaml(alertmanagerInhibitions(files.flatMap((f) => f.inhibitions))).then(io.out),
  };
  const run = Object.hasOwn(actions, action) ? actions[action] : undefined;
  if (!run) throw new UsageError(`there is no "rules ${action}"; there are ${Object.keys(actions).join(', ')}`);
  if (flags.tests && flags.output === undefined) throw new UsageError('--tests needs --output');
  const builtIn = named.length === 0;
  const files = rulesFromFiles(builtIn ? [packFolder()] : named, {
    signals: builtInSignals(),
    builtIn,
    parameters: parametersOf(flags.set),
  });
  const mistakes = files.flatMap((f) => f.problems);
  for (const mistake of mistakes) io.err(`${shownMistake(mistake)}\n`);
  if (mistakes.length > 0) return 1;
  try {
    await run(files);
  } catch (error) {
    io.err(`enginelight: ${describeError(error)}\n`);
    return 1;
  }
  return 0;
};

function parametersOf(sets: readonly string[]): Record<string, unknown> {
  const out: Record<string, unknown> = Object.create(null);
  for (const text of sets) {
    const at = text.indexOf('=');
    if (at < 1) throw new UsageError(`--set ${text}: write NAME=VALUE`);
    const value = text.slice(at + 1);
    out[text.slice(0, at)] = value.trim() !== '' && Number.isFinite(Number(value)) ? Number(value) : value;
  }
  return out;
}

const yaml = async (value: unknown): Promise<string> =>
  (await import('yaml')).stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });

function list(files: readonly LoadedRules[], json: boolean, io: CommandIo): void {
  const all = files.flatMap((file) =>
    file.rules.map((rule) => ({
      name: rule.name,
      severity: rule.severity,
      by: rule.by,
      file: basename(file.file),
      signals: [...new Set(termsOf(rule.when).map((term) => term.signal))],
      summary: rule.annotations['summary'] ?? '',
    })),
  );
  if (json) {
    io.out(`${JSON.stringify({ rules: all }, undefined, 2)}\n`);
    return;
  }
  const width = Math.max(0, ...all.map((r) => r.name.length));
  for (const r of all)
    io.out(`${r.severity.padEnd(8)}  ${r.name.padEnd(width)}  ${r.by.join(', ')}: ${r.signals.join(', ')}\n`);
}

async function exportRules(
  files: readonly LoadedRules[],
  output: string | undefined,
  tests: boolean,
  io: CommandIo,
): Promise<void> {
  const signals = builtInSignals();
  const folder = output === undefined ? undefined : resolvePath(io.cwd ?? process.cwd(), output);
  if (folder !== undefined) await mkdir(folder, { recursive: true });
  const groups: object[] = [];
  for (const file of files) {
    const name = basename(file.file).replace(/\.ya?ml$/, '');
    const exported = prometheusRules(`enginelight-${name}`, file.rules, signals);
    for (const sentence of exported.left) io.err(`left out: ${sentence}\n`);
    if (folder === undefined) {
      groups.push(...(exported.file as { groups: object[] }).groups);
      continue;
    }
    const path = `enginelight-${name}.rules.yaml`;
    await writeFile(join(folder, path), await yaml(exported.file));
    if (tests) {
      const there = new Set(
        (exported.file as { groups: { rules: { alert: string }[] }[] }).groups[0]!.rules.map((r) => r.alert),
      );
      await writeFile(
        join(folder, `enginelight-${name}.tests.yaml`),
        await yaml(prometheusTests(path, file, there, signals)),
      );
    }
  }
  if (folder === undefined) io.out(await yaml({ groups }));
  else io.err(`${files.length} files in ${folder}\n`);
}
