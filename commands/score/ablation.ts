/** Telemetry taken away from a recording, to see whether the verdicts get silent or wrong. */
import { random } from '../../simulator/random.ts';

/** Tiers of telemetry, as in the truth of a case. */
export const ABLATIONS = ['full', 'noHooks', 'noGpu', 'metricsOnly', 'lossy'] as const;
export type Ablation = (typeof ABLATIONS)[number];

/** Share of scrapes that `lossy` loses. */
const LOST = 0.3;
const HOOK_SPAN = /"name":"(?:collective|pipeline_stage|engine_step|kv_transfer)"/;
const GPU_URL = /^\{"scrape":\{"time":"[^"]*","url":"https?:\/\/[^/"]*:(?:9400|5000)\//;
const HOST_URL = /^\{"scrape":\{"time":"[^"]*","url":"[^"]*(?::9100\/|\/cadvisor)/;

/** A filter of a simulated recording's lines; deterministic by seed. */
export function keeps(ablation: Ablation, seed: number): (line: string) => boolean {
  const loss = random(seed, 'lossy');
  switch (ablation) {
    case 'full':
      return () => true;
    case 'noHooks':
      return (line) => !(line.startsWith('{"resourceSpans"') && HOOK_SPAN.test(line));
    case 'noGpu':
      return (line) => !GPU_URL.test(line);
    case 'metricsOnly':
      return (line) => line.startsWith('{"scrape"') && !GPU_URL.test(line) && !HOST_URL.test(line);
    case 'lossy':
      return (line) => !line.startsWith('{"scrape"') || !loss.chance(LOST);
  }
}
