/** The options of `alerts`, and everything about them that can be wrong without a single sample. */
import { options, type Static, t } from '../../config/schema.ts';
import { builtInSignals } from '../../config/signals.ts';
import { nearest } from '../../config/suggest.ts';
import type { ConfigMistake } from '../../pipeline/component.ts';
import { type LoadedRules, packRules, rulesFromFiles, shownMistake } from '../../pipeline/kit/rules/files.ts';
import { readMatch } from '../../pipeline/kit/rules/read.ts';
import type { Rule } from '../../pipeline/kit/rules/rule.ts';
import { DAY_NAMES, localTime, type Maintenance, minutesOf, type Silence } from './quiet.ts';

const match = () =>
  t.map(t.any({ description: 'A value, a list of values, or `~` and a regular expression for the whole value.' }), {
    description: 'Labels of the alerts that it is about, `alertname` and `severity` among them. Empty: all.',
    default: {},
  });

export const alertsOptions = options({
  default_rules: t.boolean({
    description: 'Use the rules that come with enginelight (docs/alerts.md).',
    default: true,
  }),
  rule_files: t.list(t.path({ description: 'A rule file, or a folder of them.' }), {
    description: 'Rules of your own, with tests inside (`enginelight test FILE`).',
    default: [],
    examples: [['./rules']],
  }),
  disabled: t.list(t.string({ description: 'The name of a rule.' }), {
    description: 'Rules that are left out.',
    default: [],
  }),
  parameters: t.map(t.any({ description: 'The value.' }), {
    description: 'Values in place of those that rule files give their `parameters`, such as `ttft_objective: 5s`.',
    default: {},
  }),
  evaluation_interval: t.duration({
    description: 'Rules are judged this often.',
    default: '10s',
    minimum: '1s',
    maximum: '5m',
  }),
  repeat_interval: t.duration({
    description: 'An alert that fires is said again this often, for exporters and readers who came late.',
    default: '5m',
    minimum: '10s',
  }),
  blind_after: t.duration({
    description: 'Rules whose signals nobody has exposed for so long since the start are reported as blind.',
    default: '5m',
    minimum: '10s',
  }),
  silences: t.list(
    t.item(
      {
        match: match(),
        starts_at: t.optional(t.string({ description: 'From when, as in RFC 3339; at once when left out.' })),
        ends_at: t.string({ description: 'Until when, as in RFC 3339.', examples: ['2026-05-01T18:00:00Z'] }),
        comment: t.string({ description: 'Who and why; it is shown with what is kept quiet.' }),
      },
      { description: 'One silence.' },
    ),
    { description: 'Alerts that tell nobody for a time; they are recorded with the reason.', default: [] },
  ),
  maintenance: t.list(
    t.item(
      {
        match: match(),
        days: t.list(t.choice(DAY_NAMES, { description: 'A day on which it begins.' }), {
          description: 'The days on which it begins.',
          default: [...DAY_NAMES],
        }),
        from: t.string({ description: 'Time of day, such as `02:00`.' }),
        to: t.string({ description: 'Time of day; at or before `from` it is on the day after.' }),
        timezone: t.string({ description: 'A name of the IANA list.', default: 'UTC', examples: ['Europe/Berlin'] }),
        comment: t.string({ description: 'What is done then.' }),
      },
      { description: 'One window.' },
    ),
    { description: 'Windows that come back in which alerts tell nobody.', default: [] },
  ),
  storage: t.optional(
    t.section(
      { directory: t.path({ description: 'The folder, made if it is missing.', default: './enginelight-state' }) },
      { description: 'Keeps what is pending and firing over a restart. Off unless written.' },
    ),
  ),
  limits: t.section(
    {
      series: t.integer({ description: 'Most series kept for rules.', default: 50_000, minimum: 10 }),
      alerts: t.integer({ description: 'Most alerts pending or firing.', default: 5_000, minimum: 1 }),
    },
    { description: 'Bounds of memory; what is refused is counted.' },
  ),
});

export type AlertsConfig = Static<typeof alertsOptions>;

/** Every rule file that a config names, the pack's first. */
export function ruleFiles(config: Pick<AlertsConfig, 'default_rules' | 'rule_files' | 'parameters'>): LoadedRules[] {
  const shared = { signals: builtInSignals(), parameters: config.parameters };
  return [
    ...(config.default_rules ? packRules(shared) : []),
    ...rulesFromFiles(config.rule_files, { ...shared, builtIn: false }),
  ];
}

/** The rules in force: those of later files take the place of earlier ones with the same name and severity. */
export function rulesInForce(files: readonly LoadedRules[], disabled: readonly string[]): Rule[] {
  const rules = new Map<string, Rule>();
  for (const file of files) for (const rule of file.rules) rules.set(`${rule.name}|${rule.severity}`, rule);
  return [...rules.values()].filter((rule) => !disabled.includes(rule.name));
}

export function checkAlerts(config: AlertsConfig): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [];
  const files = ruleFiles(config);
  for (const file of files) {
    for (const problem of file.problems) mistakes.push({ path: ['rule_files'], message: shownMistake(problem) });
  }
  const names = [...new Set(files.flatMap((f) => f.rules.map((r) => r.name)))];
  config.disabled.forEach((name, i) => {
    if (names.includes(name)) return;
    const near = nearest(name, names);
    mistakes.push({
      path: ['disabled', i],
      message: `there is no rule ${name}${near === undefined ? '' : `; did you mean ${near}?`}`,
    });
  });
  const parameters = [...new Set(files.flatMap((f) => Object.keys(f.parameters)))];
  for (const name of Object.keys(config.parameters)) {
    if (parameters.includes(name)) continue;
    const near = nearest(name, parameters);
    mistakes.push({
      path: ['parameters', name],
      message: `no rule file has a parameter ${name}${near === undefined ? '' : `; did you mean ${near}?`}`,
    });
  }
  readSilences(config, (path, message) => mistakes.push({ path, message }));
  readMaintenance(config, (path, message) => mistakes.push({ path, message }));
  return mistakes;
}

type Fail = (path: readonly (string | number)[], message: string) => void;
const ignore: Fail = () => {};

export function readSilences(config: Pick<AlertsConfig, 'silences'>, fail: Fail = ignore): Silence[] {
  return config.silences.map((s, i) => {
    const at = (key: string, text: string | undefined, otherwise: number) => {
      if (text === undefined) return otherwise;
      const ms = Date.parse(text);
      if (Number.isNaN(ms)) fail(['silences', i, key], `"${text}" is no time; write 2026-05-01T18:00:00Z`);
      return ms;
    };
    const startsMs = at('starts_at', s.starts_at, Number.NEGATIVE_INFINITY);
    const endsMs = at('ends_at', s.ends_at, Number.NaN);
    if (endsMs <= startsMs) fail(['silences', i, 'ends_at'], 'it ends before it starts');
    return { match: readMatch(s.match, ['silences', i, 'match'], fail), startsMs, endsMs, comment: s.comment };
  });
}

export function readMaintenance(config: Pick<AlertsConfig, 'maintenance'>, fail: Fail = ignore): Maintenance[] {
  return config.maintenance.map((m, i) => {
    const minutes = (key: 'from' | 'to') => {
      const read = minutesOf(m[key]);
      if (read === undefined) fail(['maintenance', i, key], `"${m[key]}" is no time of day; write 02:00`);
      return read ?? 0;
    };
    let timezone = m.timezone;
    try {
      localTime(0, timezone);
    } catch {
      fail(['maintenance', i, 'timezone'], `there is no time zone "${timezone}"; write UTC or Europe/Berlin`);
      timezone = 'UTC';
    }
    return {
      match: readMatch(m.match, ['maintenance', i, 'match'], fail),
      days: new Set(m.days.map((day) => DAY_NAMES.indexOf(day))),
      from: minutes('from'),
      to: minutes('to'),
      timezone,
      comment: m.comment,
    };
  });
}
