/** Every extension that a config file can name, in the order `enginelight components` shows them. */
import type { ExtensionDefinition } from '../pipeline/component.ts';
import { healthCheck } from './health_check/index.ts';

// biome-ignore lint/suspicious/noExplicitAny: a registry holds definitions of every config type
export const extensions: readonly ExtensionDefinition<any>[] = [healthCheck];
