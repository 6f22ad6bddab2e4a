/** A real node_exporter: its page becomes the same signals that our own host probe gives. */
import { type Bench, find, freePort, Skipped, until, versionOf } from './kit.ts';
import { watch } from './watch.ts';

export async function checkNodeExporter(world: Bench): Promise<void> {
  const binary = find('ENGINELIGHT_INTEROP_NODE_EXPORTER', ['node_exporter', 'prometheus-node-exporter']);
  if (!binary) throw new Skipped('set ENGINELIGHT_INTEROP_NODE_EXPORTER to a node_exporter');
  world.say(versionOf(binary));
  const address = `127.0.0.1:${await freePort()}`;
  const url = `http://${address}/metrics`;
  const exporter = world.program('node_exporter', binary, [`--web.listen-address=${address}`]);
  await until('node_exporter to answer', async () => (await fetch(url)).ok).catch((error) => {
    throw new Error(`node_exporter did not start:\n${exporter.output()}`, { cause: error });
  });
  const watched = await watch(world, url, 'prometheus');
  const seen = await watched.compare();
  const neutral = new Set(seen.map((s) => s.name).filter((name) => /^(system|hw)\./.test(name)));
  world.say(`signals: ${[...neutral].sort().join(' ')}`);
  for (const name of ['system.cpu.time', 'system.memory.usage', 'system.network.io']) {
    if (!neutral.has(name)) throw new Error(`${name} did not arrive`);
  }
}
