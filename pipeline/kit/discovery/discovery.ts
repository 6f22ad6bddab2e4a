/** Where targets come from. A discovery hands over its whole list whenever that changed. */
import type { Running } from '../../component.ts';
import type { Clock } from '../clock.ts';
import type { Logger } from '../log.ts';

/** Labels of one target, `__address__` (`host:port`) among them; `__meta_…` say what the discovery knows. */
export type TargetLabels = Readonly<Record<string, string>>;

export interface DiscoveryContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** What keeps a discovery from working, or undefined when it works. Cheap to repeat. */
  readonly problem: (message: string | undefined) => void;
}

/** Starts looking; resolves at once or after the first look. Never rejects: what goes wrong is a `problem`. */
export type Discovery = (
  update: (targets: readonly TargetLabels[]) => void,
  context: DiscoveryContext,
) => Promise<Running>;

/** A fixed list. */
export const fixed =
  (targets: readonly TargetLabels[]): Discovery =>
  async (update) => {
    update(targets);
    return { stop: async () => {} };
  };
