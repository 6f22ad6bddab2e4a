/** Disks (/proc/diskstats) and file systems (statfs of what /proc/self/mounts lists): what loads models. */
import { sum } from '../../pipeline/model.ts';
import type { Host, Reader } from './reader.ts';

const IO = sum('system.disk.io', 'By', 'Bytes read and written');
const OPERATIONS = sum('system.disk.operations', '{operation}', 'Reads and writes');
const OPERATION_TIME = sum('system.disk.operation_time', 's', 'Time all reads and writes took together');
const IO_TIME = sum('system.disk.io_time', 's', 'Time with at least one operation under way');
const PENDING = sum('system.disk.pending', '{operation}', 'Operations under way', false);
const FS_USAGE = sum('system.filesystem.usage', 'By', 'File system space by state', false);
const FS_LIMIT = sum('system.filesystem.limit', 'By', 'File system size', false);

/** Partitions and devices that only stand for others, as node_exporter leaves them out. */
const SKIP = /^(?:z?ram|loop|fd|sr|(?:h|s|v|xv)d[a-z]+|nvme\d+n\d+p)\d+$/;
/** The kernel's unit in diskstats, whatever the device's. */
const SECTOR = 512;

export function diskReader({ tree, node }: Host): Reader {
  const known = new Map<string, ReturnType<typeof names>>();
  const names = (device: string) => ({
    device: { 'system.device': device },
    read: { 'system.device': device, 'disk.io.direction': 'read' },
    write: { 'system.device': device, 'disk.io.direction': 'write' },
  });
  return (round) => {
    for (const line of tree.read('/proc/diskstats')?.split('\n') ?? []) {
      const columns = line.trim().split(/\s+/);
      const device = columns[2];
      if (device === undefined || columns.length < 14 || SKIP.test(device)) continue;
      let at = known.get(device);
      if (!at) {
        at = names(device);
        known.set(device, at);
      }
      const n = (column: number) => Number(columns[column]);
      // Never used: a hundred empty loop-like devices would only be noise.
      if (n(3) === 0 && n(7) === 0) continue;
      round.add(node, OPERATIONS, n(3), at.read);
      round.add(node, IO, n(5) * SECTOR, at.read);
      round.add(node, OPERATION_TIME, n(6) / 1000, at.read);
      round.add(node, OPERATIONS, n(7), at.write);
      round.add(node, IO, n(9) * SECTOR, at.write);
      round.add(node, OPERATION_TIME, n(10) / 1000, at.write);
      round.add(node, PENDING, n(11), at.device);
      round.add(node, IO_TIME, n(12) / 1000, at.device);
    }
  };
}

/** Only file systems that hold files: not the kernel's windows, not network mounts, whose statfs can hang. */
const REAL = new Set(['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'zfs', 'f2fs', 'vfat', 'overlay', 'tmpfs']);
const MAX_MOUNTS = 64;

export function filesystemReader({ tree, node }: Host): Reader {
  return (round) => {
    const seen = new Set<string>();
    for (const line of tree.read('/proc/self/mounts')?.split('\n') ?? []) {
      const [device, escaped, type] = line.split(' ');
      if (!device || !escaped || !type || !REAL.has(type) || seen.size >= MAX_MOUNTS) continue;
      const mountpoint = escaped.replace(/\\([0-7]{3})/g, (_m, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      );
      // A device mounted in several places is one file system; bind mounts of single files are of no interest.
      if (type !== 'tmpfs' && type !== 'overlay' && seen.has(device)) continue;
      if (/^\/(?:proc|sys|dev\/(?!shm)|run\/(?:user|secrets|credentials))/.test(mountpoint)) continue;
      seen.add(type === 'tmpfs' || type === 'overlay' ? mountpoint : device);
      // Another user's mount, or one that has just gone, has no space to tell; the others still count.
      const space = tree.space(mountpoint);
      if (!space || space.size === 0) continue;
      const place = { 'system.device': device, 'system.filesystem.mountpoint': mountpoint };
      const of = (state: string) => ({ ...place, 'system.filesystem.state': state });
      round.add(node, FS_LIMIT, space.size, place);
      round.add(node, FS_USAGE, space.size - space.free, of('used'));
      round.add(node, FS_USAGE, space.available, of('free'));
      round.add(node, FS_USAGE, space.free - space.available, of('reserved'));
    }
  };
}
