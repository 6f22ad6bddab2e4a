/** `enginelight config-schema`: a JSON Schema of the config file, for editors. */
import { configSchema } from '../config/json-schema.ts';
import { parseCommandLine } from './args.ts';
import type { Command } from './command.ts';
import { PLUGIN_FLAGS, registryOf } from './components.ts';

const SPEC = {
  usage: 'config-schema > enginelight.schema.json',
  description: `Prints a JSON Schema of the config file. Editors that use yaml-language-server complete and check a config
whose first line names the schema:

  # yaml-language-server: $schema=./enginelight.schema.json`,
  flags: PLUGIN_FLAGS,
  examples: ['enginelight config-schema > enginelight.schema.json'],
} as const;

export const configSchemaCommand: Command = async (args, io) => {
  const parsed = parseCommandLine(SPEC, args, io);
  if (!parsed) return 0;
  const registry = await registryOf(parsed.flags, io);
  if (!registry) return 1;
  io.out(`${JSON.stringify(configSchema(registry), undefined, 2)}\n`);
  return 0;
};
