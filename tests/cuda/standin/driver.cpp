// The driver's functions: memory is the host's, kernels are those that registered themselves (standin.h). Work is done
// when a call returns, or put off until something waits for it (streams.h).
#include <stdlib.h>
#include <time.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "streams.h"

#define API extern "C" __attribute__((visibility("default")))

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#else
#define ASAN 0
#endif

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct Context* CUcontext;
typedef struct Stream* CUstream;
typedef struct Event* CUevent;
typedef struct Module* CUmodule;
typedef struct Function* CUfunction;
typedef struct Pool* CUmemoryPool;

enum : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    NOT_SUPPORTED = 801,
};

struct Context {
    int device;
};
struct Stream {
    standin::Line line;
};
struct Event {
    bool times;
    // what it was recorded after last, and when that was done
    standin::Mark mark;
    std::shared_ptr<double> at;
};
struct Module {
    int device;
};
struct Function {
    std::string name;
    const standin::Kernel* kernel;  // none: launching it is an error
    size_t most_shared;
};
struct Pool {
    int device;
};

namespace {

constexpr int kMostDevices = 16;
constexpr size_t kZone = 256, kMostShared = 232448, kUsualShared = 49152;
Context contexts[kMostDevices];
Pool pools[kMostDevices];
thread_local Context* current;
bool started;

std::mutex lock;
std::map<CUdeviceptr, size_t>& allocations() {
    static auto* all = new std::map<CUdeviceptr, size_t>;
    return *all;
}
size_t used, most;
// page-locked memory of the host's: copies read it when they are done, others when they are asked for
std::map<uintptr_t, size_t>& locked() {
    static auto* all = new std::map<uintptr_t, size_t>;
    return *all;
}

int devices() {
    const char* said = getenv("STANDIN_DEVICES");
    int n = said ? atoi(said) : 1;
    return n < 0 ? 0 : n > kMostDevices ? kMostDevices : n;
}
size_t memory() {
    const char* said = getenv("STANDIN_MEMORY");
    return said ? size_t(strtoull(said, nullptr, 10)) : size_t(4) << 30;
}
// what is asked of a device needs a context of the thread that asks
int ready() { return !started ? NOT_INITIALIZED : !current ? INVALID_CONTEXT : SUCCESS; }
#define READY() \
    if (int no = ready()) return no

standin::Line line_of(CUstream stream) {
    // by their names, the default's own two; a stream that blocks does all in its turn
    return uintptr_t(stream) <= 2 ? standin::default_line() : stream->line;
}
void catch_up(CUstream stream) { standin::reach(standin::mark(line_of(stream))); }

CUresult take_now(CUdeviceptr* to, size_t bytes) {
    std::lock_guard<std::mutex> guard(lock);
    if (bytes > memory() || used > memory() - bytes) return OUT_OF_MEMORY;
    // with the sanitizer the memory ends where it should; without it, known bytes stand before and after
    size_t zone = ASAN ? 0 : kZone;
    void* at = nullptr;
    if (posix_memalign(&at, 256, bytes + 2 * zone + (ASAN && !bytes))) return OUT_OF_MEMORY;
    unsigned char* first = static_cast<unsigned char*>(at);
    memset(first, 0xc5, zone);
    memset(first + zone, 0xff, bytes);
    memset(first + zone + bytes, 0xc5, zone);
    *to = CUdeviceptr(first + zone);
    allocations()[*to] = bytes;
    used += bytes;
    if (used > most) most = used;
    return SUCCESS;
}
CUresult take(CUdeviceptr* to, size_t bytes) {
    if (!to) return INVALID_VALUE;
    READY();
    CUresult took = take_now(to, bytes);
    if (took != OUT_OF_MEMORY) return took;
    // some may be free once what was put off is done
    standin::reach_all();
    return take_now(to, bytes);
}
CUresult give_back_now(CUdeviceptr at) {
    std::lock_guard<std::mutex> guard(lock);
    auto found = allocations().find(at);
    if (found == allocations().end()) return INVALID_VALUE;
    size_t bytes = found->second;
    unsigned char* first = reinterpret_cast<unsigned char*>(at) - (ASAN ? 0 : kZone);
    for (size_t i = 0; !ASAN && i < kZone; i++)
        if (first[i] != 0xc5 || first[kZone + bytes + i] != 0xc5) {
            bool before = first[i] != 0xc5;
            fprintf(stderr, "stand-in: something wrote %s an allocation of %zu bytes\n", before ? "before" : "past the end of", bytes);
            fflush(stderr);
            abort();
        }
    allocations().erase(found);
    used -= bytes;
    free(first);
    return SUCCESS;
}
CUresult give_back(CUdeviceptr at) {
    if (!at) return started ? SUCCESS : NOT_INITIALIZED;
    READY();
    standin::reach_all();
    return give_back_now(at);
}
// whether so many bytes from here lie in one allocation
bool known(CUdeviceptr at, size_t bytes) {
    if (!bytes) return true;
    std::lock_guard<std::mutex> guard(lock);
    auto after = allocations().upper_bound(at);
    if (after == allocations().begin()) return false;
    --after;
    return at - after->first <= after->second && bytes <= after->second - (at - after->first);
}
void* pointer(CUdeviceptr at) { return reinterpret_cast<void*>(at); }

// what a stream does with memory that is the device's still when its turn comes
void must_be_known(CUdeviceptr at, size_t bytes, const char* what) {
    if (known(at, bytes)) return;
    fprintf(stderr, "stand-in: memory was freed before %s of %zu bytes that nobody waited for\n", what, bytes);
    fflush(stderr);
    abort();
}
CUresult give_back_in_turn(CUdeviceptr at, CUstream stream) {
    if (!at) return started ? SUCCESS : NOT_INITIALIZED;
    READY();
    {
        std::lock_guard<std::mutex> guard(lock);
        if (!allocations().count(at)) return INVALID_VALUE;
    }
    standin::Line line = line_of(stream);
    if (!standin::puts_off(line)) return give_back_now(at);
    standin::tell(line, [at] { give_back_now(at); });
    return SUCCESS;
}
template <class T> CUresult set(CUdeviceptr at, T value, size_t n, CUstream stream = nullptr) {
    READY();
    if (at % sizeof(T) || !known(at, n * sizeof(T))) return INVALID_VALUE;
    standin::tell(line_of(stream), [=] {
        must_be_known(at, n * sizeof(T), "a filling");
        for (size_t i = 0; i < n; i++) static_cast<T*>(pointer(at))[i] = value;
    });
    return SUCCESS;
}
bool is_locked(const void* from, size_t n) {
    std::lock_guard<std::mutex> guard(lock);
    uintptr_t at = uintptr_t(from);
    auto after = locked().upper_bound(at);
    if (after == locked().begin()) return false;
    --after;
    return at - after->first <= after->second && n <= after->second - (at - after->first);
}
CUresult up_in_turn(CUdeviceptr to, const void* from, size_t n, CUstream stream) {
    READY();
    if (!known(to, n) || (n && !from)) return INVALID_VALUE;
    if (!n) return SUCCESS;
    standin::Line line = line_of(stream);
    std::shared_ptr<std::vector<unsigned char>> kept;
    if (standin::puts_off(line) && !is_locked(from, n)) {
        auto bytes = static_cast<const unsigned char*>(from);
        kept = std::make_shared<std::vector<unsigned char>>(bytes, bytes + n);
        from = kept->data();
    }
    standin::tell(line, [=] {
        must_be_known(to, n, "a copy");
        memcpy(pointer(to), kept ? kept->data() : from, n);
    });
    return SUCCESS;
}
CUresult up(CUdeviceptr to, const void* from, size_t n) {
    READY();
    catch_up(nullptr);
    if (!known(to, n) || (n && !from)) return INVALID_VALUE;
    if (n) memcpy(pointer(to), from, n);
    return SUCCESS;
}
// the host gets what it asks for at once
CUresult down(void* to, CUdeviceptr from, size_t n, CUstream stream = nullptr) {
    READY();
    catch_up(stream);
    if (!known(from, n) || (n && !to)) return INVALID_VALUE;
    if (n) memcpy(to, pointer(from), n);
    return SUCCESS;
}
CUresult across(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream = nullptr) {
    READY();
    if (!known(from, n) || !known(to, n)) return INVALID_VALUE;
    if (!n) return SUCCESS;
    standin::tell(line_of(stream), [=] {
        must_be_known(from, n, "a copy");
        must_be_known(to, n, "a copy");
        memmove(pointer(to), pointer(from), n);
    });
    return SUCCESS;
}
// either side may be the host's
CUresult any(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream = nullptr) {
    READY();
    catch_up(stream);
    if (n) memmove(pointer(to), pointer(from), n);
    return SUCCESS;
}

double seconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

struct Error {
    int code;
    const char *name, *words;
};
const Error errors[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};

}  // namespace

// ---- errors, devices

API CUresult cuGetErrorName(CUresult code, const char** to) {
    for (const Error& each : errors)
        if (each.code == code) return *to = each.name, SUCCESS;
    return *to = nullptr, INVALID_VALUE;
}
API CUresult cuGetErrorString(CUresult code, const char** to) {
    for (const Error& each : errors)
        if (each.code == code) return *to = each.words, SUCCESS;
    return *to = nullptr, INVALID_VALUE;
}
API CUresult cuInit(unsigned flags) {
    if (flags) return INVALID_VALUE;
    if (!devices()) return NO_DEVICE;
    started = true;
    return SUCCESS;
}
API CUresult cuDriverGetVersion(int* to) { return *to = 12020, SUCCESS; }
API CUresult cuDeviceGetCount(int* to) {
    if (!started) return NOT_INITIALIZED;
    return *to = devices(), SUCCESS;
}
API CUresult cuDeviceGet(CUdevice* to, int ordinal) {
    if (!started) return NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= devices()) return INVALID_DEVICE;
    return *to = ordinal, SUCCESS;
}
API CUresult cuDeviceGetName(char* to, int room, CUdevice device) {
    if (device < 0 || device >= devices()) return INVALID_DEVICE;
    if (!to || room <= 0) return INVALID_VALUE;
    snprintf(to, size_t(room), "stand-in");
    return SUCCESS;
}
API CUresult cuDeviceTotalMem_v2(size_t* to, CUdevice device) {
    if (device < 0 || device >= devices()) return INVALID_DEVICE;
    return *to = memory(), SUCCESS;
}
API CUresult cuDeviceTotalMem(size_t* to, CUdevice device) { return cuDeviceTotalMem_v2(to, device); }
API CUresult cuDeviceGetAttribute(int* to, int attribute, CUdevice device) {
    if (device < 0 || device >= devices()) return INVALID_DEVICE;
    switch (attribute) {
        case 1: *to = 1024; break;              // threads of a block, and along x and y
        case 2: *to = 1024; break;
        case 3: *to = 1024; break;
        case 4: *to = 64; break;                // along z
        case 5: *to = 2147483647; break;        // blocks along x
        case 6: *to = 65535; break;             // and y
        case 7: *to = 65535; break;             // and z
        case 8: *to = int(kUsualShared); break; // shared memory of a block
        case 9: *to = 65536; break;             // constant memory
        case 10: *to = 32; break;               // lanes
        case 12: *to = 65536; break;            // registers of a block
        case 13: *to = 1000000; break;          // kHz
        case 16: *to = 2; break;                // multiprocessors
        case 19: *to = 1; break;                // maps host memory
        case 31: *to = 1; break;                // kernels side by side
        case 36: *to = 1000000; break;          // kHz of memory
        case 37: *to = 64; break;               // bits of its bus
        case 38: *to = 1 << 20; break;          // L2
        case 39: *to = 2048; break;             // threads of a multiprocessor
        case 41: *to = 1; break;                // one address space
        case 75: *to = 9; break;                // compute capability
        case 76: *to = 0; break;
        case 81: *to = 233472; break;           // shared memory of a multiprocessor
        case 82: *to = 65536; break;            // registers of one
        case 97: *to = int(kMostShared); break; // shared memory of a block that asks
        case 106: *to = 32; break;              // blocks of a multiprocessor
        case 111: *to = 1024; break;            // shared memory kept from a block
        case 115: *to = 1; break;               // memory pools
        default: *to = 0;
    }
    return attribute > 0 ? SUCCESS : INVALID_VALUE;
}
API CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice) { return *major = 9, *minor = 0, SUCCESS; }
API CUresult cuDeviceGetUuid(unsigned char* to, CUdevice) { return memset(to, 0, 16), SUCCESS; }
API CUresult cuDeviceGetUuid_v2(unsigned char* to, CUdevice) { return memset(to, 0, 16), SUCCESS; }

// ---- contexts

API CUresult cuDevicePrimaryCtxRetain(CUcontext* to, CUdevice device) {
    if (!started) return NOT_INITIALIZED;
    if (device < 0 || device >= devices()) return INVALID_DEVICE;
    contexts[device].device = device;
    return *to = &contexts[device], SUCCESS;
}
API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return SUCCESS; }
API CUresult cuDevicePrimaryCtxRelease(CUdevice) { return SUCCESS; }
API CUresult cuDevicePrimaryCtxReset_v2(CUdevice) { return SUCCESS; }
API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice, unsigned) { return SUCCESS; }
API CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* active) { return *flags = 0, *active = started, SUCCESS; }
API CUresult cuCtxGetCurrent(CUcontext* to) {
    if (!started) return NOT_INITIALIZED;
    return *to = current, SUCCESS;
}
API CUresult cuCtxSetCurrent(CUcontext to) {
    if (!started) return NOT_INITIALIZED;
    return current = to, SUCCESS;
}
API CUresult cuCtxPushCurrent_v2(CUcontext to) { return cuCtxSetCurrent(to); }
API CUresult cuCtxPopCurrent_v2(CUcontext* to) {
    if (to) *to = current;
    return current = nullptr, SUCCESS;
}
API CUresult cuCtxGetDevice(CUdevice* to) {
    READY();
    return *to = current->device, SUCCESS;
}
API CUresult cuCtxSynchronize() {
    READY();
    return standin::reach_all(), SUCCESS;
}
API CUresult cuCtxGetStreamPriorityRange(int* least, int* most) { return *least = 0, *most = 0, ready(); }

// ---- memory

API CUresult cuMemGetInfo_v2(size_t* unused, size_t* total) {
    READY();
    standin::reach_all();
    std::lock_guard<std::mutex> guard(lock);
    *total = memory();
    *unused = *total > used ? *total - used : 0;
    return SUCCESS;
}
API CUresult cuMemGetInfo(size_t* unused, size_t* total) { return cuMemGetInfo_v2(unused, total); }
API CUresult cuMemAlloc_v2(CUdeviceptr* to, size_t bytes) { return take(to, bytes); }
API CUresult cuMemAlloc(CUdeviceptr* to, size_t bytes) { return take(to, bytes); }
API CUresult cuMemAllocAsync(CUdeviceptr* to, size_t bytes, CUstream) { return take(to, bytes); }
API CUresult cuMemAllocFromPoolAsync(CUdeviceptr* to, size_t bytes, CUmemoryPool, CUstream) { return take(to, bytes); }
API CUresult cuMemFree_v2(CUdeviceptr at) { return give_back(at); }
API CUresult cuMemFree(CUdeviceptr at) { return give_back(at); }
API CUresult cuMemFreeAsync(CUdeviceptr at, CUstream stream) { return give_back_in_turn(at, stream); }
API CUresult cuMemHostAlloc(void** to, size_t bytes, unsigned) {
    READY();
    *to = malloc(bytes ? bytes : 1);
    if (!*to) return OUT_OF_MEMORY;
    std::lock_guard<std::mutex> guard(lock);
    locked()[uintptr_t(*to)] = bytes;
    return SUCCESS;
}
API CUresult cuMemAllocHost_v2(void** to, size_t bytes) { return cuMemHostAlloc(to, bytes, 0); }
API CUresult cuMemAllocHost(void** to, size_t bytes) { return cuMemHostAlloc(to, bytes, 0); }
API CUresult cuMemFreeHost(void* at) {
    READY();
    standin::reach_all();
    std::lock_guard<std::mutex> guard(lock);
    if (!locked().erase(uintptr_t(at))) return INVALID_VALUE;
    return free(at), SUCCESS;
}
API CUresult cuMemHostRegister_v2(void*, size_t, unsigned) { return ready(); }
API CUresult cuMemHostUnregister(void*) { return ready(); }

API CUresult cuMemsetD8_v2(CUdeviceptr at, unsigned char x, size_t n) { return set(at, x, n); }
API CUresult cuMemsetD8(CUdeviceptr at, unsigned char x, size_t n) { return set(at, x, n); }
API CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char x, size_t n, CUstream stream) { return set(at, x, n, stream); }
API CUresult cuMemsetD16_v2(CUdeviceptr at, unsigned short x, size_t n) { return set(at, x, n); }
API CUresult cuMemsetD16Async(CUdeviceptr at, unsigned short x, size_t n, CUstream stream) { return set(at, x, n, stream); }
API CUresult cuMemsetD32_v2(CUdeviceptr at, unsigned x, size_t n) { return set(at, x, n); }
API CUresult cuMemsetD32(CUdeviceptr at, unsigned x, size_t n) { return set(at, x, n); }
API CUresult cuMemsetD32Async(CUdeviceptr at, unsigned x, size_t n, CUstream stream) { return set(at, x, n, stream); }

API CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t n) { return any(to, from, n); }
API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream) { return any(to, from, n, stream); }
API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t n) { return up(to, from, n); }
API CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t n) { return up(to, from, n); }
API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t n, CUstream stream) { return up_in_turn(to, from, n, stream); }
API CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t n, CUstream stream) { return up_in_turn(to, from, n, stream); }
API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t n) { return down(to, from, n); }
API CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t n) { return down(to, from, n); }
API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t n, CUstream stream) { return down(to, from, n, stream); }
API CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t n, CUstream stream) { return down(to, from, n, stream); }
API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t n) { return across(to, from, n); }
API CUresult cuMemcpyDtoD(CUdeviceptr to, CUdeviceptr from, size_t n) { return across(to, from, n); }
API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream) { return across(to, from, n, stream); }
API CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream) { return across(to, from, n, stream); }

API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* to, CUdevice device) {
    if (device < 0 || device >= devices()) return INVALID_DEVICE;
    return *to = &pools[device], SUCCESS;
}
API CUresult cuDeviceGetMemPool(CUmemoryPool* to, CUdevice device) { return cuDeviceGetDefaultMemPool(to, device); }
// 8 is the most that was in use, which only 0 may be written to: it is then what is in use now
API CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void* value) {
    if (!pool || !value) return INVALID_VALUE;
    if (attribute == 8) most = used;
    return SUCCESS;
}
API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void* value) {
    if (!pool || !value) return INVALID_VALUE;
    standin::reach_all();
    if (attribute <= 3) *static_cast<int*>(value) = 1;
    else if (attribute == 4) *static_cast<uint64_t*>(value) = 0;
    else *static_cast<uint64_t*>(value) = attribute == 8 ? most : used;
    return SUCCESS;
}
API CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t) { return pool ? SUCCESS : INVALID_VALUE; }

// sharing with other interfaces is nothing that a stand-in has
API CUresult cuImportExternalMemory(void**, const void*) { return NOT_SUPPORTED; }
API CUresult cuExternalMemoryGetMappedBuffer(CUdeviceptr*, void*, const void*) { return NOT_SUPPORTED; }
API CUresult cuDestroyExternalMemory(void*) { return NOT_SUPPORTED; }

// ---- streams, events

API CUresult cuStreamCreate(CUstream* to, unsigned flags) {
    READY();
    // one that blocks and the default's wait for all that the other was told before
    return *to = new Stream{flags & 1 ? standin::new_line() : standin::default_line()}, SUCCESS;
}
API CUresult cuStreamCreateWithPriority(CUstream* to, unsigned flags, int) { return cuStreamCreate(to, flags); }
API CUresult cuStreamDestroy_v2(CUstream stream) {
    if (!stream) return INVALID_HANDLE;
    catch_up(stream);
    return delete stream, SUCCESS;
}
API CUresult cuStreamDestroy(CUstream stream) { return cuStreamDestroy_v2(stream); }
API CUresult cuStreamSynchronize(CUstream stream) {
    READY();
    return catch_up(stream), SUCCESS;
}
// who asks again and again must not do so for ever: at the second time it is done
static CUresult query(const standin::Mark& mark) {
    READY();
    if (standin::reached(mark)) return SUCCESS;
    return standin::reach(mark), NOT_READY;
}
API CUresult cuStreamQuery(CUstream stream) { return query(standin::mark(line_of(stream))); }
API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    READY();
    if (!event) return INVALID_HANDLE;
    standin::tell(line_of(stream), [mark = event->mark] { standin::reach(mark); });
    return SUCCESS;
}
API CUresult cuEventCreate(CUevent* to, unsigned flags) {
    READY();
    return *to = new Event{!(flags & 2), {}, {}}, SUCCESS;
}
API CUresult cuEventRecord(CUevent event, CUstream stream) {
    READY();
    if (!event) return INVALID_HANDLE;
    event->at = std::make_shared<double>();
    standin::tell(line_of(stream), [at = event->at] { *at = seconds(); });
    event->mark = standin::mark(line_of(stream));
    return SUCCESS;
}
API CUresult cuEventQuery(CUevent event) { return event ? query(event->mark) : INVALID_HANDLE; }
API CUresult cuEventSynchronize(CUevent event) {
    READY();
    if (!event) return INVALID_HANDLE;
    return standin::reach(event->mark), SUCCESS;
}
API CUresult cuEventElapsedTime(float* to, CUevent from, CUevent until) {
    if (!from || !until || !from->times || !until->times || !from->at || !until->at) return INVALID_HANDLE;
    standin::reach(from->mark);
    standin::reach(until->mark);
    return *to = float(1e3 * (*until->at - *from->at)), SUCCESS;
}
API CUresult cuEventDestroy_v2(CUevent event) {
    if (!event) return INVALID_HANDLE;
    return delete event, SUCCESS;
}
API CUresult cuEventDestroy(CUevent event) { return cuEventDestroy_v2(event); }

// For the libraries that work at once (blas.cpp): what their stream was told before is done.
API void standin_catch_up(void* stream) { catch_up(static_cast<CUstream>(stream)); }

// ---- modules: whatever the image, the kernels are those of this library

API CUresult cuModuleLoadData(CUmodule* to, const void* image) {
    READY();
    if (!to || !image) return INVALID_VALUE;
    return *to = new Module{current->device}, SUCCESS;
}
API CUresult cuModuleLoadDataEx(CUmodule* to, const void* image, unsigned, int*, void**) { return cuModuleLoadData(to, image); }
API CUresult cuModuleLoadFatBinary(CUmodule* to, const void* image) { return cuModuleLoadData(to, image); }
API CUresult cuModuleLoad(CUmodule* to, const char* path) { return cuModuleLoadData(to, path); }
API CUresult cuModuleUnload(CUmodule module) {
    if (!module) return INVALID_HANDLE;
    standin::reach_all();
    return delete module, SUCCESS;
}
API CUresult cuModuleGetFunction(CUfunction* to, CUmodule module, const char* name) {
    READY();
    if (!to || !module || !name) return INVALID_VALUE;
    // a function lives on: a handle is one a name and device
    static auto* functions = new std::map<std::pair<std::string, int>, Function*>;
    std::lock_guard<std::mutex> guard(lock);
    Function*& function = (*functions)[{name, module->device}];
    if (!function) function = new Function{name, standin::find_kernel(name), kUsualShared};
    return *to = function, SUCCESS;
}
API CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
    READY();
    if (!function) return INVALID_HANDLE;
    if (attribute == 8) {
        if (value < 0 || size_t(value) > kMostShared) return INVALID_VALUE;
        function->most_shared = size_t(value);
    }
    return SUCCESS;
}
API CUresult cuFuncGetAttribute(int* to, int attribute, CUfunction function) {
    if (!function) return INVALID_HANDLE;
    switch (attribute) {
        case 0: *to = function->kernel ? int(function->kernel->threads) : 1024; break;
        case 4: *to = 32; break;  // registers
        case 5: *to = 90; break;
        case 6: *to = 90; break;
        case 8: *to = int(function->most_shared); break;
        default: *to = 0;
    }
    return SUCCESS;
}
API CUresult cuFuncSetCacheConfig(CUfunction, int) { return SUCCESS; }
API CUresult cuFuncSetSharedMemConfig(CUfunction, int) { return SUCCESS; }

API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                            unsigned block_z, unsigned shared, CUstream stream, void** parameters, void** extra) {
    READY();
    if (!function) return INVALID_HANDLE;
    if (!function->kernel) {
        fprintf(stderr, "stand-in: no kernel %s\n", function->name.c_str());
        return NOT_SUPPORTED;
    }
    if (extra) return NOT_SUPPORTED;
    if (!grid_x || !grid_y || !grid_z || !block_x || !block_y || !block_z) return INVALID_VALUE;
    if (grid_x > 2147483647u || grid_y > 65535 || grid_z > 65535) return INVALID_VALUE;
    if (block_x > 1024 || block_y > 1024 || block_z > 64 || uint64_t(block_x) * block_y * block_z > 1024) return INVALID_VALUE;
    if (uint64_t(grid_x) * grid_y * grid_z > 0xffffffffu) return NOT_SUPPORTED;
    unsigned threads = block_x * block_y * block_z;
    if (threads > function->kernel->threads) {
        fprintf(stderr, "stand-in: %s is launched with %u threads a block and says %u at most\n", function->name.c_str(), threads,
                function->kernel->threads);
        return INVALID_VALUE;
    }
    if (shared > kMostShared || (shared > kUsualShared && shared > function->most_shared)) {
        fprintf(stderr, "stand-in: %s is launched with %u bytes of shared memory, of %zu that it may have\n", function->name.c_str(), shared,
                function->most_shared);
        return INVALID_VALUE;
    }
    dim3 grid, block;
    grid.x = grid_x, grid.y = grid_y, grid.z = grid_z;
    block.x = block_x, block.y = block_y, block.z = block_z;
    const standin::Kernel* kernel = function->kernel;
    standin::Line line = line_of(stream);
    if (!standin::puts_off(line)) return standin::launch(*kernel, grid, block, shared, parameters), SUCCESS;
    std::vector<std::vector<unsigned char>> kept;
    for (const size_t* bytes = kernel->sizes; *bytes; bytes++, parameters++) {
        auto from = static_cast<const unsigned char*>(*parameters);
        kept.emplace_back(from, from + *bytes);
    }
    standin::tell(line, [=]() mutable {
        std::vector<void*> places;
        for (auto& each : kept) places.push_back(each.data());
        standin::launch(*kernel, grid, block, shared, places.data());
    });
    return SUCCESS;
}

// ---- occupancy: two blocks a multiprocessor, whatever it is

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* to, CUfunction, int threads, size_t) {
    return *to = threads > 0 ? (2048 / threads < 2 ? 2048 / threads : 2) : 0, SUCCESS;
}
API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* to, CUfunction function, int threads, size_t shared, unsigned) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessor(to, function, threads, shared);
}
API CUresult cuOccupancyMaxPotentialBlockSize(int* blocks, int* threads, CUfunction function, size_t (*)(int), size_t, int limit) {
    int most = function && function->kernel ? int(function->kernel->threads) : 1024;
    *threads = limit > 0 && limit < most ? limit : most;
    return *blocks = 4, SUCCESS;
}
API CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* blocks, int* threads, CUfunction function, size_t (*bytes)(int), size_t shared,
                                                       int limit, unsigned) {
    return cuOccupancyMaxPotentialBlockSize(blocks, threads, function, bytes, shared, limit);
}
API CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t* to, CUfunction, int, int) { return *to = kUsualShared, SUCCESS; }
API CUresult cuOccupancyMaxPotentialClusterSize(int* to, CUfunction, const void*) { return *to = 1, SUCCESS; }
API CUresult cuOccupancyMaxActiveClusters(int* to, CUfunction, const void*) { return *to = 2, SUCCESS; }

API CUresult cuProfilerStart() { return SUCCESS; }
API CUresult cuProfilerStop() { return SUCCESS; }
