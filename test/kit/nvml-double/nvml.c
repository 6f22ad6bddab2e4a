/*
 * A double of libnvidia-ml.so.1 for tests: the functions that the nvidia_gpu receiver calls, with NVML's own signatures and
 * struct layouts, answering from a script. The script is the file `<path of this library>.script`; it is read again when it
 * changes. One `key value` a line:
 *
 *   count 2                        devices
 *   driver 550.54.15               versions; cuda 12040
 *   gpu.0.uuid GPU-…               what a device is and has; see each function below for its keys
 *   gpu.0.field.82 65              nvmlDeviceGetFieldValues, by field id; gpu.0.field.164.3 is scope (link) 3
 *   error.nvmlInit_v2 9            a function that fails, everywhere …
 *   gpu.0.error.nvmlDeviceGetTemperature 15    … or for one device; gpu.0.error.* for all functions of one device
 *   slow.nvmlDeviceGetPowerUsage 200           milliseconds that a call takes
 *   event.1 0 8 79                 the first event: device, type, data
 *
 * What the script does not say is NVML_ERROR_NOT_SUPPORTED. With -DOLD_DRIVER, functions of newer drivers are missing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

typedef int ret;
typedef unsigned long long ull;
enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMEOUT = 10 };

/* ---- script ---- */
struct entry { char *key; char *value; };
static struct entry *entries;
static int entry_count;
static char *text;
static struct timespec read_at;
static off_t read_size = -1;
static char path[4096];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int initialized;

static int by_key(const void *a, const void *b) {
  return strcmp(((const struct entry *)a)->key, ((const struct entry *)b)->key);
}

static void load(void) {
  if (!path[0]) {
    Dl_info info;
    dladdr((void *)load, &info);
    snprintf(path, sizeof path, "%s.script", info.dli_fname);
  }
  struct stat st;
  if (stat(path, &st) != 0) return;
  if (st.st_size == read_size && st.st_mtim.tv_sec == read_at.tv_sec && st.st_mtim.tv_nsec == read_at.tv_nsec) return;
  FILE *f = fopen(path, "r");
  if (!f) return;
  read_size = st.st_size;
  read_at = st.st_mtim;
  free(text);
  free(entries);
  text = calloc(1, st.st_size + 1);
  if (fread(text, 1, st.st_size, f) != (size_t)st.st_size) text[0] = 0;
  fclose(f);
  int lines = 1;
  for (char *p = text; *p; p++) lines += *p == '\n';
  entries = calloc(lines, sizeof *entries);
  entry_count = 0;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    char *space = strchr(line, ' ');
    if (!space || line[0] == '#') continue;
    *space = 0;
    entries[entry_count].key = line;
    entries[entry_count++].value = space + 1;
  }
  qsort(entries, entry_count, sizeof *entries, by_key);
}

static const char *get(const char *key) {
  struct entry probe = {(char *)key, 0};
  struct entry *found = bsearch(&probe, entries, entry_count, sizeof *entries, by_key);
  return found ? found->value : NULL;
}

static int number(const char *key, double *out) {
  const char *value = get(key);
  if (!value) return 0;
  *out = strtod(value, NULL);
  return 1;
}

/* A device handle is its index + 1; a MIG device is (parent + 1) * 100 + instance + 1. */
static void prefix(void *device, char *out, size_t size) {
  long id = (long)device;
  if (id > 100) snprintf(out, size, "gpu.%ld.mig.%ld", id / 100 - 1, id % 100 - 1);
  else snprintf(out, size, "gpu.%ld", id - 1);
}

static ret begin(void *device, const char *function) {
  char key[256], who[64];
  double value;
  pthread_mutex_lock(&lock);
  load();
  pthread_mutex_unlock(&lock);
  snprintf(key, sizeof key, "slow.%s", function);
  if (number(key, &value)) {
    struct timespec t = {(long)value / 1000, ((long)value % 1000) * 1000000L};
    nanosleep(&t, NULL);
  }
  snprintf(key, sizeof key, "error.%s", function);
  if (number(key, &value) && value != 0) return (ret)value;
  if (number("error.*", &value) && value != 0 && strcmp(function, "nvmlInit_v2") != 0) return (ret)value;
  if (!device) return OK;
  if (!initialized) return UNINITIALIZED;
  prefix(device, who, sizeof who);
  snprintf(key, sizeof key, "%s.error.%s", who, function);
  if (number(key, &value) && value != 0) return (ret)value;
  snprintf(key, sizeof key, "%s.error.*", who);
  if (number(key, &value) && value != 0) return (ret)value;
  return OK;
}

static int of(void *device, const char *name, double *out) {
  char key[256], who[64];
  prefix(device, who, sizeof who);
  snprintf(key, sizeof key, "%s.%s", who, name);
  return number(key, out);
}

static const char *word(void *device, const char *name) {
  char key[256], who[64];
  prefix(device, who, sizeof who);
  snprintf(key, sizeof key, "%s.%s", who, name);
  return get(key);
}

#define BEGIN(device) do { ret r = begin(device, __func__); if (r) return r; } while (0)

static ret give_uint(void *device, const char *name, unsigned *out) {
  double value;
  if (!of(device, name, &value)) return UNSUPPORTED;
  *out = (unsigned)(ull)value;
  return OK;
}
static ret give_ull(void *device, const char *name, ull *out) {
  double value;
  if (!of(device, name, &value)) return UNSUPPORTED;
  *out = (ull)value;
  return OK;
}
static ret give_text(const char *value, char *out, unsigned size) {
  if (!value) return UNSUPPORTED;
  if (strlen(value) + 1 > size) return TOO_SMALL;
  strcpy(out, value);
  return OK;
}
static ret give_numbered(void *device, const char *name, unsigned i, unsigned *out) {
  char key[64];
  snprintf(key, sizeof key, "%s.%u", name, i);
  return give_uint(device, key, out);
}

/* ---- the library ---- */
ret nvmlInit_v2(void) { BEGIN(NULL); initialized = 1; return OK; }
ret nvmlShutdown(void) { BEGIN(NULL); initialized = 0; return OK; }
ret nvmlSystemGetDriverVersion(char *out, unsigned size) { BEGIN(NULL); return give_text(get("driver"), out, size); }
ret nvmlSystemGetNVMLVersion(char *out, unsigned size) { BEGIN(NULL); return give_text(get("nvml"), out, size); }
ret nvmlSystemGetCudaDriverVersion_v2(int *out) {
  double value;
  BEGIN(NULL);
  if (!number("cuda", &value)) return UNSUPPORTED;
  *out = (int)value;
  return OK;
}
ret nvmlDeviceGetCount_v2(unsigned *out) {
  double value = 0;
  BEGIN(NULL);
  if (!initialized) return UNINITIALIZED;
  number("count", &value);
  *out = (unsigned)value;
  return OK;
}
ret nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
  double count = 0;
  BEGIN(NULL);
  number("count", &count);
  if (index >= (unsigned)count) return INVALID;
  *out = (void *)(long)(index + 1);
  char key[64];
  double value;
  snprintf(key, sizeof key, "gpu.%u.error.%s", index, __func__);
  if (number(key, &value)) return (ret)value;
  return OK;
}

/* ---- who a device is ---- */
ret nvmlDeviceGetName(void *d, char *out, unsigned size) { BEGIN(d); return give_text(word(d, "name"), out, size); }
ret nvmlDeviceGetUUID(void *d, char *out, unsigned size) { BEGIN(d); return give_text(word(d, "uuid"), out, size); }
ret nvmlDeviceGetSerial(void *d, char *out, unsigned size) { BEGIN(d); return give_text(word(d, "serial"), out, size); }
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
static ret give_pci(const char *value, struct pci *out) {
  if (!value) return UNSUPPORTED;
  memset(out, 0, sizeof *out);
  snprintf(out->bus_id, sizeof out->bus_id, "%s", value);
  return OK;
}
ret nvmlDeviceGetPciInfo_v3(void *d, struct pci *out) { BEGIN(d); return give_pci(word(d, "pci"), out); }

/* ---- numbers ---- */
ret nvmlDeviceGetUtilizationRates(void *d, unsigned *out) {
  BEGIN(d);
  ret r = give_uint(d, "utilization", &out[0]);
  if (r == OK && give_uint(d, "memory_utilization", &out[1])) out[1] = 0;
  return r;
}
ret nvmlDeviceGetEncoderUtilization(void *d, unsigned *out, unsigned *period) { BEGIN(d); *period = 100000; return give_uint(d, "encoder", out); }
ret nvmlDeviceGetDecoderUtilization(void *d, unsigned *out, unsigned *period) { BEGIN(d); *period = 100000; return give_uint(d, "decoder", out); }
ret nvmlDeviceGetMemoryInfo(void *d, ull *out) {
  double total, used = 0, reserved = 0;
  BEGIN(d);
  if (!of(d, "memory.total", &total)) return UNSUPPORTED;
  of(d, "memory.used", &used);
  of(d, "memory.reserved", &reserved);
  out[0] = (ull)total;
  out[1] = (ull)(total - used - reserved);
  out[2] = (ull)(used + reserved);
  return OK;
}
ret nvmlDeviceGetBAR1MemoryInfo(void *d, ull *out) {
  double total, used = 0;
  BEGIN(d);
  if (!of(d, "bar1.total", &total)) return UNSUPPORTED;
  of(d, "bar1.used", &used);
  out[0] = (ull)total;
  out[1] = (ull)(total - used);
  out[2] = (ull)used;
  return OK;
}
ret nvmlDeviceGetPowerUsage(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "power", out); }
ret nvmlDeviceGetEnforcedPowerLimit(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "power.enforced", out); }
ret nvmlDeviceGetPowerManagementLimit(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "power.limit", out); }
ret nvmlDeviceGetPowerManagementDefaultLimit(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "power.default", out); }
ret nvmlDeviceGetTotalEnergyConsumption(void *d, ull *out) { BEGIN(d); return give_ull(d, "energy", out); }
ret nvmlDeviceGetTemperature(void *d, unsigned sensor, unsigned *out) { BEGIN(d); return sensor ? INVALID : give_uint(d, "temperature", out); }
ret nvmlDeviceGetTemperatureThreshold(void *d, unsigned type, unsigned *out) { BEGIN(d); return give_numbered(d, "threshold", type, out); }
ret nvmlDeviceGetClockInfo(void *d, unsigned type, unsigned *out) { BEGIN(d); return give_numbered(d, "clock", type, out); }
ret nvmlDeviceGetMaxClockInfo(void *d, unsigned type, unsigned *out) { BEGIN(d); return give_numbered(d, "clock.max", type, out); }
ret nvmlDeviceGetApplicationsClock(void *d, unsigned type, unsigned *out) { BEGIN(d); return give_numbered(d, "clock.application", type, out); }
ret nvmlDeviceGetCurrentClocksThrottleReasons(void *d, ull *out) { BEGIN(d); return give_ull(d, "reasons", out); }
ret nvmlDeviceGetViolationStatus(void *d, unsigned policy, ull *out) {
  char key[32];
  BEGIN(d);
  snprintf(key, sizeof key, "violation.%u", policy);
  out[0] = 0;
  return give_ull(d, key, &out[1]);
}
ret nvmlDeviceGetCurrPcieLinkGeneration(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "pcie.generation", out); }
ret nvmlDeviceGetMaxPcieLinkGeneration(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "pcie.generation.max", out); }
ret nvmlDeviceGetCurrPcieLinkWidth(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "pcie.width", out); }
ret nvmlDeviceGetMaxPcieLinkWidth(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "pcie.width.max", out); }
ret nvmlDeviceGetPcieReplayCounter(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "pcie.replays", out); }
ret nvmlDeviceGetPcieThroughput(void *d, unsigned counter, unsigned *out) { BEGIN(d); return give_numbered(d, "pcie.throughput", counter, out); }
ret nvmlDeviceGetNvLinkState(void *d, unsigned link, unsigned *out) { BEGIN(d); return give_numbered(d, "nvlink.state", link, out); }
ret nvmlDeviceGetNvLinkErrorCounter(void *d, unsigned link, unsigned counter, ull *out) {
  char key[64];
  BEGIN(d);
  snprintf(key, sizeof key, "nvlink.error.%u.%u", link, counter);
  return give_ull(d, key, out);
}
ret nvmlDeviceGetNvLinkRemotePciInfo_v2(void *d, unsigned link, struct pci *out) {
  char key[64];
  BEGIN(d);
  snprintf(key, sizeof key, "nvlink.remote.%u", link);
  return give_pci(word(d, key), out);
}
ret nvmlDeviceGetTotalEccErrors(void *d, unsigned type, unsigned counter, ull *out) {
  char key[64];
  BEGIN(d);
  snprintf(key, sizeof key, "ecc.%u.%u", type, counter);
  return give_ull(d, key, out);
}
ret nvmlDeviceGetRetiredPages(void *d, unsigned cause, unsigned *count, ull *addresses) {
  BEGIN(d);
  (void)addresses;
  unsigned wanted;
  ret r = give_numbered(d, "retired", cause, &wanted);
  if (r) return r;
  ret answer = *count < wanted ? TOO_SMALL : OK;
  *count = wanted;
  return answer;
}
ret nvmlDeviceGetRetiredPagesPendingStatus(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "retired.pending", out); }
ret nvmlDeviceGetPerformanceState(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "pstate", out); }

/* ---- field values ---- */
struct field { unsigned id, scope; int64_t timestamp, latency; unsigned type, answer; union { double d; unsigned u; ull l; } value; };
ret nvmlDeviceGetFieldValues(void *d, int count, struct field *fields) {
  BEGIN(d);
  for (int i = 0; i < count; i++) {
    char key[64];
    double value;
    if (fields[i].scope) snprintf(key, sizeof key, "field.%u.%u", fields[i].id, fields[i].scope);
    else snprintf(key, sizeof key, "field.%u", fields[i].id);
    fields[i].type = 3;
    fields[i].timestamp = 1;
    if (of(d, key, &value)) {
      fields[i].answer = OK;
      fields[i].value.l = (ull)value;
      if (strstr(word(d, key), " uint")) {
        fields[i].type = 1;
        fields[i].value.l = 0xdeadbeef00000000ull;
        fields[i].value.u = (unsigned)(ull)value;
      } else if (strstr(word(d, key), " double")) {
        fields[i].type = 0;
        fields[i].value.d = value;
      }
    } else fields[i].answer = UNSUPPORTED;
  }
  return OK;
}

/* ---- processes: `gpu.0.processes 2`, `gpu.0.process.0 PID BYTES`, `gpu.0.sample.0 PID TIME SM MEMORY ENCODER DECODER` ---- */
struct process { unsigned pid; ull bytes; unsigned gpu_instance, compute_instance; };
static ret give_processes(void *d, const char *list, const char *item, unsigned *count, struct process *out) {
  double n;
  if (!of(d, list, &n)) return UNSUPPORTED;
  unsigned room = *count;
  *count = (unsigned)n;
  if (n > room) return TOO_SMALL;
  for (unsigned i = 0; i < (unsigned)n; i++) {
    char key[64];
    snprintf(key, sizeof key, "%s.%u", item, i);
    const char *value = word(d, key);
    out[i].gpu_instance = out[i].compute_instance = 0xffffffff;
    if (!value || sscanf(value, "%u %llu", &out[i].pid, &out[i].bytes) != 2) return UNSUPPORTED;
  }
  return OK;
}
ret nvmlDeviceGetGraphicsRunningProcesses_v3(void *d, unsigned *count, struct process *out) {
  BEGIN(d);
  return give_processes(d, "graphics", "graphic", count, out);
}
struct sample { unsigned pid; ull time; unsigned sm, memory, encoder, decoder; };
ret nvmlDeviceGetProcessUtilization(void *d, struct sample *out, unsigned *count, ull since) {
  double n;
  BEGIN(d);
  if (!of(d, "samples", &n)) return UNSUPPORTED;
  struct sample found[256];
  unsigned kept = 0;
  for (unsigned i = 0; i < (unsigned)n && i < 256; i++) {
    char key[64];
    snprintf(key, sizeof key, "sample.%u", i);
    const char *value = word(d, key);
    struct sample s;
    if (!value || sscanf(value, "%u %llu %u %u %u %u", &s.pid, &s.time, &s.sm, &s.memory, &s.encoder, &s.decoder) != 6) continue;
    if (s.time > since) found[kept++] = s;
  }
  unsigned room = out ? *count : 0;
  *count = kept;
  if (kept == 0) return NOT_FOUND;
  if (kept > room) return TOO_SMALL;
  memcpy(out, found, kept * sizeof *found);
  return OK;
}

/* ---- MIG: `gpu.0.mig 1`, `gpu.0.migs 2`, then gpu.0.mig.0.uuid … ---- */
ret nvmlDeviceGetMigMode(void *d, unsigned *current, unsigned *pending) { BEGIN(d); *pending = 0; return give_uint(d, "mig", current); }
ret nvmlDeviceGetMaxMigDeviceCount(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "migs.max", out); }
ret nvmlDeviceGetMigDeviceHandleByIndex(void *d, unsigned index, void **out) {
  char key[64];
  BEGIN(d);
  snprintf(key, sizeof key, "mig.%u.uuid", index);
  if (!word(d, key)) return NOT_FOUND;
  *out = (void *)((long)d * 100 + (long)index + 1);
  return OK;
}
ret nvmlDeviceGetGpuInstanceId(void *d, unsigned *out) { BEGIN(d); return give_uint(d, "instance", out); }

/* ---- events ---- */
static long events_given;
ret nvmlEventSetCreate(void **out) { BEGIN(NULL); *out = (void *)1; return OK; }
ret nvmlEventSetFree(void *set) { BEGIN(NULL); (void)set; return OK; }
ret nvmlDeviceGetSupportedEventTypes(void *d, ull *out) { BEGIN(d); *out = 0x1 | 0x2 | 0x8; return OK; }
ret nvmlDeviceRegisterEvents(void *d, ull types, void *set) { BEGIN(d); (void)types; (void)set; return OK; }
struct event { void *device; ull type, data; unsigned gpu_instance, compute_instance; };
ret nvmlEventSetWait_v2(void *set, struct event *out, unsigned timeout_ms) {
  (void)set;
  /* A driver sleeps in the kernel here; looking more often would be the double's cost, not ours. */
  for (unsigned waited = 0;; waited += 50) {
    BEGIN(NULL);
    char key[64];
    long device;
    snprintf(key, sizeof key, "event.%ld", events_given + 1);
    const char *value = get(key);
    if (value && sscanf(value, "%ld %llu %llu", &device, &out->type, &out->data) == 3) {
      out->device = (void *)(device + 1);
      out->gpu_instance = out->compute_instance = 0xffffffff;
      events_given++;
      return OK;
    }
    if (waited >= timeout_ms) return TIMEOUT;
    struct timespec t = {0, 50000000L};
    nanosleep(&t, NULL);
  }
}

/* ---- what older drivers lack ---- */
#ifndef OLD_DRIVER
struct memory_v2 { unsigned version; ull total, reserved, free, used; };
ret nvmlDeviceGetMemoryInfo_v2(void *d, struct memory_v2 *out) {
  double total, used = 0, reserved = 0;
  BEGIN(d);
  if (out->version != (sizeof *out | (2u << 24))) return 25;
  if (!of(d, "memory.total", &total)) return UNSUPPORTED;
  of(d, "memory.used", &used);
  of(d, "memory.reserved", &reserved);
  out->total = (ull)total;
  out->reserved = (ull)reserved;
  out->used = (ull)used;
  out->free = (ull)(total - used - reserved);
  return OK;
}
ret nvmlDeviceGetCurrentClocksEventReasons(void *d, ull *out) { BEGIN(d); return give_ull(d, "reasons", out); }
ret nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *count, struct process *out) {
  BEGIN(d);
  return give_processes(d, "processes", "process", count, out);
}
ret nvmlDeviceGetRemappedRows(void *d, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
  double value;
  BEGIN(d);
  if (!of(d, "remapped.corrected", &value)) return UNSUPPORTED;
  *corrected = (unsigned)value;
  *uncorrected = of(d, "remapped.uncorrected", &value) ? (unsigned)value : 0;
  *pending = of(d, "remapped.pending", &value) ? (unsigned)value : 0;
  *failed = of(d, "remapped.failed", &value) ? (unsigned)value : 0;
  return OK;
}
struct support { unsigned version, supported; };
ret nvmlGpmQueryDeviceSupport(void *d, struct support *out) {
  double value;
  BEGIN(d);
  if (out->version != 1) return 25;
  out->supported = of(d, "gpm", &value) ? (unsigned)value : 0;
  return OK;
}
ret nvmlGpmSampleAlloc(void **out) { BEGIN(NULL); *out = calloc(1, sizeof(long)); return OK; }
ret nvmlGpmSampleFree(void *sample) { BEGIN(NULL); free(sample); return OK; }
ret nvmlGpmSampleGet(void *d, void *sample) { BEGIN(d); *(long *)sample = (long)d; return OK; }
struct gpm { unsigned id, answer; double value; char *names[3]; };
struct gpm_get { unsigned version, count; void *first, *second; struct gpm metrics[]; };
ret nvmlGpmMetricsGet(struct gpm_get *get_) {
  BEGIN(NULL);
  if (get_->version != 1) return 25;
  void *d = (void *)*(long *)get_->second;
  if (*(long *)get_->first == 0) return INVALID;
  for (unsigned i = 0; i < get_->count; i++) {
    char key[32];
    double value;
    snprintf(key, sizeof key, "gpm.%u", get_->metrics[i].id);
    get_->metrics[i].answer = of(d, key, &value) ? OK : UNSUPPORTED;
    get_->metrics[i].value = value;
  }
  return OK;
}
#endif
