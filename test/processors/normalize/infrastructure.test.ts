import { describe, expect, test } from 'vitest';
import { neutralText, running, shown, target } from './run.ts';

describe('dcgm-exporter', () => {
  const labels = (host: string) =>
    `gpu="3",UUID="GPU-1",pci_bus_id="00000000:17:00.0",device="nvidia3",modelName="H100",${host}="n1",DCGM_FI_DRIVER_VERSION="580.1"`;
  const who =
    '@ host.name=n1 hw.driver_version=580.1 hw.gpu.index=3 hw.gpu.pci_bus_id=0000:17:00.0 hw.id=GPU-1 hw.model=H100 hw.vendor=nvidia';

  test.each(['Hostname', 'hostname'])('scales to base units; the host is the label %s', async (host) => {
    const l = labels(host);
    const page = `
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{${l}} 1410
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{${l}} 1000
# TYPE DCGM_FI_DEV_FB_FREE gauge
DCGM_FI_DEV_FB_FREE{${l}} 20
# TYPE DCGM_FI_DEV_FB_RESERVED gauge
DCGM_FI_DEV_FB_RESERVED{${l}} 4
# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{${l}} 5000
# TYPE DCGM_FI_DEV_THERMAL_VIOLATION counter
DCGM_FI_DEV_THERMAL_VIOLATION{${l}} 2000000000
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{${l}} 90
# TYPE DCGM_FI_PROF_GR_ENGINE_ACTIVE gauge
DCGM_FI_PROF_GR_ENGINE_ACTIVE{${l}} 0.85
# TYPE DCGM_FI_PROF_PCIE_TX_BYTES counter
DCGM_FI_PROF_PCIE_TX_BYTES{${l}} 1000
`;
    expect(await neutralText(page)).toEqual([
      `hw.energy{hw.type=gpu} 5 J counter ${who}`,
      `hw.gpu.clock{clock=sm} 1410000000 Hz gauge ${who}`,
      `hw.gpu.io{link=pcie,network.io.direction=transmit} 1000 By/s gauge ${who}`,
      `hw.gpu.memory.limit 1073741824 By updown ${who}`,
      `hw.gpu.memory.usage 1048576000 By updown ${who}`,
      `hw.gpu.throttle{reason=thermal} 2 s counter ${who}`,
      `hw.gpu.utilization 0.85 1 gauge ${who}`,
    ]);
  });

  test('codes for "no data" are no values, and a code is not a count', async () => {
    const page = `
# TYPE DCGM_FI_DEV_MEMORY_TEMP gauge
DCGM_FI_DEV_MEMORY_TEMP{gpu="0",UUID="GPU-1"} 9223372036854775794
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-1"} 45
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1"} 140737488355328
# TYPE DCGM_FI_DEV_XID_ERRORS gauge
DCGM_FI_DEV_XID_ERRORS{gpu="0",UUID="GPU-1",err_code="79",err_msg="fallen off the bus"} 79
# TYPE DCGM_EXP_XID_ERRORS_COUNT counter
DCGM_EXP_XID_ERRORS_COUNT{gpu="0",UUID="GPU-1",xid="79",window_size_in_ms="300000"} 1
`;
    const at = '@ hw.gpu.index=0 hw.id=GPU-1 hw.vendor=nvidia';
    expect(await neutralText(page)).toEqual([
      `hw.errors{error.type=xid,xid=79} 1 {error} gauge ${at}`,
      `hw.errors{error.type=xid} 79 {code} gauge ${at}`,
      `hw.temperature{hw.sensor_location=gpu} 45 Cel gauge ${at}`,
    ]);
  });

  test.each([
    'DCGM_FI_DEV_CLOCK_THROTTLE_REASONS',
    'DCGM_FI_DEV_CLOCKS_EVENT_REASONS',
  ])('%s is one series a reason, 1 while it applies', async (name) => {
    const text = await neutralText(`# TYPE ${name} gauge\n${name}{UUID="GPU-1"} ${0x4 + 0x40}\n`);
    expect(text).toHaveLength(9);
    expect(text.filter((l) => l.includes('} 1 1 gauge'))).toEqual([
      'hw.gpu.throttle{reason=hw_thermal} 1 1 gauge @ hw.id=GPU-1 hw.vendor=nvidia',
      'hw.gpu.throttle{reason=sw_power_cap} 1 1 gauge @ hw.id=GPU-1 hw.vendor=nvidia',
    ]);
  });

  test('says which pod a GPU works for, not which pod the exporter runs in', async () => {
    const exporter = target({ 'k8s.pod.name': 'dcgm-x', 'k8s.namespace.name': 'monitoring', 'host.name': 'n1' });
    const page = `
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{UUID="GPU-1",Hostname="other",container="vllm",namespace="llm",pod="vllm-0"} 45
DCGM_FI_DEV_GPU_TEMP{UUID="GPU-2",Hostname="other"} 40
`;
    expect(await neutralText(page, exporter)).toEqual([
      'hw.temperature{hw.sensor_location=gpu} 40 Cel gauge @ hw.id=GPU-2 hw.vendor=nvidia',
      'hw.temperature{hw.sensor_location=gpu} 45 Cel gauge @ hw.id=GPU-1 hw.vendor=nvidia k8s.container.name=vllm k8s.namespace.name=llm k8s.pod.name=vllm-0',
    ]);
  });

  test('of volatile and lifetime error counts one counts; names of 1.x work', async () => {
    const page = `
# TYPE DCGM_FI_DEV_ECC_DBE_VOL_TOTAL counter
DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{UUID="GPU-1"} 1
# TYPE DCGM_FI_DEV_ECC_DBE_AGG_TOTAL counter
DCGM_FI_DEV_ECC_DBE_AGG_TOTAL{UUID="GPU-1"} 12
# TYPE DCGM_FI_DEV_ROW_REMAP_FAILURE gauge
DCGM_FI_DEV_ROW_REMAP_FAILURE{UUID="GPU-1"} 1
# TYPE dcgm_power_usage gauge
dcgm_power_usage{gpu="0",uuid="GPU-2"} 300
`;
    const at = 'hw.vendor=nvidia';
    expect(await neutralText(page)).toEqual([
      `hw.errors{error.type=uncorrected} 1 {error} counter @ hw.id=GPU-1 ${at}`,
      `hw.power{hw.type=gpu} 300 W gauge @ hw.gpu.index=0 hw.id=GPU-2 ${at}`,
      `hw.status{check=row_remap,hw.state=failed,hw.type=gpu} 1 1 updown @ hw.id=GPU-1 ${at}`,
    ]);
  });
});

describe('AMD device-metrics-exporter', () => {
  test('early builds: upper-case labels, other names', async () => {
    const l = 'GPU_UUID="u1",SERIAL_NUMBER="s1"';
    const page = `
# TYPE gpu_average_package_power gauge
gpu_average_package_power{${l}} 41
# TYPE gpu_power_usage gauge
gpu_power_usage{${l}} 42
# TYPE gpu_total_memory gauge
gpu_total_memory{${l}} 68702
# TYPE gpu_usage gauge
gpu_usage{${l}} 50
`;
    const at = '@ hw.id=u1 hw.serial_number=s1 hw.vendor=amd';
    expect(await neutralText(page)).toEqual([
      `hw.gpu.memory.limit 68702000000 By updown ${at}`,
      `hw.gpu.utilization 0.5 1 gauge ${at}`,
      `hw.power{hw.type=gpu} 42 W gauge ${at}`,
    ]);
  });

  test.each(['', 'amd_'])('gauges that only grow are counters; names behind "%s"', async (p) => {
    const l = 'gpu_id="2",serial_number="s1",hostname="n1",card_model="MI300X",gpu_partition_id="0"';
    const page = `
# TYPE ${p}gpu_gfx_activity gauge
${p}gpu_gfx_activity{${l}} 80
# TYPE ${p}gpu_total_vram gauge
${p}gpu_total_vram{${l}} 196592
# TYPE ${p}gpu_energy_consumed gauge
${p}gpu_energy_consumed{${l}} 7000000
# TYPE ${p}gpu_clock gauge
${p}gpu_clock{${l},clock_index="0",clock_type="system"} 2100
${p}gpu_clock{${l},clock_index="1",clock_type="system"} 1900
${p}gpu_clock{${l},clock_index="8",clock_type="memory"} 1300
# TYPE ${p}pcie_replay_count gauge
${p}pcie_replay_count{${l}} 3
# TYPE ${p}gpu_violation_socket_thermal_residency_accumulated gauge
${p}gpu_violation_socket_thermal_residency_accumulated{${l}} 5
`;
    const at =
      '@ host.name=n1 hw.gpu.index=2 hw.gpu.partition=0 hw.id=s1 hw.model=MI300X hw.serial_number=s1 hw.vendor=amd';
    expect(await neutralText(page)).toEqual([
      `hw.energy{hw.type=gpu} 7 J counter ${at}`,
      `hw.gpu.clock{clock=memory} 1300000000 Hz gauge ${at}`,
      `hw.gpu.clock{clock=sm} 2100000000 Hz gauge ${at}`,
      `hw.gpu.link.errors{error.type=replay,link=pcie} 3 {error} counter ${at}`,
      `hw.gpu.memory.limit 196592000000 By updown ${at}`,
      `hw.gpu.throttle{reason=thermal} 5 {sample} counter ${at}`,
      `hw.gpu.utilization 0.8 1 gauge ${at}`,
    ]);
  });
});

describe('node_exporter', () => {
  const page = `
# TYPE node_uname_info gauge
node_uname_info{nodename="n1",sysname="Linux"} 1
# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{cpu="0",mode="steal"} 5
node_cpu_seconds_total{cpu="0",mode="irq"} 1
# TYPE node_memory_MemTotal_bytes gauge
node_memory_MemTotal_bytes 1000
# TYPE node_memory_MemFree_bytes gauge
node_memory_MemFree_bytes 100
# TYPE node_memory_Buffers_bytes gauge
node_memory_Buffers_bytes 50
# TYPE node_memory_Cached_bytes gauge
node_memory_Cached_bytes 250
# TYPE node_pressure_cpu_waiting_seconds_total counter
node_pressure_cpu_waiting_seconds_total 7
# TYPE node_network_receive_bytes_total counter
node_network_receive_bytes_total{device="eth0"} 9
# TYPE node_network_speed_bytes gauge
node_network_speed_bytes{device="eth0"} 1250000000
node_network_speed_bytes{device="lo"} -1
# TYPE node_infiniband_port_transmit_wait_total counter
node_infiniband_port_transmit_wait_total{device="mlx5_0",port="1"} 4
# TYPE node_boot_time_seconds gauge
node_boot_time_seconds 1.69999e+09
# TYPE node_timex_offset_seconds gauge
node_timex_offset_seconds -0.002
# TYPE node_timex_sync_status gauge
node_timex_sync_status 1
`;

  test('is the host that its uname says, unless the configuration names it', async () => {
    const text = await neutralText(page);
    expect(text).toEqual([
      'hw.network.bandwidth.limit 1250000000 By/s gauge @ host.name=n1 network.interface.name=eth0',
      'hw.network.congestion{hw.nic.port=1,kind=transmit_wait} 4 {event} counter @ host.name=n1 hw.nic.device=mlx5_0',
      'system.clock.offset -0.002 s gauge @ host.name=n1',
      'system.clock.synchronized 1 1 gauge @ host.name=n1',
      'system.cpu.time{cpu.logical_number=0,cpu.mode=interrupt} 1 s counter @ host.name=n1',
      'system.cpu.time{cpu.logical_number=0,cpu.mode=steal} 5 s counter @ host.name=n1',
      'system.memory.limit 1000 By updown @ host.name=n1',
      'system.memory.usage{system.memory.state=buffers} 50 By updown @ host.name=n1',
      'system.memory.usage{system.memory.state=cached} 250 By updown @ host.name=n1',
      'system.memory.usage{system.memory.state=free} 100 By updown @ host.name=n1',
      'system.memory.usage{system.memory.state=used} 600 By updown @ host.name=n1',
      'system.network.io{network.interface.name=eth0,network.io.direction=receive} 9 By counter @ host.name=n1',
      'system.psi.time{kind=some,resource=cpu} 7 s counter @ host.name=n1',
      'system.uptime 10000 s gauge @ host.name=n1',
    ]);
    const named = await neutralText(page, target({ 'host.name': 'mine' }));
    expect(named).toContain('system.memory.limit 1000 By updown');
  });

  test('its textfiles can hold the NCCL inspector’s numbers', async () => {
    const nccl =
      '# TYPE nccl_bus_bandwidth_gbs gauge\nnccl_bus_bandwidth_gbs{node="n1",gpu="GPU2",comm_name="0x1",nranks="8",collective="AllReduce"} 200\n';
    expect(await neutralText(nccl)).toEqual([
      'inference.comm.bus_bandwidth{collective=AllReduce,comm.id=0x1,nranks=8} 200000000000 By/s gauge @ host.name=n1 hw.gpu.index=2',
    ]);
  });
});

describe('cAdvisor and kubelet', () => {
  test('take containers only: no slices, no pause containers, no totals of pods', async () => {
    const id = 'a'.repeat(64);
    const page = `
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{id="/",cpu="total"} 100
container_cpu_usage_seconds_total{id="/kubepods/pod1",namespace="llm",pod="p",cpu="total"} 20
container_cpu_usage_seconds_total{id="/kubepods/pod1/x",container="POD",image="pause",namespace="llm",pod="p",cpu="total"} 1
container_cpu_usage_seconds_total{id="/kubepods/pod1/${id}",container="vllm",image="vllm:1",name="${id}",namespace="llm",pod="p",cpu="total"} 19
# TYPE container_cpu_cfs_throttled_periods_total counter
container_cpu_cfs_throttled_periods_total{id="/kubepods/pod1/${id}",container="vllm",image="vllm:1",name="${id}",namespace="llm",pod="p"} 3
# TYPE container_spec_cpu_quota gauge
container_spec_cpu_quota{id="/kubepods/pod1/${id}",container="vllm",image="vllm:1",name="${id}",namespace="llm",pod="p"} 400000
# TYPE container_spec_cpu_period gauge
container_spec_cpu_period{id="/kubepods/pod1/${id}",container="vllm",image="vllm:1",name="${id}",namespace="llm",pod="p"} 100000
# TYPE container_spec_memory_limit_bytes gauge
container_spec_memory_limit_bytes{id="/kubepods/pod1/${id}",container="vllm",image="vllm:1",name="${id}",namespace="llm",pod="p"} 0
# TYPE container_network_receive_bytes_total counter
container_network_receive_bytes_total{id="/kubepods/pod1/x",interface="eth0",container="POD",image="pause",namespace="llm",pod="p"} 5
`;
    const pod = 'k8s.namespace.name=llm k8s.pod.name=p';
    const at = `@ container.id=${id} container.image.name=vllm:1 k8s.container.name=vllm ${pod}`;
    expect(await neutralText(page)).toEqual([
      `container.cpu.limit 4 {cpu} gauge ${at}`,
      `container.cpu.throttled.periods 3 {period} counter ${at}`,
      `container.cpu.time 19 s counter ${at}`,
      `k8s.pod.network.io{network.interface.name=eth0,network.io.direction=receive} 5 By counter @ container.image.name=pause ${pod}`,
    ]);
  });

  test('outside Kubernetes containers are known by their id', async () => {
    const id = 'b'.repeat(64);
    const page = `
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{id="/",image=""} 900
container_memory_working_set_bytes{id="/docker/${id}",image="vllm:1",name="happy_vllm"} 700
`;
    expect(await neutralText(page)).toEqual([
      `container.memory.working_set 700 By gauge @ container.id=${id} container.image.name=vllm:1`,
    ]);
  });

  test('the kubelet’s /metrics/resource', async () => {
    const page = `
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="vllm",namespace="llm",pod="p"} 700
# TYPE pod_cpu_usage_seconds_total counter
pod_cpu_usage_seconds_total{namespace="llm",pod="p"} 20
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 500
`;
    expect(await neutralText(page, target({ 'host.name': 'n1' }))).toEqual([
      'container.memory.working_set 700 By gauge @ k8s.container.name=vllm k8s.namespace.name=llm k8s.pod.name=p',
      'k8s.node.cpu.time 500 s counter',
      'k8s.pod.cpu.time 20 s counter @ k8s.namespace.name=llm k8s.pod.name=p',
    ]);
  });
});

test('kube-state-metrics speaks of other pods and nodes than its own', async () => {
  const own = target({ 'k8s.pod.name': 'ksm-0', 'k8s.namespace.name': 'kube-system', 'host.name': 'n9' });
  const page = `
# TYPE kube_pod_container_status_restarts_total counter
kube_pod_container_status_restarts_total{namespace="llm",pod="p",uid="u",container="vllm"} 3
# TYPE kube_pod_status_phase gauge
kube_pod_status_phase{namespace="llm",pod="p",uid="u",phase="Running"} 1
# TYPE kube_pod_container_resource_limits gauge
kube_pod_container_resource_limits{namespace="llm",pod="p",uid="u",container="vllm",node="n1",resource="nvidia_com_gpu",unit="integer"} 4
kube_pod_container_resource_limits{namespace="llm",pod="p",uid="u",container="vllm",node="n1",resource="memory",unit="byte"} 1024
# TYPE kube_deployment_status_replicas_available gauge
kube_deployment_status_replicas_available{namespace="llm",deployment="d"} 2
# TYPE kube_node_status_condition gauge
kube_node_status_condition{node="n1",condition="Ready",status="true"} 1
`;
  const { neutral } = await running();
  expect(shown(await neutral(own.read(page)))).toEqual([
    'k8s.container.gpu.limit{hw.vendor.resource=nvidia_com_gpu} 4 {gpu} gauge @ host.name=n1 k8s.container.name=vllm k8s.namespace.name=llm k8s.node.name=n1 k8s.pod.name=p k8s.pod.uid=u',
    'k8s.container.memory.limit 1024 By gauge @ host.name=n1 k8s.container.name=vllm k8s.namespace.name=llm k8s.node.name=n1 k8s.pod.name=p k8s.pod.uid=u',
    'k8s.container.restart.count 3 {restart} updown @ k8s.container.name=vllm k8s.namespace.name=llm k8s.pod.name=p k8s.pod.uid=u',
    'k8s.deployment.pod.available 2 {pod} updown @ k8s.deployment.name=d k8s.namespace.name=llm',
    'k8s.node.condition.status{k8s.node.condition.status=true,k8s.node.condition.type=Ready} 1 {node} updown @ host.name=n1 k8s.node.name=n1',
    'k8s.pod.status.phase{k8s.pod.status.phase=Running} 1 {pod} updown @ k8s.namespace.name=llm k8s.pod.name=p k8s.pod.uid=u',
  ]);
});
