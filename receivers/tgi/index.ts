/** Scrapes Text Generation Inference servers. */
import { defineEngineReceiver } from '../../pipeline/kit/engine-receiver.ts';

export const tgiReceiver = defineEngineReceiver({ type: 'tgi', summary: 'Scrapes Text Generation Inference servers' });
