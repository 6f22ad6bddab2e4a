/** Runs a command as a person would, keeping what it writes. */
import type { Command } from '../../commands/command.ts';
import { UsageError } from '../../commands/command.ts';
import type { Registry } from '../../pipeline/component.ts';
import { testRegistry } from './config.ts';

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export async function runCommand(
  command: Command,
  args: readonly string[],
  options: { cwd?: string; env?: Record<string, string>; registry?: Registry; terminal?: boolean } = {},
): Promise<Ran> {
  let out = '';
  let err = '';
  try {
    const code = await command(args, {
      out: (text) => {
        out += text;
      },
      err: (text) => {
        err += text;
      },
      env: options.env ?? {},
      version: '0.0.0-test',
      registry: async () => options.registry ?? testRegistry,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(options.terminal ? { errIsTerminal: true, outIsTerminal: true } : {}),
    });
    return { code, out, err };
  } catch (failure) {
    if (!(failure instanceof UsageError)) throw failure;
    return { code: 2, out, err: `${err}${failure.message}` };
  }
}
