/** Transfers between NICs: every flow gets its fair share of both ends, and shares change when flows come and go. */
import type { Flow, Nic, World } from './types.ts';

const PACKET = 4096;

function progress(w: World, flow: Flow): void {
  const moved = Math.min(flow.bytesLeft, flow.rate * (w.now - flow.updated));
  flow.updated = w.now;
  if (moved <= 0) return;
  flow.bytesLeft -= moved;
  if (flow.tcp) {
    flow.from.node.eth.tx += moved;
    flow.to.node.eth.rx += moved;
    flow.from.node.eth.retransmitted += moved / 1400 / 4000;
    return;
  }
  const packets = Math.ceil(moved / PACKET);
  flow.from.txBytes += moved;
  flow.to.rxBytes += moved;
  flow.from.txPackets += packets;
  flow.to.rxPackets += packets;
  for (const nic of [flow.from, flow.to]) {
    const lost = packets * nic.fault.retransmitShare;
    nic.retransmits += lost * 0.6;
    nic.outOfSequence += lost * 0.4;
  }
}

export const nicRate = (nic: Nic): number => nic.lineRate * (1 - nic.fault.rate) * (1 - nic.fault.congestion);

/** Recomputes every flow's share; call after anything changed a NIC. */
export function reshare(w: World): void {
  for (const flow of w.flows) progress(w, flow);
  for (const flow of w.flows) {
    const out = nicRate(flow.from) / flow.from.out.size;
    const into = nicRate(flow.to) / flow.to.in.size;
    flow.rate = Math.max(1e3, Math.min(flow.cap, out, into));
    const version = ++flow.version;
    w.queue.at(w.now + flow.bytesLeft / flow.rate, () => {
      if (flow.version === version) finish(w, flow);
    });
  }
}

function finish(w: World, flow: Flow): void {
  progress(w, flow);
  drop(w, flow);
  flow.done?.(w.now);
}

function drop(w: World, flow: Flow): void {
  flow.version = -1;
  w.flows.delete(flow);
  flow.from.out.delete(flow);
  flow.to.in.delete(flow);
  reshare(w);
}

/** Sends bytes from one NIC to another; `done` is called once, when the last byte has arrived. */
export function send(
  w: World,
  from: Nic,
  to: Nic,
  bytes: number,
  cap: number,
  tcp: boolean,
  done: (at: number) => void,
): Flow {
  const flow: Flow = {
    from,
    to,
    bytesLeft: bytes,
    rate: 0,
    updated: w.now,
    cap,
    version: 0,
    started: w.now,
    total: bytes,
    tcp,
    done,
  };
  w.flows.add(flow);
  from.out.add(flow);
  to.in.add(flow);
  reshare(w);
  return flow;
}
