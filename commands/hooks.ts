/** `enginelight hooks`: shows and changes what the hooks inside engines are asked for, at the running daemon's own door. */
import { request } from 'node:http';
import { parseSize } from '../config/schema.ts';
import { describeError } from '../pipeline/errors.ts';
import { runtimePath } from '../pipeline/kit/runtime-dir.ts';
import { parseCommandLine } from './args.ts';
import { type Command, UsageError } from './command.ts';

const SPEC = {
  usage: 'hooks list | enable KIND… | disable KIND… | rate KIND SHARE | budget KIND SIZE',
  description: `Shows and changes what the hooks inside engines send to a running daemon: collective, pipeline_stage, engine_step,
kv_transfer, request, or all. The hooks are told with the answer to their next post; the daemon forgets it when it ends or
when its config of the receiver changes.`,
  flags: {
    socket: { value: 'PATH', description: 'The Unix socket of the hooks receiver, if not the default one.' },
    url: { value: 'URL', description: 'Its loopback address instead: http://127.0.0.1:4319.' },
    token: { value: 'NAME', description: 'Environment variable with the bearer token of that address.' },
    json: { description: 'Prints what the daemon says as JSON.' },
  },
  positional: 'ACTION…',
  examples: [
    'enginelight hooks list',
    'enginelight hooks disable collective',
    'enginelight hooks rate collective 0.5',
    'enginelight hooks budget collective 128KiB',
  ],
} as const;

const KINDS = ['collective', 'pipeline_stage', 'engine_step', 'kv_transfer', 'request'] as const;
const TIMEOUT_MS = 5000;
const MOST_BYTES = 64 << 20;

interface State {
  readonly control: {
    readonly kinds: Readonly<Record<string, { enabled: boolean; rate: number; bytes_per_second: number }>>;
  };
  readonly pressure: number;
  readonly senders: readonly {
    readonly id: string;
    readonly pid: number;
    readonly resource: Readonly<Record<string, unknown>>;
    readonly events: number;
    readonly seen: number;
    readonly lost: number;
    readonly last_at: string;
  }[];
}

interface Place {
  readonly socket?: string;
  readonly url?: string;
  readonly token?: string | undefined;
}

export const hooks: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const { flags, positionals } = parsed;
  const changes = changesOf(positionals);
  const place: Place =
    flags.url !== undefined
      ? { url: flags.url, token: flags.token === undefined ? undefined : io.env[flags.token] }
      : { socket: flags.socket ?? runtimePath('hooks.sock', io.env) };
  let text: string;
  try {
    text = await call(place, undefined);
    for (const change of changes) text = await call(place, change);
  } catch (error) {
    const where = place.socket ?? place.url;
    io.err(`enginelight: no hooks receiver answers at ${where}: ${describeError(error)}\n`);
    io.err(
      'Is the daemon running with the hooks receiver? Name its socket with --socket, or its address with --url.\n',
    );
    return 1;
  }
  io.out(flags.json ? `${text}\n` : shown(JSON.parse(text) as State));
  return 0;
};

function changesOf([action = 'list', ...rest]: readonly string[]): readonly object[] {
  switch (action) {
    case 'list':
      if (rest.length > 0) throw new UsageError(`hooks list takes nothing more, not "${rest[0]}"`);
      return [];
    case 'enable':
    case 'disable':
      if (rest.length === 0) throw new UsageError(`hooks ${action} needs a kind of event: ${KINDS.join(', ')} or all`);
      return rest.flatMap(kindsOf).map((kind) => ({ kind, enabled: action === 'enable' }));
    case 'rate': {
      const [kind, value] = two(action, rest, '0.25');
      const rate = value.trim() === '' ? Number.NaN : Number(value);
      if (!(rate >= 0 && rate <= 1)) throw new UsageError(`"${value}" is not a share between 0 and 1`);
      return kindsOf(kind).map((k) => ({ kind: k, rate }));
    }
    case 'budget': {
      const [kind, value] = two(action, rest, '64KiB');
      const bytes = parseSize(value);
      if (bytes === undefined) throw new UsageError(`"${value}" is not a size such as 64KiB`);
      return kindsOf(kind).map((k) => ({ kind: k, bytes_per_second: bytes }));
    }
    default:
      throw new UsageError(`hooks cannot "${action}"; it can list, enable, disable, rate and budget`);
  }
}

function two(action: string, rest: readonly string[], example: string): [string, string] {
  const [kind, value, ...more] = rest;
  if (kind === undefined || value === undefined || more.length > 0) {
    throw new UsageError(`hooks ${action} needs a kind of event and a value: hooks ${action} collective ${example}`);
  }
  return [kind, value];
}

function kindsOf(name: string): readonly string[] {
  if (name === 'all') return KINDS;
  if (!(KINDS as readonly string[]).includes(name)) {
    throw new UsageError(`there is no kind of event "${name}"; there are ${KINDS.join(', ')}`);
  }
  return [name];
}

function call(place: Place, change: object | undefined): Promise<string> {
  const url = place.url === undefined ? undefined : new URL('/v1/control', place.url);
  const where = url
    ? { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port || 80 }
    : { socketPath: place.socket };
  const headers: Record<string, string> = { connection: 'close' };
  if (change) headers['content-type'] = 'application/json';
  if (place.token !== undefined) headers['authorization'] = `Bearer ${place.token}`;
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { ...where, path: '/v1/control', method: change ? 'POST' : 'GET', headers, timeout: TIMEOUT_MS },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          text += chunk;
          if (text.length > MOST_BYTES) outgoing.destroy(new Error('the answer is too large'));
        });
        response.on('error', reject);
        response.on('end', () => {
          if (response.statusCode !== 200) reject(new Error(`it answered ${response.statusCode}: ${text.trim()}`));
          else resolve(text);
        });
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 5 s')));
    outgoing.on('error', reject);
    outgoing.end(change === undefined ? undefined : JSON.stringify(change));
  });
}

function shown({ control, pressure, senders }: State): string {
  const rows = Object.entries(control.kinds).map(([kind, k]) => [
    kind,
    k.enabled ? 'on' : 'off',
    `${Number((k.rate * 100).toPrecision(3))} %`,
    k.bytes_per_second === 0 ? 'no limit' : `${k.bytes_per_second} bytes/s`,
  ]);
  const lines = table([['EVENT', 'STATE', 'RATE', 'BUDGET, EACH PROCESS'], ...rows]);
  if (pressure < 1)
    lines.push('', `The pipeline cannot keep up: rates are cut to ${Number((pressure * 100).toPrecision(3))} %.`);
  lines.push('');
  if (senders.length === 0) lines.push('No process has sent anything lately.');
  else {
    const about = (s: State['senders'][number]) =>
      [
        s.resource['service.instance.id'],
        s.resource['inference.rank'] ?? s.resource['inference.rank.tp'],
        s.resource['host.name'],
      ]
        .map((v) => (v === undefined ? '-' : String(v)))
        .map(plain);
    lines.push(
      ...table([
        ['REPLICA', 'RANK', 'NODE', 'PID', 'OPERATIONS', 'EVENTS', 'LOST', 'LAST HEARD'],
        ...senders.map((s) => [
          ...about(s),
          String(s.pid),
          String(s.seen),
          String(s.events),
          String(s.lost),
          s.last_at,
        ]),
      ]),
    );
  }
  return `${lines.join('\n')}\n`;
}

/** What engines say of themselves must not steer a terminal. */
const plain = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 60);

function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  );
}
