// Sinkhorn-Knopp. The matrix of exponentials stays as it is; only factors of its rows and columns change, which are doubles, since
// exponentials of cosines over a temperature leave f32's range when they are divided by.
#include "common.cuh"

// columns of a block that goes down them, and the warps that share its rows
#define STRIP 128
#define WARPS 8

// NaN where either is: the largest of a group with one is NaN, and all targets with it
DEVICE float larger(float a, float b) { return a != a || a > b ? a : b; }
DEVICE float block_larger(float x, float* room) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int apart = 16; apart > 0; apart /= 2) x = larger(x, __shfl_xor_sync(FULL_WARP, x, apart));
    if (lane == 0) room[warp] = x;
    __syncthreads();
    float most = room[0];
    for (int i = 1; i < warps; i++) most = larger(most, room[i]);
    return most;
}
// the factor that brings a total to 1 / count; nothing can be brought there from 0
DEVICE double share(double total, int count) { return total == 0.0 ? 0.0 : 1.0 / (total * double(count)); }
// what has the factor 0 has no part in an entropy
DEVICE double logarithm(double factor) { return factor == 0.0 ? 0.0 : log(factor); }

// The largest of each row of k: of logits, and then of the rows' largest in each group.
KERNEL(loss_row_largest, 1024, (int k, const float* x, float* largest)) {
    SHARED float room[32];
    x += i64(blockIdx.x) * k;
    float most = -INFINITY;
    int i = threadIdx.x;
    if (k % 4 == 0 && u64(x) % 16 == 0) {
        for (int quad = threadIdx.x; quad < k / 4; quad += blockDim.x) {
            Four v = load_four(x + 4 * quad);
            most = larger(larger(most, larger(v.x, v.y)), larger(v.z, v.w));
        }
        i = k;
    }
    for (; i < k; i += blockDim.x) most = larger(most, x[i]);
    most = block_larger(most, room);
    if (threadIdx.x == 0) largest[blockIdx.x] = most;
}

template <bool four> DEVICE int column(int j) {
    int lane = threadIdx.x % 32;
    return four ? lane * 4 + j : j * 32 + lane;
}
template <bool four> DEVICE void load_strip(float (&x)[4], const float* strip, int width) {
    if (four) {
        Four v = column<true>(0) < width ? load_four(strip + column<true>(0)) : Four{0.0f, 0.0f, 0.0f, 0.0f};
        x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++) x[j] = column<false>(j) < width ? strip[column<false>(j)] : 0.0f;
    }
}
template <bool four> DEVICE void store_strip(const float (&x)[4], float* strip, int width) {
    if (four) {
        if (column<true>(0) < width) store_four(strip + column<true>(0), Four{x[0], x[1], x[2], x[3]});
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (column<false>(j) < width) strip[column<false>(j)] = x[j];
    }
}

// Sums of a strip's columns, rows times their factors. The first time, `logits` are there: their exponentials are made and kept.
template <bool four>
DEVICE void strip_sums(int rows, int k, int width, const float* logits, float top, float inverse, const double* factors, float* matrix,
                       double (*sums)[STRIP]) {
    int warp = threadIdx.x / 32;
    double sum[4] = {0.0, 0.0, 0.0, 0.0};
#pragma unroll 4
    for (int row = warp; row < rows; row += WARPS) {
        i64 at = i64(row) * k;
        float x[4];
        if (logits) {
            load_strip<four>(x, logits + at, width);
#pragma unroll
            for (int j = 0; j < 4; j++) x[j] = expf((x[j] - top) * inverse);
            store_strip<four>(x, matrix + at, width);
        } else {
            load_strip<four>(x, matrix + at, width);
        }
        double factor = factors ? factors[row] : 1.0;
#pragma unroll
        for (int j = 0; j < 4; j++) sum[j] += factor * double(x[j]);
    }
#pragma unroll
    for (int j = 0; j < 4; j++) sums[warp][column<four>(j)] = sum[j];
}
// `strips` blocks a group
KERNEL(loss_sinkhorn_columns, 256,
       (int rows, int k, int strips, const float* logits, const float* tops, float inverse, const double* row_factors, float* matrix,
        double* column_factors, double* logarithms)) {
    SHARED double sums[WARPS][STRIP];
    i64 group = blockIdx.x / u32(strips), first = i64(blockIdx.x % u32(strips)) * STRIP;
    int width = k - first < STRIP ? int(k - first) : STRIP;
    i64 at = group * rows * k + first;
    const float* from = logits ? logits + at : nullptr;
    const double* factors = row_factors ? row_factors + group * rows : nullptr;
    if (k % 4 == 0 && (u64(logits) | u64(matrix)) % 16 == 0)
        strip_sums<true>(rows, k, width, from, tops[group], inverse, factors, matrix + at, sums);
    else strip_sums<false>(rows, k, width, from, tops[group], inverse, factors, matrix + at, sums);
    __syncthreads();
    int own = threadIdx.x;
    if (own >= width) return;
    double sum = 0.0;
    for (int warp = 0; warp < WARPS; warp++) sum += sums[warp][own];
    double factor = share(sum, k);
    column_factors[group * k + first + own] = factor;
    logarithms[group * k + first + own] = logarithm(factor);
}

// A block a row: its factor, of its sum of columns times theirs.
KERNEL(loss_sinkhorn_rows, 1024, (int rows, int k, const float* matrix, const double* column_factors, double* row_factors)) {
    SHARED double sums[32];
    i64 row = blockIdx.x;
    matrix += row * k;
    column_factors += row / rows * k;
    double sum = 0.0;
#pragma unroll 4
    for (int i = threadIdx.x; i < k; i += blockDim.x) sum += double(matrix[i]) * column_factors[i];
    sum = block_sum(sum, sums);
    if (threadIdx.x == 0) row_factors[row] = share(sum, rows);
}

// A block a row: x = scale · factor · x, and the entropy: ln p = (logit - top) / temperature + ln factor + ln scale. Without factors they are 1.
KERNEL(loss_sinkhorn_finish, 1024,
       (int rows, int k, const float* logits, const float* tops, float inverse, const double* row_factors, const double* column_factors,
        const double* logarithms, float* matrix, float* entropy)) {
    SHARED double sums[32];
    i64 row = blockIdx.x, group = row / rows;
    float top = tops[group];
    double scale = (row_factors ? row_factors[row] : 1.0) * double(rows), mass = 0.0, along = 0.0;
    logits += row * k;
    matrix += row * k;
#pragma unroll 2
    for (int i = threadIdx.x; i < k; i += blockDim.x) {
        double factor = column_factors ? column_factors[group * k + i] : 1.0;
        double p = double(matrix[i]) * factor * scale;
        double exponent = double((logits[i] - top) * inverse) + (column_factors ? logarithms[group * k + i] : 0.0);
        mass += p;
        // what vanished has no part in the entropy, were its exponent infinite
        along += p == 0.0 ? 0.0 : p * exponent;
        matrix[i] = float(p);
    }
    mass = block_sum(mass, sums);
    along = block_sum(along, sums);
    if (threadIdx.x == 0) entropy[row] = float(-along - mass * logarithm(scale));
}
