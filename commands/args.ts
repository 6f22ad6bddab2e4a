/** How every command reads its arguments and explains itself. */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { nearest } from '../config/suggest.ts';
import { type CommandIo, UsageError } from './command.ts';

/** One flag. `value` names what follows it (`FILE`); without one it is a switch. */
export interface Flag {
  readonly description: string;
  readonly value?: string;
  readonly short?: string;
  readonly repeated?: boolean;
  readonly choices?: readonly string[];
}

/** What a command takes; `--help` comes by itself. */
export interface ArgSpec<F extends Record<string, Flag> = Record<string, Flag>> {
  /** After `enginelight`: `validate --config FILE…`. */
  readonly usage: string;
  readonly description: string;
  readonly flags: F;
  /** The name of the free arguments, when it takes any; `…` at its end allows several. */
  readonly positional?: string;
  readonly examples?: readonly string[];
}

type FlagValue<F extends Flag> = F extends { repeated: true }
  ? readonly string[]
  : F extends { value: string }
    ? string | undefined
    : boolean;

export interface ParsedArgs<F extends Record<string, Flag>> {
  readonly flags: { readonly [K in keyof F]: FlagValue<F[K]> };
  readonly positionals: readonly string[];
}

/** The flags of every command that reads a config. */
export const CONFIG_FLAGS = {
  config: {
    value: 'FILE',
    short: 'c',
    repeated: true,
    description: 'A config file; several are merged from left to right. Also env:NAME, yaml:TEXT, file:PATH.',
  },
  set: {
    value: 'KEY=VALUE',
    repeated: true,
    description: 'Overrides one setting, after all files: --set exporters.otlp_http.timeout=5s',
  },
} as const satisfies Record<string, Flag>;

/**
 * Reads the arguments; undefined after `--help`, when there is nothing left to do. Throws a UsageError that names the
 * nearest flag.
 */
export function parseCommandLine<const F extends Record<string, Flag>>(
  spec: ArgSpec<F>,
  argv: readonly string[],
  io: CommandIo,
): ParsedArgs<F> | undefined {
  const options: NonNullable<ParseArgsConfig['options']> = { help: { type: 'boolean', short: 'h' } };
  for (const [name, flag] of Object.entries(spec.flags)) {
    options[name] = {
      type: flag.value === undefined ? 'boolean' : 'string',
      ...(flag.short === undefined ? {} : { short: flag.short }),
      ...(flag.repeated ? { multiple: true } : {}),
    };
  }
  const fail = (message: string) => new UsageError(`${message}\nUsage: enginelight ${spec.usage}`);

  const { tokens } = parseArgs({ args: [...argv], options, strict: false, allowPositionals: true, tokens: true });
  const values: Record<string, unknown> = {};
  for (const [name, flag] of Object.entries(spec.flags)) {
    values[name] = flag.repeated ? [] : flag.value === undefined ? false : undefined;
  }
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (spec.positional === undefined) {
        throw fail(`unexpected argument "${token.value}"`);
      }
      positionals.push(token.value);
    } else if (token.kind === 'option') {
      if (token.name === 'help') {
        io.out(helpText(spec));
        return undefined;
      }
      const flag = Object.hasOwn(spec.flags, token.name) ? spec.flags[token.name] : undefined;
      if (!flag) {
        const near = nearest(token.name, [...Object.keys(spec.flags), 'help']);
        throw fail(`unknown flag ${token.rawName}${near === undefined ? '' : `; did you mean --${near}?`}`);
      }
      if (flag.value === undefined) {
        if (token.value !== undefined) throw fail(`${token.rawName} takes no value`);
        values[token.name] = true;
        continue;
      }
      // `--config --set …`: parseArgs takes the next flag as the value unless it is given inline.
      if (token.value === undefined || (!token.inlineValue && token.value.startsWith('--'))) {
        throw fail(`${token.rawName} needs a value: ${token.rawName} ${flag.value}`);
      }
      if (flag.choices && !flag.choices.includes(token.value)) {
        const near = nearest(token.value, flag.choices);
        throw fail(
          `${token.rawName} ${token.value}: expected ${flag.choices.join(' or ')}${near === undefined ? '' : `; did you mean ${near}?`}`,
        );
      }
      if (flag.repeated) (values[token.name] as string[]).push(token.value);
      else values[token.name] = token.value;
    }
  }
  if (spec.positional !== undefined && !spec.positional.endsWith('…') && positionals.length > 1) {
    throw fail(`unexpected argument "${positionals[1]}"`);
  }
  return { flags: values as ParsedArgs<F>['flags'], positionals };
}

function helpText(spec: ArgSpec): string {
  const rows = [
    ...Object.entries(spec.flags).map(([name, flag]) => [
      `${flag.short === undefined ? '    ' : `-${flag.short}, `}--${name}${flag.value === undefined ? '' : ` ${flag.value}`}`,
      `${flag.description}${flag.choices ? ` (${flag.choices.join(', ')})` : ''}`,
    ]),
    ['-h, --help', 'Shows this.'],
  ];
  const width = Math.max(...rows.map(([left]) => left!.length));
  const lines = [
    `Usage: enginelight ${spec.usage}`,
    '',
    spec.description,
    '',
    ...rows.map(([left, right]) => `  ${left!.padEnd(width)}  ${right}`),
  ];
  if (spec.examples) lines.push('', 'Examples:', ...spec.examples.map((e) => `  ${e}`));
  return `${lines.join('\n')}\n`;
}
