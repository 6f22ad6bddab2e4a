/** A short conversation in lines over TCP: say something, hear a line, and at the end all until the other side hangs up. */
import { connect } from 'node:net';
import type { Clock } from './clock.ts';

export interface ConverseOptions {
  readonly host: string;
  readonly port: number;
  /** Each is sent when the answer to the one before has come; the last answer ends with the connection. */
  readonly say: readonly string[];
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
}

/** The answers, one for each thing said. Rejects with a sentence's clause if there is none, or it takes too long. */
export function converse(options: ConverseOptions): Promise<string[]> {
  const { say, maxBytes, clock } = options;
  return new Promise((resolve, reject) => {
    const socket = connect({ host: options.host, port: options.port });
    const answers: string[] = [];
    let held: Buffer[] = [];
    let bytes = 0;
    let over = false;
    const end = (error?: Error) => {
      if (over) return;
      over = true;
      timer.cancel();
      options.signal?.removeEventListener('abort', abort);
      socket.destroy();
      if (error) reject(error);
      else resolve(answers);
    };
    const abort = () => end(new Error('it was cut short'));
    const timer = clock.after(options.timeoutMs, () => end(new Error(`no answer within ${options.timeoutMs} ms`)));
    options.signal?.addEventListener('abort', abort, { once: true });
    if (options.signal?.aborted) return abort();

    const next = () => void socket.write(`${say[answers.length]}\n`);
    socket.on('connect', next);
    socket.on('error', end);
    socket.on('data', (chunk) => {
      bytes += chunk.length;
      if (bytes > maxBytes) return end(new Error(`the answer is longer than ${maxBytes} bytes`));
      held.push(chunk);
      while (answers.length < say.length - 1) {
        const all = Buffer.concat(held);
        const stop = all.indexOf(0x0a);
        if (stop < 0) {
          held = [all];
          return;
        }
        answers.push(all.toString('utf8', 0, stop).replace(/\r$/, ''));
        held = [all.subarray(stop + 1)];
        next();
      }
    });
    socket.on('end', () => {
      if (answers.length < say.length - 1) return end(new Error('it hung up before it had answered'));
      answers.push(Buffer.concat(held).toString('utf8'));
      end();
    });
    socket.on('close', () => end(new Error('it hung up before it had answered')));
  });
}
