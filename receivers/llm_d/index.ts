/** Scrapes llm-d routers (endpoint pickers). */
import { defineEngineReceiver } from '../../pipeline/kit/engine-receiver.ts';

export const llmDReceiver = defineEngineReceiver({
  type: 'llm_d',
  summary: 'Scrapes llm-d routers (endpoint pickers)',
});
