// What every kernel here is written with. No header of a toolkit is included, so that NVRTC can compile these files
// wherever there is a driver; a C++ compiler can as well, where STANDIN is defined (tests/cuda), which is how kernels
// are judged on machines without a GPU.
#pragma once

#ifdef STANDIN
#include "standin.h"
#else
// KERNEL(name, threads, (parameters)) { body }: `threads` is the most that a block of it is launched with
#define KERNEL(name, threads, parameters) extern "C" __global__ void __launch_bounds__(threads) name parameters
// shared memory whose size the launch says, as bytes that start on a boundary of 16
#define SHARED_BYTES(name) extern __shared__ __align__(16) unsigned char name[]
// shared memory of a fixed size: SHARED float sums[32];
#define SHARED __shared__
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#endif

#define DEVICE __device__ __forceinline__
#define FULL_WARP 0xffffffffu

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// ---- numbers as they are stored

// brain floats and IEEE halves are bits here: arithmetic is in f32 always
struct bf16 {
    u16 bits;
};
struct f16 {
    u16 bits;
};

DEVICE float wide(float x) { return x; }
DEVICE float wide(bf16 x) { return __uint_as_float(u32(x.bits) << 16); }
DEVICE float wide(f16 x) {
#ifdef STANDIN
    return standin::half_to_float(x.bits);
#else
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#endif
}

// rounds to nearest even, as the CPU's kernels do: narrow<T>(x)
template <class T> DEVICE T narrow(float x);
template <> DEVICE float narrow<float>(float x) { return x; }
template <> DEVICE bf16 narrow<bf16>(float x) {
    u32 bits = __float_as_uint(x);
    // a NaN stays one: rounding could carry its last bits into infinity
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bf16{u16((bits >> 16) | 0x40u)};
    return bf16{u16((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
template <> DEVICE f16 narrow<f16>(float x) {
#ifdef STANDIN
    return f16{standin::float_to_half(x)};
#else
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
#endif
}

// four numbers that lie together, on a boundary of four of them
struct Four {
    float x, y, z, w;
};
DEVICE Four load_four(const float* from) {
    float4 v = *reinterpret_cast<const float4*>(from);
    return Four{v.x, v.y, v.z, v.w};
}
template <class T> DEVICE Four load_four(const T* from) {
    uint2 v = *reinterpret_cast<const uint2*>(from);
    return Four{wide(T{u16(v.x & 0xffffu)}), wide(T{u16(v.x >> 16)}), wide(T{u16(v.y & 0xffffu)}), wide(T{u16(v.y >> 16)})};
}
DEVICE void store_four(float* to, Four v) { *reinterpret_cast<float4*>(to) = make_float4(v.x, v.y, v.z, v.w); }
// two numbers in one register, the first in its low half: what tensor cores take
template <class T> DEVICE u32 pair(float low, float high) { return u32(narrow<T>(low).bits) | (u32(narrow<T>(high).bits) << 16); }
#if !defined(STANDIN) && __CUDA_ARCH__ >= 800
template <> DEVICE u32 pair<bf16>(float low, float high) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
template <> DEVICE u32 pair<f16>(float low, float high) {
    u32 both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
#endif
template <class T> DEVICE void store_four(T* to, Four v) {
    *reinterpret_cast<uint2*>(to) = make_uint2(pair<T>(v.x, v.y), pair<T>(v.z, v.w));
}

// whether numbers start on a boundary of four of them, as load_four and store_four want it; so does nothing at all
template <class T> DEVICE bool on_fours(const T* at) { return u64(at) % (4 * sizeof(T)) == 0; }
// The same for every row of so many.
template <class T> DEVICE bool on_fours(const T* at, int width) { return width % 4 == 0 && on_fours(at); }
// Numbers at, …, at + 3 of a row of `dim`, zeros beyond its end; `fours`: the row starts on a boundary and dim % 4 is 0.
template <class T> DEVICE Four row_four(const T* row, int at, int dim, bool fours) {
    if (fours) return at < dim ? load_four(row + at) : Four{0.0f, 0.0f, 0.0f, 0.0f};
    Four v;
    v.x = at < dim ? wide(row[at]) : 0.0f;
    v.y = at + 1 < dim ? wide(row[at + 1]) : 0.0f;
    v.z = at + 2 < dim ? wide(row[at + 2]) : 0.0f;
    v.w = at + 3 < dim ? wide(row[at + 3]) : 0.0f;
    return v;
}
// The same to write; what lies beyond the row's end is dropped.
template <class T> DEVICE void set_row_four(T* row, int at, int dim, bool fours, Four v) {
    if (fours) {
        if (at < dim) store_four(row + at, v);
        return;
    }
    if (at < dim) row[at] = narrow<T>(v.x);
    if (at + 1 < dim) row[at + 1] = narrow<T>(v.y);
    if (at + 2 < dim) row[at + 2] = narrow<T>(v.z);
    if (at + 3 < dim) row[at + 3] = narrow<T>(v.w);
}

// ---- a pass over numbers, one kind to another; a thread for every eight (launch.rs, `Launch::pass`)

// Fours that one thread handles, a block's worth of them apart.
constexpr int PASS_FOURS = 2;

// to[i] = one(from[i], to[i]), where to[i] is looked at only if `added`; from and to may be the same
template <bool added, class X, class Y, class F> DEVICE void each_number(const X* from, Y* to, i64 len, F one) {
    i64 first = (i64(blockIdx.x) * PASS_FOURS * blockDim.x + threadIdx.x) * 4;
    int apart = blockDim.x * 4;
    from += first;
    to += first;
    len -= first;
    if (on_fours(from) && on_fours(to) && len >= (PASS_FOURS - 1) * apart + 4) {
        Four x[PASS_FOURS], y[PASS_FOURS];
#pragma unroll
        for (int part = 0; part < PASS_FOURS; part++) {
            x[part] = load_four(from + part * apart);
            y[part] = added ? load_four(to + part * apart) : Four{0.0f, 0.0f, 0.0f, 0.0f};
        }
#pragma unroll
        for (int part = 0; part < PASS_FOURS; part++) {
            Four a = x[part], b = y[part];
            store_four(to + part * apart, Four{one(a.x, b.x), one(a.y, b.y), one(a.z, b.z), one(a.w, b.w)});
        }
        return;
    }
#pragma unroll 1
    for (int i = 0; i < PASS_FOURS * apart && i < len; i += i % 4 == 3 ? apart - 3 : 1) to[i] = narrow<Y>(one(wide(from[i]), added ? wide(to[i]) : 0.0f));
}

// ---- sums, always in the same order

// Over a warp; every lane gets it.
DEVICE float warp_sum(float x) {
    for (int apart = 16; apart > 0; apart /= 2) x += __shfl_xor_sync(FULL_WARP, x, apart);
    return x;
}
DEVICE double warp_sum(double x) {
    for (int apart = 16; apart > 0; apart /= 2) x += __shfl_xor_sync(FULL_WARP, x, apart);
    return x;
}
DEVICE float warp_max(float x) {
    for (int apart = 16; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, apart));
    return x;
}

// Over a block of whole warps, one after the other through `room` (a number a warp); every thread gets it. All threads call it.
template <class T> DEVICE T block_sum(T x, T* room) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    x = warp_sum(x);
    __syncthreads();
    if (lane == 0) room[warp] = x;
    __syncthreads();
    T sum = 0;
    for (int i = 0; i < warps; i++) sum += room[i];
    return sum;
}
DEVICE float block_max(float x, float* room) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    x = warp_max(x);
    __syncthreads();
    if (lane == 0) room[warp] = x;
    __syncthreads();
    float most = room[0];
    for (int i = 1; i < warps; i++) most = fmaxf(most, room[i]);
    return most;
}

// Over the eight warps of a block whose lanes have four columns each: thread i < 128 gets column i of theirs. All threads call it.
DEVICE float sum_of_warps(float4 mine, float4 (&room)[8][32]) {
    room[threadIdx.x / 32][threadIdx.x % 32] = mine;
    __syncthreads();
    float whole = 0.0f;
    for (int i = 0; i < 8 && threadIdx.x < 128; i++) whole += reinterpret_cast<const float*>(room[i])[threadIdx.x];
    return whole;
}

// ---- powers

// 2^x to two units in the last place, and 0 where that is below the least normal number; NaN stays NaN
DEVICE float power_of_two(float x) {
#ifdef STANDIN
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// The largest of a block's numbers that were offered, and its place; the first where several are as large. A NaN is never the largest.
struct LargestAt {
    float most;
    int at;
};
#define NOT_FOUND 0x7fffffff
DEVICE LargestAt first_largest(LargestAt a, LargestAt b) { return b.most > a.most || (b.most == a.most && b.at < a.at) ? b : a; }
DEVICE LargestAt block_first_largest(LargestAt x, LargestAt* room) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int apart = 16; apart > 0; apart /= 2) {
        LargestAt other = {__shfl_xor_sync(FULL_WARP, x.most, apart), __shfl_xor_sync(FULL_WARP, x.at, apart)};
        x = first_largest(x, other);
    }
    __syncthreads();
    if (lane == 0) room[warp] = x;
    __syncthreads();
    LargestAt largest = room[0];
    for (int i = 1; i < warps; i++) largest = first_largest(largest, room[i]);
    return largest;
}

// ---- the exact GELU (erf), and its slope

DEVICE float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }
DEVICE float gelu_slope(float x) {
    float cdf = 0.5f * (1.0f + erff(x * 0.70710678f));
    return cdf + x * 0.39894228f * expf(-0.5f * x * x);
}

// The same for what is kept in 16 bits, in half the instructions: such a pass would otherwise wait for arithmetic, not for memory.
// The share of the normal distribution beyond a, 0 to 6.5, is nearly 2 to a parabola: here one of degree 6, the CPU's (lanes/gelu.rs),
// within 8e-5 of itself.
DEVICE float near_tail(float a) {
    float p = 2.0085776e-5f;
    p = fmaf(p, a, -5.615061e-4f);
    p = fmaf(p, a, 6.880629e-3f);
    p = fmaf(p, a, -5.0272636e-2f);
    p = fmaf(p, a, -4.6245375e-1f);
    p = fmaf(p, a, -1.1496216f);
    p = fmaf(p, a, -1.0001063f);
    return power_of_two(p);
}
struct Gelu {
    float value, slope;
};
DEVICE Gelu near_gelu(float x) {
    // what is beyond is taken for the end, infinities too; a NaN stays one, which fminf would hide
    float a = fabsf(x) > 6.5f ? 6.5f : fabsf(x);
    float tail = near_tail(a), density = 0.39894228f * power_of_two(-0.72134752f * a * a);
    return Gelu{fmaf(-a, tail, fmaxf(x, 0.0f)), fmaf(copysignf(a, x), density, x > 0.0f ? 1.0f - tail : tail)};
}
// whichever goes with numbers that are kept as T
template <class T> DEVICE float gelu_for(float x) { return sizeof(T) == 4 ? gelu(x) : near_gelu(x).value; }
template <class T> DEVICE float gelu_slope_for(float x) { return sizeof(T) == 4 ? gelu_slope(x) : near_gelu(x).slope; }

// ---- rows that stand among others (kernels/rows.rs)

// Row i of those named: `apart` rows from one to the next; or, with images, row i % each of image images[i / each].
struct Rows {
    const int* images;
    int each, first, apart, count;
};
DEVICE i64 row_at(Rows rows, int i) {
    if (rows.images) return i64(rows.images[i / rows.each]) * rows.each + i % rows.each;
    return rows.first + i64(i) * rows.apart;
}

// ---- tensor cores: d += a b, 16 x 16 times 16 x 8, sums in f32; and how a warp fetches their tiles
//
// Lane l = 4 g + t holds: of a (row-major, two numbers a register) rows g and g + 8, columns 2t, 2t+1 and 8 + those:
// a[0] = (g, 2t), a[1] = (g + 8, 2t), a[2] = (g, 8 + 2t), a[3] = (g + 8, 8 + 2t); of b (k, n): b[0] = k 2t, 2t+1 and b[1] = k 8 + those, of column g;
// of d: d[0], d[1] = (g, 2t), (g, 2t+1), d[2], d[3] = (g + 8, those).
template <class T> DEVICE void mma(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]);

#if defined(STANDIN)
template <class T> DEVICE void mma(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    standin::mma(d, a, b, [](u16 bits) { return wide(T{bits}); });
}
#elif __CUDA_ARCH__ >= 800
template <> DEVICE void mma<bf16>(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <> DEVICE void mma<f16>(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
// older cards have no such instruction for brain floats: the same by hand, each lane asking the others for its factors
template <class T> DEVICE void mma(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    for (int k = 0; k < 16; k++) {
        int from = (k % 8) / 2, part = k / 8, high = k % 2;
        u32 low_row = __shfl_sync(FULL_WARP, a[2 * part], g * 4 + from);
        u32 high_row = __shfl_sync(FULL_WARP, a[2 * part + 1], g * 4 + from);
        u32 first = __shfl_sync(FULL_WARP, b[part], (2 * t) * 4 + from);
        u32 second = __shfl_sync(FULL_WARP, b[part], (2 * t + 1) * 4 + from);
        float a0 = wide(T{u16(high ? low_row >> 16 : low_row)}), a1 = wide(T{u16(high ? high_row >> 16 : high_row)});
        float b0 = wide(T{u16(high ? first >> 16 : first)}), b1 = wide(T{u16(high ? second >> 16 : second)});
        d[0] += a0 * b0;
        d[1] += a0 * b1;
        d[2] += a1 * b0;
        d[3] += a1 * b1;
    }
}
#endif

// Four 8 x 8 tiles of 16-bit numbers from shared memory. Lane l names row l % 8 of tile l / 8 (16 bytes, on a boundary of 16) and
// gets, of tile i in to[i], columns 2t, 2t+1 of row g (l = 4 g + t); transposed: rows 2t, 2t+1 of column g.
DEVICE void load_tiles(u32 (&to)[4], const void* row) {
#ifdef STANDIN
    standin::load_tiles(to, row, false);
#else
    u32 at = u32(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
#endif
}
DEVICE void load_tiles_transposed(u32 (&to)[4], const void* row) {
#ifdef STANDIN
    standin::load_tiles(to, row, true);
#else
    u32 at = u32(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
#endif
}

// 16 bytes from global to shared memory (both on boundaries of 16) while the threads go on; zeros where there is nothing.
DEVICE void copy_async(void* shared, const void* global, bool there) {
#if defined(STANDIN)
    standin::copy_later(shared, global, there);
#elif __CUDA_ARCH__ >= 800
    u32 at = u32(__cvta_generic_to_shared(shared));
    int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(at), "l"(global), "r"(bytes) : "memory");
#else
    *reinterpret_cast<uint4*>(shared) = there ? *reinterpret_cast<const uint4*>(global) : make_uint4(0, 0, 0, 0);
#endif
}
// Sends for the 128 bytes around an address, which will be read.
DEVICE void prefetch(const void* global) {
#ifdef STANDIN
    (void)global;
#else
    asm volatile("prefetch.global.L2 [%0];" ::"l"(global));
#endif
}
// The copies so far are one group.
DEVICE void copies_end() {
#if defined(STANDIN)
    standin::copies_end();
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until all but the last `left` groups of this thread have come; __syncthreads() must follow.
template <int left> DEVICE void copies_wait() {
#if defined(STANDIN)
    standin::copies_wait(left);
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
#endif
}
