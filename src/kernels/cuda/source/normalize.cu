// Rows of unit length: a row to a team of a warp, or of a block's warps.
#include "common.cuh"

template <int WARPS> DEVICE float team_sum(float x, float* room) {
    if (WARPS == 1) return warp_sum(x);
    return block_sum(x, room);
}

DEVICE float dot(Four a, Four b) { return (a.x * b.x + a.y * b.y) + (a.z * b.z + a.w * b.w); }

// y = x / max(|x|, eps); `norms` keeps the divisor, negative where it was eps
template <int WARPS> DEVICE void l2(i64 rows, int dim, float eps, const float* x, float* y, float* norms, float* room) {
    constexpr int LANES = 32 * WARPS;
    i64 r = i64(blockIdx.x) * (blockDim.x / LANES) + threadIdx.x / LANES;
    if (r >= rows) return;
    int lane = threadIdx.x % LANES;
    bool fours = dim % 4 == 0 && on_fours(x) && on_fours(y);
    x += r * dim;
    y += r * dim;
    float square = 0.0f;
#pragma unroll 4
    for (int at = lane * 4; at < dim; at += 4 * LANES) {
        Four v = row_four(x, at, dim, fours);
        square += dot(v, v);
    }
    float length = sqrtf(team_sum<WARPS>(square, room));
    bool clamped = length < eps;
    float inverse = 1.0f / (clamped ? eps : length);
#pragma unroll 4
    for (int at = lane * 4; at < dim; at += 4 * LANES) {
        Four v = row_four(x, at, dim, fours);
        set_row_four(y, at, dim, fours, Four{v.x * inverse, v.y * inverse, v.z * inverse, v.w * inverse});
    }
    if (lane == 0) norms[r] = clamped ? -eps : length;
}

// dx += (dy - (dy · y) y) / norm; a constant divisor has no gradient of its own
template <int WARPS>
DEVICE void l2_backward(i64 rows, int dim, const float* dy, const float* y, const float* norms, float* dx, float* room) {
    constexpr int LANES = 32 * WARPS;
    i64 r = i64(blockIdx.x) * (blockDim.x / LANES) + threadIdx.x / LANES;
    if (r >= rows) return;
    int lane = threadIdx.x % LANES;
    bool fours = dim % 4 == 0 && on_fours(dy) && on_fours(y) && on_fours(dx);
    dy += r * dim;
    y += r * dim;
    dx += r * dim;
    float norm = norms[r], along = 0.0f;
    if (!(norm < 0.0f)) {
#pragma unroll 4
        for (int at = lane * 4; at < dim; at += 4 * LANES) along += dot(row_four(dy, at, dim, fours), row_four(y, at, dim, fours));
        along = team_sum<WARPS>(along, room);
    }
    float inverse = 1.0f / fabsf(norm);
#pragma unroll 4
    for (int at = lane * 4; at < dim; at += 4 * LANES) {
        Four d = row_four(dy, at, dim, fours), v = row_four(y, at, dim, fours), to = row_four(dx, at, dim, fours);
        set_row_four(dx, at, dim, fours,
                     Four{to.x + (d.x - along * v.x) * inverse, to.y + (d.y - along * v.y) * inverse,
                          to.z + (d.z - along * v.z) * inverse, to.w + (d.w - along * v.w) * inverse});
    }
}

#define NORMALIZE(name, THREADS, WARPS)                                                                                              \
    KERNEL(normalize_l2_##name, THREADS, (i64 rows, int dim, float eps, const float* x, float* y, float* norms)) {                   \
        SHARED float room[WARPS];                                                                                                    \
        l2<WARPS>(rows, dim, eps, x, y, norms, room);                                                                                \
    }                                                                                                                                \
    KERNEL(normalize_l2_backward_##name, THREADS, (i64 rows, int dim, const float* dy, const float* y, const float* norms, float* dx)) { \
        SHARED float room[WARPS];                                                                                                    \
        l2_backward<WARPS>(rows, dim, dy, y, norms, dx, room);                                                                       \
    }

NORMALIZE(warp, 128, 1)
NORMALIZE(block, 256, 8)
