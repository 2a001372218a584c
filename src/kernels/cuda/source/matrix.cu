// Products that the library of products doesn't take (matrix.rs): a thread for each number.
#include "common.cuh"

template <class In, class Out>
DEVICE void matrix_plain(const In* a, i64 a_row, i64 a_col, const In* b, i64 b_row, i64 b_col, i64 rows, i64 cols, i64 depth,
                         float scale, const float* bias, const Out* plus, Out* out, i64 width) {
    i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= rows * cols) return;
    i64 row = at / cols, col = at % cols;
    float sum = 0.0f;
    for (i64 k = 0; k < depth; k++) sum += wide(a[row * a_row + k * a_col]) * wide(b[k * b_row + col * b_col]);
    float y = scale * sum;
    if (plus) y += wide(plus[row * width + col]);
    if (bias) y += bias[col];
    out[row * width + col] = narrow<Out>(y);
}

#define MATRIX_PLAIN(In, in_word, Out, out_word)                                                                                \
    KERNEL(matrix_plain_##in_word##_##out_word, 256,                                                                            \
           (const In* a, i64 a_row, i64 a_col, const In* b, i64 b_row, i64 b_col, i64 rows, i64 cols, i64 depth, float scale,   \
            const float* bias, const Out* plus, Out* out, i64 width)) {                                                         \
        matrix_plain(a, a_row, a_col, b, b_row, b_col, rows, cols, depth, scale, bias, plus, out, width);                       \
    }

MATRIX_PLAIN(float, f32, float, f32)
MATRIX_PLAIN(bf16, bf16, float, f32)
MATRIX_PLAIN(bf16, bf16, bf16, bf16)
MATRIX_PLAIN(f16, f16, float, f32)
MATRIX_PLAIN(f16, f16, f16, f16)
