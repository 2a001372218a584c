// What losses do to rows of features and to columns.
#include "common.cuh"

// ---- squared distances: a warp a row of the student; its partners are as in loss.cu

KERNEL(loss_distances, 256,
       (int rows, int globals, int batch, int k, const float* student, const float* teacher, float scale, float* dstudent, double* losses)) {
    int lane = threadIdx.x % 32;
    i64 row = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    int view = int(row) / batch, sample = int(row) % batch;
    double total = 0.0;
    for (int i = lane; i < k; i += 32) {
        float s = student[row * k + i], d = 0.0f;
        for (int global = 0; global < globals; global++) {
            if (global == view) continue;
            float apart = s - teacher[(i64(global) * batch + sample) * k + i];
            d = fmaf(scale, apart, d);
            total += double(apart) * double(apart);
        }
        dstudent[row * k + i] = d;
    }
    total = warp_sum(total);
    if (lane == 0) losses[row] = total;
}

// ---- the queue of negatives: rows onto its places from `next` on, around its end; no more rows than places

KERNEL(loss_enqueue, 256, (i64 next, i64 length, int k, i64 count, const float* rows, float* queue)) {
    i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    queue[(next + i / k) % length * k + i % k] = rows[i];
}

// ---- KoLeo

#define KOLEO_EPS 1e-8f

// A block a row: its nearest among the rows of its group by their products (groups, rows, rows), how its distance's logarithm slopes, and
// its part of the loss.
KERNEL(loss_nearest, 128,
       (int rows, int dim, float weight, const float* products, const float* x, int* nearest, float* slopes, double* losses)) {
    SHARED LargestAt places[4];
    SHARED double sums[4];
    i64 row = blockIdx.x, first = row / rows * rows;
    int own = int(row - first);
    LargestAt place = {-INFINITY, NOT_FOUND};
    for (int other = threadIdx.x; other < rows; other += blockDim.x) {
        float product = products[row * rows + other];
        if (other != own && product > place.most) place = LargestAt{product, other};
    }
    place = block_first_largest(place, places);
    if (place.at == NOT_FOUND) place.at = own == 0 ? 1 : 0;
    const float *a = x + row * dim, *b = x + (first + place.at) * dim;
    double square = 0.0;
    for (int i = threadIdx.x; i < dim; i += blockDim.x) {
        float apart = a[i] - b[i] + KOLEO_EPS;
        square += double(apart) * double(apart);
    }
    square = block_sum(square, sums);
    if (threadIdx.x == 0) {
        double distance = sqrt(square), raised = distance + double(KOLEO_EPS);
        nearest[row] = place.at;
        losses[row] = -log(raised) / rows;
        slopes[row] = float(-double(weight) / rows / raised / distance);
    }
}

// A block a row: it is pushed from its nearest, and from all whose nearest it is, in their order.
KERNEL(loss_spread, 256, (int rows, int dim, const float* x, const int* nearest, const float* slopes, float* dx)) {
    i64 row = blockIdx.x, first = row / rows * rows;
    int own = int(row - first);
    nearest += first;
    slopes += first;
    x += first * dim;
    for (int i = threadIdx.x; i < dim; i += blockDim.x) {
        float d = 0.0f, mine = x[i64(own) * dim + i];
        for (int other = 0; other < rows; other++) {
            int near = nearest[other];
            if (other == own) d = fmaf(slopes[other], mine - x[i64(near) * dim + i] + KOLEO_EPS, d);
            else if (near == own) d = fmaf(-slopes[other], x[i64(other) * dim + i] - mine + KOLEO_EPS, d);
        }
        dx[row * dim + i] = d;
    }
}

KERNEL(loss_zeros, 256, (float* x, i64 len)) {
    i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < len) x[i] = 0.0f;
}

// ---- y = logits - center: `parts` blocks a row

KERNEL(loss_centered, 256, (int k, int parts, const float* logits, const float* center, float* y)) {
    i64 row = blockIdx.x / u32(parts);
    int i = (int(blockIdx.x % u32(parts)) * int(blockDim.x) + int(threadIdx.x)) * 4;
    logits += row * k;
    y += row * k;
    if (i + 4 <= k && (u64(logits) | u64(center) | u64(y)) % 16 == 0) {
        Four l = load_four(logits + i), c = load_four(center + i);
        store_four(y + i, Four{l.x - c.x, l.y - c.y, l.z - c.z, l.w - c.w});
        return;
    }
    for (int j = i; j < i + 4 && j < k; j++) y[j] = logits[j] - center[j];
}

// ---- the mean of rows: a block takes a strip of 128 columns, its eight warps every eighth row

#define STRIP 128
#define WARPS 8

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
template <bool four> DEVICE void strip_sums(int rows, int k, int width, const float* x, float (*sums)[STRIP]) {
    int warp = threadIdx.x / 32;
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 4
    for (int row = warp; row < rows; row += WARPS) {
        float more[4];
        load_strip<four>(more, x + i64(row) * k, width);
#pragma unroll
        for (int j = 0; j < 4; j++) sum[j] += more[j];
    }
#pragma unroll
    for (int j = 0; j < 4; j++) sums[warp][column<four>(j)] = sum[j];
}
KERNEL(loss_column_mean, 256, (int rows, int k, const float* x, float* mean)) {
    SHARED float sums[WARPS][STRIP];
    i64 first = i64(blockIdx.x) * STRIP;
    int width = k - first < STRIP ? int(k - first) : STRIP;
    if (k % 4 == 0 && u64(x) % 16 == 0) strip_sums<true>(rows, k, width, x + first, sums);
    else strip_sums<false>(rows, k, width, x + first, sums);
    __syncthreads();
    int own = threadIdx.x;
    if (own >= width) return;
    float sum = 0.0f;
    for (int warp = 0; warp < WARPS; warp++) sum += sums[warp][own];
    mean[first + own] = sum / float(rows);
}

// ---- the entropy of such a mean: a sum a block of 1024 columns

KERNEL(loss_entropy, 256, (int k, const float* mean, double* parts)) {
    SHARED double sums[8];
    double along = 0.0;
    for (int j = 0; j < 4; j++) {
        i64 i = i64(blockIdx.x) * 1024 + j * 256 + threadIdx.x;
        double p = i < k ? double(mean[i]) : 0.0;
        along += p == 0.0 ? 0.0 : -p * log(p);
    }
    along = block_sum(along, sums);
    if (threadIdx.x == 0) parts[blockIdx.x] = along;
}
