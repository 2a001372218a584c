// Attention by plain f32 arithmetic, for f32 numbers and for heads of any size; attention.cu has tensor cores' part.
//
// A block of 256 threads works on 16 R rows (queries, or keys) and takes 64 of the others at a time; a thread has R rows and
// four columns of every product. A head's columns are cut into strips of 64: a block makes one strip of its results.
#include "common.cuh"

constexpr int TILE = 64, PIECE = 32, THREADS = 256;
// rows a little longer than what they hold, so that threads reach different banks
constexpr int WIDE_PIECE = PIECE + 4, WIDE_TILE = TILE + 4;
constexpr float LOG2_E = 1.44269504f;

// Room for both pieces of a product's factors, or for a strip of one.
template <int R> constexpr int ROOM = (16 * R + TILE) * WIDE_PIECE > TILE * WIDE_TILE ? (16 * R + TILE) * WIDE_PIECE : TILE * WIDE_TILE;

// What a launch works on.
struct Shape {
    int tokens, queries, heads, dim;
    float scale;
};

// Where a block works: its head's numbers in qkv and out, and its first row and column.
struct Block {
    int task, first, column, width;
    i64 image, asked;
};
DEVICE Block block_of(Shape of, int each, int of_all) {
    int strips = (of.dim + TILE - 1) / TILE, blocks = (of_all + each - 1) / each;
    int strip = blockIdx.x % strips, block = blockIdx.x / strips % blocks, task = blockIdx.x / strips / blocks;
    int batch = task / of.heads, head = task % of.heads, width = of.heads * of.dim;
    return Block{task, block * each, strip * TILE, width, i64(batch) * of.tokens * 3 * width + head * of.dim,
                 i64(batch) * of.queries * width + head * of.dim};
}

// Rows that stand `apart`, of which `there` exist.
template <class T> struct Lines {
    const T* from;
    int apart, there;
    DEVICE float at(int row, int column, int columns) const { return row < there && column < columns ? wide(from[i64(row) * apart + column]) : 0.0f; }
};

// sums (rows R ty + r, columns tx + 16 j) += a bᵀ over all of their `dim` columns. All threads call it.
template <int R, class T> DEVICE void inner(float (&sums)[R][4], Lines<T> a, Lines<T> b, int dim, float* room) {
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    float *left = room, *right = room + 16 * R * WIDE_PIECE;
    for (int from = 0; from < dim; from += PIECE) {
        __syncthreads();
#pragma unroll 2
        for (int i = threadIdx.x; i < 16 * R * PIECE; i += THREADS) left[i / PIECE * WIDE_PIECE + i % PIECE] = a.at(i / PIECE, from + i % PIECE, dim);
#pragma unroll 4
        for (int i = threadIdx.x; i < TILE * PIECE; i += THREADS) right[i / PIECE * WIDE_PIECE + i % PIECE] = b.at(i / PIECE, from + i % PIECE, dim);
        __syncthreads();
        int end = min(PIECE, dim - from);
        for (int k = 0; k < end; k += 4) {
            Four x[R], y[4];
#pragma unroll
            for (int r = 0; r < R; r++) x[r] = load_four(left + (R * ty + r) * WIDE_PIECE + k);
#pragma unroll
            for (int j = 0; j < 4; j++) y[j] = load_four(right + (tx + 16 * j) * WIDE_PIECE + k);
#pragma unroll
            for (int r = 0; r < R; r++) {
#pragma unroll
                for (int j = 0; j < 4; j++) sums[r][j] += x[r].x * y[j].x + x[r].y * y[j].y + x[r].z * y[j].z + x[r].w * y[j].w;
            }
        }
    }
}

// sums (rows R ty + r, columns 4 tx + c of the strip from `column` on) += weights (16 R, 64) b, whose rows are `dim` long. All threads
// call it; the weights may be written again after it.
template <int R, class T>
DEVICE void outer(float (&sums)[R][4], const float* weights, Lines<T> b, int column, int dim, float* room) {
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    __syncthreads();
#pragma unroll 4
    for (int i = threadIdx.x; i < TILE * TILE; i += THREADS) room[i / TILE * WIDE_TILE + i % TILE] = b.at(i / TILE, column + i % TILE, dim);
    __syncthreads();
    int end = min(TILE, b.there);
    for (int k = 0; k < end; k += 4) {
        Four x[R];
#pragma unroll
        for (int r = 0; r < R; r++) x[r] = load_four(weights + (R * ty + r) * WIDE_TILE + k);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            Four y = load_four(room + (k + i) * WIDE_TILE + 4 * tx);
#pragma unroll
            for (int r = 0; r < R; r++) {
                float weight = i == 0 ? x[r].x : i == 1 ? x[r].y : i == 2 ? x[r].z : x[r].w;
                sums[r][0] += weight * y.x;
                sums[r][1] += weight * y.y;
                sums[r][2] += weight * y.z;
                sums[r][3] += weight * y.w;
            }
        }
    }
    __syncthreads();
}

template <int R> DEVICE void clear(float (&x)[R][4]) {
#pragma unroll
    for (int r = 0; r < R; r++) x[r][0] = x[r][1] = x[r][2] = x[r][3] = 0.0f;
}

// A thread's part of a strip, times a number for each row, to rows that stand `apart`.
template <int R, class T> DEVICE void put(const float (&x)[R][4], const float (&times)[R], T* to, int apart, int there, int column, int dim) {
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll
    for (int r = 0; r < R; r++) {
#pragma unroll
        for (int c = 0; c < 4; c++) {
            int row = R * ty + r, at = column + 4 * tx + c;
            if (row < there && at < dim) to[i64(row) * apart + at] = narrow<T>(x[r][c] * times[r]);
        }
    }
}

// Over the 16 threads that share rows; every one gets it.
DEVICE float row_sum(float x) {
    for (int apart = 8; apart > 0; apart /= 2) x += __shfl_xor_sync(FULL_WARP, x, apart);
    return x;
}
DEVICE float row_max(float x) {
    for (int apart = 8; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, apart));
    return x;
}

template <class T, int R> DEVICE void forward(const T* qkv, T* out, float* lse, Shape of, float* room, float* weights) {
    Block here = block_of(of, 16 * R, of.queries);
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16, apart = 3 * here.width, there = min(16 * R, of.queries - here.first);
    const T* base = qkv + here.image;
    Lines<T> queries{base + i64(here.first) * apart, apart, there};
    float scale2 = of.scale * LOG2_E, most[R], sum[R], values[R][4];
    clear(values);
#pragma unroll
    for (int r = 0; r < R; r++) {
        most[r] = -INFINITY;
        sum[r] = 0.0f;
    }
    for (int first = 0; first < of.tokens; first += TILE) {
        int left = of.tokens - first;
        const T* rows = base + i64(first) * apart;
        float scores[R][4];
        clear(scores);
        inner<R, T>(scores, queries, Lines<T>{rows + here.width, apart, left}, of.dim, room);
#pragma unroll
        for (int r = 0; r < R; r++) {
            float largest = most[r];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if (tx + 16 * j >= left) scores[r][j] = -INFINITY;
                largest = fmaxf(largest, scores[r][j]);
            }
            largest = row_max(largest);
            // where there is no key yet, anything but infinity less infinity
            float from = largest == -INFINITY ? 0.0f : largest;
            float factor = exp2f((most[r] - from) * scale2), some = 0.0f;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float p = exp2f((scores[r][j] - from) * scale2);
                weights[(R * ty + r) * WIDE_TILE + tx + 16 * j] = p;
                some += p;
            }
            most[r] = largest;
            sum[r] = sum[r] * factor + some;
#pragma unroll
            for (int c = 0; c < 4; c++) values[r][c] *= factor;
        }
        outer<R, T>(values, weights, Lines<T>{rows + 2 * here.width, apart, left}, here.column, of.dim, room);
    }
    float inverse[R];
#pragma unroll
    for (int r = 0; r < R; r++) {
        float total = row_sum(sum[r]), from = most[r] == -INFINITY ? 0.0f : most[r];
        inverse[r] = 1.0f / total;
        int row = R * ty + r;
        if (tx == 0 && here.column == 0 && row < there) lse[i64(here.task) * of.queries + here.first + row] = from * of.scale + logf(total);
    }
    put<R, T>(values, inverse, out + here.asked + i64(here.first) * here.width, here.width, there, here.column, of.dim);
}

// Scores to p, and their slopes to p · (slope - mean) · scale: of a query with this lse and mean.
DEVICE void back(float& score, float& slope, float lse, float mean, float scale, bool there) {
    score = there ? expf(score * scale - lse) : 0.0f;
    slope = score * (slope - mean) * scale;
}

template <class T, int R>
DEVICE void backward_queries(
    const T* qkv, const float* lse, const T* dout, const float* delta, T* dqkv, Shape of, float* room, float* weights) {
    Block here = block_of(of, 16 * R, of.queries);
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16, apart = 3 * here.width, there = min(16 * R, of.queries - here.first);
    const T* base = qkv + here.image;
    Lines<T> queries{base + i64(here.first) * apart, apart, there};
    Lines<T> outputs{dout + here.asked + i64(here.first) * here.width, here.width, there};
    float lses[R], means[R], one[R], sums[R][4];
    clear(sums);
#pragma unroll
    for (int r = 0; r < R; r++) {
        int row = R * ty + r;
        i64 at = i64(here.task) * of.queries + here.first + row;
        lses[r] = row < there ? lse[at] : 0.0f;
        means[r] = row < there ? delta[at] : 0.0f;
        one[r] = 1.0f;
    }
    for (int first = 0; first < of.tokens; first += TILE) {
        int left = of.tokens - first;
        const T* rows = base + i64(first) * apart;
        Lines<T> keys{rows + here.width, apart, left};
        float scores[R][4], slopes[R][4];
        clear(scores);
        clear(slopes);
        inner<R, T>(scores, queries, keys, of.dim, room);
        inner<R, T>(slopes, outputs, Lines<T>{rows + 2 * here.width, apart, left}, of.dim, room);
#pragma unroll
        for (int r = 0; r < R; r++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                back(scores[r][j], slopes[r][j], lses[r], means[r], of.scale, R * ty + r < there && tx + 16 * j < left);
                weights[(R * ty + r) * WIDE_TILE + tx + 16 * j] = slopes[r][j];
            }
        }
        outer<R, T>(sums, weights, keys, here.column, of.dim, room);
    }
    put<R, T>(sums, one, dqkv + here.image + i64(here.first) * apart, apart, there, here.column, of.dim);
}

template <class T, int R>
DEVICE void backward_keys(
    const T* qkv, const float* lse, const T* dout, const float* delta, T* dqkv, Shape of, float* room, float* weights) {
    Block here = block_of(of, 16 * R, of.tokens);
    int tx = threadIdx.x % 16, ty = threadIdx.x / 16, apart = 3 * here.width, there = min(16 * R, of.tokens - here.first);
    const T* base = qkv + here.image;
    const T* rows = base + i64(here.first) * apart;
    Lines<T> keys{rows + here.width, apart, there}, values{rows + 2 * here.width, apart, there};
    float dkeys[R][4], dvalues[R][4], one[R], zeros[R][4];
    clear(dkeys);
    clear(dvalues);
    clear(zeros);
#pragma unroll
    for (int r = 0; r < R; r++) one[r] = 1.0f;
    for (int first = 0; first < of.queries; first += TILE) {
        int left = of.queries - first;
        Lines<T> queries{base + i64(first) * apart, apart, left};
        Lines<T> outputs{dout + here.asked + i64(first) * here.width, here.width, left};
        float scores[R][4], slopes[R][4];
        clear(scores);
        clear(slopes);
        inner<R, T>(scores, keys, queries, of.dim, room);
        inner<R, T>(slopes, values, outputs, of.dim, room);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int query = tx + 16 * j;
            i64 at = i64(here.task) * of.queries + first + query;
            float sum = query < left ? lse[at] : 0.0f, mean = query < left ? delta[at] : 0.0f;
#pragma unroll
            for (int r = 0; r < R; r++) {
                back(scores[r][j], slopes[r][j], sum, mean, of.scale, R * ty + r < there && query < left);
                weights[(R * ty + r) * WIDE_TILE + query] = scores[r][j];
            }
        }
        outer<R, T>(dvalues, weights, outputs, here.column, of.dim, room);
#pragma unroll
        for (int r = 0; r < R; r++) {
#pragma unroll
            for (int j = 0; j < 4; j++) weights[(R * ty + r) * WIDE_TILE + tx + 16 * j] = slopes[r][j];
        }
        outer<R, T>(dkeys, weights, queries, here.column, of.dim, room);
    }
    T* to = dqkv + here.image + i64(here.first) * apart;
    put<R, T>(dkeys, one, to + here.width, apart, there, here.column, of.dim);
    put<R, T>(dvalues, one, to + 2 * here.width, apart, there, here.column, of.dim);
    // tokens that did not ask
    int idle = max(of.queries - here.first, 0);
    put<R, T>(zeros, one, to + i64(idle) * apart, apart, there - idle, here.column, of.dim);
}

// delta = out · dout of each query, (batch, heads, queries); a warp a query
template <class T> DEVICE void deltas(const T* out, const T* dout, float* delta, i64 count, int queries, int heads, int dim) {
    i64 i = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
    if (i >= count) return;
    i64 task = i / queries, from = ((task / heads * queries + i % queries) * heads + task % heads) * dim;
    float sum = 0.0f;
    for (int c = threadIdx.x % 32; c < dim; c += 32) sum += wide(out[from + c]) * wide(dout[from + c]);
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) delta[i] = sum;
}

// softmax(scale · q kᵀ), (batch, heads, queries, tokens); a warp a query
template <class T> DEVICE void probabilities(const T* qkv, float* probs, i64 count, Shape of) {
    i64 i = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
    if (i >= count) return;
    int lane = threadIdx.x % 32, apart = 3 * of.heads * of.dim;
    i64 task = i / of.queries;
    const T* base = qkv + task / of.heads * of.tokens * apart + task % of.heads * of.dim;
    const T *query = base + i % of.queries * apart, *keys = base + of.heads * of.dim;
    float* row = probs + i * of.tokens;
    float most = -INFINITY;
    for (int t = lane; t < of.tokens; t += 32) {
        float score = 0.0f;
        for (int c = 0; c < of.dim; c++) score += wide(query[c]) * wide(keys[i64(t) * apart + c]);
        row[t] = score;
        most = fmaxf(most, score);
    }
    most = warp_max(most);
    float sum = 0.0f;
    for (int t = lane; t < of.tokens; t += 32) {
        row[t] = expf((row[t] - most) * of.scale);
        sum += row[t];
    }
    float inverse = 1.0f / warp_sum(sum);
    for (int t = lane; t < of.tokens; t += 32) row[t] *= inverse;
}

#define ROWS(T, word, R)                                                                                                              \
    KERNEL(attention_plain_forward_##R##_##word, THREADS,                                                                             \
        (const T* qkv, T* out, float* lse, int tokens, int queries, int heads, int dim, float scale)) {                               \
        SHARED __align__(16) float room[ROOM<R>];                                                                                     \
        SHARED __align__(16) float weights[16 * R * WIDE_TILE];                                                                       \
        forward<T, R>(qkv, out, lse, Shape{tokens, queries, heads, dim, scale}, room, weights);                                       \
    }                                                                                                                                 \
    KERNEL(attention_plain_backward_queries_##R##_##word, THREADS,                                                                    \
        (const T* qkv, const float* lse, const T* dout, const float* delta, T* dqkv, int tokens, int queries, int heads, int dim,     \
            float scale)) {                                                                                                           \
        SHARED __align__(16) float room[ROOM<R>];                                                                                     \
        SHARED __align__(16) float weights[16 * R * WIDE_TILE];                                                                       \
        backward_queries<T, R>(qkv, lse, dout, delta, dqkv, Shape{tokens, queries, heads, dim, scale}, room, weights);                \
    }                                                                                                                                 \
    KERNEL(attention_plain_backward_keys_##R##_##word, THREADS,                                                                       \
        (const T* qkv, const float* lse, const T* dout, const float* delta, T* dqkv, int tokens, int queries, int heads, int dim,     \
            float scale)) {                                                                                                           \
        SHARED __align__(16) float room[ROOM<R>];                                                                                     \
        SHARED __align__(16) float weights[16 * R * WIDE_TILE];                                                                       \
        backward_keys<T, R>(qkv, lse, dout, delta, dqkv, Shape{tokens, queries, heads, dim, scale}, room, weights);                   \
    }
#define ALL(T, word)                                                                                                                  \
    ROWS(T, word, 1)                                                                                                                  \
    ROWS(T, word, 4)                                                                                                                  \
    KERNEL(attention_plain_deltas_##word, 256, (const T* out, const T* dout, float* delta, i64 count, int queries, int heads, int dim)) {\
        deltas(out, dout, delta, count, queries, heads, dim);                                                                         \
    }                                                                                                                                 \
    KERNEL(attention_probabilities_##word, 256,                                                                                       \
        (const T* qkv, float* probs, i64 count, int tokens, int queries, int heads, int dim, float scale)) {                          \
        probabilities(qkv, probs, count, Shape{tokens, queries, heads, dim, scale});                                                  \
    }

ALL(float, f32)
ALL(bf16, bf16)
ALL(f16, f16)
