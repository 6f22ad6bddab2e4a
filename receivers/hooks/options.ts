/** The options of the `hooks` receiver. */
import { options, type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../../pipeline/component.ts';
import { httpServerOptions, serverMistakes } from '../../pipeline/kit/server-options.ts';

const kind = (what: string, defaults: { rate: number; bytesPerSecond: string }) =>
  t.section(
    {
      enabled: t.boolean({ default: true, description: 'Whether hooks send these events.' }),
      rate: t.number({
        default: defaults.rate,
        minimum: 0,
        maximum: 1,
        description:
          'Share of the events that is sent. Hooks round it to the next power of two below, and pick the same operations on every rank.',
      }),
      bytes_per_second: t.size({
        default: defaults.bytesPerSecond,
        description: 'What one process may send of these a second; it halves its rate until it fits. 0 means no limit.',
      }),
    },
    { description: what },
  );

export const config = options({
  socket: t.section(
    {
      enabled: t.boolean({ default: true, description: 'Whether to listen on a Unix socket.' }),
      path: t.optional(
        t.path({
          description:
            'The socket. Without it `$XDG_RUNTIME_DIR/enginelight/hooks.sock`; where that variable is not set `/run/enginelight/hooks.sock` for root, else `/tmp/enginelight-<uid>/hooks.sock`. Hooks look in the same places.',
        }),
      ),
      mode: t.choice(['0600', '0660', '0666'], {
        default: '0600',
        description: "Who may write to it: the daemon's user, its group too, or everybody on this machine.",
      }),
    },
    { description: 'The Unix socket, for engines on this machine or in this pod.' },
  ),
  http: t.optional(
    t.section(httpServerOptions({ endpoint: '127.0.0.1:4319', maxRequestBodySize: '8MiB' }), {
      description: 'The same over HTTP, for engines that cannot reach the socket. Off unless written.',
    }),
  ),
  events: t.section(
    {
      collective: kind('Collectives and point-to-point operations.', { rate: 0.125, bytesPerSecond: '64KiB' }),
      pipeline_stage: kind('Work of one pipeline stage on one microbatch.', { rate: 1, bytesPerSecond: '32KiB' }),
      engine_step: kind('Steps of the engine loop.', { rate: 1, bytesPerSecond: '32KiB' }),
      kv_transfer: kind('Transfers of KV cache.', { rate: 1, bytesPerSecond: '32KiB' }),
      request: kind('Requests, where the engine has no tracing of its own.', { rate: 1, bytesPerSecond: '64KiB' }),
    },
    {
      description:
        'What the answers tell hooks to send. `enginelight hooks` changes it while the daemon runs, a reload of the config too.',
    },
  ),
  post_interval: t.duration({ default: '1s', minimum: '50ms', description: 'How often a hook sends what it has.' }),
  silence: t.duration({
    default: '30s',
    minimum: '1s',
    description: 'A hook that has no answer for this long records nothing until it has one again.',
  }),
  open_after: t.duration({
    default: '10s',
    minimum: '100ms',
    description: 'An operation that has not ended after this is reported as open: evidence of a hang.',
  }),
  content_keys: t.list(t.string({ description: 'A key; `*` stands for any characters.', minLength: 1 }), {
    default: [],
    description:
      'Further attributes whose values are replaced by a marker. Prompts, completions, messages and tool arguments always are.',
  }),
  identifiers: t.choice(['keep', 'hash'], {
    default: 'keep',
    description: 'What becomes of identifiers of requests, users and sessions; `hash` keeps that two are the same.',
  }),
  hash_key: t.optional(
    t.secret({
      description: 'Key of the hash, so that identifiers cannot be found by trying; use one for all daemons.',
    }),
  ),
});

export type HooksConfig = Static<typeof config>;

/** What the schema cannot say. */
export function mistakesOf(config: HooksConfig): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [];
  if (!config.socket.enabled && !config.http) {
    mistakes.push({
      path: ['socket', 'enabled'],
      message: 'without the socket and without `http` no hook can reach the receiver; write `http: {}`',
    });
  }
  if (config.http) mistakes.push(...serverMistakes(config.http, ['http']));
  if (config.hash_key !== undefined && config.identifiers !== 'hash') {
    mistakes.push({ path: ['hash_key'], message: '`hash_key` is only used with `identifiers: hash`' });
  }
  return mistakes;
}
