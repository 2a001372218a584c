// The nearest rows of a bank: each query's best so far, and a stretch of similarities that may hold better ones.
#include "common.cuh"

// keys that a block holds, and similarities that it looks at between two looks at how many it holds
#define NEIGHBOURS_ROOM 2048
#define NEIGHBOURS_CHUNK 1024

// A neighbour as one number, larger where it is nearer and, of equals, where it stands earlier; 0 is nobody. No two are the same, so
// that their order is one whatever order they came in.
DEVICE u64 neighbours_key(float similarity, u32 at) {
    // nor is a NaN anybody's
    if (!(similarity > -INFINITY)) return 0;
    u32 bits = __float_as_uint(similarity);
    u32 ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (u64(ordered) << 32) | u64(~at);
}

// Sorts so many keys, the largest first, by a bitonic network. All threads call it, and all see the keys when it returns.
DEVICE void neighbours_sort(u64* keys, int count) {
    int n = 1;
    while (n < count) n *= 2;
    for (int i = count + int(threadIdx.x); i < n; i += blockDim.x) keys[i] = 0;
    __syncthreads();
    for (int size = 2; size <= n; size *= 2) {
        for (int apart = size / 2; apart > 0; apart /= 2) {
            for (int i = threadIdx.x; i < n / 2; i += blockDim.x) {
                int low = 2 * i - (i & (apart - 1)), high = low + apart;
                u64 a = keys[low], b = keys[high];
                // every other run rises, so that two of them make one that falls and rises
                if ((low & size) == 0 ? a < b : a > b) {
                    keys[low] = b;
                    keys[high] = a;
                }
            }
            __syncthreads();
        }
    }
}

// A block a query: its `most` best so far (at most 1024, the nearest first; 0 where there are fewer) become those of them and of rows
// first, …, first + count - 1 of the bank, whose similarities (queries, count) are given. With `under`, the query's number there,
// `apart` from the next one's, is what keys must be below.
KERNEL(neighbours_merge, 256, (int most, u32 first, int count, const float* similarities, const u64* under, int apart, u64* best)) {
    SHARED u64 keys[NEIGHBOURS_ROOM];
    SHARED int filled;
    similarities += i64(blockIdx.x) * count;
    best += i64(blockIdx.x) * most;
    u64 limit = under ? under[i64(blockIdx.x) * apart] : ~u64(0);
    for (int i = threadIdx.x; i < most; i += blockDim.x) keys[i] = best[i];
    if (threadIdx.x == 0) filled = most;
    // what is no nearer than the last of them is none of the nearest
    u64 bar = best[most - 1];
    bool sorted = false;
    for (int from = 0; from < count; from += NEIGHBOURS_CHUNK) {
        __syncthreads();
        int held = filled;
        __syncthreads();
        if (held + NEIGHBOURS_CHUNK > NEIGHBOURS_ROOM) {
            neighbours_sort(keys, held);
            bar = keys[most - 1];
            sorted = true;
            if (threadIdx.x == 0) filled = most;
            __syncthreads();
        }
        float seen[NEIGHBOURS_CHUNK / 256];
#pragma unroll
        for (int j = 0; j < NEIGHBOURS_CHUNK / 256; j++) {
            int at = from + j * 256 + int(threadIdx.x);
            seen[j] = at < count ? similarities[at] : -INFINITY;
        }
#pragma unroll
        for (int j = 0; j < NEIGHBOURS_CHUNK / 256; j++) {
            u64 key = neighbours_key(seen[j], first + u32(from + j * 256 + int(threadIdx.x)));
            if (key > bar && key < limit) keys[atomicAdd(&filled, 1)] = key;
        }
    }
    __syncthreads();
    int held = filled;
    // nothing came that is nearer, or nothing since
    if (held > most) neighbours_sort(keys, held);
    else if (!sorted) return;
    for (int i = threadIdx.x; i < most; i += blockDim.x) best[i] = keys[i];
}

// Rows brought to unit length where they stand, a warp each.
KERNEL(neighbours_unit, 256, (i64 rows, int dim, float* x)) {
    i64 row = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (row >= rows) return;
    x += row * dim;
    double sum = 0.0;
    for (int i = lane; i < dim; i += 32) sum += double(x[i]) * double(x[i]);
    double length = sqrt(warp_sum(sum));
    float norm = float(length > 1e-12 ? length : 1e-12);
    for (int i = lane; i < dim; i += 32) x[i] /= norm;
}
