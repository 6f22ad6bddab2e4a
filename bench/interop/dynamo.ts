/** Dynamo's own front end before its mock engine, driven with some requests. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { type Bench, find, freePort, Skipped, until } from './kit.ts';
import { expectSignals, total, watch } from './watch.ts';

const REQUESTS = 8;
const MODEL = 'interop-model';

/** Dynamo wants a model's folder; this makes the smallest one: a tokenizer of single bytes and a config. */
const MAKE_MODEL = `
import json, sys
from tokenizers import Tokenizer, models, pre_tokenizers, decoders
folder = sys.argv[1]
vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
vocabulary["</s>"] = len(vocabulary)
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens(["</s>"])
tokenizer.save(folder + "/tokenizer.json")
end = vocabulary["</s>"]
def write(name, value):
    with open(folder + "/" + name, "w") as out:
        json.dump(value, out)
write("config.json", {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
  "num_attention_heads": 4, "num_key_value_heads": 4, "num_hidden_layers": 2, "vocab_size": end + 1, "max_position_embeddings": 2048,
  "bos_token_id": end, "eos_token_id": end, "torch_dtype": "bfloat16", "rms_norm_eps": 1e-5, "rope_theta": 10000.0})
write("generation_config.json", {"eos_token_id": end})
write("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "model_max_length": 2048,
  "chat_template": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\\n{% endfor %}assistant:"})
`;

export async function checkDynamo(world: Bench): Promise<void> {
  const python = find('ENGINELIGHT_INTEROP_DYNAMO_PYTHON', ['python3']);
  const has = (code: string) => {
    try {
      execFileSync(python!, ['-c', code], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  };
  if (!python || !has('import dynamo.mocker, dynamo.frontend, tokenizers')) {
    throw new Skipped(
      'set ENGINELIGHT_INTEROP_DYNAMO_PYTHON to a Python that has ai-dynamo, ai-dynamo-runtime and tokenizers',
    );
  }
  const model = join(world.folder, 'model');
  execFileSync('mkdir', ['-p', model]);
  execFileSync(python, [world.file('make_model.py', MAKE_MODEL), model]);
  const [port, system] = [await freePort(), await freePort()];
  const env = {
    DYN_FILE_KV: join(world.folder, 'discovery'),
    DYN_DISCOVERY_BACKEND: 'file',
    HF_HUB_OFFLINE: '1',
    DYN_LOG: 'warn',
  };
  const planes = ['--discovery-backend', 'file', '--request-plane', 'tcp', '--event-plane', 'zmq'];
  const frontend = world.program(
    'frontend',
    python,
    ['-m', 'dynamo.frontend', '--http-port', `${port}`, '--router-mode', 'round-robin', ...planes],
    env,
  );
  const mocker = world.program(
    'mocker',
    python,
    ['-m', 'dynamo.mocker', '--model-path', model, '--model-name', MODEL, '--speedup-ratio', '10', ...planes],
    { ...env, DYN_SYSTEM_PORT: `${system}` },
  );
  const url = `http://127.0.0.1:${port}`;
  const ask = async (i: number) => {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, messages: [{ role: 'user', content: `day ${i}` }], max_tokens: 20 }),
    });
    return { ok: response.ok, text: await response.text() };
  };
  try {
    await until(
      'the front end to know the model',
      async () => (await (await fetch(`${url}/v1/models`)).text()).includes(MODEL),
      120,
    );
    const watched = await watch(world, url);
    const worker = await watch(world, `http://127.0.0.1:${system}/metrics`, 'dynamo');
    for (let i = 0; i < REQUESTS; i++) {
      const { ok, text } = await ask(i);
      if (!ok) throw new Error(`the front end answered ${text}`);
    }
    const seen = await watched.compare();
    expectSignals(world, seen, 'dynamo', [
      'inference.requests.finished',
      'gen_ai.server.time_to_first_token',
      'gen_ai.server.request.duration',
      'http.server.active_requests',
    ]);
    const finished = total(seen, 'inference.requests.finished');
    world.say(`front end: ${finished} requests finished of ${REQUESTS} asked`);
    if (finished !== REQUESTS) throw new Error(`${REQUESTS} requests were asked, ${finished} finished`);
    world.say("the worker's own page:");
    await worker.compare();
  } catch (error) {
    throw new Error(`${(error as Error).message}\nfrontend: ${frontend.output()}\nmocker: ${mocker.output()}`, {
      cause: error,
    });
  }
}
