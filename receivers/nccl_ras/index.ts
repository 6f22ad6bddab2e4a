/** What NCCL's RAS threads say of a job: ranks that are missing, and collectives that hang. */
import { hostname, networkInterfaces } from 'node:os';
import { options, t } from '../../config/schema.ts';
import { defineReceiver } from '../../pipeline/component.ts';
import { describeError } from '../../pipeline/errors.ts';
import { converse } from '../../pipeline/kit/converse.ts';
import { runEvery } from '../../pipeline/kit/every.ts';
import { feedResources } from '../../pipeline/kit/feed.ts';
import { hookSpans } from '../../pipeline/kit/hook-span.ts';
import { createProbe } from '../../pipeline/kit/probe.ts';
import { VERSION } from '../../pipeline/kit/version.ts';
import { type Batch, logsBatch, scope, tracesBatch } from '../../pipeline/model.ts';
import { createSaid } from './said.ts';
import { stallWatch } from './stalls.ts';
import { readStatus } from './status.ts';

const LOCAL = /^(127\.[\d.]+|localhost|\[::1\]):\d{1,5}$/;
const MAX_ANSWER = 256 << 20;

export const ncclRas = defineReceiver({
  type: 'nccl_ras',
  summary: 'NCCL’s RAS: ranks that are missing or dead, and collectives that hang',
  stability: 'beta',
  signals: ['metrics', 'traces', 'logs'],
  config: options({
    address: t.string({
      description:
        'Where a process of the job listens (NCCL_RAS_ADDR). Any one of them knows the whole job, and it has no password: it has to be an address of this machine.',
      default: 'localhost:28028',
    }),
    collection_interval: t.duration({ description: 'How often it is asked.', default: '10s', minimum: '1s' }),
    timeout: t.duration({ description: 'How long an answer may take.', default: '8s', minimum: '1s' }),
    stall_looks: t.integer({
      description: 'Looks in a row with the same difference between ranks that make an operation one that hangs.',
      default: 3,
      minimum: 2,
      maximum: 100,
    }),
    labels: t.map(t.string({ description: 'A value.' }), {
      description:
        'Whom the job is about: `replica`, `role`, `service`, … as for targets. Without `replica`, each host counts as one.',
      default: {},
    }),
  }),
  validate: (config) =>
    LOCAL.test(config.address)
      ? []
      : [
          {
            path: ['address'],
            message: 'has to be a port of this machine: `localhost:28028`, or of 127.0.0.1 or [::1]',
          },
        ],
  async start(config, next, context) {
    const { clock, log } = context;
    const own = scope('enginelight/receivers/nccl_ras', VERSION);
    const probe = createProbe(context, own);
    const about = feedResources(config.labels);
    const make = hookSpans('nccl_ras', `${context.id}/${clock.now()}`);
    const stalls = stallWatch(config.stall_looks);
    const addresses = new Set(Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map((a) => a.address)));
    const local = (host: string) =>
      host === '' || host === 'localhost' || host.startsWith('127.') || addresses.has(host);
    const said = createSaid({
      scope: own,
      make,
      about: (attributes, host) => about({ ...attributes, 'host.name': local(host) ? hostname() : host }),
    });
    const split = config.address.lastIndexOf(':');
    const host = config.address.slice(0, split).replace(/^\[|\]$/g, '');
    const port = Number(config.address.slice(split + 1));
    const began = clock.now();

    const ask = async (signal: AbortSignal): Promise<string> => {
      const seconds = Math.max(1, Math.floor(config.timeout / 2000));
      const say = ['CLIENT PROTOCOL 2', `TIMEOUT ${seconds}`, 'SET FORMAT json', 'VERBOSE STATUS'];
      const answers = await converse({
        host,
        port,
        say,
        timeoutMs: config.timeout,
        maxBytes: MAX_ANSWER,
        clock,
        signal,
      });
      if (!answers[0]!.startsWith('SERVER PROTOCOL')) throw new Error('what listens there is no RAS of NCCL');
      if (answers[2] !== 'OK') throw new Error('it does not speak JSON, which NCCL does since 2.28');
      return answers[3]!;
    };

    const loop = runEvery({
      clock,
      log,
      intervalMs: config.collection_interval,
      key: context.id,
      async run(tick) {
        let status: ReturnType<typeof readStatus>;
        try {
          status = readStatus(await ask(tick.signal));
        } catch (error) {
          if (tick.signal.aborted) return undefined;
          const because = describeError(error);
          probe.gap(
            'nccl ras',
            because,
            'Start the engine with NCCL 2.28 or newer, and the daemon where its loopback is reached.',
          );
          context.status('recoverable_error', `RAS at ${config.address} gave no status: ${because}.`);
          return undefined;
        }
        probe.filled('nccl ras');
        context.status('ok');
        const hand = async (batch: Batch) => {
          if (batch.items.length > 0 && context.signals.has(batch.signal)) await next.consume(batch);
        };
        try {
          await hand(said.metrics(probe.round(tick.time, began), status));
          await hand(logsBatch(said.events(status, tick.time)));
          await hand(tracesBatch(said.open(stalls(status.communicators, tick.time), tick.time)));
        } catch (error) {
          log.warn('What RAS said could not be handed on; it is asked again.', { error: describeError(error) });
        }
        return undefined;
      },
    });
    return { stop: (deadline) => loop.stop(deadline) };
  },
});
