/**
 * A plug-in in one file: a receiver that sends the time the daemon has been up, and a processor that adds an attribute.
 * It takes all it needs from the argument, so it works wherever it lies; nothing has to be installed beside it.
 */
export default ({
  defineReceiver,
  defineProcessor,
  gauge,
  metricsBatch,
  nanosFromMs,
  options,
  resource,
  scope,
  t,
}) => ({
  receivers: [
    defineReceiver({
      type: 'heartbeat',
      summary: 'Sends how long it has been running',
      stability: 'development',
      signals: ['metrics'],
      config: options({
        interval: t.duration({ description: 'How often.', default: '10s', minimum: '1s' }),
        service: t.string({ description: 'Goes into service.name.', default: 'heartbeat' }),
      }),
      async start(config, next, context) {
        // Made once: what is worked out per series hangs off this object.
        const series = {
          resource: resource({ 'service.name': config.service }),
          scope: scope('heartbeat'),
          metric: gauge('heartbeat.age', 's', 'Time since the start.'),
          attributes: {},
        };
        const started = context.clock.monotonic();
        const stopping = new AbortController();
        const beat = async () => {
          const value = (context.clock.monotonic() - started) / 1000;
          const point = { series, time: nanosFromMs(context.clock.now()), startTime: 0n, flags: 0, value };
          try {
            await next.consume(metricsBatch([point]));
            context.status('ok');
          } catch (error) {
            context.log.warn('A heartbeat was not accepted.', { error });
          }
        };
        const loop = (async () => {
          while (!stopping.signal.aborted) {
            await beat();
            await context.clock.sleep(config.interval, stopping.signal);
          }
        })();
        return {
          async stop() {
            stopping.abort();
            await loop;
          },
        };
      },
    }),
  ],

  processors: [
    defineProcessor({
      type: 'stamp',
      summary: 'Adds one attribute to every resource',
      stability: 'development',
      signals: ['metrics'],
      config: options({
        key: t.string({ description: 'The attribute.', minLength: 1 }),
        value: t.string({ description: 'Its value.' }),
      }),
      async start(config, next) {
        // A batch is never changed: points are copied, and each resource and series is copied once, not once a scrape.
        const resources = new WeakMap();
        const all = new WeakMap();
        const stamped = (series) => {
          let copy = all.get(series);
          if (!copy) {
            let about = resources.get(series.resource);
            if (!about) {
              const attributes = { ...series.resource.attributes, [config.key]: config.value };
              about = { ...series.resource, attributes };
              resources.set(series.resource, about);
            }
            copy = { ...series, resource: about };
            all.set(series, copy);
          }
          return copy;
        };
        return {
          consume: (batch) =>
            next.consume(metricsBatch(batch.items.map((point) => ({ ...point, series: stamped(point.series) })))),
          stop: async () => {},
        };
      },
    }),
  ],
});
