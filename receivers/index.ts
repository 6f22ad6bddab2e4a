/** Every receiver that a config file can name, in the order `enginelight components` shows them. */
import type { ReceiverDefinition } from '../pipeline/component.ts';

// biome-ignore lint/suspicious/noExplicitAny: a registry holds definitions of every config type
export const receivers: readonly ReceiverDefinition<any>[] = [];
