/** Scrapes vLLM API servers. */
import { defineEngineReceiver } from '../../pipeline/kit/engine-receiver.ts';

export const vllmReceiver = defineEngineReceiver({ type: 'vllm', summary: 'Scrapes vLLM API servers' });
