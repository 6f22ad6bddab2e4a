/** `enginelight test`: runs the tests inside rule files, against the processor that judges rules in the daemon. */
import { builtInSignals } from '../config/signals.ts';
import { packFolder, rulesFromFiles, shownMistake } from '../pipeline/kit/rules/files.ts';
import { runTests } from '../pipeline/kit/rules/run-tests.ts';
import { parseCommandLine } from './args.ts';
import type { Command } from './command.ts';

const SPEC = {
  usage: 'test [rules] [FILE…]',
  description: `Runs the tests inside rule files: series in, alerts out, at the times that the tests name. Folders stand for the
*.yaml in them; without a file, the rules that come with enginelight are tested. Exit code 0: all pass, 1: not.`,
  flags: {
    json: { description: 'Prints { files: [{ file, rules, mistakes, tests }] } as JSON on standard output.' },
    untested: { description: 'Rules that no test expects to fire are a failure too.' },
  },
  positional: 'FILE…',
  examples: ['enginelight test rules', 'enginelight test rules ./my-rules'],
} as const;

export const test: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags } = parsed;
  const named = parsed.positionals[0] === 'rules' ? parsed.positionals.slice(1) : parsed.positionals;
  const { processors, catalog } = await io.registry();
  const alerts = processors.find((p) => p.type === 'alerts')!;
  const signals = builtInSignals();
  const builtIn = named.length === 0;
  const files = rulesFromFiles(builtIn ? [packFolder()] : named, { signals, builtIn });

  let failed = 0;
  let passed = 0;
  const report = [];
  for (const file of files) {
    const mistakes = file.problems.map(shownMistake);
    const results = mistakes.length > 0 ? [] : await runTests(file, file.file, { alerts, signals, catalog });
    const tested = new Set(file.tests.flatMap((t) => t.expect.filter((e) => e.firing.length > 0).map((e) => e.alert)));
    const untested = [...new Set(file.rules.map((r) => r.name))].filter((name) => !tested.has(name));
    const broken = results.filter((r) => r.failures.length > 0);
    passed += results.length - broken.length;
    failed += broken.length + mistakes.length + (flags.untested ? untested.length : 0);
    report.push({ file: file.file, rules: file.rules.length, mistakes, untested, tests: results });
    if (flags.json) continue;
    for (const mistake of mistakes) io.out(`${mistake}\n`);
    for (const { name, failures } of broken) {
      io.out(`${file.file}: FAILED ${name}\n`);
      for (const failure of failures) io.out(`    ${failure}\n`);
    }
    if (flags.untested && untested.length > 0)
      io.out(`${file.file}: no test sees these fire: ${untested.join(', ')}\n`);
  }
  if (flags.json) io.out(`${JSON.stringify({ files: report }, undefined, 2)}\n`);
  else {
    const rules = files.reduce((n, f) => n + f.rules.length, 0);
    io.out(`${files.length} files, ${rules} rules: ${passed} tests passed, ${failed} failures\n`);
  }
  return failed > 0 ? 1 : 0;
};
