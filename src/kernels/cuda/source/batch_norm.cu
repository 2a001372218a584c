// Batch norm. A block has 64 columns, four to a thread, and 16 rows at a time. Sums over rows are cut into parts by shape: part p of
// n has every n-th chunk of 128 rows from p on, so that all parts go down the matrix side by side; what they found is joined in order.
#include "common.cuh"

constexpr int ACROSS = 16, DOWN = 16, EACH = 8, COLUMNS = 4 * ACROSS, CHUNK = DOWN * EACH;

DEVICE float of(const Four& v, int i) { return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w; }

// The gradient before the ReLU: dy where y is above 0, or dy itself where there is no y.
DEVICE Four through(const float* dy, const float* y, i64 row, int at, int dim, bool fours) {
    Four d = row_four(dy + row * dim, at, dim, fours);
    if (y) {
        Four v = row_four(y + row * dim, at, dim, fours);
        d = Four{v.x > 0.0f ? d.x : 0.0f, v.y > 0.0f ? d.y : 0.0f, v.z > 0.0f ? d.z : 0.0f, v.w > 0.0f ? d.w : 0.0f};
    }
    return d;
}

// How many rows a part has.
DEVICE i64 rows_of(i64 rows, int parts, int part) {
    i64 chunks = (rows + CHUNK - 1) / CHUNK, own = (chunks - part + parts - 1) / parts;
    bool last = (chunks - 1) % parts == part;
    return own * CHUNK - (last ? chunks * CHUNK - rows : 0);
}

// Each part's means of columns and their sums of squares around them, partial (parts, 2, dim).
KERNEL(batch_norm_statistics, 256, (i64 rows, int dim, u32 tiles, int parts, const float* x, float* partial)) {
    SHARED float means[DOWN][COLUMNS], squares[DOWN][COLUMNS], counts[DOWN];
    int part = blockIdx.x / tiles, first = blockIdx.x % tiles * COLUMNS, across = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS;
    int at = first + across * 4;
    bool fours = dim % 4 == 0 && on_fours(x);
    float mean[4] = {0.0f, 0.0f, 0.0f, 0.0f}, square[4] = {0.0f, 0.0f, 0.0f, 0.0f}, count = 0.0f;
    for (i64 top = i64(part) * CHUNK; top + down < rows; top += i64(parts) * CHUNK) {
        Four v[EACH];
        int here = 0;
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            i64 row = top + down + k * DOWN;
            v[k] = Four{0.0f, 0.0f, 0.0f, 0.0f};
            if (row < rows) {
                v[k] = row_four(x + row * dim, at, dim, fours);
                here++;
            }
        }
        // what these few have in two passes, then joined with what was before: nothing cancels
        float share = here / (count + here), inverse = 1.0f / here;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float sum = 0.0f, around = 0.0f;
#pragma unroll
            for (int k = 0; k < EACH; k++) sum += of(v[k], i);
            float m = sum * inverse;
#pragma unroll
            for (int k = 0; k < EACH; k++) {
                float d = of(v[k], i) - m;
                around += k < here ? d * d : 0.0f;
            }
            float apart = m - mean[i];
            mean[i] += apart * share;
            square[i] += around + apart * apart * count * share;
        }
        count += here;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        means[down][across * 4 + i] = mean[i];
        squares[down][across * 4 + i] = square[i];
    }
    if (across == 0) counts[down] = count;
    __syncthreads();
    int column = threadIdx.x;
    if (column >= COLUMNS || first + column >= dim) return;
    float all = 0.0f, from = means[0][column], sum = 0.0f, around = 0.0f;
    for (int i = 0; i < DOWN; i++) {
        all += counts[i];
        // a thread without rows has a mean of nothing
        if (counts[i] > 0.0f) sum += counts[i] * (means[i][column] - from);
    }
    float joined = from + sum / all;
    for (int i = 0; i < DOWN; i++) {
        float apart = means[i][column] - joined;
        around += squares[i][column] + counts[i] * apart * apart;
    }
    partial += i64(part) * 2 * dim + first + column;
    partial[0] = joined;
    partial[dim] = around;
}

// A block has 32 columns, a warp every 32nd part of them; the sums of a column go to all of its threads.
DEVICE double column_sum(double x, double (*room)[33], double* sums) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    __syncthreads();
    room[warp][lane] = x;
    __syncthreads();
    double sum = warp_sum(room[lane][warp]);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    return sums[lane];
}

// Joins the parts: mean, variance and 1 / sqrt(variance + eps) of the columns.
KERNEL(batch_norm_join, 1024, (i64 rows, int dim, int parts, float eps, const float* partial, float* mean, float* variance, float* rstd)) {
    SHARED double room[32][33];
    SHARED double sums[32];
    int warp = threadIdx.x / 32, column = blockIdx.x * 32 + threadIdx.x % 32;
    bool there = column < dim;
    double sum = 0.0;
    for (int part = warp; there && part < parts; part += 32)
        sum += double(rows_of(rows, parts, part)) * double(partial[i64(part) * 2 * dim + column]);
    double m = column_sum(sum, room, sums) / double(rows), around = 0.0;
    for (int part = warp; there && part < parts; part += 32) {
        const float* from = partial + i64(part) * 2 * dim + column;
        double apart = double(from[0]) - m;
        around += double(from[dim]) + double(rows_of(rows, parts, part)) * apart * apart;
    }
    double v = column_sum(around, room, sums) / double(rows);
    if (warp != 0 || !there) return;
    mean[column] = float(m);
    variance[column] = float(v);
    rstd[column] = float(1.0 / sqrt(v + double(eps)));
}

DEVICE float finished(float x, int relu) { return relu && x < 0.0f ? 0.0f : x; }

// y = (x - mean) rstd gain + bias + residual, or 0 where that is below it; `spread` is rstd, or the variance where eps is to be added.
KERNEL(batch_norm_shift, 256,
       (i64 rows, int dim, u32 tiles, int add_eps, float eps, int relu, const float* x, const float* gain, const float* bias,
        const float* residual, const float* mean, const float* spread, float* y)) {
    // from the end on: that is what the statistics have read last
    u32 block = gridDim.x - 1 - blockIdx.x;
    int at = block % tiles * COLUMNS + threadIdx.x % ACROSS * 4;
    i64 top = i64(block / tiles) * (4 * DOWN) + threadIdx.x / ACROSS;
    bool fours = dim % 4 == 0 && on_fours(x) && on_fours(residual) && on_fours(y);
    Four g = row_four(gain, at, dim, false), b = row_four(bias, at, dim, false), m = row_four(mean, at, dim, false);
    Four r = row_four(spread, at, dim, false);
    if (add_eps) r = Four{1.0f / sqrtf(r.x + eps), 1.0f / sqrtf(r.y + eps), 1.0f / sqrtf(r.z + eps), 1.0f / sqrtf(r.w + eps)};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        i64 row = top + k * DOWN;
        if (row >= rows) return;
        Four v = row_four(x + row * dim, at, dim, fours);
        v = Four{(v.x - m.x) * r.x * g.x + b.x, (v.y - m.y) * r.y * g.y + b.y, (v.z - m.z) * r.z * g.z + b.z,
                 (v.w - m.w) * r.w * g.w + b.w};
        if (residual) {
            Four more = row_four(residual + row * dim, at, dim, fours);
            v = Four{v.x + more.x, v.y + more.y, v.z + more.z, v.w + more.w};
        }
        v = Four{finished(v.x, relu), finished(v.y, relu), finished(v.z, relu), finished(v.w, relu)};
        set_row_four(y + row * dim, at, dim, fours, v);
    }
}

// Each part's sums of columns of dz and of dz z, dz the gradient before the ReLU and z the normalised x: partial (parts, 2, dim).
KERNEL(batch_norm_sums, 256,
       (i64 rows, int dim, u32 tiles, int parts, const float* dy, const float* y, const float* x, const float* mean, const float* rstd,
        float* partial)) {
    SHARED float plains[DOWN][COLUMNS], alongs[DOWN][COLUMNS];
    int part = blockIdx.x / tiles, first = blockIdx.x % tiles * COLUMNS, across = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS;
    int at = first + across * 4;
    bool fours = dim % 4 == 0 && on_fours(dy) && on_fours(y) && on_fours(x);
    Four m = row_four(mean, at, dim, false), r = row_four(rstd, at, dim, false);
    Four plain{0.0f, 0.0f, 0.0f, 0.0f}, along = plain;
    for (i64 top = i64(part) * CHUNK; top + down < rows; top += i64(parts) * CHUNK) {
        // of few rows first: long sums of small numbers lose less
        Four p{0.0f, 0.0f, 0.0f, 0.0f}, q = p;
#pragma unroll
        for (int k = 0; k < EACH; k++) {
            i64 row = top + down + k * DOWN;
            if (row >= rows) break;
            Four d = through(dy, y, row, at, dim, fours), v = row_four(x + row * dim, at, dim, fours);
            p = Four{p.x + d.x, p.y + d.y, p.z + d.z, p.w + d.w};
            q = Four{q.x + d.x * ((v.x - m.x) * r.x), q.y + d.y * ((v.y - m.y) * r.y), q.z + d.z * ((v.z - m.z) * r.z),
                     q.w + d.w * ((v.w - m.w) * r.w)};
        }
        plain = Four{plain.x + p.x, plain.y + p.y, plain.z + p.z, plain.w + p.w};
        along = Four{along.x + q.x, along.y + q.y, along.z + q.z, along.w + q.w};
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        plains[down][across * 4 + i] = of(plain, i);
        alongs[down][across * 4 + i] = of(along, i);
    }
    __syncthreads();
    int column = threadIdx.x % COLUMNS;
    if (threadIdx.x >= 2 * COLUMNS || first + column >= dim) return;
    const float(*from)[COLUMNS] = threadIdx.x < COLUMNS ? plains : alongs;
    float sum = 0.0f;
    for (int i = 0; i < DOWN; i++) sum += from[i][column];
    partial[(i64(part) * 2 + threadIdx.x / COLUMNS) * dim + first + column] = sum;
}

// The same over all parts, `sums` (2, dim); dbias and dgain += them.
KERNEL(batch_norm_join_sums, 1024, (int dim, int parts, const float* partial, float* sums, float* dgain, float* dbias)) {
    SHARED double room[32][33];
    SHARED double found[32];
    int warp = threadIdx.x / 32, column = blockIdx.x * 32 + threadIdx.x % 32;
    bool there = column < 2 * dim;
    double sum = 0.0;
    for (int part = warp; there && part < parts; part += 32) sum += double(partial[i64(part) * 2 * dim + column]);
    float all = float(column_sum(sum, room, found));
    if (warp != 0 || !there) return;
    sums[column] = all;
    float* to = column < dim ? dbias + column : dgain + (column - dim);
    *to += all;
}

// dx += gain rstd (dz - (plain + z along) / rows), dresidual += dz
KERNEL(batch_norm_backward, 256,
       (i64 rows, int dim, u32 tiles, const float* dy, const float* y, const float* x, const float* gain, const float* mean,
        const float* rstd, const float* sums, float* dx, float* dresidual)) {
    // from the end on, as above
    u32 block = gridDim.x - 1 - blockIdx.x;
    int at = block % tiles * COLUMNS + threadIdx.x % ACROSS * 4;
    i64 top = i64(block / tiles) * (4 * DOWN) + threadIdx.x / ACROSS;
    bool fours = dim % 4 == 0 && on_fours(dy) && on_fours(y) && on_fours(x) && on_fours(dx) && on_fours(dresidual);
    Four g = row_four(gain, at, dim, false), m = row_four(mean, at, dim, false), r = row_four(rstd, at, dim, false);
    Four p = row_four(sums, at, dim, false), q = row_four(sums + dim, at, dim, false);
    float share = 1.0f / float(rows);
    g = Four{g.x * r.x, g.y * r.y, g.z * r.z, g.w * r.w};
    p = Four{p.x * share, p.y * share, p.z * share, p.w * share};
    q = Four{q.x * share, q.y * share, q.z * share, q.w * share};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        i64 row = top + k * DOWN;
        if (row >= rows) return;
        Four d = through(dy, y, row, at, dim, fours), v = row_four(x + row * dim, at, dim, fours);
        if (dresidual) {
            Four to = row_four(dresidual + row * dim, at, dim, fours);
            set_row_four(dresidual + row * dim, at, dim, fours, Four{to.x + d.x, to.y + d.y, to.z + d.z, to.w + d.w});
        }
        Four to = row_four(dx + row * dim, at, dim, fours);
        to = Four{to.x + g.x * (d.x - p.x - (v.x - m.x) * r.x * q.x), to.y + g.y * (d.y - p.y - (v.y - m.y) * r.y * q.y),
                  to.z + g.z * (d.z - p.z - (v.z - m.z) * r.z * q.z), to.w + g.w * (d.w - p.w - (v.w - m.w) * r.w * q.w)};
        set_row_four(dx + row * dim, at, dim, fours, to);
    }
}
