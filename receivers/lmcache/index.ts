/** Scrapes LMCache servers. */
import { defineEngineReceiver } from '../../pipeline/kit/engine-receiver.ts';

export const lmcacheReceiver = defineEngineReceiver({ type: 'lmcache', summary: 'Scrapes LMCache servers' });
