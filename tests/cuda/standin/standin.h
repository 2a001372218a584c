// What a kernel's source needs of CUDA, for a C++ compiler: kernels run on the CPU, a thread of a block as a fiber
// (fibers.cpp). common.cuh includes this where STANDIN is defined; build.sh includes it first and puts each kernel's
// file into a namespace without a name, so that helpers of two files may share one.
#pragma once

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include <type_traits>
#include <utility>

#define STANDIN_HIDDEN __attribute__((visibility("hidden")))

#define __device__
#define __host__
#define __global__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict

// One block runs at a time, so what a block shares may be static. All of it lies in one section, so that it can be
// poisoned before a block starts and told from other memory.
#define __shared__ static __attribute__((section("standin_shared")))
#define SHARED __shared__
#define SHARED_BYTES(name) unsigned char* const name = ::standin::shared_bytes

#define KERNEL(name, threads, parameters)                                   \
    static void name parameters;                                            \
    static const ::standin::Register register_##name{#name, threads, &name}; \
    static void name parameters

// ---- vectors

#define STANDIN_VECTOR2(name, type, bytes)                          \
    struct __attribute__((may_alias, aligned(bytes))) name {        \
        type x, y;                                                  \
    };                                                              \
    static inline name make_##name(type x, type y) { return name{x, y}; }
#define STANDIN_VECTOR4(name, type, bytes)                          \
    struct __attribute__((may_alias, aligned(bytes))) name {        \
        type x, y, z, w;                                            \
    };                                                              \
    static inline name make_##name(type x, type y, type z, type w) { return name{x, y, z, w}; }
STANDIN_VECTOR2(char2, signed char, 2)
STANDIN_VECTOR4(char4, signed char, 4)
STANDIN_VECTOR2(uchar2, unsigned char, 2)
STANDIN_VECTOR4(uchar4, unsigned char, 4)
STANDIN_VECTOR2(ushort2, unsigned short, 4)
STANDIN_VECTOR4(ushort4, unsigned short, 8)
STANDIN_VECTOR2(int2, int, 8)
STANDIN_VECTOR4(int4, int, 16)
STANDIN_VECTOR2(uint2, unsigned, 8)
STANDIN_VECTOR4(uint4, unsigned, 16)
STANDIN_VECTOR2(float2, float, 8)
STANDIN_VECTOR4(float4, float, 16)
STANDIN_VECTOR2(double2, double, 16)
STANDIN_VECTOR2(longlong2, long long, 16)
STANDIN_VECTOR2(ulonglong2, unsigned long long, 16)
struct uint3 {
    unsigned x, y, z;
};
struct float3 {
    float x, y, z;
};
static inline float3 make_float3(float x, float y, float z) { return float3{x, y, z}; }
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

// of the thread that runs; fibers.cpp sets it whenever another one goes on
extern STANDIN_HIDDEN uint3 threadIdx, blockIdx;
extern STANDIN_HIDDEN dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---- what fibers.cpp offers

namespace standin {

// A kernel by its name, and how to call it with the parameters of a launch.
struct Kernel {
    const char* name;
    unsigned threads;  // the most of a block
    void (*function)();
    void (*call)(void (*function)(), void** parameters);
    const size_t* sizes;  // of the parameters, and a 0
};
STANDIN_HIDDEN void add_kernel(const Kernel& kernel);
STANDIN_HIDDEN const Kernel* find_kernel(const char* name);

template <class... P> struct Caller {
    static constexpr size_t sizes[] = {sizeof(P)..., 0};
    template <size_t... I> static void spread(void (*function)(P...), void** parameters, std::integer_sequence<size_t, I...>) {
        (void)parameters;
        function(*static_cast<std::remove_cv_t<P>*>(parameters[I])...);
    }
    static void call(void (*function)(), void** parameters) {
        spread(reinterpret_cast<void (*)(P...)>(function), parameters, std::index_sequence_for<P...>{});
    }
};
struct Register {
    template <class... P> Register(const char* name, unsigned threads, void (*function)(P...)) {
        add_kernel(Kernel{name, threads, reinterpret_cast<void (*)()>(function), &Caller<P...>::call, Caller<P...>::sizes});
    }
};

// Runs a whole grid, or ends the process with a report.
STANDIN_HIDDEN void launch(const Kernel& kernel, dim3 grid, dim3 block, size_t shared, void** parameters);

// the dynamic shared memory of the block that runs
extern STANDIN_HIDDEN unsigned char* shared_bytes;
STANDIN_HIDDEN bool is_shared(const void* at, size_t bytes);

// Says what is wrong in which thread of which kernel, and aborts.
[[noreturn]] STANDIN_HIDDEN void fail(const char* what);

// Waits for all threads of the block that have not returned.
struct Met {
    unsigned yes, all;
};
STANDIN_HIDDEN Met barrier(bool yes);

// Waits for the lanes of `mask`. The last to come calls `how` with what each of those `present` has brought, which stays
// where it is (on their stacks) until they go on: answers are written there.
typedef void (*Meet)(void* const* brought, unsigned present);
STANDIN_HIDDEN void meet(unsigned mask, Meet how, void* mine);
STANDIN_HIDDEN unsigned lanes_alive();
STANDIN_HIDDEN unsigned lane_now();

struct Exchange {
    uint64_t value, answer;
    int from;
};
STANDIN_HIDDEN void exchange(void* const* brought, unsigned present);
struct Vote {
    unsigned yes, present;
    bool mine;
};
STANDIN_HIDDEN void vote(void* const* brought, unsigned present);
STANDIN_HIDDEN void nothing(void* const* brought, unsigned present);

template <class T> inline T shuffle(unsigned mask, T value, int from) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "a shuffle takes 8 bytes at most");
    Exchange mine{0, 0, from};
    memcpy(&mine.value, &value, sizeof(T));
    meet(mask, exchange, &mine);
    memcpy(&value, &mine.answer, sizeof(T));
    return value;
}
inline Vote ask(unsigned mask, bool yes) {
    Vote mine{0, 0, yes};
    meet(mask, vote, &mine);
    return mine;
}

// ---- IEEE halves

template <class To, class From> inline To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}
inline float half_to_float_plain(uint16_t half) {
    uint32_t sign = uint32_t(half & 0x8000u) << 16, exponent = (half >> 10) & 31u, fraction = half & 0x3ffu;
    if (exponent == 31) return same_bits<float>(sign | 0x7f800000u | (fraction << 13) | (fraction ? 0x400000u : 0u));
    if (exponent == 0) {
        float x = float(fraction) * 0x1p-24f;
        return sign ? -x : x;
    }
    return same_bits<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}
// To nearest even; any NaN becomes the one that devices make.
inline uint16_t float_to_half_plain(float x) {
    uint32_t bits = same_bits<uint32_t>(x), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return 0x7fff;
    if (size >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // 65520 and more
    if (size < 0x38800000u) {
        // below 2^-14: adding 0.5 leaves multiples of 2^-24 in the last bits, rounded
        float sum = same_bits<float>(size) + 0.5f;
        return uint16_t(sign | (same_bits<uint32_t>(sum) - 0x3f000000u));
    }
    return uint16_t(sign | ((size - 0x38000000u + 0xfffu + ((size >> 13) & 1u)) >> 13));
}
#if defined(__F16C__)
inline float half_to_float(uint16_t half) { return _cvtsh_ss(half); }
inline uint16_t float_to_half(float x) { return x != x ? uint16_t(0x7fff) : uint16_t(_cvtss_sh(x, 0)); }
#else
inline float half_to_float(uint16_t half) { return half_to_float_plain(half); }
inline uint16_t float_to_half(float x) { return float_to_half_plain(x); }
#endif

// ---- tensor cores (mma.sync m16n8k16) and their tiles (ldmatrix x4), of a whole warp

template <class Widen> struct Product {
    float* d;
    const unsigned *a, *b;
    Widen widen;
    static void multiply(void* const* brought, unsigned present) {
        if (present != ~0u) fail("mma with lanes missing");
        float a[16][16], b[16][8], d[16][8];
        for (int lane = 0; lane < 32; lane++) {
            const Product& of = *static_cast<const Product*>(brought[lane]);
            int g = lane / 4, t = lane % 4;
            for (int i = 0; i < 4; i++)
                for (int high = 0; high < 2; high++)
                    a[g + 8 * (i % 2)][8 * (i / 2) + 2 * t + high] = of.widen((unsigned short)(of.a[i] >> (16 * high)));
            for (int i = 0; i < 2; i++)
                for (int high = 0; high < 2; high++) b[8 * i + 2 * t + high][g] = of.widen((unsigned short)(of.b[i] >> (16 * high)));
            for (int i = 0; i < 4; i++) d[g + 8 * (i / 2)][2 * t + i % 2] = of.d[i];
        }
        for (int row = 0; row < 16; row++)
            for (int k = 0; k < 16; k++)
                for (int column = 0; column < 8; column++) d[row][column] += a[row][k] * b[k][column];
        for (int lane = 0; lane < 32; lane++) {
            const Product& of = *static_cast<const Product*>(brought[lane]);
            for (int i = 0; i < 4; i++) of.d[i] = d[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
        }
    }
};
template <class Widen> inline void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Widen widen) {
    Product<Widen> mine{d, a, b, widen};
    meet(~0u, &Product<Widen>::multiply, &mine);
}

struct Tiles {
    unsigned* to;
    const void* row;
    bool transposed;
};
STANDIN_HIDDEN void fetch_tiles(void* const* brought, unsigned present);
inline void load_tiles(unsigned (&to)[4], const void* row, bool transposed) {
    Tiles mine{to, row, transposed};
    meet(~0u, fetch_tiles, &mine);
}

// 16 bytes to shared memory, at once
STANDIN_HIDDEN void copy(void* shared, const void* global, bool there);
// The same as late as the device may: the place holds poison until the thread has waited for the copy's group.
STANDIN_HIDDEN void copy_later(void* shared, const void* global, bool there);
STANDIN_HIDDEN void copies_end();
STANDIN_HIDDEN void copies_wait(unsigned left);

}  // namespace standin

// ---- barriers, warps

inline void __syncthreads() { standin::barrier(false); }
inline int __syncthreads_or(int x) { return standin::barrier(x != 0).yes != 0; }
inline int __syncthreads_and(int x) {
    standin::Met met = standin::barrier(x != 0);
    return met.yes == met.all;
}
inline int __syncthreads_count(int x) { return int(standin::barrier(x != 0).yes); }
inline void __syncwarp(unsigned mask = ~0u) { standin::meet(mask, standin::nothing, nullptr); }
inline unsigned __activemask() { return standin::lanes_alive(); }
inline unsigned __ballot_sync(unsigned mask, int x) { return standin::ask(mask, x != 0).yes; }
inline int __any_sync(unsigned mask, int x) { return standin::ask(mask, x != 0).yes != 0; }
inline int __all_sync(unsigned mask, int x) {
    standin::Vote vote = standin::ask(mask, x != 0);
    return vote.yes == vote.present;
}
template <class T> inline T __shfl_sync(unsigned mask, T x, int from, int width = 32) {
    int lane = int(standin::lane_now());
    return standin::shuffle(mask, x, (lane & ~(width - 1)) | (from & (width - 1)));
}
// past its part of the warp a lane asks itself
template <class T> inline T __shfl_xor_sync(unsigned mask, T x, int with, int width = 32) {
    int lane = int(standin::lane_now()), from = lane ^ with;
    return standin::shuffle(mask, x, from > (lane | (width - 1)) ? lane : from);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T x, unsigned by, int width = 32) {
    int lane = int(standin::lane_now()), from = lane - int(by);
    return standin::shuffle(mask, x, from < (lane & ~(width - 1)) ? lane : from);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T x, unsigned by, int width = 32) {
    int lane = int(standin::lane_now()), from = lane + int(by);
    return standin::shuffle(mask, x, from > (lane | (width - 1)) ? lane : from);
}

// ---- memory: nothing runs beside the thread that runs

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
template <class T> inline T __ldg(const T* from) { return *from; }
template <class T> inline T __ldcs(const T* from) { return *from; }
template <class T> inline T __ldcg(const T* from) { return *from; }
template <class T> inline void __stcs(T* to, T x) { *to = x; }
template <class T> inline void __stcg(T* to, T x) { *to = x; }

template <class T> using Same = typename std::common_type<T>::type;
#define STANDIN_ATOMIC(name, value)                              \
    template <class T> inline T name(T* at, Same<T> x) {         \
        T old = *at;                                             \
        *at = value;                                             \
        return old;                                              \
    }
STANDIN_ATOMIC(atomicAdd, T(old + x))
STANDIN_ATOMIC(atomicSub, T(old - x))
STANDIN_ATOMIC(atomicMax, old > x ? old : x)
STANDIN_ATOMIC(atomicMin, old < x ? old : x)
STANDIN_ATOMIC(atomicExch, x)
STANDIN_ATOMIC(atomicOr, T(old | x))
STANDIN_ATOMIC(atomicAnd, T(old& x))
STANDIN_ATOMIC(atomicXor, T(old ^ x))
STANDIN_ATOMIC(atomicInc, old >= x ? T(0) : T(old + 1))
template <class T> inline T atomicCAS(T* at, Same<T> expected, Same<T> x) {
    T old = *at;
    if (old == expected) *at = x;
    return old;
}

// ---- numbers

inline unsigned __float_as_uint(float x) { return standin::same_bits<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return standin::same_bits<float>(x); }
inline int __float_as_int(float x) { return standin::same_bits<int>(x); }
inline float __int_as_float(int x) { return standin::same_bits<float>(x); }
inline long long __double_as_longlong(double x) { return standin::same_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return standin::same_bits<double>(x); }

// macros, since the C library declares functions of these names
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)
#define __exp2f(x) exp2f(x)
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline int __float2int_rn(float x) { return int(lrintf(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline int __float2int_rd(float x) { return int(floorf(x)); }
inline int __float2int_ru(float x) { return int(ceilf(x)); }
inline unsigned __float2uint_rn(float x) { return unsigned(llrintf(x)); }
inline long long __float2ll_rn(float x) { return llrintf(x); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }
inline int __double2int_rn(double x) { return int(lrint(x)); }
inline float __double2float_rn(double x) { return float(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned((uint64_t(x) * y) >> 32); }
__extension__ typedef unsigned __int128 standin_wide;
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((standin_wide(x) * y) >> 64);
}
[[noreturn]] inline void __trap() { standin::fail("__trap"); }

template <class A, class B> inline typename std::common_type<A, B>::type min(A a, B b) {
    using T = typename std::common_type<A, B>::type;
    if constexpr (std::is_floating_point<T>::value) return sizeof(T) == 4 ? T(fminf(float(a), float(b))) : T(fmin(double(a), double(b)));
    else return T(a) < T(b) ? T(a) : T(b);
}
template <class A, class B> inline typename std::common_type<A, B>::type max(A a, B b) {
    using T = typename std::common_type<A, B>::type;
    if constexpr (std::is_floating_point<T>::value) return sizeof(T) == 4 ? T(fmaxf(float(a), float(b))) : T(fmax(double(a), double(b)));
    else return T(a) > T(b) ? T(a) : T(b);
}
