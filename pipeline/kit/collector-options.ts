/** Options of the Collector that have nothing to do here; accepted with a warning, so that its configs load unchanged. */
import { t } from '../../config/schema.ts';

const BUFFERS = 'Node chooses its buffers';

/** Spread into the options of what sends over HTTP. */
export const httpWithoutEffect = {
  read_buffer_size: t.withoutEffect(BUFFERS),
  write_buffer_size: t.withoutEffect(BUFFERS),
  max_idle_conns_per_host: t.withoutEffect('there is one host; see `max_idle_conns`'),
  max_conns_per_host: t.withoutEffect('`sending_queue.num_consumers` limits the requests in flight'),
  idle_conn_timeout: t.withoutEffect('a connection that the other side has closed is noticed and not used'),
  http2_read_idle_timeout: t.withoutEffect('HTTP/1.1 is spoken'),
  http2_ping_timeout: t.withoutEffect('HTTP/1.1 is spoken'),
  force_attempt_http2: t.withoutEffect('HTTP/1.1 is spoken'),
  disable_keep_alives: t.withoutEffect('connections are kept as long as the other side keeps them'),
  cookies: t.withoutEffect('cookies are not kept'),
};

/** Spread into the options of what sends over gRPC. */
export const grpcWithoutEffect = {
  read_buffer_size: t.withoutEffect(BUFFERS),
  write_buffer_size: t.withoutEffect(BUFFERS),
  balancer_name: t.withoutEffect('one connection carries all calls, there is nothing to balance'),
  wait_for_ready: t.withoutEffect('a call that finds no connection is tried again in any case'),
};
