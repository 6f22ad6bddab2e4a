/** `enginelight mcp`: lets an assistant ask a running daemon what a person would ask, read-only, over standard input and output. */
import { createInterface } from 'node:readline';
import { describeError } from '../pipeline/errors.ts';
import { type ArgSpec, parseCommandLine } from './args.ts';
import type { Command } from './command.ts';
import { LIVE_URL, LiveError, liveClient } from './live-client.ts';
import { mcpServer } from './mcp/server.ts';

const SPEC = {
  usage: 'mcp [--daemon URL]',
  description: `A server of the Model Context Protocol on standard input and output, for assistants: incidents, evidence, entities and
signals of a running daemon with the \`live\` exporter. Its tools only read.`,
  flags: {
    daemon: { value: 'URL', description: `Where the daemon's live exporter listens. Default ${LIVE_URL}.` },
    token: { value: 'NAME', description: 'Environment variable with its bearer token.' },
  },
  examples: ['enginelight mcp', 'enginelight mcp --daemon http://10.0.0.7:13134 --token ENGINELIGHT_TOKEN'],
} as const satisfies ArgSpec;

/** Questions that are answered at once; more wait. */
const AT_ONCE = 8;

export const mcp: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { daemon = LIVE_URL, token } = parsed.flags;
  const client = liveClient(daemon, token === undefined ? undefined : (io.env[token] ?? ''));
  const answer = mcpServer({
    client,
    version: io.version,
    why: (error) =>
      error instanceof LiveError
        ? error.message
        : `No daemon answers at ${daemon}: ${describeError(error)}. It needs \`live: {}\` among its exporters.`,
  });
  const working = new Set<Promise<void>>();
  try {
    for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) {
      const work = answer(line).then((text) => {
        if (text !== undefined) io.out(`${text}\n`);
      });
      working.add(work);
      void work.finally(() => working.delete(work));
      if (working.size >= AT_ONCE) await Promise.race(working);
    }
    await Promise.all(working);
  } finally {
    client.close();
  }
  return 0;
};
