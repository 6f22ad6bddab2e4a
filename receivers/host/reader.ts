/** What every group of the host receiver is given, and how a group is written: a function that reads and adds. */
import type { Probe, Round } from '../../pipeline/kit/probe.ts';
import type { Tree } from '../../pipeline/kit/tree.ts';
import type { Attributes, Resource } from '../../pipeline/model.ts';

export interface Host {
  readonly tree: Tree;
  readonly probe: Probe;
  /** The node. */
  readonly node: Resource;
  /** A resource of the node with more attributes; equal attributes give the same object. */
  part(attributes: Attributes): Resource;
}

/** Reads one group of things and adds what it found to the round. */
export type Reader = (round: Round) => void;

/** Clock ticks a second in /proc: fixed at 100 in the kernel's user interface, whatever CONFIG_HZ is. */
export const TICKS_PER_SECOND = 100;
