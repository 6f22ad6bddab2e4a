/** Changes the attributes of spans, log records and series: what the data is. */
import { options } from '../../config/schema.ts';
import { defineProcessor } from '../../pipeline/component.ts';
import { actionList, actionMistakes, attributeActions } from '../../pipeline/kit/attribute-actions.ts';
import { mapped, seriesChanger } from '../../pipeline/kit/with.ts';
import { type LogRecord, logsBatch, type Span, tracesBatch } from '../../pipeline/model.ts';
import { itemMatcher, matchMistakes, matchOptions } from './matching.ts';

const config = options({
  actions: actionList('What to do with the attributes of every item that is matched.'),
  include: matchOptions('Only items that match are changed. Every criterion that is given has to be fulfilled.'),
  exclude: matchOptions('Items that match are left as they are, also if they are included.'),
});

export const attributes = defineProcessor({
  type: 'attributes',
  summary: 'Adds, changes, removes, hashes and converts attributes of series, spans and log records',
  stability: 'stable',
  signals: ['metrics', 'traces', 'logs'],
  config,
  validate: ({ actions, include, exclude }) => [
    ...actionMistakes(actions, ['actions']),
    ...matchMistakes(include, ['include']),
    ...matchMistakes(exclude, ['exclude']),
  ],
  async start({ actions, include, exclude }, next) {
    const act = attributeActions(actions);
    const included = itemMatcher(include);
    const excluded = itemMatcher(exclude);
    const applies = (kind: 'span' | 'log' | 'series') => {
      const inside = included?.[kind] as ((item: unknown) => boolean) | undefined;
      const outside = excluded?.[kind] as ((item: unknown) => boolean) | undefined;
      return (item: unknown): boolean => (!inside || inside(item)) && !outside?.(item);
    };
    const change = <T extends { readonly attributes: Span['attributes'] }>(kind: 'span' | 'log' | 'series') => {
      const wanted = applies(kind);
      return (item: T): T => {
        if (!wanted(item)) return item;
        const made = act(item.attributes);
        return made === item.attributes ? item : { ...item, attributes: made };
      };
    };
    const series = seriesChanger(change('series'));
    const span = change<Span>('span');
    const log = change<LogRecord>('log');
    return {
      consume(batch) {
        if (batch.signal === 'metrics') return next.consume(series(batch));
        if (batch.signal === 'traces') return next.consume(mapped(batch, batch.items, span, tracesBatch));
        return next.consume(mapped(batch, batch.items, log, logsBatch));
      },
      async stop() {},
    };
  },
});
