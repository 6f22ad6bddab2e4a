/** `service::telemetry`: the daemon's own logs and metrics, in the Collector's shape. */
import { options, t } from '../config/schema.ts';

export const telemetryOptions = options({
  logs: t.section(
    {
      level: t.choice(['debug', 'info', 'warn', 'error'], {
        description: 'The least severe records that are written.',
        default: 'info',
      }),
      encoding: t.choice(['console', 'json'], {
        description: 'One readable line per record, or one JSON object per record.',
        default: 'console',
      }),
    },
    { description: "The daemon's own log, on stderr." },
  ),
  metrics: t.section(
    {
      level: t.choice(['none', 'basic', 'normal', 'detailed'], {
        description: '`none` turns the own metrics off.',
        default: 'normal',
      }),
      address: t.endpoint({
        description: 'Where the own metrics are served in the Prometheus format.',
        default: '127.0.0.1:8888',
      }),
    },
    { description: "The daemon's own metrics." },
  ),
});
