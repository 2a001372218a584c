// Layer norm: a row to a team of WARPS warps, which keeps it in registers, FOURS times four numbers to a lane: lane l of a team has
// fours l, l + 32 WARPS, ... Four teams of a warp make a block, or one team of several warps. EVEN: every row starts on a boundary of
// four numbers and ends on one.
#include "common.cuh"

DEVICE float sum_of(Four v) { return (v.x + v.y) + (v.z + v.w); }

// The squares around the mean of the first `left` of four numbers.
DEVICE float squares(Four v, float mean, int left) {
    float x = left > 0 ? v.x - mean : 0.0f, y = left > 1 ? v.y - mean : 0.0f;
    float z = left > 2 ? v.z - mean : 0.0f, w = left > 3 ? v.w - mean : 0.0f;
    return (x * x + y * y) + (z * z + w * w);
}

template <int WARPS> DEVICE float team_sum(float x, float* room) {
    if (WARPS == 1) return warp_sum(x);
    return block_sum(x, room);
}

// y = (x - mean) rstd gain + bias
template <int WARPS, int FOURS, bool EVEN, class T>
DEVICE void forward(Rows rows, int dim, float eps, const float* x, const float* gain, const float* bias, T* y, float* mean, float* rstd,
                    float* room) {
    constexpr int LANES = 32 * WARPS;
    i64 r = i64(blockIdx.x) * (blockDim.x / LANES) + threadIdx.x / LANES;
    if (r >= rows.count) return;
    int lane = threadIdx.x % LANES;
    const float* row = x + row_at(rows, int(r)) * dim;
    Four v[FOURS];
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < FOURS; k++) {
        v[k] = row_four(row, (k * LANES + lane) * 4, dim, EVEN);
        sum += sum_of(v[k]);
    }
    float m = team_sum<WARPS>(sum, room) / dim;
    // a second look at the registers: the difference of squares would cancel
    float square = 0.0f;
#pragma unroll
    for (int k = 0; k < FOURS; k++) square += squares(v[k], m, dim - (k * LANES + lane) * 4);
    float s = 1.0f / sqrtf(team_sum<WARPS>(square, room) / dim + eps);
#pragma unroll
    for (int k = 0; k < FOURS; k++) {
        int at = (k * LANES + lane) * 4;
        Four g = row_four(gain, at, dim, EVEN), b = row_four(bias, at, dim, EVEN);
        v[k] = Four{(v[k].x - m) * s * g.x + b.x, (v[k].y - m) * s * g.y + b.y, (v[k].z - m) * s * g.z + b.z,
                    (v[k].w - m) * s * g.w + b.w};
        set_row_four(y + r * dim, at, dim, EVEN, v[k]);
    }
    if (lane == 0) {
        mean[r] = m;
        rstd[r] = s;
    }
}

// A block's columns from those of its warps: one after the other adds its own to what the block has.
template <int FOURS>
DEVICE void share_columns(const Four (&along)[FOURS], const Four (&plain)[FOURS], int dim, float* sums, float* partial) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
    for (int turn = 0; turn < warps; turn++) {
        if (warp == turn) {
#pragma unroll
            for (int k = 0; k < FOURS; k++) {
                float *q = sums + (k * 32 + lane) * 4, *p = q + 128 * FOURS;
                Four none{0.0f, 0.0f, 0.0f, 0.0f}, a = turn ? load_four(q) : none, b = turn ? load_four(p) : none;
                store_four(q, Four{a.x + along[k].x, a.y + along[k].y, a.z + along[k].z, a.w + along[k].w});
                store_four(p, Four{b.x + plain[k].x, b.y + plain[k].y, b.z + plain[k].z, b.w + plain[k].w});
            }
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < dim; i += blockDim.x) {
        partial[i] = sums[i];
        partial[dim + i] = sums[128 * FOURS + i];
    }
}

// Of a stretch of rows: dx += the row's gradient; and the columns' sums of dy z and of dy, z the normalised x, into
// `partial` (blocks, 2, dim). `sums` has room for 2 · 128 · FOURS numbers where a block has several teams.
template <int WARPS, int FOURS, bool EVEN, class T>
DEVICE void backward(Rows rows, int stretch, int dim, const T* dy, const float* x, const float* gain, const float* mean,
                     const float* rstd, float* dx, float* partial, float* sums, float* room) {
    constexpr int LANES = 32 * WARPS;
    int team = threadIdx.x / LANES, teams = blockDim.x / LANES, lane = threadIdx.x % LANES;
    int first = int(blockIdx.x) * stretch, end = rows.count - first < stretch ? rows.count : first + stretch;
    Four along[FOURS], plain[FOURS];
#pragma unroll
    for (int k = 0; k < FOURS; k++) along[k] = plain[k] = Four{0.0f, 0.0f, 0.0f, 0.0f};
    for (int r = first + team; r < end; r += teams) {
        i64 place = row_at(rows, r) * dim;
        float m = mean[r], s = rstd[r], a = 0.0f, b = 0.0f;
        Four d[FOURS], z[FOURS];
#pragma unroll
        for (int k = 0; k < FOURS; k++) {
            int at = (k * LANES + lane) * 4;
            d[k] = row_four(dy + i64(r) * dim, at, dim, EVEN);
            z[k] = row_four(x + place, at, dim, EVEN);
        }
#pragma unroll
        for (int k = 0; k < FOURS; k++) {
            Four g = row_four(gain, (k * LANES + lane) * 4, dim, EVEN), &p = plain[k], &q = along[k];
            z[k] = Four{(z[k].x - m) * s, (z[k].y - m) * s, (z[k].z - m) * s, (z[k].w - m) * s};
            p = Four{p.x + d[k].x, p.y + d[k].y, p.z + d[k].z, p.w + d[k].w};
            q = Four{q.x + d[k].x * z[k].x, q.y + d[k].y * z[k].y, q.z + d[k].z * z[k].z, q.w + d[k].w * z[k].w};
            d[k] = Four{d[k].x * g.x, d[k].y * g.y, d[k].z * g.z, d[k].w * g.w};
            a += sum_of(d[k]);
            b += (d[k].x * z[k].x + d[k].y * z[k].y) + (d[k].z * z[k].z + d[k].w * z[k].w);
        }
        a = team_sum<WARPS>(a, room) / dim;
        b = team_sum<WARPS>(b, room) / dim;
#pragma unroll
        for (int k = 0; k < FOURS; k++) {
            int at = (k * LANES + lane) * 4;
            Four to = row_four(dx + place, at, dim, EVEN);
            to = Four{to.x + s * (d[k].x - a - z[k].x * b), to.y + s * (d[k].y - a - z[k].y * b),
                      to.z + s * (d[k].z - a - z[k].z * b), to.w + s * (d[k].w - a - z[k].w * b)};
            set_row_four(dx + place, at, dim, EVEN, to);
        }
    }
    partial += i64(blockIdx.x) * 2 * dim;
    if (WARPS == 1) {
        share_columns<FOURS>(along, plain, dim, sums, partial);
    } else {
#pragma unroll
        for (int k = 0; k < FOURS; k++) {
            int at = (k * LANES + lane) * 4;
            set_row_four(partial, at, dim, EVEN, along[k]);
            set_row_four(partial + dim, at, dim, EVEN, plain[k]);
        }
    }
}

// dgain, dbias += the sums of `partial` (parts, 2, dim) in order: a block has 32 columns of (2, dim), a warp every 32nd part of them.
KERNEL(layer_norm_columns, 1024, (int parts, int dim, const float* partial, float* dgain, float* dbias)) {
    SHARED float room[32][33];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, columns = 2 * dim;
    int column = blockIdx.x * 32 + lane;
    float sum = 0.0f;
    if (column < columns)
        for (int part = warp; part < parts; part += 32) sum += partial[i64(part) * columns + column];
    room[warp][lane] = sum;
    __syncthreads();
    // now a column is a warp's
    sum = warp_sum(room[lane][warp]);
    column = blockIdx.x * 32 + warp;
    if (lane != 0 || column >= columns) return;
    float* to = column < dim ? dgain + column : dbias + (column - dim);
    *to += sum;
}

#define FORWARD(WARPS, FOURS, EVEN, T, word)                                                                                  \
    KERNEL(layer_norm_forward_##WARPS##x##FOURS##word, WARPS == 1 ? 128 : 32 * WARPS,                                         \
           (Rows rows, int dim, float eps, const float* x, const float* gain, const float* bias, T* y, float* mean, float* rstd)) { \
        SHARED float room[WARPS];                                                                                             \
        forward<WARPS, FOURS, EVEN>(rows, dim, eps, x, gain, bias, y, mean, rstd, room);                                      \
    }
#define BACKWARD(WARPS, FOURS, EVEN, T, word)                                                                          \
    KERNEL(layer_norm_backward_##WARPS##x##FOURS##word, WARPS == 1 ? 128 : 32 * WARPS,                                 \
           (Rows rows, int stretch, int dim, const T* dy, const float* x, const float* gain, const float* mean,        \
            const float* rstd, float* dx, float* partial)) {                                                           \
        SHARED float room[WARPS];                                                                                      \
        SHARED __align__(16) float sums[WARPS == 1 ? 2 * 128 * FOURS : 4];                                             \
        backward<WARPS, FOURS, EVEN>(rows, stretch, dim, dy, x, gain, mean, rstd, dx, partial, sums, room);            \
    }
#define BOTH(WARPS, FOURS, EVEN, word)                \
    FORWARD(WARPS, FOURS, EVEN, float, word##_f32)    \
    FORWARD(WARPS, FOURS, EVEN, bf16, word##_bf16)    \
    FORWARD(WARPS, FOURS, EVEN, f16, word##_f16)      \
    BACKWARD(WARPS, FOURS, EVEN, float, word##_f32)   \
    BACKWARD(WARPS, FOURS, EVEN, bf16, word##_bf16)   \
    BACKWARD(WARPS, FOURS, EVEN, f16, word##_f16)

BOTH(1, 1, true, _even)
BOTH(1, 2, true, _even)
BOTH(1, 3, true, _even)
BOTH(1, 6, true, _even)
BOTH(1, 8, true, _even)
BOTH(4, 3, true, _even)
BOTH(4, 4, true, _even)
BOTH(4, 8, true, _even)
BOTH(8, 8, true, _even)
BOTH(1, 8, false, _odd)
BOTH(8, 8, false, _odd)
