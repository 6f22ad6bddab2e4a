/** Every detector, in the order in which the documentation shows them. */
import type { AnyDetector } from '../detector.ts';
import adapterThrash from './adapter-thrash.ts';
import admissionLimited from './admission-limited.ts';
import capacityKnee from './capacity-knee.ts';
import clockAnomaly from './clock-anomaly.ts';
import coldStart from './cold-start.ts';
import collectiveStall from './collective-stall.ts';
import commBound from './comm-bound.ts';
import commTransportFallback from './comm-transport-fallback.ts';
import crashLoop from './crash-loop.ts';
import cudagraphFallback from './cudagraph-fallback.ts';
import decodeBandwidthBound from './decode-bandwidth-bound.ts';
import decodeUnderbatched from './decode-underbatched.ts';
import dpImbalance from './dp-imbalance.ts';
import eccDegradation from './ecc-degradation.ts';
import engineStall from './engine-stall.ts';
import epImbalance from './ep-imbalance.ts';
import frontendBound from './frontend-bound.ts';
import gpuHwFault from './gpu-hw-fault.ts';
import gpuOomRisk from './gpu-oom-risk.ts';
import grammarBound from './grammar-bound.ts';
import headOfLineBlocking from './head-of-line-blocking.ts';
import hostBound from './host-bound.ts';
import kvExhaustionForecast from './kv-exhaustion-forecast.ts';
import kvFragmentation from './kv-fragmentation.ts';
import kvOffloadBound from './kv-offload-bound.ts';
import kvSaturation from './kv-saturation.ts';
import kvTransferBound from './kv-transfer-bound.ts';
import kvTransferFailure from './kv-transfer-failure.ts';
import networkCongestion from './network-congestion.ts';
import nicDegradation from './nic-degradation.ts';
import noisyNeighbourGpu from './noisy-neighbour-gpu.ts';
import noisyNeighbourHost from './noisy-neighbour-host.ts';
import nvlinkDegradation from './nvlink-degradation.ts';
import offeredLoadSurge from './offered-load-surge.ts';
import pcieDegradation from './pcie-degradation.ts';
import pdImbalance from './pd-imbalance.ts';
import powerThrottle from './power-throttle.ts';
import ppBubble from './pp-bubble.ts';
import ppStageImbalance from './pp-stage-imbalance.ts';
import preemptionThrash from './preemption-thrash.ts';
import prefillBound from './prefill-bound.ts';
import prefillDecodeInterference from './prefill-decode-interference.ts';
import prefixCacheCollapse from './prefix-cache-collapse.ts';
import queueSaturation from './queue-saturation.ts';
import regression from './regression.ts';
import replicaOutlier from './replica-outlier.ts';
import replicaUnavailable from './replica-unavailable.ts';
import routerImbalance from './router-imbalance.ts';
import routerOverhead from './router-overhead.ts';
import sloBurn from './slo-burn.ts';
import slowLink from './slow-link.ts';
import specDecodeRegression from './spec-decode-regression.ts';
import telemetryUntrustworthy from './telemetry-untrustworthy.ts';
import thermalThrottle from './thermal-throttle.ts';
import tpStraggler from './tp-straggler.ts';
import workloadShift from './workload-shift.ts';

export const detectors: readonly AnyDetector[] = [
  kvSaturation,
  preemptionThrash,
  kvFragmentation,
  gpuOomRisk,
  kvExhaustionForecast,
  kvOffloadBound,
  queueSaturation,
  headOfLineBlocking,
  admissionLimited,
  offeredLoadSurge,
  workloadShift,
  capacityKnee,
  prefillBound,
  decodeBandwidthBound,
  decodeUnderbatched,
  prefillDecodeInterference,
  hostBound,
  frontendBound,
  cudagraphFallback,
  grammarBound,
  specDecodeRegression,
  adapterThrash,
  prefixCacheCollapse,
  tpStraggler,
  collectiveStall,
  commBound,
  slowLink,
  commTransportFallback,
  ppBubble,
  ppStageImbalance,
  dpImbalance,
  epImbalance,
  kvTransferBound,
  kvTransferFailure,
  routerImbalance,
  pdImbalance,
  routerOverhead,
  replicaOutlier,
  replicaUnavailable,
  thermalThrottle,
  powerThrottle,
  clockAnomaly,
  gpuHwFault,
  eccDegradation,
  pcieDegradation,
  nvlinkDegradation,
  nicDegradation,
  networkCongestion,
  noisyNeighbourGpu,
  noisyNeighbourHost,
  engineStall,
  crashLoop,
  coldStart,
  sloBurn,
  regression,
  telemetryUntrustworthy,
];
