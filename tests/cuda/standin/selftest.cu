// Kernels for selftest.cpp: one for each thing that the stand-in does.
#include "common.cuh"

// what every thread can say of itself, with early returns
KERNEL(test_index, 1024, (int* to, int n)) {
    int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    int at = block * int(blockDim.x * blockDim.y * blockDim.z) + thread;
    if (at >= n) return;
    to[at] = at;
}

KERNEL(test_block_sum, 1024, (const float* from, double* to)) {
    SHARED double room[32];
    double sum = block_sum(double(from[blockIdx.x * blockDim.x + threadIdx.x]), room);
    if (threadIdx.x == 0) to[blockIdx.x] = sum;
}

// halves the block again and again, through shared memory whose size the launch says; half the threads return early
KERNEL(test_tree_sum, 1024, (const int* from, int* to)) {
    SHARED_BYTES(bytes);
    int* sums = reinterpret_cast<int*>(bytes);
    int half = int(blockDim.x) / 2, thread = int(threadIdx.x);
    const int* mine = from + blockIdx.x * blockDim.x;
    if (thread >= half) return;
    sums[thread] = mine[thread] + mine[thread + half];
    __syncthreads();
    for (int apart = half / 2; apart > 0; apart /= 2) {
        if (thread < apart) sums[thread] += sums[thread + apart];
        __syncthreads();
    }
    if (thread == 0) to[blockIdx.x] = sums[0];
}

KERNEL(test_warp, 64, (long long* to)) {
    int lane = int(threadIdx.x) % 32, x = int(threadIdx.x) * 3 + 1;
    long long* at = to + 16 * (blockIdx.x * 64 + threadIdx.x);
    at[0] = __shfl_sync(FULL_WARP, x, 5);
    at[1] = __shfl_xor_sync(FULL_WARP, x, 7);
    at[2] = __shfl_up_sync(FULL_WARP, (long long)x << 33, 3);
    at[3] = (long long)__shfl_down_sync(FULL_WARP, double(x), 4, 8);
    at[4] = __ballot_sync(FULL_WARP, lane % 3 == 0);
    at[5] = __any_sync(FULL_WARP, lane == 31);
    at[6] = __all_sync(FULL_WARP, lane < 31);
    // the halves of a warp, each for itself, one of them more often
    if (lane < 16) {
        int sum = x;
        for (int i = 0; i < 5; i++) sum += __shfl_xor_sync(0xffffu, sum, 1 << (i % 4));
        at[7] = sum;
    } else {
        at[7] = __shfl_sync(0xffff0000u, x, 16);
    }
    __syncwarp();
    at[8] = __syncthreads_count(threadIdx.x % 4 == 1);
    at[9] = __syncthreads_or(threadIdx.x == 63);
    at[10] = __syncthreads_and(threadIdx.x != 63);
    // lanes that have returned are not waited for
    if (lane == 9) return;
    at[11] = __ballot_sync(FULL_WARP, 1);
}

KERNEL(test_atomics, 256, (int* ints, float* floats)) {
    atomicAdd(&ints[0], 1);
    atomicMax(&ints[1], int(blockIdx.x * blockDim.x + threadIdx.x));
    atomicMin(&ints[2], -int(threadIdx.x));
    atomicAdd(floats, 0.5f);
    int seen = ints[3], expected;
    do {
        expected = seen;
        seen = atomicCAS(&ints[3], expected, expected + 2);
    } while (seen != expected);
}

// c (16 x 8) += a (16 x 16) b (16 x 8), row-major, by shared memory and tiles
template <class T> DEVICE void multiply(const T* a, const T* b, float* c) {
    SHARED_BYTES(bytes);
    T* shared_a = reinterpret_cast<T*>(bytes);
    T* shared_b = shared_a + 256;
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    for (int i = 0; i < 8; i++) shared_a[lane + 32 * i] = a[lane + 32 * i];
    // b twice, beside itself: rows of 16
    for (int i = 0; i < 8; i++) {
        int at = lane + 32 * i;
        shared_b[at] = b[at / 16 * 8 + at % 8];
    }
    __syncwarp();
    u32 of_a[4], of_b[4];
    load_tiles(of_a, shared_a + (lane % 16) * 16 + lane / 16 * 8);
    load_tiles_transposed(of_b, shared_b + (lane % 16) * 16 + lane / 16 * 8);
    float d[4];
    for (int i = 0; i < 4; i++) d[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    const u32 factor[2] = {of_b[0], of_b[1]}, same[2] = {of_b[2], of_b[3]};
    float e[4] = {0, 0, 0, 0};
    mma<T>(e, of_a, same);
    mma<T>(d, of_a, factor);
    for (int i = 0; i < 4; i++) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
    for (int i = 0; i < 4; i++) c[128 + (g + i / 2 * 8) * 8 + 2 * t + i % 2] = e[i];
}
KERNEL(test_mma_bf16, 32, (const bf16* a, const bf16* b, float* c)) { multiply<bf16>(a, b, c); }
KERNEL(test_mma_f16, 32, (const f16* a, const f16* b, float* c)) { multiply<f16>(a, b, c); }

KERNEL(test_tiles, 32, (const u16* from, u32* to)) {
    SHARED __align__(16) u16 rows[32 * 8];
    for (int i = 0; i < 8; i++) rows[threadIdx.x * 8 + i] = from[threadIdx.x * 8 + i];
    __syncwarp();
    u32 straight[4], transposed[4];
    load_tiles(straight, rows + threadIdx.x * 8);
    load_tiles_transposed(transposed, rows + threadIdx.x * 8);
    for (int i = 0; i < 4; i++) {
        to[threadIdx.x * 8 + i] = straight[i];
        to[threadIdx.x * 8 + 4 + i] = transposed[i];
    }
}

// copies that come late, two groups at a time
KERNEL(test_copies, 32, (const float* from, float* to, int n)) {
    SHARED __align__(16) float room[2][128];
    auto begin = [&](int i) {
        int at = threadIdx.x * 4;
        standin::copy_later(&room[i % 2][at], i * 128 < n ? from + i * 128 + at : from, i * 128 < n);
        standin::copies_end();
    };
    begin(0);
    for (int i = 0; i * 128 < n; i++) {
        begin(i + 1);
        standin::copies_wait(1);
        __syncthreads();
        for (int j = 0; j < 4; j++) to[i * 128 + 32 * j + threadIdx.x] = room[i % 2][32 * j + threadIdx.x];
        __syncthreads();
    }
    standin::copies_wait(0);
    __syncthreads();
    if (threadIdx.x == 0) to[n] = room[(n / 128) % 2][127];
}

// memory that nobody has written is poison
KERNEL(test_poison, 32, (u32* to)) {
    SHARED u32 fixed[32];
    SHARED_BYTES(bytes);
    u32* named = reinterpret_cast<u32*>(bytes);
    to[threadIdx.x] = fixed[threadIdx.x] & named[threadIdx.x];
    fixed[threadIdx.x] = named[threadIdx.x] = 0;
}

KERNEL(test_halves, 256, (const float* from, u16* halves, float* back, int n)) {
    int at = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (at >= n) return;
    halves[at] = narrow<f16>(from[at]).bits;
    back[at] = wide(f16{halves[at]});
}

// ---- wrong ones

KERNEL(wrong_barrier, 64, (int* to)) {
    if (threadIdx.x < 32) __syncthreads();
    else to[threadIdx.x] = __shfl_sync(FULL_WARP, 1, 0);
    if (threadIdx.x == 40) __syncthreads();
    else __syncwarp();
}
KERNEL(wrong_shared, 32, (int* to)) {
    SHARED_BYTES(bytes);
    bytes[32 + threadIdx.x] = 0;
    to[threadIdx.x] = 0;
}
KERNEL(wrong_masks, 32, (int* to)) { to[threadIdx.x] = __shfl_sync(threadIdx.x % 31 == 0 ? FULL_WARP : 0x7fffffffu, 1, 0); }
KERNEL(wrong_function, 32, (int* to)) { to[threadIdx.x] = threadIdx.x ? __shfl_sync(FULL_WARP, 1, 0) : int(__ballot_sync(FULL_WARP, 1)); }
KERNEL(wrong_lane, 32, (int* to)) { to[threadIdx.x] = __shfl_sync(2u, 1, 1); }
KERNEL(wrong_tiles, 32, (u32* to)) {
    u32 tiles[4];
    load_tiles(tiles, to + threadIdx.x * 4);
    to[threadIdx.x] = tiles[0];
}

// every thread writes the same place: the order shows
KERNEL(test_race, 64, (int* to)) { *to = int(threadIdx.x + blockIdx.x * blockDim.x); }

// ---- what things cost

KERNEL(time_nothing, 256, (float* to, int n)) {
    int at = int(blockIdx.x * blockDim.x + threadIdx.x);
    if (at < n) to[at] += 1.0f;
}
KERNEL(time_barriers, 256, (float* to, int times)) {
    for (int i = 0; i < times; i++) __syncthreads();
    if (threadIdx.x == 0) to[blockIdx.x] = 1.0f;
}
KERNEL(time_shuffles, 256, (float* to, int times)) {
    float x = float(threadIdx.x);
    for (int i = 0; i < times; i++) x += __shfl_xor_sync(FULL_WARP, x, 1 << i % 5);
    to[blockIdx.x * blockDim.x + threadIdx.x] = x;
}
KERNEL(time_mma, 256, (float* to, int times)) {
    float d[4] = {0, 0, 0, 0};
    u32 a[4] = {threadIdx.x, 1, 2, 3};
    const u32 b[2] = {0x3f803f80u, 0};
    for (int i = 0; i < times; i++) mma<bf16>(d, a, b);
    to[blockIdx.x * blockDim.x + threadIdx.x] = d[0];
}
