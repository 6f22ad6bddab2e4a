/** Runs a tool of the machine once: without a shell, with plain language, a limit of time and of output. Never throws. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Clock } from './clock.ts';

export interface CommandOptions {
  readonly clock: Clock;
  readonly command: string;
  readonly args: readonly string[];
  /** After this it is killed. */
  readonly timeoutMs: number;
  /** Output beyond this is an error. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

export type CommandResult =
  | { readonly ok: true; readonly output: string }
  | { readonly ok: false; readonly kind: 'missing' | 'denied' | 'timeout' | 'failed'; readonly because: string };

/** Room for what it complains. */
const COMPLAINT = 2000;

export function runCommand(options: CommandOptions): Promise<CommandResult> {
  const { clock, command, args, timeoutMs, maxBytes, signal } = options;
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let complaint = '';
    let over = false;
    const done = (result: CommandResult) => {
      if (over) return;
      over = true;
      timer.cancel();
      signal?.removeEventListener('abort', stop);
      resolve(result);
    };
    // Numbers and words as in English, whatever the machine speaks.
    const env = { ...process.env, LC_ALL: 'C', LANG: 'C', LANGUAGE: 'C' };
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'], windowsHide: true });
    // A tool that hangs in the driver may not die even now: it is not waited for.
    const kill = () => {
      child.kill('SIGKILL');
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
    };
    const timer = clock.after(timeoutMs, () => {
      kill();
      done({
        ok: false,
        kind: 'timeout',
        because: `${command} gave no answer for ${timeoutMs / 1000} s and was killed`,
      });
    });
    const stop = () => {
      kill();
      done({ ok: false, kind: 'failed', because: 'stopped' });
    };
    if (signal?.aborted) return stop();
    signal?.addEventListener('abort', stop, { once: true });
    child.on('error', (error: NodeJS.ErrnoException) => {
      const kind = error.code === 'ENOENT' ? 'missing' : error.code === 'EACCES' ? 'denied' : 'failed';
      done({ ok: false, kind, because: kind === 'missing' ? `${command} is not installed` : error.message });
    });
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxBytes) chunks.push(chunk);
      else {
        kill();
        done({ ok: false, kind: 'failed', because: `${command} wrote more than ${maxBytes} bytes` });
      }
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < COMPLAINT) complaint += chunk.toString('utf8');
    });
    child.on('close', (code, killed) => {
      const output = Buffer.concat(chunks).toString('utf8');
      if (code === 0) done({ ok: true, output });
      else {
        const words = (complaint.trim() || output.trim()).split('\n')[0]?.slice(0, 200) ?? '';
        done({
          ok: false,
          kind: /permission/i.test(words) ? 'denied' : 'failed',
          because: `${command} ended with ${killed ?? code}${words === '' ? '' : `: ${words}`}`,
        });
      }
    });
  });
}

/** Milliseconds of CPU that all tools which ended so far have used, to a hundredth of a second; undefined off Linux. */
export function childrenCpuMs(): number | undefined {
  try {
    const text = readFileSync('/proc/self/stat', 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    // cutime and cstime, proc(5), in hundredths.
    const ticks = Number(fields[13]) + Number(fields[14]);
    return Number.isFinite(ticks) ? ticks * 10 : undefined;
  } catch {
    return undefined;
  }
}
