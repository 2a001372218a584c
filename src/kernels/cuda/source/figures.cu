// What the collapse doctor reads off a batch.
#include "common.cuh"

// A block a row of k: the place of its largest number, the first where several are; 0 where one is NaN.
KERNEL(figures_choices, 1024, (int k, const float* x, u32* choices)) {
    SHARED LargestAt room[32];
    x += i64(blockIdx.x) * k;
    LargestAt best = {-INFINITY, NOT_FOUND};
    bool nan = false;
    // a thread sees its numbers in order, so that the first of equals stays
    int i = threadIdx.x;
    if (k % 4 == 0 && u64(x) % 16 == 0) {
        for (int at = 4 * int(threadIdx.x); at < k; at += 4 * int(blockDim.x)) {
            Four v = load_four(x + at);
            float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int j = 0; j < 4; j++) {
                nan = nan || values[j] != values[j];
                if (values[j] > best.most) best = LargestAt{values[j], at + j};
            }
        }
        i = k;
    }
    for (; i < k; i += blockDim.x) {
        nan = nan || x[i] != x[i];
        if (x[i] > best.most) best = LargestAt{x[i], i};
    }
    best = block_first_largest(best, room);
    // where nothing is above minus infinity, the first is as large as any
    bool none = __syncthreads_or(nan) || best.at == NOT_FOUND;
    if (threadIdx.x == 0) choices[blockIdx.x] = none ? 0 : u32(best.at);
}

// Rows without their mean: a block takes 32 columns, its eight warps every eighth row.
KERNEL(figures_centred, 256, (int rows, int dim, const float* x, float* y)) {
    SHARED double sums[8][32];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = int(blockIdx.x) * 32 + lane;
    double sum = 0.0;
    if (column < dim) {
#pragma unroll 4
        for (int row = warp; row < rows; row += 8) sum += double(x[i64(row) * dim + column]);
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (column >= dim) return;
    double mean = 0.0;
    for (int i = 0; i < 8; i++) mean += sums[i][lane];
    mean /= double(rows);
    for (int row = warp; row < rows; row += 8) y[i64(row) * dim + column] = float(double(x[i64(row) * dim + column]) - mean);
}
