/** Options of the Collector that have nothing to do here; accepted, so that its configs load unchanged. */
import { t } from '../../config/schema.ts';

const LEAD = 'Accepted so that a config of the Collector loads unchanged; has no effect here';

/** An option without an effect; `why` ends the sentence that says so. */
export const withoutEffect = (why: string) => t.optional(t.any({ description: `${LEAD}: ${why}.` }));

const BUFFERS = 'Node chooses its buffers';

/** Spread into the options of what sends over HTTP. */
export const httpWithoutEffect = {
  read_buffer_size: withoutEffect(BUFFERS),
  write_buffer_size: withoutEffect(BUFFERS),
  max_idle_conns_per_host: withoutEffect('there is one host; see `max_idle_conns`'),
  max_conns_per_host: withoutEffect('`sending_queue.num_consumers` limits the requests in flight'),
  idle_conn_timeout: withoutEffect('a connection that the other side has closed is noticed and not used'),
  http2_read_idle_timeout: withoutEffect('HTTP/1.1 is spoken'),
  http2_ping_timeout: withoutEffect('HTTP/1.1 is spoken'),
  force_attempt_http2: withoutEffect('HTTP/1.1 is spoken'),
};

/** Spread into the options of what sends over gRPC. */
export const grpcWithoutEffect = {
  read_buffer_size: withoutEffect(BUFFERS),
  write_buffer_size: withoutEffect(BUFFERS),
  balancer_name: withoutEffect('one connection carries all calls, there is nothing to balance'),
  wait_for_ready: withoutEffect('a call that finds no connection is tried again in any case'),
};
