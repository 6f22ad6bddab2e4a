/**
 * The compiled list of what a receiver may ask an engine for. Engines serve calls that change or stop them on the port
 * that serves their metrics (vLLM `/sleep`, `/collective_rpc`; SGLang takes `/flush_cache` and `/start_profile` even as
 * GET), so a path that is not on the list is never asked for, whoever configures it and wherever a redirect leads.
 */

/** Where engines show their metrics. */
const METRICS = ['/metrics', '/prometheus/metrics', '/v1/metrics', '/engine_metrics'];

/** What says who an engine is without touching its state. */
const ABOUT = ['/version', '/health', '/openapi.json'];

const ENGINE_PATHS: readonly string[] = [...METRICS, ...ABOUT];

/**
 * Last segments of paths that act when they are asked for, in one engine or another; not even the generic receiver asks
 * for them.
 */
const ACTING: ReadonlySet<string> = new Set([
  'abort_request',
  'clear_hicache_storage_backend',
  'collective_rpc',
  'configure_logging',
  'continue_generation',
  'destroy_weights_update_group',
  'drain',
  'flush_cache',
  'freeze_gc',
  'generate',
  'health_generate',
  'init_weights_update_group',
  'load_lora_adapter',
  'open_session',
  'pause',
  'pause_generation',
  'quitquitquit',
  'release_memory_occupation',
  'reload',
  'reset_encoder_cache',
  'reset_mm_cache',
  'reset_prefix_cache',
  'resume',
  'resume_memory_occupation',
  'scale_elastic_ep',
  'set_internal_state',
  'set_trace_level',
  'shutdown',
  'sleep',
  'slow_down',
  'start_expert_distribution_record',
  'start_profile',
  'stop_expert_distribution_record',
  'stop_profile',
  'unload_lora_adapter',
  'update_weights_from_disk',
  'update_weights_from_distributed',
  'update_weights_from_tensor',
  'wake_up',
]);

/** The path alone, with its escapes undone, repeated slashes and dots resolved and no slash at its end. */
function plain(path: string): string | undefined {
  try {
    const { pathname } = new URL(path.replace(/^\/+/, '/'), 'http://host');
    const decoded = decodeURIComponent(pathname);
    // What is escaped twice, or climbs after decoding, is nothing that anybody means.
    if (/[%\\?#\0]/.test(decoded) || decoded.split('/').includes('..')) return undefined;
    const simple = decoded.replace(/\/+/g, '/').replace(/\/$/, '');
    return simple === '' ? '/' : simple;
  } catch {
    return undefined;
  }
}

/** Whether a path may be asked of an engine: one of the list, or one of the list behind a prefix of a proxy. */
export function mayAskEngine(path: string): boolean {
  const simple = plain(path);
  if (simple === undefined || acts(simple)) return false;
  return ENGINE_PATHS.some((allowed) => simple === allowed || simple.endsWith(allowed));
}

/** Whether a path may be scraped by the generic receiver, where it is the one that is configured. */
export function mayScrape(path: string, configured: string): boolean {
  const simple = plain(path);
  return simple !== undefined && simple === plain(configured) && !acts(simple);
}

const acts = (simple: string): boolean => simple.split('/').some((segment) => ACTING.has(segment.toLowerCase()));
