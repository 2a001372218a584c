// What is done around a linear layer's products: GELU and ReLU, residuals in some rows, sums of columns.
#include "common.cuh"

// Changes both of two lists, number by number; a thread for every eight (launch.rs, `Launch::pass`).
template <class X, class Y, class F> DEVICE void each_two(X* __restrict__ xs, Y* __restrict__ ys, i64 len, F change) {
    i64 first = (i64(blockIdx.x) * PASS_FOURS * blockDim.x + threadIdx.x) * 4;
    int apart = blockDim.x * 4;
#pragma unroll
    for (int part = 0; part < PASS_FOURS; part++) {
        i64 at = first + part * apart;
        if (at + 4 <= len && on_fours(xs) && on_fours(ys)) {
            Four x = load_four(xs + at), y = load_four(ys + at);
            change(x.x, y.x), change(x.y, y.y), change(x.z, y.z), change(x.w, y.w);
            store_four(xs + at, x);
            store_four(ys + at, y);
            continue;
        }
#pragma unroll 1
        for (int i = 0; i < 4 && at + i < len; i++) {
            float x = wide(xs[at + i]), y = wide(ys[at + i]);
            change(x, y);
            xs[at + i] = narrow<X>(x);
            ys[at + i] = narrow<Y>(y);
        }
    }
}

#define GELU(X, x_word, Y, y_word)                                                                                   \
    KERNEL(linear_gelu_##x_word##_##y_word, 256, (const X* x, Y* y, i64 len)) {                                      \
        each_number<false>(x, y, len, [](float x, float) { return gelu_for<Y>(x); });                                \
    }                                                                                                                \
    KERNEL(linear_gelu_backward_##x_word##_##y_word, 256, (const X* pre, Y* dy, i64 len)) {                          \
        each_number<true>(pre, dy, len, [](float pre, float dy) { return dy * gelu_slope_for<Y>(pre); });            \
    }                                                                                                                \
    KERNEL(linear_gelu_through_##x_word##_##y_word, 256, (X* pre, Y* dy, i64 len)) {                                 \
        each_two(pre, dy, len, [](float& pre, float& dy) {                                                           \
            dy *= gelu_slope_for<Y>(pre);                                                                            \
            pre = gelu_for<X>(pre);                                                                                  \
        });                                                                                                          \
    }
GELU(float, f32, float, f32)
GELU(float, f32, bf16, bf16)
GELU(float, f32, f16, f16)
GELU(bf16, bf16, float, f32)
GELU(bf16, bf16, bf16, bf16)
GELU(bf16, bf16, f16, f16)
GELU(f16, f16, float, f32)
GELU(f16, f16, bf16, bf16)
GELU(f16, f16, f16, f16)

KERNEL(linear_relu, 256, (const float* x, float* y, i64 len)) {
    // a NaN is not below 0, and stays
    each_number<false>(x, y, len, [](float x, float) { return x < 0.0f ? 0.0f : x; });
}
KERNEL(linear_relu_backward, 256, (const float* pre, float* dy, i64 len)) {
    each_number<true>(pre, dy, len, [](float pre, float dy) { return pre > 0.0f ? dy : 0.0f; });
}

KERNEL(linear_scaled, 256, (const float* x, float* y, float scale, i64 len)) {
    each_number<false>(x, y, len, [scale](float x, float) { return scale * x; });
}

// y = residual + scale · sums in those rows of y and residual that are named; a warp for each
KERNEL(linear_residual, 256, (Rows rows, int out, float scale, const float* __restrict__ sums, const float* __restrict__ residual,
                              float* __restrict__ y)) {
    i64 row = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    int lane = threadIdx.x % 32;
    if (row >= rows.count) return;
    i64 at = row_at(rows, int(row)) * out;
    sums += row * out;
    residual += at;
    y += at;
    if (on_fours(sums) && on_fours(residual) && on_fours(y) && out % 4 == 0) {
        for (int i = lane * 4; i < out; i += 128) {
            Four s = load_four(sums + i), r = load_four(residual + i);
            store_four(y + i, Four{r.x + scale * s.x, r.y + scale * s.y, r.z + scale * s.z, r.w + scale * s.w});
        }
        return;
    }
    for (int i = lane; i < out; i += 32) y[i] = residual[i] + scale * sums[i];
}

// Sums of columns: each block sums a stretch of rows (blockIdx.y) of 128 columns (blockIdx.x), a warp every eighth row.
template <class T> DEVICE void column_sums(const T* __restrict__ dy, i64 rows, int out, i64 each, float* __restrict__ parts) {
    SHARED float4 sums[8][32];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = (blockIdx.x * 32 + lane) * 4;
    i64 first = blockIdx.y * each, end = first + each < rows ? first + each : rows;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (on_fours(dy) && out % 4 == 0) {
        if (column < out) {
#pragma unroll 4
            for (i64 row = first + warp; row < end; row += 8) {
                Four v = load_four(dy + row * out + column);
                sum.x += v.x;
                sum.y += v.y;
                sum.z += v.z;
                sum.w += v.w;
            }
        }
    } else {
        for (i64 row = first + warp; row < end; row += 8) {
            const T* from = dy + row * out;
            if (column < out) sum.x += wide(from[column]);
            if (column + 1 < out) sum.y += wide(from[column + 1]);
            if (column + 2 < out) sum.z += wide(from[column + 2]);
            if (column + 3 < out) sum.w += wide(from[column + 3]);
        }
    }
    float whole = sum_of_warps(sum, sums);
    if (threadIdx.x >= 128 || blockIdx.x * 128 + threadIdx.x >= u32(out)) return;
    parts[i64(blockIdx.y) * out + blockIdx.x * 128 + threadIdx.x] = whole;
}
KERNEL(linear_column_parts_f32, 256, (const float* dy, i64 rows, int out, i64 each, float* parts)) {
    column_sums(dy, rows, out, each, parts);
}
KERNEL(linear_column_parts_bf16, 256, (const bf16* dy, i64 rows, int out, i64 each, float* parts)) {
    column_sums(dy, rows, out, each, parts);
}
KERNEL(linear_column_parts_f16, 256, (const f16* dy, i64 rows, int out, i64 each, float* parts)) {
    column_sums(dy, rows, out, each, parts);
}

// db += the stretches' sums, 32 columns a block
KERNEL(linear_column_sums, 1024, (const float* parts, int stretches, int out, float* db)) {
    SHARED float sums[32][32];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = blockIdx.x * 32 + lane;
    float sum = 0.0f;
    if (column < out) {
#pragma unroll 4
        for (int i = warp; i < stretches; i += 32) sum += parts[i64(i) * out + column];
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= out) return;
    sum = 0.0f;
    for (int i = 0; i < 32; i++) sum += sums[i][lane];
    db[column] += sum;
}
