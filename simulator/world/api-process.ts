/** The API process in front of an engine core: HTTP, tokenizer, detokenizer, one core's worth of Python per server. */
import { REQUEST, type Replica, type Request, type World } from './types.ts';

/** Through the replica's API process into its core: tokenizing takes CPU, and a busy process makes it wait. */
export function toEngine(w: World, request: Request, rep: Replica, then: () => void): void {
  const cost = (0.0011 + 1.1e-6 * request.promptTokens) * rep.knobs.apiScale;
  rep.api.demandS += cost;
  rep.cpu.api += cost;
  const use = Math.min(0.97, rep.api.use);
  const wait = rep.api.backlogS + (cost * rep.hostSlow) / (1 - use);
  // The engine's own clock starts when its handler runs, after the wait for the event loop.
  const handled = w.now + rep.api.backlogS + 0.0003 + (use * cost * rep.hostSlow) / (1 - use);
  const life = rep.life;
  w.queue.at(w.now + wait + 0.0004, () => {
    if (request.state === REQUEST.aborted) return;
    request.engineArrival = handled;
    if (rep.life !== life || rep.state === 'down' || rep.state === 'loading') {
      request.state = REQUEST.aborted;
      request.finished = w.now;
      request.onEnd?.(request, 'error');
      return;
    }
    then();
  });
}
