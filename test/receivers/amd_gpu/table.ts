/** Tables as the amdgpu driver lays them out: fields in the order of the kernel's header, aligned as a C compiler does. */

type Field = readonly [name: string, bits: 16 | 32 | 64, count?: number];

const MI300_TEMPERATURES: Field[] = [
  ['temperature_hotspot', 16],
  ['temperature_mem', 16],
  ['temperature_vrsoc', 16],
  ['curr_socket_power', 16],
  ['average_gfx_activity', 16],
  ['average_umc_activity', 16],
];
const ENERGY: Field[] = [
  ['energy_accumulator', 64],
  ['system_clock_counter', 64],
];
const MASK: Field[] = [
  ['throttle_status', 32],
  ['gfxclk_lock_status', 32],
];
const SAMPLES: Field[] = [
  ['accumulation_counter', 32],
  ['prochot_residency_acc', 32],
  ['ppt_residency_acc', 32],
  ['socket_thm_residency_acc', 32],
  ['vr_thm_residency_acc', 32],
  ['hbm_thm_residency_acc', 32],
  ['gfxclk_lock_status', 32],
];
const PCIE: Field[] = [
  ['pcie_link_width', 16],
  ['pcie_link_speed', 16],
  ['xgmi_link_width', 16],
  ['xgmi_link_speed', 16],
  ['gfx_activity_acc', 32],
  ['mem_activity_acc', 32],
  ['pcie_bandwidth_acc', 64],
  ['pcie_bandwidth_inst', 64],
  ['pcie_l0_to_recov_count_acc', 64],
  ['pcie_replay_count_acc', 64],
  ['pcie_replay_rover_count_acc', 64],
];
const NACKS: Field[] = [
  ['pcie_nak_sent_count_acc', 32],
  ['pcie_nak_rcvd_count_acc', 32],
];
const REST: Field[] = [
  ['xgmi_read_data_acc', 64, 8],
  ['xgmi_write_data_acc', 64, 8],
  ['firmware_timestamp', 64],
  ['current_gfxclk', 16, 8],
  ['current_socclk', 16, 4],
  ['current_vclk0', 16, 4],
  ['current_dclk0', 16, 4],
  ['current_uclk', 16],
  ['padding', 16],
];

const LAYOUTS: Record<string, readonly Field[]> = {
  '1.3': [
    ['temperature_edge', 16],
    ['temperature_hotspot', 16],
    ['temperature_mem', 16],
    ['temperature_vr', 16, 3],
    ['average_gfx_activity', 16],
    ['average_umc_activity', 16],
    ['average_mm_activity', 16],
    ['average_socket_power', 16],
    ['energy_accumulator', 64],
    ['system_clock_counter', 64],
    ['average_clocks', 16, 7],
    ['current_gfxclk', 16],
    ['current_socclk', 16],
    ['current_uclk', 16],
    ['current_video', 16, 4],
    ['throttle_status', 32],
    ['current_fan_speed', 16],
    ['pcie_link_width', 16],
    ['pcie_link_speed', 16],
    ['padding', 16],
    ['gfx_activity_acc', 32],
    ['mem_activity_acc', 32],
    ['temperature_hbm', 16, 4],
    ['firmware_timestamp', 64],
    ['voltages', 16, 3],
    ['padding1', 16],
    ['indep_throttle_status', 64],
  ],
  '1.4': [...MI300_TEMPERATURES, ['vcn_activity', 16, 4], ...ENERGY, ...MASK, ...PCIE, ...REST],
  '1.5': [
    ...MI300_TEMPERATURES,
    ['vcn_activity', 16, 4],
    ['jpeg_activity', 16, 32],
    ...ENERGY,
    ...MASK,
    ...PCIE,
    ...NACKS,
    ...REST,
  ],
  '1.6': [...MI300_TEMPERATURES, ...ENERGY, ...SAMPLES, ...PCIE, ...NACKS, ...REST],
  '1.7': [...MI300_TEMPERATURES, ['mem_max_bandwidth', 64], ...ENERGY, ...SAMPLES, ...PCIE, ...NACKS, ...REST],
};

/** A table in which fields that are not named say that there is nothing (all ones). */
export function metricsTable(
  version: string,
  values: Readonly<Record<string, number | bigint | readonly number[]>>,
): Buffer {
  const table = Buffer.alloc(4096, 0xff);
  let at = 4;
  for (const [name, bits, count = 1] of LAYOUTS[version]!) {
    const bytes = bits / 8;
    at = Math.ceil(at / bytes) * bytes;
    const given = values[name];
    const list = Array.isArray(given) ? given : given === undefined ? [] : [given as number | bigint];
    for (let i = 0; i < count; i++, at += bytes) {
      const value = list[i];
      if (value === undefined) continue;
      if (bits === 16) table.writeUInt16LE(Number(value), at);
      else if (bits === 32) table.writeUInt32LE(Number(value), at);
      else table.writeBigUInt64LE(BigInt(value), at);
    }
  }
  const size = Math.ceil(at / 8) * 8;
  table.writeUInt16LE(size, 0);
  table[2] = Number(version.split('.')[0]);
  table[3] = Number(version.split('.')[1]);
  return table.subarray(0, size);
}
