/** LMCache embedded in vLLM: its families on the engine's page. */
import type { Histogram } from '../world/histogram.ts';
import type { Counters, Replica } from '../world/types.ts';
import type { Labels, PageBuilder } from './page.ts';

export function addLmcacheFamilies(b: PageBuilder, rep: Replica): void {
  const labels: Labels = [
    ['model_name', rep.model.servedName],
    ['role', 'worker'],
    ['served_model_name', rep.model.servedName],
    ['worker_id', '0'],
  ];
  const c = () => rep.scheds[0]!.counters;
  const add = (name: string, type: string, help: string, of: (x: Counters) => number) => {
    b.family(name, type, help);
    b.sample(name, labels, () => of(c()));
  };
  const hist = (name: string, help: string, of: (x: Counters) => Histogram) => {
    b.family(name, 'histogram', help);
    b.histogram(name, labels, () => of(c()));
  };
  b.when(
    () => c().offloadLookups > 0,
    () => {
      add('lmcache:num_lookup_requests_total', 'counter', 'Lookup requests.', (x) => x.offloadLookups);
      add('lmcache:num_lookup_tokens_total', 'counter', 'Tokens asked for in lookups.', (x) => x.offloadLookupTokens);
      add('lmcache:num_lookup_hits_total', 'counter', 'Tokens found in lookups.', (x) => x.offloadHitTokens);
      add('lmcache:num_retrieve_requests_total', 'counter', 'Retrieve requests.', (x) => x.loadTime.count);
      add('lmcache:num_hit_tokens_total', 'counter', 'Tokens found in retrieves.', (x) => x.offloadHitTokens);
      add('lmcache:num_stored_tokens_total', 'counter', 'Tokens stored.', (x) => x.offloadStoredTokens);
      add(
        'lmcache:num_remote_read_bytes_total',
        'counter',
        'Bytes read from remote backends.',
        (x) => x.offloadLoadBytes,
      );
      add('lmcache:num_remote_read_requests_total', 'counter', 'Reads from remote backends.', (x) => x.loadTime.count);
      hist('lmcache:time_to_retrieve', 'Time to retrieve (seconds).', (x) => x.loadTime);
    },
  );
  add('lmcache:local_cache_usage', 'gauge', 'Local cache usage (bytes).', (x) => x.offloadUsedBytes);
  add('lmcache:lmcache_is_healthy', 'gauge', '1 when healthy.', () => 1);
}
