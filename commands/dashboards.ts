/** `enginelight dashboards`: what to look at, as dashboards for Grafana. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve as resolvePath } from 'node:path';
import { builtInSignals } from '../config/signals.ts';
import { describeError } from '../pipeline/errors.ts';
import { builtInDashboards } from '../pipeline/kit/dashboards/dashboard.ts';
import { grafanaDashboard } from '../pipeline/kit/dashboards/grafana.ts';
import { parseCommandLine } from './args.ts';
import { type Command, UsageError } from './command.ts';

const SPEC = {
  usage: 'dashboards list|export [NAME…]',
  description: `Dashboards for Grafana over the names that our exporters give signals in Prometheus: services, replicas, hardware,
incidents. list: what there is. export: the JSON that Grafana imports or is provisioned with, all of them or those named.`,
  flags: {
    output: {
      value: 'FOLDER',
      short: 'o',
      description: 'export: where the files go; one named goes to standard output.',
    },
  },
  positional: 'ACTION…',
  examples: [
    'enginelight dashboards export --output ./grafana',
    'enginelight dashboards export replicas > replicas.json',
  ],
} as const;

export const dashboards: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const [action = 'list', ...names] = parsed.positionals;
  if (action !== 'list' && action !== 'export')
    throw new UsageError(`there is no "dashboards ${action}"; there are list, export`);
  const signals = builtInSignals();
  const all = builtInDashboards(signals).flatMap(({ dashboard }) => dashboard ?? []);
  const unknown = names.find((name) => !all.some((d) => d.name === name));
  if (unknown !== undefined)
    throw new UsageError(`there is no dashboard ${unknown}; there are ${all.map((d) => d.name).join(', ')}`);
  const wanted = names.length === 0 ? all : all.filter((d) => names.includes(d.name));
  if (action === 'list') {
    const width = Math.max(...wanted.map((d) => d.name.length));
    for (const d of wanted) io.out(`${d.name.padEnd(width)}  ${d.description}\n`);
    return 0;
  }
  const folder = parsed.flags.output;
  if (folder === undefined && wanted.length !== 1)
    throw new UsageError('several dashboards need --output FOLDER; or name one of them');
  const json = (d: (typeof all)[number]) => `${JSON.stringify(grafanaDashboard(d, signals), undefined, 2)}\n`;
  if (folder === undefined) {
    io.out(json(wanted[0]!));
    return 0;
  }
  const target = resolvePath(io.cwd ?? process.cwd(), folder);
  try {
    await mkdir(target, { recursive: true });
    for (const d of wanted) await writeFile(join(target, `enginelight-${d.name}.json`), json(d));
  } catch (error) {
    io.err(`enginelight: ${target} cannot be written: ${describeError(error)}\n`);
    return 1;
  }
  io.out(`${wanted.length} dashboards in ${target}\n`);
  return 0;
};
