/** Scrapes SGLang servers. */
import { defineEngineReceiver } from '../../pipeline/kit/engine-receiver.ts';

export const sglangReceiver = defineEngineReceiver({ type: 'sglang', summary: 'Scrapes SGLang servers' });
