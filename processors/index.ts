/** Every processor that a config file can name, in the order `enginelight components` shows them. */
import type { ProcessorDefinition } from '../pipeline/component.ts';
import { alerts } from './alerts/index.ts';
import { attributes } from './attributes/index.ts';
import { bottleneck } from './bottleneck/index.ts';
import { correlation } from './correlation/index.ts';
import { filter } from './filter/index.ts';
import { interval } from './interval/index.ts';
import { memoryLimiter } from './memory_limiter/index.ts';
import { normalize } from './normalize/index.ts';
import { resource } from './resource/index.ts';

// biome-ignore lint/suspicious/noExplicitAny: a registry holds definitions of every config type
export const processors: readonly ProcessorDefinition<any>[] = [
  memoryLimiter,
  normalize,
  correlation,
  bottleneck,
  alerts,
  resource,
  attributes,
  filter,
  interval,
];
