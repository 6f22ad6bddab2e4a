/** Every processor that a config file can name, in the order `enginelight components` shows them. */
import type { ProcessorDefinition } from '../pipeline/component.ts';
import { bottleneck } from './bottleneck/index.ts';
import { normalize } from './normalize/index.ts';

// biome-ignore lint/suspicious/noExplicitAny: a registry holds definitions of every config type
export const processors: readonly ProcessorDefinition<any>[] = [normalize, bottleneck];
