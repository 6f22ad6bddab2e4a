/** llm-d's inference simulator: the metrics page of a vLLM server, driven with some requests. */
import { type Bench, find, freePort, Skipped, until } from './kit.ts';
import { expectSignals, total, watch } from './watch.ts';

const REQUESTS = 12;
const OUTPUT_TOKENS = 20;

export async function checkLlmD(world: Bench): Promise<void> {
  const binary = find('ENGINELIGHT_INTEROP_LLM_D_SIM', ['llm-d-inference-sim']);
  if (!binary) {
    throw new Skipped(
      'set ENGINELIGHT_INTEROP_LLM_D_SIM to a llm-d-inference-sim, built from a checkout of llm-d/llm-d-inference-sim',
    );
  }
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const model = 'interop-model';
  const args = ['--model', model, '--port', `${port}`, '--mode', 'random', '--force-dummy-tokenizer'];
  const times = ['--time-to-first-token', '20ms', '--inter-token-latency', '2ms'];
  const simulator = world.program('llm-d-inference-sim', binary, [...args, ...times]);
  await until('the simulator to answer', async () => (await fetch(`${url}/health`)).ok).catch((error) => {
    throw new Error(`llm-d-inference-sim did not start:\n${simulator.output()}`, { cause: error });
  });
  const watched = await watch(world, url);
  for (let i = 0; i < REQUESTS; i++) {
    const response = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model,
        prompt: `How is the weather on day ${i}?`,
        max_tokens: OUTPUT_TOKENS,
        ignore_eos: true,
      }),
    });
    if (!response.ok) throw new Error(`the simulator answered ${response.status}: ${await response.text()}`);
  }
  const seen = await watched.compare();
  expectSignals(world, seen, 'vllm', [
    'inference.requests.running',
    'inference.requests.waiting',
    'inference.requests.finished',
    'inference.kv.usage',
    'inference.tokens.generated',
    'inference.tokens.prompt',
    'gen_ai.server.time_to_first_token',
    'gen_ai.server.request.duration',
  ]);
  const facts = {
    finished: total(seen, 'inference.requests.finished'),
    generated: total(seen, 'inference.tokens.generated'),
    ttft: total(seen, 'gen_ai.server.time_to_first_token'),
  };
  world.say(`after ${REQUESTS} requests of ${OUTPUT_TOKENS} tokens: ${JSON.stringify(facts)}`);
  if (facts.finished !== REQUESTS || facts.ttft !== REQUESTS || facts.generated !== REQUESTS * OUTPUT_TOKENS) {
    throw new Error('the signals do not say what was asked of it');
  }
}
