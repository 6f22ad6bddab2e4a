/** Scrapes NVIDIA Dynamo frontends, routers and workers. */
import { defineEngineReceiver } from '../../pipeline/kit/engine-receiver.ts';

export const dynamoReceiver = defineEngineReceiver({
  type: 'dynamo',
  summary: 'Scrapes NVIDIA Dynamo frontends, routers and workers',
});
