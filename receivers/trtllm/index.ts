/** Scrapes TensorRT-LLM servers. */
import { defineEngineReceiver } from '../../pipeline/kit/engine-receiver.ts';
import { pageFromIterations } from './iterations.ts';

export const trtllmReceiver = defineEngineReceiver({
  type: 'trtllm',
  summary: 'Scrapes TensorRT-LLM servers',
  translate: pageFromIterations,
});
