// Judges the stand-in by its own kernels (selftest.cu) and by plain products: build.sh --test.
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "standin.h"

#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#else
#define ASAN 0
#endif

extern "C" {
typedef unsigned long long CUdeviceptr;
int cuInit(unsigned);
int cuDeviceGet(int*, int);
int cuDevicePrimaryCtxRetain(void**, int);
int cuCtxSetCurrent(void*);
int cuMemAlloc_v2(CUdeviceptr*, size_t);
int cuMemFree_v2(CUdeviceptr);
int cuMemGetInfo_v2(size_t*, size_t*);
int cuMemcpyHtoD_v2(CUdeviceptr, const void*, size_t);
int cuMemcpyDtoH_v2(void*, CUdeviceptr, size_t);
int cuMemsetD8_v2(CUdeviceptr, unsigned char, size_t);
int cuMemsetD8Async(CUdeviceptr, unsigned char, size_t, void*);
int cuMemcpyHtoDAsync_v2(CUdeviceptr, const void*, size_t, void*);
int cuMemFreeAsync(CUdeviceptr, void*);
int cuMemHostAlloc(void**, size_t, unsigned);
int cuMemFreeHost(void*);
int cuCtxSynchronize();
int cuStreamCreate(void**, unsigned);
int cuStreamDestroy_v2(void*);
int cuStreamSynchronize(void*);
int cuStreamQuery(void*);
int cuStreamWaitEvent(void*, void*, unsigned);
int cuEventCreate(void**, unsigned);
int cuEventRecord(void*, void*);
int cuEventSynchronize(void*);
int cuEventQuery(void*);
int cuEventDestroy_v2(void*);
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuFuncSetAttribute(void*, int, int);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
int cublasCreate_v2(void**);
int cublasSetMathMode(void*, int);
int cublasGemmEx(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int, const void*, void*, int, int, int,
                 int);
int cublasGemmStridedBatchedEx(void*, int, int, int, int, int, const void*, const void*, int, int, long long, const void*, int, int, long long,
                               const void*, void*, int, int, long long, int, int, int);
int cublasSgemm_v2(void*, int, int, int, int, int, const float*, const float*, int, const float*, int, const float*, float*, int);
int cublasLtCreate(void**);
int cublasLtMatmulDescCreate(void**, int, int);
int cublasLtMatmulDescSetAttribute(void*, int, const void*, size_t);
int cublasLtMatmulDescDestroy(void*);
int cublasLtMatrixLayoutCreate(void**, int, uint64_t, uint64_t, int64_t);
int cublasLtMatrixLayoutSetAttribute(void*, int, const void*, size_t);
int cublasLtMatrixLayoutDestroy(void*);
int cublasLtMatmulPreferenceCreate(void**);
int cublasLtMatmulPreferenceDestroy(void*);
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, void*, int*);
int cublasLtMatmul(void*, void*, const void*, const void*, void*, const void*, void*, const void*, const void*, void*, void*, void*, const void*,
                   void*, size_t, void*);
}

static int checks, failures;
#define CHECK(what) check((what), #what, __LINE__)
static void check(bool good, const char* what, int line) {
    checks++;
    if (good) return;
    failures++;
    printf("  FAILED, line %d: %s\n", line, what);
}
static double seconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}
static uint32_t state = 7;
static uint32_t any() { return state = state * 1664525u + 1013904223u, state >> 8; }
static float number() { return float(any()) / float(1 << 23) - 1.0f; }

static void* module;
static void* function(const char* name) {
    void* found = nullptr;
    CHECK(cuModuleGetFunction(&found, module, name) == 0);
    return found;
}
template <class... T> static int launch(const char* name, dim3 grid, dim3 block, unsigned shared, T... given) {
    void* parameters[] = {&given...};
    return cuLaunchKernel(function(name), grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, nullptr, parameters, nullptr);
}
static dim3 of(unsigned x, unsigned y = 1, unsigned z = 1) {
    dim3 to;
    to.x = x, to.y = y, to.z = z;
    return to;
}

// numbers on the device
template <class T> struct Buffer {
    CUdeviceptr at = 0;
    size_t n;
    explicit Buffer(size_t n) : n(n) { CHECK(cuMemAlloc_v2(&at, n * sizeof(T)) == 0); }
    explicit Buffer(const std::vector<T>& from) : Buffer(from.size()) { CHECK(cuMemcpyHtoD_v2(at, from.data(), n * sizeof(T)) == 0); }
    ~Buffer() { CHECK(cuMemFree_v2(at) == 0); }
    Buffer(const Buffer&) = delete;
    std::vector<T> get() const {
        std::vector<T> to(n);
        CHECK(cuMemcpyDtoH_v2(to.data(), at, n * sizeof(T)) == 0);
        return to;
    }
    T* pointer() const { return reinterpret_cast<T*>(at); }
};

// what a child that does something wrong says as it dies
template <class F> static std::string last_words(F wrong) {
    fflush(stdout);
    int ends[2];
    if (pipe(ends)) return "";
    pid_t child = fork();
    if (!child) {
        dup2(ends[1], 2);
        signal(SIGABRT, SIG_DFL);
        wrong();
        _exit(0);
    }
    close(ends[1]);
    std::string said;
    char some[512];
    for (ssize_t n; (n = read(ends[0], some, sizeof some)) > 0;) said.append(some, size_t(n));
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    return (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) || (ASAN && WEXITSTATUS(status)) ? said : "lived on: " + said;
}
static bool says(const std::string& all, const char* some) {
    if (all.find(some) != std::string::npos) return true;
    printf("  said: %s\n", all.c_str());
    return false;
}

static void driver() {
    Buffer<float> fresh(100);
    for (float x : fresh.get()) CHECK(x != x);
    CHECK(cuMemsetD8_v2(fresh.at, 0, 400) == 0);
    CHECK(cuMemsetD8_v2(fresh.at, 0, 401) == 1);
    CHECK(fresh.get()[99] == 0.0f);
    CUdeviceptr at;
    CHECK(cuMemAlloc_v2(&at, size_t(1) << 40) == 2);
    size_t before, after, total;
    CHECK(cuMemGetInfo_v2(&before, &total) == 0);
    CHECK(cuMemAlloc_v2(&at, 1000) == 0 && cuMemGetInfo_v2(&after, &total) == 0 && before - after == 1000);
    CHECK(cuMemFree_v2(at) == 0 && cuMemFree_v2(at) == 1);
    CHECK(cuMemAlloc_v2(&at, 0) == 0 && cuMemFree_v2(at) == 0);
    CHECK(launch("nobody", of(1), of(1), 0) == 801);
    Buffer<int> to(64);
    CHECK(launch("test_race", of(0), of(64), 0, to.pointer()) == 1);
    CHECK(launch("test_race", of(1), of(65), 0, to.pointer()) == 1);
    CHECK(launch("test_race", of(1), of(1025), 0, to.pointer()) == 1);
    CHECK(launch("test_race", of(1), of(64), 50000, to.pointer()) == 1);
    CHECK(cuFuncSetAttribute(function("test_race"), 8, 60000) == 0);
    CHECK(launch("test_race", of(2), of(64), 50000, to.pointer()) == 0);
    const char* order = getenv("STANDIN_ORDER");
    int last = to.get()[0];
    if (!order || !strcmp(order, "forward")) CHECK(last == 127);
    else if (!strcmp(order, "reverse")) CHECK(last == 0);
}

static void threads() {
    Buffer<int> index(3 * 2 * 2 * 5 * 3 * 2);
    CHECK(cuMemsetD8_v2(index.at, 0, index.n * 4) == 0);
    CHECK(launch("test_index", of(3, 2, 2), of(5, 3, 2), 0, index.pointer(), 350) == 0);
    std::vector<int> got = index.get();
    for (int i = 0; i < 360; i++) CHECK(got[size_t(i)] == (i < 350 ? i : 0));

    for (unsigned size : {32u, 96u, 1024u}) {
        std::vector<float> numbers;
        std::vector<int> whole;
        for (unsigned i = 0; i < 7 * size; i++) numbers.push_back(number()), whole.push_back(int(any() % 1000));
        Buffer<float> from(numbers);
        Buffer<double> sums(7);
        CHECK(launch("test_block_sum", of(7), of(size), 0, from.pointer(), sums.pointer()) == 0);
        Buffer<int> ints(whole), trees(7);
        bool power = !(size & (size - 1));
        if (power) CHECK(launch("test_tree_sum", of(7), of(size), size * 2, ints.pointer(), trees.pointer()) == 0);
        for (unsigned block = 0; block < 7; block++) {
            double sum = 0;
            int plain = 0;
            for (unsigned i = 0; i < size; i++) sum += numbers[block * size + i], plain += whole[block * size + i];
            CHECK(fabs(sums.get()[block] - sum) < 1e-9);
            if (power) CHECK(trees.get()[block] == plain);
        }
    }

    Buffer<long long> warps(3 * 64 * 16);
    CHECK(launch("test_warp", of(3), of(64), 0, warps.pointer()) == 0);
    std::vector<long long> all = warps.get();
    for (int i = 0; i < 3 * 64; i++) {
        const long long* at = &all[size_t(i) * 16];
        int thread = i % 64, lane = thread % 32, first = thread - lane;
        auto x = [&](int of_lane) { return (long long)(first + of_lane) * 3 + 1; };
        CHECK(at[0] == x(5) && at[1] == x(lane ^ 7));
        CHECK(at[2] == x(lane < 3 ? lane : lane - 3) << 33);
        CHECK(at[3] == x(lane % 8 + 4 > 7 ? lane : lane + 4));
        CHECK(at[4] == 0x49249249 && at[5] == 1 && at[6] == 0);
        if (lane >= 16) {
            CHECK(at[7] == x(16));
        } else {
            std::vector<long long> sums(16), next(16);
            for (int l = 0; l < 16; l++) sums[size_t(l)] = x(l);
            for (int j = 0; j < 5; j++) {
                for (int l = 0; l < 16; l++) next[size_t(l)] = sums[size_t(l)] + sums[size_t(l ^ (1 << j % 4))];
                sums = next;
            }
            CHECK(at[7] == sums[size_t(lane)]);
        }
        CHECK(at[8] == 16 && at[9] == 1 && at[10] == 0);
        if (lane != 9) CHECK(at[11] == 0xfffffdff);
    }

    Buffer<int> counts(std::vector<int>{0, 0, 0, 0});
    Buffer<float> halves(std::vector<float>{0});
    CHECK(launch("test_atomics", of(5), of(200), 0, counts.pointer(), halves.pointer()) == 0);
    CHECK(counts.get() == (std::vector<int>{1000, 999, -199, 2000}) && halves.get()[0] == 500.0f);

    Buffer<uint32_t> poison(32);
    for (int i = 0; i < 2; i++) {
        CHECK(launch("test_poison", of(1), of(32), 128, poison.pointer()) == 0);
        for (uint32_t x : poison.get()) CHECK(x == 0xffffffffu);
    }
}

static bool early() {
    const char* said = getenv("STANDIN_STREAMS");
    return said && !strcmp(said, "early");
}

// Work on one stream is put off until something waits for it. `slow` is such a stream, `fast` one of the others.
static void put_off() {
    void *named, *other, *event, *second;
    CHECK(cuStreamCreate(&named, 1) == 0 && cuStreamCreate(&other, 1) == 0 && cuEventCreate(&event, 2) == 0 && cuEventCreate(&second, 2) == 0);
    void *slow = early() ? nullptr : named, *fast = early() ? named : nullptr;
    Buffer<unsigned char> to(4);
    void* seen;
    CHECK(cuMemHostAlloc(&seen, 4, 0) == 0);
    auto bytes = static_cast<unsigned char*>(seen);
    auto fill = [&](unsigned char x, void* stream) { CHECK(cuMemsetD8Async(to.at, x, 4, stream) == 0); };
    auto now = [&] { return int(*to.pointer()); };

    // each way of waiting
    int waits = 0;
    auto until = [&](auto wait) {
        fill(1, fast);
        fill(2, slow);
        CHECK(now() == 1);
        CHECK(cuEventRecord(event, slow) == 0);
        fill(3, slow);
        CHECK(now() == 1);
        wait();
        CHECK(now() == 2 || now() == 3);
        waits += now();
        CHECK(cuCtxSynchronize() == 0 && now() == 3);
    };
    until([&] { CHECK(cuStreamWaitEvent(fast, event, 0) == 0); });
    until([&] { CHECK(cuEventSynchronize(event) == 0); });
    until([&] { CHECK(cuEventQuery(event) == 600 && cuEventQuery(event) == 0); });
    CHECK(waits == 6);
    until([&] { CHECK(cuStreamSynchronize(slow) == 0); });
    until([&] { CHECK(cuStreamQuery(slow) == 600 && cuStreamQuery(slow) == 0); });
    until([&] { Buffer<int> gone(1); });
    CHECK(waits == 15);
    // who does not wait is overtaken, and what it writes is written over
    fill(1, slow);
    fill(2, fast);
    CHECK(cuCtxSynchronize() == 0 && now() == 1);
    CHECK(cuEventRecord(event, fast) == 0 && cuStreamWaitEvent(slow, event, 0) == 0);

    // page-locked memory is read when the copy is done, other memory at once
    for (bool locked : {true, false}) {
        unsigned char plain[4] = {4, 4, 4, 4};
        unsigned char* host = locked ? bytes : plain;
        memset(host, 4, 4);
        CHECK(cuMemcpyHtoDAsync_v2(to.at, host, 4, slow) == 0 && now() == 1);
        memset(host, 5, 4);
        CHECK(cuStreamSynchronize(slow) == 0 && now() == (locked ? 5 : 4));
        fill(1, slow);
        CHECK(cuCtxSynchronize() == 0);
    }
    // kernels have the parameters that they were launched with
    Buffer<int> index(350);
    CHECK(cuMemsetD8_v2(index.at, 0, 1400) == 0 && cuCtxSynchronize() == 0);
    {
        int count = 350;
        CUdeviceptr at = index.at;
        void* parameters[] = {&at, &count};
        CHECK(cuLaunchKernel(function("test_index"), 3, 2, 2, 5, 3, 2, 0, slow, parameters, nullptr) == 0);
        count = 0, at = 0;
    }
    CHECK(index.pointer()[349] == 0 && cuCtxSynchronize() == 0 && index.pointer()[349] == 349);
    // a stream that waits for another's work does it first
    if (!early()) {
        fill(6, named);
        CHECK(cuEventRecord(event, named) == 0 && cuStreamWaitEvent(other, event, 0) == 0);
        fill(7, other);
        CHECK(cuEventRecord(second, other) == 0 && now() == 1);
        CHECK(cuStreamWaitEvent(nullptr, second, 0) == 0 && now() == 7);
    }
    // a stream that is not told to be apart is the default's
    void* blocks;
    CHECK(cuStreamCreate(&blocks, 0) == 0);
    fill(8, nullptr);
    fill(9, blocks);
    CHECK(cuStreamSynchronize(nullptr) == 0 && now() == 9);
    // memory that is let go before its turn
    CHECK(says(last_words([&] {
              CUdeviceptr lost;
              CHECK(cuMemAlloc_v2(&lost, 4) == 0 && cuMemsetD8Async(lost, 0, 4, slow) == 0 && cuMemFreeAsync(lost, fast) == 0);
              cuCtxSynchronize();
          }),
          "memory was freed before a filling of 4 bytes"));
    CUdeviceptr kept;
    CHECK(cuMemAlloc_v2(&kept, 4) == 0 && cuMemsetD8Async(kept, 0, 4, slow) == 0 && cuMemFreeAsync(kept, slow) == 0 && cuCtxSynchronize() == 0);
    CHECK(cuMemFreeAsync(kept, slow) == 1 && cuMemFreeHost(seen) == 0 && cuMemFreeHost(seen) == 1);
    for (void* each : {named, other, blocks}) CHECK(cuStreamDestroy_v2(each) == 0);
    for (void* each : {event, second}) CHECK(cuEventDestroy_v2(each) == 0);
}

// several threads launch at once
static void together(void* context) {
    void* sum = function("test_block_sum");
    std::vector<int> good(4, 0);
    std::vector<std::thread> all;
    for (size_t i = 0; i < good.size(); i++)
        all.emplace_back([&, i] {
            if (cuCtxSetCurrent(context)) return;
            std::vector<float> ones(256 * 3, float(i));
            for (int j = 0; j < 50; j++) {
                CUdeviceptr from, to;
                double got[3] = {};
                if (cuMemAlloc_v2(&from, ones.size() * 4) || cuMemAlloc_v2(&to, sizeof got) || cuMemcpyHtoD_v2(from, ones.data(), ones.size() * 4)) return;
                void* parameters[] = {&from, &to};
                if (cuLaunchKernel(sum, 3, 1, 1, 256, 1, 1, 0, nullptr, parameters, nullptr) || cuMemcpyDtoH_v2(got, to, sizeof got)) return;
                if (cuMemFree_v2(from) || cuMemFree_v2(to)) return;
                good[i] += got[0] == 256.0 * double(i) && got[2] == got[0];
            }
        });
    for (std::thread& each : all) each.join();
    for (int each : good) CHECK(each == 50);
}

static void halves() {
    // all of them, and what lies around the middle of two
    std::vector<float> from;
    for (int i = 0; i < 65536; i++) {
        float x = standin::half_to_float_plain(uint16_t(i)), y = standin::half_to_float(uint16_t(i));
        CHECK((x != x && y != y) || standin::same_bits<uint32_t>(x) == standin::same_bits<uint32_t>(y));
        float next = standin::half_to_float(uint16_t(i + 1)), middle = x + (next - x) / 2;
        for (float each : {x, middle, nextafterf(middle, -INFINITY), nextafterf(middle, INFINITY)}) from.push_back(each);
    }
    for (int i = 0; i < 100000; i++) from.push_back(standin::same_bits<float>(any() << 8 ^ any()));
    Buffer<float> device(from), back(from.size());
    Buffer<uint16_t> bits(from.size());
    CHECK(launch("test_halves", of(unsigned(from.size() / 256 + 1)), of(256), 0, device.pointer(), bits.pointer(), back.pointer(), int(from.size())) == 0);
    std::vector<uint16_t> got = bits.get();
    std::vector<float> again = back.get();
    for (size_t i = 0; i < from.size(); i++) {
        CHECK(got[i] == standin::float_to_half_plain(from[i]));
        if (i % 4 == 0 && i < 4 * 65536 && from[i] == from[i]) CHECK(got[i] == i / 4 && again[i] == from[i]);
    }
    CHECK(standin::float_to_half(65519.0f) == 0x7bff && standin::float_to_half(65520.0f) == 0x7c00 && standin::float_to_half(NAN) == 0x7fff);
    CHECK(standin::float_to_half(0x1p-25f) == 0 && standin::float_to_half(nextafterf(0x1p-25f, 1)) == 1 && standin::float_to_half(-0.0f) == 0x8000);
}

static float widen(int type, uint16_t x) { return type == 2 ? standin::half_to_float(x) : standin::same_bits<float>(uint32_t(x) << 16); }
static uint16_t shorten(int type, float x) {
    if (type == 2) return standin::float_to_half(x);
    uint32_t bits = standin::same_bits<uint32_t>(x);
    return uint16_t((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static void tensor_cores() {
    for (int type : {14, 2}) {
        std::vector<uint16_t> a, b;
        std::vector<float> c;
        for (int i = 0; i < 256; i++) a.push_back(shorten(type, number()));
        for (int i = 0; i < 128; i++) b.push_back(shorten(type, number()));
        for (int i = 0; i < 256; i++) c.push_back(number());
        Buffer<uint16_t> device_a(a), device_b(b);
        Buffer<float> device_c(c);
        const char* name = type == 2 ? "test_mma_f16" : "test_mma_bf16";
        CHECK(launch(name, of(1), of(32), 1024, device_a.pointer(), device_b.pointer(), device_c.pointer()) == 0);
        std::vector<float> got = device_c.get();
        for (size_t row = 0; row < 16; row++)
            for (size_t column = 0; column < 8; column++) {
                double sum = 0;
                for (size_t k = 0; k < 16; k++) sum += double(widen(type, a[row * 16 + k])) * widen(type, b[k * 8 + column]);
                CHECK(fabs(got[row * 8 + column] - sum - c[row * 8 + column]) < 1e-5);
                CHECK(fabs(got[128 + row * 8 + column] - sum) < 1e-5);
            }
    }
    std::vector<uint16_t> rows;
    for (int i = 0; i < 256; i++) rows.push_back(uint16_t(any()));
    Buffer<uint16_t> from(rows);
    Buffer<uint32_t> to(256);
    CHECK(launch("test_tiles", of(1), of(32), 0, from.pointer(), to.pointer()) == 0);
    std::vector<uint32_t> got = to.get();
    for (size_t lane = 0; lane < 32; lane++)
        for (size_t tile = 0; tile < 4; tile++) {
            size_t g = lane / 4, t = lane % 4;
            auto at = [&](size_t row, size_t column) { return uint32_t(rows[(tile * 8 + row) * 8 + column]); };
            CHECK(got[lane * 8 + tile] == (at(g, 2 * t) | at(g, 2 * t + 1) << 16));
            CHECK(got[lane * 8 + 4 + tile] == (at(2 * t, g) | at(2 * t + 1, g) << 16));
        }
    std::vector<float> numbers;
    for (int i = 0; i < 640; i++) numbers.push_back(number());
    Buffer<float> source(numbers), copied(641);
    CHECK(launch("test_copies", of(1), of(32), 0, source.pointer(), copied.pointer(), 640) == 0);
    numbers.push_back(0);
    CHECK(copied.get() == numbers);
}

static void wrong() {
    Buffer<int> to(128);
    auto run = [&](const char* name, unsigned threads, unsigned shared) {
        return last_words([&] { launch(name, of(1), of(threads), shared, to.pointer()), cuCtxSynchronize(); });
    };
    std::string deadlock = run("wrong_barrier", 64, 0);
    CHECK(says(deadlock, "deadlock in wrong_barrier, block (0, 0, 0)") && says(deadlock, "of 64 threads"));
    CHECK(says(run("wrong_shared", 32, 32), ASAN ? "heap-buffer-overflow" : "written past the end of shared memory: in wrong_shared"));
    CHECK(says(run("wrong_lane", 32, 0), "not in the mask"));
    CHECK(says(run("wrong_masks", 32, 0), "with different masks: in wrong_masks"));
    CHECK(says(run("wrong_function", 32, 0), "in different functions: in wrong_function"));
    CHECK(says(run("wrong_tiles", 32, 0), "load_tiles outside shared memory: in wrong_tiles"));
    if (!ASAN)
        CHECK(says(last_words([] {
                  Buffer<int> small(3);
                  small.pointer()[3] = 0;
              }),
              "past the end of an allocation of 12 bytes"));
}

struct Matrix {
    int type;
    size_t rows, columns, ld, batches;
    std::vector<float> plain;
    std::vector<uint16_t> bits;
    Matrix(int type, size_t rows, size_t columns, size_t more, size_t batches)
        : type(type), rows(rows), columns(columns), ld(rows + more), batches(batches), plain(ld * columns * batches), bits(plain.size()) {
        for (size_t i = 0; i < plain.size(); i++) {
            plain[i] = number();
            if (type) bits[i] = shorten(type, plain[i]), plain[i] = widen(type, bits[i]);
        }
    }
    void* data() { return type ? static_cast<void*>(bits.data()) : plain.data(); }
    long long stride() const { return (long long)(ld * columns); }
    double get(size_t batch, size_t i, size_t j) const { return plain[batch * ld * columns + i + j * ld]; }
    float now(size_t at) const { return type ? widen(type, bits[at]) : plain[at]; }
};

static void product(int transa, int transb, size_t m, size_t n, size_t k, int type, int result, size_t more, size_t batches, float alpha,
                    float beta, int way) {
    Matrix a(type, transa ? k : m, transa ? m : k, more, batches), b(type, transb ? n : k, transb ? k : n, more, batches),
        c(result, m, n, more, batches), bias(result, m, 1, 0, 1);
    Matrix before = c, d = c;
    void *handle, *light;
    static void *kept = nullptr, *kept_light = nullptr;
    if (!kept) CHECK(cublasCreate_v2(&kept) == 0 && cublasLtCreate(&kept_light) == 0);
    handle = kept, light = kept_light;
    bool biased = false, apart = false;
    int im = int(m), in = int(n), ik = int(k);
    if (way == 0 && batches == 1) {
        CHECK(cublasGemmEx(handle, transa, transb, im, in, ik, &alpha, a.data(), type, int(a.ld), b.data(), type, int(b.ld), &beta, c.data(), result,
                           int(c.ld), 68, -1) == 0);
    } else if (way == 0) {
        CHECK(cublasGemmStridedBatchedEx(handle, transa, transb, im, in, ik, &alpha, a.data(), type, int(a.ld), a.stride(), b.data(), type,
                                         int(b.ld), b.stride(), &beta, c.data(), result, int(c.ld), c.stride(), int(batches), 68, -1) == 0);
    } else {
        biased = way == 2;
        apart = true;
        void *description, *layouts[4], *preference;
        CHECK(cublasLtMatmulDescCreate(&description, 68, 0) == 0);
        CHECK(cublasLtMatmulDescSetAttribute(description, 3, &transa, 4) == 0 && cublasLtMatmulDescSetAttribute(description, 4, &transb, 4) == 0);
        if (biased) {
            int epilogue = 4;
            void* at = bias.data();
            CHECK(cublasLtMatmulDescSetAttribute(description, 7, &epilogue, 4) == 0 && cublasLtMatmulDescSetAttribute(description, 8, &at, 8) == 0);
        }
        Matrix* all[4] = {&a, &b, &c, &d};
        for (int i = 0; i < 4; i++) {
            int count = int(batches);
            int64_t stride = all[i]->stride();
            CHECK(cublasLtMatrixLayoutCreate(&layouts[i], all[i]->type, all[i]->rows, all[i]->columns, int64_t(all[i]->ld)) == 0);
            CHECK(cublasLtMatrixLayoutSetAttribute(layouts[i], 5, &count, 4) == 0 && cublasLtMatrixLayoutSetAttribute(layouts[i], 6, &stride, 8) == 0);
        }
        uint64_t heuristic[16];
        int got = 0;
        CHECK(cublasLtMatmulPreferenceCreate(&preference) == 0);
        CHECK(cublasLtMatmulAlgoGetHeuristic(light, description, layouts[0], layouts[1], layouts[2], layouts[3], preference, 1, heuristic, &got) == 0 &&
              got == 1);
        CHECK(cublasLtMatmul(light, description, &alpha, a.data(), layouts[0], b.data(), layouts[1], &beta, c.data(), layouts[2], d.data(), layouts[3],
                             heuristic, nullptr, 0, nullptr) == 0);
        for (void* each : layouts) cublasLtMatrixLayoutDestroy(each);
        cublasLtMatmulDescDestroy(description);
        cublasLtMatmulPreferenceDestroy(preference);
    }
    const Matrix& to = apart ? d : c;
    double off = 0;
    bool kept_rest = true;
    for (size_t batch = 0; batch < batches; batch++)
        for (size_t j = 0; j < n; j++)
            for (size_t i = 0; i < to.ld; i++) {
                size_t at = batch * to.ld * n + i + j * to.ld;
                if (i >= m) {
                    kept_rest &= to.now(at) == before.now(at);
                    continue;
                }
                double sum = 0;
                for (size_t l = 0; l < k; l++) sum += (transa ? a.get(batch, l, i) : a.get(batch, i, l)) * (transb ? b.get(batch, j, l) : b.get(batch, l, j));
                sum = alpha * sum + beta * before.get(batch, i, j) + (biased ? bias.get(0, i, 0) : 0);
                off = std::max(off, fabs(to.now(at) - sum) / (1 + fabs(sum)));
            }
    CHECK(kept_rest);
    CHECK(off < (result == 0 ? 1e-5 : result == 2 ? 1e-3 : 8e-3));
}

static void products() {
    for (int type : {0, 2, 14})
        for (int result : {0, type}) {
            for (int transa : {0, 1})
                for (int transb : {0, 1})
                    for (int way : {0, 1, 2}) {
                        product(transa, transb, 37, 29, 41, type, result, 3, 1, 0.75f, 0.5f, way);
                        product(transa, transb, 70, 9, 300, type, result, 0, 3, 1, 0, way);
                        product(transa, transb, 1, 1, 1, type, result, 1, 2, 1, 1, way);
                        product(transa, transb, 200, 17, 5, type, result, 8, 1, -1, 0, way);
                    }
            if (!type) break;
        }
    void* handle;
    CHECK(cublasCreate_v2(&handle) == 0);
    float one = 1, none = 0, numbers[16] = {1 + 0x1p-12f, 1}, to[16];
    CHECK(cublasSgemm_v2(handle, 0, 0, 4, 1, 1, &one, numbers, 3, numbers, 1, &none, to, 4) == 7);
    CHECK(cublasSgemm_v2(handle, 0, 0, 1, 1, 1, &one, nullptr, 1, numbers, 1, &none, to, 1) == 7);
    to[0] = NAN;
    CHECK(cublasSgemm_v2(handle, 0, 0, 1, 1, 1, &one, numbers, 1, numbers + 1, 1, &none, to, 1) == 0 && to[0] == numbers[0]);
    CHECK(cublasSetMathMode(handle, 3) == 0);
    CHECK(cublasSgemm_v2(handle, 0, 0, 1, 1, 1, &one, numbers, 1, numbers + 1, 1, &none, to, 1) == 0 && to[0] == 1.0f);
}

static void costs() {
    auto cost = [](const char* name, unsigned blocks, unsigned size, int given, double per) {
        Buffer<float> to(size_t(blocks) * size);
        double best = 1e9;
        for (int i = 0; i < 3; i++) {
            double start = seconds();
            CHECK(launch(name, of(blocks), of(size), 0, to.pointer(), given) == 0);
            best = std::min(best, seconds() - start);
        }
        printf("  %-14s %7.1f ns\n", name, 1e9 * best / (double(blocks) * size * per));
    };
    printf("  a thread; then a thread and barrier, shuffle, mma:\n");
    cost("time_nothing", 4000, 256, 1 << 30, 1);
    cost("time_barriers", 20, 256, 100, 100);
    cost("time_shuffles", 20, 256, 100, 100);
    cost("time_mma", 4, 256, 100, 100);
    void* handle;
    CHECK(cublasCreate_v2(&handle) == 0);
    for (int type : {0, 14})
        for (int trans : {0, 1}) {
            int n = 512;
            float one = 1, none = 0;
            Matrix a(type, size_t(n), size_t(n), 0, 1), b = a, c = a;
            double best = 1e9;
            for (int i = 0; i < 5; i++) {
                double start = seconds();
                CHECK(cublasGemmEx(handle, trans, 0, n, n, n, &one, a.data(), type, n, b.data(), type, n, &none, c.data(), type, n, 68, -1) == 0);
                best = std::min(best, seconds() - start);
            }
            printf("  product of %d x %d, %s, %s: %.1f GFLOP/s\n", n, n, type ? "bf16" : "f32", trans ? "TN" : "NN", 2e-9 * n * n * n / best);
        }
}

int main() {
    int device;
    void* context;
    CUdeviceptr at;
    CHECK(cuMemAlloc_v2(&at, 1) == 3);
    CHECK(cuInit(0) == 0 && cuDeviceGet(&device, 0) == 0 && cuDevicePrimaryCtxRetain(&context, device) == 0);
    CHECK(cuMemAlloc_v2(&at, 1) == 201);
    CHECK(cuCtxSetCurrent(context) == 0 && cuModuleLoadData(&module, "") == 0);
    const char* order = getenv("STANDIN_ORDER");
    printf("stand-in, order %s%s\n", order ? order : "forward", early() ? ", streams with names ahead" : "");
    driver();
    threads();
    put_off();
    together(context);
    halves();
    tensor_cores();
    wrong();
    products();
    costs();
    printf("%d checks, %d failed\n", checks, failures);
    return failures != 0;
}
