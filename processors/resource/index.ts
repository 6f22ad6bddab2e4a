/** Changes the attributes of resources: who the data is about. */
import { options } from '../../config/schema.ts';
import { defineProcessor } from '../../pipeline/component.ts';
import { actionList, actionMistakes, attributeActions } from '../../pipeline/kit/attribute-actions.ts';
import { resourceChanger } from '../../pipeline/kit/with.ts';

const config = options({
  attributes: actionList('What to do with the attributes of every resource.'),
});

export const resource = defineProcessor({
  type: 'resource',
  summary: 'Adds, changes, removes, hashes and converts attributes of resources',
  stability: 'stable',
  signals: ['metrics', 'traces', 'logs'],
  config,
  validate: ({ attributes }) => actionMistakes(attributes, ['attributes']),
  async start({ attributes }, next) {
    const act = attributeActions(attributes);
    const change = resourceChanger((r) => {
      const made = act(r.attributes);
      return made === r.attributes ? r : { ...r, attributes: made };
    });
    return {
      consume: (batch) => next.consume(change(batch)),
      async stop() {},
    };
  },
});
