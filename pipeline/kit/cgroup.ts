/**
 * Which container and pod a process belongs to, read off its cgroup path: Docker, containerd, CRI-O and Podman, under the
 * systemd and the cgroupfs driver, cgroup v1, v2 and hybrid. Pure; formats after the runtimes' and kubelet's sources.
 */

export interface CgroupPlace {
  /** Path in the unified hierarchy, if the process has one. */
  readonly unified?: string;
  /** Paths by v1 controller: `cpu`, `memory`, … */
  readonly controllers: Readonly<Record<string, string>>;
  /** 64 hex digits. */
  readonly containerId?: string;
  /** With dashes, lower case. */
  readonly podUid?: string;
}

const CONTAINER = /(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?:\/|$)/;
const POD = /pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(?=[./]|$)/;

/** Reads the text of /proc/PID/cgroup. */
export function parseCgroup(text: string): CgroupPlace {
  const controllers: Record<string, string> = {};
  let unified: string | undefined;
  let containerId: string | undefined;
  let podUid: string | undefined;
  for (const line of text.split('\n')) {
    const match = /^(\d+):([^:]*):(\/.*)$/.exec(line);
    if (!match) continue;
    const path = match[3]!;
    if (match[1] === '0' && match[2] === '') unified = path;
    else for (const name of match[2]!.split(',')) controllers[name] = path;
    containerId ??= CONTAINER.exec(path)?.[1];
    podUid ??= POD.exec(path)?.[1]?.replaceAll('_', '-');
  }
  return {
    controllers,
    ...(unified === undefined ? {} : { unified }),
    ...(containerId === undefined ? {} : { containerId }),
    ...(podUid === undefined ? {} : { podUid }),
  };
}
