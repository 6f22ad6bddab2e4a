/** Why a clock is lowered: NVML's bits and nvidia-smi's words, under the names that `normalize` gives to DCGM's. */
const BITS: readonly (readonly [bit: number, reason: string])[] = [
  [0x1, 'idle'],
  [0x2, 'applications_clocks'],
  [0x4, 'sw_power_cap'],
  [0x8, 'hw_slowdown'],
  [0x10, 'sync_boost'],
  [0x20, 'sw_thermal'],
  [0x40, 'hw_thermal'],
  [0x80, 'hw_power_brake'],
  [0x100, 'display_clocks'],
];

export const REASONS: readonly string[] = BITS.map(([, reason]) => reason);

/** The reasons in a mask. */
export const activeReasons = (bits: number): string[] =>
  BITS.filter(([bit]) => (bits & bit) !== 0).map(([, reason]) => reason);
