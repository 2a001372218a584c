// Position embeddings for a grid of another size: Keys' cubic kernel with a = -0.75, borders clamped; sample i of n stands at
// (i + 0.5) / scale - 0.5 with scale = (n + 0.1) / source.
#include "common.cuh"

DEVICE double cubic(double x) {
    const double a = -0.75;
    return x <= 1.0 ? ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0 : ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
}

// The place of tap 0, 1, 2 or 3 of target cell `to` of `wanted` in a source of `grid` cells, and its weight.
struct Tap {
    int at;
    float weight;
};
DEVICE Tap tap_of(int grid, int wanted, int to, int tap) {
    double scale = (double(wanted) + 0.1) / double(grid), source = (double(to) + 0.5) / scale - 0.5;
    double cell = floor(source) + double(tap - 1), away = source - cell;
    int last = grid - 1, at = int(cell);
    return Tap{at < 0 ? 0 : at > last ? last : at, float(cubic(away < 0.0 ? -away : away))};
}

// out (1 + to_h to_w, dim) of pos (1 + grid_h grid_w, dim), a block to a row; the first is copied.
KERNEL(position_interpolate, 128, (int grid_h, int grid_w, int to_h, int to_w, int dim, const float* pos, float* out)) {
    SHARED Tap taps[8];
    bool fours = dim % 4 == 0 && on_fours(pos) && on_fours(out);
    i64 row = blockIdx.x;
    int lane = threadIdx.x;
    if (row > 0 && lane < 8) {
        int cell = int(row - 1);
        taps[lane] = lane < 4 ? tap_of(grid_h, to_h, cell / to_w, lane) : tap_of(grid_w, to_w, cell % to_w, lane - 4);
    }
    __syncthreads();
    out += row * dim;
    for (int at = lane * 4; at < dim; at += 4 * blockDim.x) {
        Four sum{0.0f, 0.0f, 0.0f, 0.0f};
        if (row == 0) {
            sum = row_four(pos, at, dim, fours);
        } else {
#pragma unroll
            for (int k = 0; k < 16; k++) {
                Tap down = taps[k / 4], across = taps[4 + k % 4];
                float weight = down.weight * across.weight;
                Four v = row_four(pos + (1 + i64(down.at) * grid_w + across.at) * dim, at, dim, fours);
                sum = Four{sum.x + weight * v.x, sum.y + weight * v.y, sum.z + weight * v.z, sum.w + weight * v.w};
            }
        }
        set_row_four(out, at, dim, fours, sum);
    }
}

// Along one axis: what source cell `from` counts in each target cell, and the stretch range[0]..range[1] of those where it does.
DEVICE void weights_of(int grid, int wanted, int from, float* weights, int* range) {
    for (int to = threadIdx.x; to < wanted; to += blockDim.x) {
        float weight = 0.0f;
        bool counts = false;
        for (int i = 0; i < 4; i++) {
            Tap tap = tap_of(grid, wanted, to, i);
            if (tap.at != from) continue;
            weight += tap.weight;
            counts = true;
        }
        weights[to] = weight;
        if (counts) {
            atomicMin(&range[0], to);
            atomicMax(&range[1], to + 1);
        }
    }
}

// dpos += the gradient of that under dout, a block to a row of dpos. Shared: to_h + to_w weights.
KERNEL(position_interpolate_backward, 128, (int grid_h, int grid_w, int to_h, int to_w, int dim, const float* dout, float* dpos)) {
    SHARED_BYTES(bytes);
    SHARED int range[4];
    float *down = reinterpret_cast<float*>(bytes), *across = down + to_h;
    bool fours = dim % 4 == 0 && on_fours(dout) && on_fours(dpos);
    i64 row = blockIdx.x;
    if (threadIdx.x == 0) {
        range[0] = to_h;
        range[2] = to_w;
        range[1] = range[3] = 0;
    }
    __syncthreads();
    if (row > 0) {
        weights_of(grid_h, to_h, int((row - 1) / grid_w), down, range);
        weights_of(grid_w, to_w, int((row - 1) % grid_w), across, range + 2);
    }
    __syncthreads();
    dpos += row * dim;
    for (int at = threadIdx.x * 4; at < dim; at += 4 * blockDim.x) {
        Four sum{0.0f, 0.0f, 0.0f, 0.0f};
        if (row == 0) sum = row_four(dout, at, dim, fours);
        for (int y = range[0]; row > 0 && y < range[1]; y++) {
#pragma unroll 4
            for (int x = range[2]; x < range[3]; x++) {
                float weight = down[y] * across[x];
                Four v = row_four(dout + (1 + i64(y) * to_w + x) * dim, at, dim, fours);
                sum = Four{sum.x + weight * v.x, sum.y + weight * v.y, sum.z + weight * v.z, sum.w + weight * v.w};
            }
        }
        Four was = row_four(dpos, at, dim, fours);
        set_row_four(dpos, at, dim, fours, Four{was.x + sum.x, was.y + sum.y, was.z + sum.z, was.w + sum.w});
    }
}
