/**
 * How far the analytic knee of capacity.ts is from the load that a deployment of the world really sustains: the largest
 * steady load (bisected, 160 s at gamma arrivals with cv 1.4) at which the time to first token neither grows over the run
 * nor exceeds 1.6 s. Measured on the simulator itself; by deployment, GPU and mix.
 */
type Row = Readonly<Record<string, Readonly<Record<string, number>>>>;

export const SUSTAINED: Readonly<Record<string, Row>> = {
  'agg-70b': {
    'H100-like': { chat: 0.73, rag: 0.97, code: 0.84, agentic: 0.55, 'chat+rag': 0.78, 'chat+code': 0.78 },
    'A100-like': { chat: 0.68, rag: 0.97, code: 0.84, agentic: 0.84, 'chat+rag': 0.91, 'chat+code': 0.68 },
    'MI300X-like': { chat: 0.97, rag: 0.91, code: 0.78, agentic: 0.78, 'chat+rag': 0.91, 'chat+code': 0.73 },
  },
  'agg-32b': {
    'H100-like': { chat: 1.21, rag: 1.12, code: 1.05, agentic: 0.47, 'chat+rag': 1.12, 'chat+code': 0.78 },
    'A100-like': { chat: 0.68, rag: 0.91, code: 0.55, agentic: 0.59, 'chat+rag': 0.84, 'chat+code': 0.68 },
    'MI300X-like': { chat: 1.12, rag: 1.05, code: 0.91, agentic: 0.55, 'chat+rag': 1.05, 'chat+code': 0.84 },
  },
  'agg-8b': {
    'H100-like': { chat: 1.4, rag: 1.3, code: 1.21, agentic: 0.63, 'chat+rag': 1.21, 'chat+code': 0.84 },
    'A100-like': { chat: 0.84, rag: 1.12, code: 1.05, agentic: 0.38, 'chat+rag': 0.97, 'chat+code': 0.84 },
    'MI300X-like': { chat: 1.4, rag: 1.3, code: 1.3, agentic: 0.59, 'chat+rag': 1.4, 'chat+code': 0.97 },
  },
  'pd-70b': {
    'H100-like': { chat: 0.36, rag: 0.84, code: 0.59, agentic: 0.38, 'chat+rag': 0.68, 'chat+code': 0.63 },
    'A100-like': { chat: 0.55, rag: 0.84, code: 0.84, agentic: 0.97, 'chat+rag': 0.84, 'chat+code': 0.68 },
  },
  'pd-32b': {
    'H100-like': { chat: 0.63, rag: 0.91, code: 0.73, agentic: 0.25, 'chat+rag': 0.78, 'chat+code': 0.68 },
    'A100-like': { chat: 0.47, rag: 0.78, code: 0.59, agentic: 0.59, 'chat+rag': 0.73, 'chat+code': 0.51 },
    'MI300X-like': { chat: 1.4, rag: 0.97, code: 0.78, agentic: 0.59, 'chat+rag': 0.84, 'chat+code': 0.78 },
  },
  pp: {
    'H100-like': { chat: 1.05, rag: 0.91, code: 0.78, agentic: 0.84, 'chat+rag': 0.84, 'chat+code': 0.68 },
    'A100-like': { chat: 0.6, rag: 0.91, code: 0.73, agentic: 1.12, 'chat+rag': 0.84, 'chat+code': 0.78 },
  },
  moe: {
    'H100-like': { chat: 1.5, rag: 0.84, code: 0.68, agentic: 0.33, 'chat+rag': 0.73, 'chat+code': 0.59 },
  },
};
