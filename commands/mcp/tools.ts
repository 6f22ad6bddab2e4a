/** What an assistant can ask: each tool is one GET of the live API. */
import type { LiveSnapshot } from '../../pipeline/kit/live-types.ts';
import type { Report } from '../../pipeline/kit/report.ts';
import type { LiveClient } from '../live-client.ts';

type Schema = Readonly<Record<string, unknown>>;
type Arguments = Readonly<Record<string, unknown>>;

export interface Tool {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly properties: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  call(args: Arguments, client: LiveClient): Promise<unknown>;
}

const text = (description: string): Schema => ({ type: 'string', description });
const limit: Schema = {
  type: 'integer',
  minimum: 1,
  maximum: 1000,
  description: 'Most that are returned; default 100.',
};
const kind: Schema = {
  type: 'string',
  description: 'Kind of entity: service, replica, node, gpu, rank, link, pair and others.',
};

/** `a=1&b=2` of the arguments that were given. */
function query(args: Arguments, names: readonly string[]): string {
  const out = new URLSearchParams();
  for (const name of names) {
    const value = args[name];
    if (value !== undefined && value !== null) out.set(name, String(value));
  }
  const all = out.toString();
  return all === '' ? '' : `?${all}`;
}

export const TOOLS: readonly Tool[] = [
  {
    name: 'get_state',
    title: 'How it is now',
    description:
      'The state of the inference services now: a verdict in one sentence, replicas with load and latency of the last minute, GPUs with clock, throttling, power and temperature, and incidents in brief. Start here.',
    properties: {},
    async call(_args, client) {
      const { replicas, ...rest } = (await client.get('state')) as LiveSnapshot;
      // Trends are for eyes; query_signal gives the numbers.
      return { ...rest, replicas: replicas.map(({ trend: _trend, ...replica }) => replica) };
    },
  },
  {
    name: 'list_incidents',
    title: 'Incidents',
    description:
      'Incidents in brief, open and recent: root cause, where, since when, impact, how sure, what to do first.',
    properties: {
      state: { type: 'string', enum: ['open', 'resolved'] },
      service: text('Only of this service.'),
      limit,
    },
    call: (args, client) => client.get(`incidents${query(args, ['state', 'service', 'limit'])}`),
  },
  {
    name: 'get_incident',
    title: 'One incident with its evidence',
    description:
      'Everything about one incident: causal path, findings with evidence (value, threshold, baseline), counter-evidence, rival causes, remedies with risk and how to verify, and what could not be judged.',
    properties: { id: text('The id from list_incidents.') },
    required: ['id'],
    async call(args, client) {
      const report = (await client.get(`incidents/${encodeURIComponent(String(args['id']))}`)) as Report;
      const { incidents, findings, insufficient, alerts, window } = report;
      return {
        window,
        incident: incidents[0],
        findings,
        insufficient: insufficient.slice(0, 50),
        alerts: alerts.slice(0, 50),
      };
    },
  },
  {
    name: 'list_findings',
    title: 'Findings',
    description: 'What detectors found, with evidence, newest first; also what is part of no incident.',
    properties: {
      state: { type: 'string', enum: ['firing', 'resolved'] },
      detector: text('Only of this detector, such as thermal-throttle.'),
      entity: text('Only about this id, or what is on or in it: a GPU UUID, replica, node or service.'),
      limit,
    },
    call: (args, client) => client.get(`findings${query(args, ['state', 'detector', 'entity', 'limit'])}`),
  },
  {
    name: 'list_missing_evidence',
    title: 'What could not be judged',
    description: 'Detectors that could not judge for want of signals, and what to enable so that they can.',
    properties: {},
    call: (_args, client) => client.get('insufficient'),
  },
  {
    name: 'list_entities',
    title: 'Entities',
    description:
      'Services, replicas, nodes, GPUs and links, and how they hang together. Without a kind: how many there are.',
    properties: { kind: { type: 'string', enum: ['service', 'replica', 'node', 'gpu', 'link', 'pair'] }, limit },
    call: (args, client) => client.get(`entities${query(args, ['kind', 'limit'])}`),
  },
  {
    name: 'get_entity',
    title: 'One entity',
    description: 'Where one thing sits, the newest value of each of its signals, its findings and its incidents.',
    properties: { kind, id: text('Its id: a GPU UUID, a replica, a node name, r1/tp0 for a rank.') },
    required: ['kind', 'id'],
    call: (args, client) =>
      client.get(`entities/${encodeURIComponent(String(args['kind']))}/${encodeURIComponent(String(args['id']))}`),
  },
  {
    name: 'query_signal',
    title: 'A signal over time',
    description:
      'Values of one signal over a range of time, of one entity or of all: gauges as means, counters as rates per second, histograms as means per observation. Without a name: the names that exist.',
    properties: {
      name: text('Such as gen_ai.server.time_to_first_token or hw.gpu.clock.'),
      kind,
      id: text('The id of the entity; goes with kind.'),
      from: text('RFC 3339; default: the beginning of what is kept.'),
      to: text('RFC 3339; default: now.'),
      limit,
    },
    call: (args, client) => client.get(`signals${query(args, ['name', 'kind', 'id', 'from', 'to', 'limit'])}`),
  },
];

/** What is wrong with the arguments, or undefined. */
export function mistakeIn(tool: Tool, args: Arguments): string | undefined {
  for (const name of tool.required ?? []) if (args[name] === undefined) return `${tool.name} needs ${name}`;
  for (const [name, value] of Object.entries(args)) {
    const schema = Object.hasOwn(tool.properties, name) ? tool.properties[name] : undefined;
    if (!schema) return `${tool.name} has no argument of the name ${name.slice(0, 80)}`;
    const isRight =
      schema['type'] === 'integer' ? Number.isInteger(value) : typeof value === 'string' && value.length <= 1000;
    if (!isRight) return `${name} must be ${schema['type'] === 'integer' ? 'a whole number' : 'a text'}`;
    const choices = schema['enum'] as readonly unknown[] | undefined;
    if (choices && !choices.includes(value)) return `${name} must be one of ${choices.join(', ')}`;
  }
  return undefined;
}
