/** What a command of the CLI is: one file in this folder, listed in main.ts, loaded only when it is asked for. */
import type { Registry } from '../pipeline/component.ts';

/** What a command may touch of the process; tests hand in their own. */
export interface CommandIo {
  /** Writes to standard output, as is: the result that was asked for. */
  readonly out: (text: string) => void;
  /** Writes to standard error, as is: everything else that a person should read. */
  readonly err: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What relative paths are relative to; the process's own when absent. */
  readonly cwd?: string;
  /** Whether a person looks at it: colour is only for terminals. */
  readonly outIsTerminal?: boolean;
  readonly errIsTerminal?: boolean;
  /** Of enginelight itself, as in package.json. */
  readonly version: string;
  /** Every built-in component; imports them on the first call. */
  readonly registry: () => Promise<Registry>;
}

/** Runs one command; resolves with the exit code: 0 done, 1 the thing asked about failed, 2 wrong usage. */
export type Command = (args: readonly string[], io: CommandIo) => Promise<number>;

/** Wrong usage: the message is shown with a pointer to --help, and the process exits with 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
