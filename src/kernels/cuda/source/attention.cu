// Attention on tensor cores: 16-bit numbers, heads of 32, 64, 96 or 128; attention_plain.cu has the rest.
//
// Scores live in registers only. qkv is (batch, tokens, 3, heads, HD), out (batch, queries, heads, HD), lse and delta
// (batch, heads, queries). A warp works on 16 rows, or M times as many; blocks take tiles of 64 keys (or queries) from
// shared memory, the next one coming while this one is multiplied.
#include "common.cuh"

// Older cards have no copies that run beside the work, nor such products of brain floats: nobody asks for these there.
#if defined(STANDIN) || __CUDA_ARCH__ >= 800

constexpr int TILE = 64;
constexpr float LOG2_E = 1.44269504f, LN_2 = 0.69314718f;

// What a launch works on: a head's rows in qkv and out.
struct Shape {
    int tokens, queries, heads;
    float scale;
};

// ---- tiles in shared memory: rows a little longer than HD, so that the eight rows of a small tile lie in different banks

template <int HD> constexpr int WIDE = HD + 8;

// Copies `rows` rows that stand `apart` in global memory, of which `there` exist; zeros for the others.
template <int HD, class T> DEVICE void fetch(u16* to, const T* from, int apart, int rows, int there) {
    constexpr int pieces = HD / 8;
    for (int i = threadIdx.x; i < rows * pieces; i += blockDim.x) {
        int row = i / pieces, column = i % pieces * 8;
        bool exists = row < there;
        copy_async(to + row * WIDE<HD> + column, from + (exists ? row * apart + column : 0), exists);
    }
}

// The place in a tile that a lane names to load_tiles: 16 x 16 numbers from (row, column) on, as factor a where they are
// stored by rows, or as b where they are stored (k, n) and fetched transposed.
template <int HD> DEVICE const u16* by_rows(const u16* tile, int row, int column) {
    int lane = threadIdx.x % 32;
    return tile + (row + lane % 16) * WIDE<HD> + column + lane / 16 * 8;
}
// The same as factor b stored (n, k), or as a stored (k, m) and fetched transposed.
template <int HD> DEVICE const u16* by_columns(const u16* tile, int row, int column) {
    int lane = threadIdx.x % 32;
    return tile + (row + lane % 8 + lane / 16 * 8) * WIDE<HD> + column + lane / 8 % 2 * 8;
}

// Sixteen rows of a tile as factors a.
template <int HD> DEVICE void take_rows(u32 (&to)[HD / 16][4], const u16* tile, int row) {
#pragma unroll
    for (int k = 0; k < HD / 16; k++) load_tiles(to[k], by_rows<HD>(tile, row, 16 * k));
}

// d (16 x 16, two halves) += a (16 x HD) times the transpose of 16 rows of a tile.
template <class T, int HD, int M>
DEVICE void times_rows(float (&d)[M][2][4], const u32 (&a)[M][HD / 16][4], const u16* tile, int row) {
#pragma unroll
    for (int k = 0; k < HD / 16; k++) {
        u32 b[4];
        load_tiles(b, by_columns<HD>(tile, row, 16 * k));
        u32 left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
#pragma unroll
        for (int m = 0; m < M; m++) {
            mma<T>(d[m][0], a[m][k], left);
            mma<T>(d[m][1], a[m][k], right);
        }
    }
}

// d (16 x HD) += a (16 x 16) times 16 rows of a tile.
template <class T, int HD, int M>
DEVICE void times_columns(float (&d)[M][HD / 8][4], const u32 (&a)[M][4], const u16* tile, int row) {
#pragma unroll
    for (int n = 0; n < HD / 16; n++) {
        u32 b[4];
        load_tiles_transposed(b, by_rows<HD>(tile, row, 16 * n));
        u32 left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
#pragma unroll
        for (int m = 0; m < M; m++) {
            mma<T>(d[m][2 * n], a[m], left);
            mma<T>(d[m][2 * n + 1], a[m], right);
        }
    }
}

// Sums as a factor a of the next product.
template <class T> DEVICE void as_factor(u32 (&to)[4], const float (&left)[4], const float (&right)[4]) {
    to[0] = pair<T>(left[0], left[1]);
    to[1] = pair<T>(left[2], left[3]);
    to[2] = pair<T>(right[0], right[1]);
    to[3] = pair<T>(right[2], right[3]);
}

template <int N> DEVICE void clear(float (&x)[N][4]) {
#pragma unroll
    for (int i = 0; i < N; i++) x[i][0] = x[i][1] = x[i][2] = x[i][3] = 0.0f;
}
template <int M, int N> DEVICE void clear(float (&x)[M][N][4]) {
#pragma unroll
    for (int m = 0; m < M; m++) clear(x[m]);
}

// Hands a warp's 16 rows, times a number for each half, to their places, of which `there` exist: through its own rows of
// shared memory, so that whole stretches of 16 bytes go out. Other warps must be through with that place.
template <class T, int HD>
DEVICE void hand_out(const float (&from)[HD / 8][4], float low, float high, u16* room, T* to, int apart, int there) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int n = 0; n < HD / 8; n++) {
        *reinterpret_cast<u32*>(room + g * WIDE<HD> + 8 * n + 2 * t) = pair<T>(from[n][0] * low, from[n][1] * low);
        *reinterpret_cast<u32*>(room + (g + 8) * WIDE<HD> + 8 * n + 2 * t) = pair<T>(from[n][2] * high, from[n][3] * high);
    }
    __syncwarp();
    constexpr int pieces = HD / 8;
    for (int i = lane; i < 16 * pieces; i += 32) {
        int row = i / pieces, column = i % pieces * 8;
        if (row < there) {
            *reinterpret_cast<uint4*>(to + row * apart + column) = *reinterpret_cast<const uint4*>(room + row * WIDE<HD> + column);
        }
    }
    __syncwarp();
}

// Over the four lanes that share a row of sums; every one gets it.
DEVICE float row_sum(float x) {
    x += __shfl_xor_sync(FULL_WARP, x, 1);
    return x + __shfl_xor_sync(FULL_WARP, x, 2);
}
DEVICE float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 1));
    return fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 2));
}

// ---- forward

// What a warp knows of 16 rows after some keys: by halves of rows (g and g + 8), the largest score so far and the sum of
// 2^(scores - largest); and the values by the same weights.
template <int HD> struct Rows16 {
    float most[2], sum[2];
    float values[HD / 8][4];
};

// Scores of COUNT keys to probabilities, times a power of two that later keys may change; `left` of the keys exist.
template <int HD, int COUNT>
DEVICE void soften(float (&scores)[COUNT / 16][2][4], Rows16<HD>& rows, float scale2, int left, bool whole) {
    int t = threadIdx.x % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float most = rows.most[half];
#pragma unroll
        for (int i = 0; i < COUNT / 8; i++) {
#pragma unroll
            for (int c = 0; c < 2; c++) {
                float& score = scores[i / 2][i % 2][2 * half + c];
                if (!whole && 8 * i + 2 * t + c >= left) score = -INFINITY;
                most = fmaxf(most, score);
            }
        }
        most = row_max(most);
        // where there is no key yet, anything but infinity less infinity
        float shift = most == -INFINITY ? 0.0f : most * scale2;
        float factor = power_of_two(rows.most[half] * scale2 - shift);
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < COUNT / 8; i++) {
#pragma unroll
            for (int c = 0; c < 2; c++) {
                float& score = scores[i / 2][i % 2][2 * half + c];
                score = power_of_two(score * scale2 - shift);
                sum += score;
            }
        }
        rows.most[half] = most;
        rows.sum[half] = rows.sum[half] * factor + sum;
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
            rows.values[n][2 * half] *= factor;
            rows.values[n][2 * half + 1] *= factor;
        }
    }
}

// COUNT keys from row `first` of the tiles on, of which `left` exist.
template <class T, int HD, int M, int COUNT, bool WHOLE>
DEVICE void attend(
    Rows16<HD> (&rows)[M], const u32 (&queries)[M][HD / 16][4], const u16* keys, const u16* values, int first, int left, float scale2) {
    float scores[M][COUNT / 16][2][4];
#pragma unroll
    for (int i = 0; i < COUNT / 16; i++) {
        float d[M][2][4];
        clear(d);
        if (WHOLE || 16 * i < left) times_rows<T, HD, M>(d, queries, keys, first + 16 * i);
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int c = 0; c < 8; c++) scores[m][i][c / 4][c % 4] = d[m][c / 4][c % 4];
        }
    }
#pragma unroll
    for (int m = 0; m < M; m++) soften<HD, COUNT>(scores[m], rows[m], scale2, left, WHOLE);
#pragma unroll
    for (int i = 0; i < COUNT / 16; i++) {
        if (WHOLE || 16 * i < left) {
            u32 a[M][4];
#pragma unroll
            for (int m = 0; m < M; m++) as_factor<T>(a[m], scores[m][i][0], scores[m][i][1]);
#pragma unroll
            for (int n = 0; n < HD / 16; n++) {
                u32 b[4];
                load_tiles_transposed(b, by_rows<HD>(values, first + 16 * i, 16 * n));
                u32 low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
#pragma unroll
                for (int m = 0; m < M; m++) {
                    mma<T>(rows[m].values[2 * n], a[m], low);
                    mma<T>(rows[m].values[2 * n + 1], a[m], high);
                }
            }
        }
    }
}

// Hands out what a warp knows after the last key, of which rows `there` exist.
template <class T, int HD>
DEVICE void finish(const Rows16<HD>& known, u16* room, T* out, float* lse, int apart, int there, float scale2) {
    float sums[2] = {row_sum(known.sum[0]), row_sum(known.sum[1])};
    hand_out<T, HD>(known.values, 1.0f / sums[0], 1.0f / sums[1], room, out, apart, there);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = threadIdx.x % 32 / 4 + 8 * half;
        float shift = known.most[half] == -INFINITY ? 0.0f : known.most[half] * scale2;
        if (threadIdx.x % 4 == 0 && row < there) lse[row] = (shift + log2f(sums[half])) * LN_2;
    }
}

// What the warps of a block know of the same 16 queries, each from its own keys, put together.
template <class T, int HD>
DEVICE void put_together(const Rows16<HD>& mine, unsigned char* room, T* out, float* lse, int apart, int there, float scale2) {
    constexpr int wide = HD + 4;
    int warp = threadIdx.x / 32, warps = blockDim.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float* values = reinterpret_cast<float*>(room);
    float* most = values + warps * 16 * wide;
    float* sums = most + warps * 16;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = 16 * warp + g + 8 * half;
        float sum = row_sum(mine.sum[half]);
        if (t == 0) {
            most[row] = mine.most[half];
            sums[row] = sum;
        }
#pragma unroll
        for (int n = 0; n < HD / 8; n++) {
            *reinterpret_cast<float2*>(values + row * wide + 8 * n + 2 * t) = make_float2(mine.values[n][2 * half], mine.values[n][2 * half + 1]);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < there * (HD / 4); i += blockDim.x) {
        int row = i / (HD / 4), column = i % (HD / 4) * 4;
        float largest = -INFINITY;
        for (int w = 0; w < warps; w++) largest = fmaxf(largest, most[16 * w + row]);
        float shift = largest == -INFINITY ? 0.0f : largest * scale2;
        float sum = 0.0f;
        Four total = {0.0f, 0.0f, 0.0f, 0.0f};
        for (int w = 0; w < warps; w++) {
            float weight = power_of_two(most[16 * w + row] * scale2 - shift);
            Four some = load_four(values + (16 * w + row) * wide + column);
            sum += weight * sums[16 * w + row];
            total = {total.x + weight * some.x, total.y + weight * some.y, total.z + weight * some.z, total.w + weight * some.w};
        }
        float inverse = 1.0f / sum;
        store_four(out + row * apart + column, {total.x * inverse, total.y * inverse, total.z * inverse, total.w * inverse});
        if (column == 0) lse[row] = (shift + log2f(sum)) * LN_2;
    }
}

// A block: `16 M` queries a warp of one head; or, SPLIT, the same 16 queries for all warps, 16 keys of each tile a warp.
template <class T, int HD, int M, bool SPLIT>
DEVICE void forward(const T* qkv, T* out, float* lse, Shape of, unsigned char* room) {
    constexpr int COUNT = SPLIT ? 16 : TILE;
    u16* tiles = reinterpret_cast<u16*>(room);
    int warp = threadIdx.x / 32, rows = SPLIT ? 16 : blockDim.x / 2 * M;
    int blocks = (of.queries + rows - 1) / rows, task = blockIdx.x / blocks, first = blockIdx.x % blocks * rows;
    int batch = task / of.heads, head = task % of.heads, width = of.heads * HD;
    const T* base = qkv + i64(batch) * of.tokens * 3 * width + head * HD;
    int there = min(rows, of.queries - first);
    float scale2 = of.scale * LOG2_E;
    auto stage = [&](int tile) { return tiles + (tile & 1) * 2 * TILE * WIDE<HD>; };
    auto bring = [&](int tile) {
        const T* from = base + i64(tile) * TILE * 3 * width;
        int left = of.tokens - tile * TILE;
        fetch<HD>(stage(tile), from + width, 3 * width, TILE, left);
        fetch<HD>(stage(tile) + TILE * WIDE<HD>, from + 2 * width, 3 * width, TILE, left);
    };
    // queries wait where the second tile comes later
    fetch<HD>(stage(1), base + i64(first) * 3 * width, 3 * width, rows, there);
    bring(0);
    copies_end();
    copies_wait<0>();
    __syncthreads();
    u32 queries[M][HD / 16][4];
    Rows16<HD> known[M];
    int mine = SPLIT ? 0 : 16 * M * warp;
#pragma unroll
    for (int m = 0; m < M; m++) {
        take_rows<HD>(queries[m], stage(1), mine + 16 * m);
        known[m].most[0] = known[m].most[1] = -INFINITY;
        known[m].sum[0] = known[m].sum[1] = 0.0f;
        clear(known[m].values);
    }
    __syncthreads();
    for (int tile = 0; tile * TILE < of.tokens; tile++) {
        if ((tile + 1) * TILE < of.tokens) bring(tile + 1);
        copies_end();
        copies_wait<1>();
        __syncthreads();
        int key = SPLIT ? 16 * warp : 0, left = of.tokens - tile * TILE - key;
        const u16 *keys = stage(tile), *values = keys + TILE * WIDE<HD>;
        if (mine < there && left >= COUNT) {
            attend<T, HD, M, COUNT, true>(known, queries, keys, values, key, left, scale2);
        } else if (mine < there && left > 0) {
            attend<T, HD, M, COUNT, false>(known, queries, keys, values, key, left, scale2);
        }
        __syncthreads();
    }
    T* to = out + (i64(batch) * of.queries + first) * width + head * HD;
    lse += i64(task) * of.queries + first;
    if constexpr (SPLIT) {
        put_together<T, HD>(known[0], room, to, lse, width, there, scale2);
    } else {
#pragma unroll
        for (int m = 0; m < M; m++) {
            int row = mine + 16 * m;
            finish<T, HD>(known[m], tiles + row * WIDE<HD>, to + row * width, lse + row, width, there - row, scale2);
        }
    }
}

#define FORWARD(name, T, HD, M, SPLIT)                                                                                                        \
    KERNEL(name, 128, (const T* qkv, T* out, float* lse, int tokens, int queries, int heads, float scale)) {                                  \
        SHARED_BYTES(room);                                                                                                                   \
        forward<T, HD, M, SPLIT>(qkv, out, lse, Shape{tokens, queries, heads, scale}, room);                                                  \
    }

// ---- backward
//
// Two kernels, or one where a head's tokens fit into one block. Of the seven products of the two, five are in the one: adding
// up the gradients of queries over blocks would take atomic sums, whose order is chance, or a pass over their parts. The first
// computes delta = out · dout of each query too, for the second.

// Sixteen rows of `out` times factors a of `dout`, summed: for rows g and g + 8.
template <class T, int HD>
DEVICE void deltas(float (&to)[2], const u32 (&dout)[HD / 16][4], const T* out, int apart, int there) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = g + 8 * half;
        const T* from = out + (row < there ? row * apart : 0) + 2 * t;
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < HD / 8; i++) {
            u32 both = *reinterpret_cast<const u32*>(from + 8 * i), with = dout[i / 2][half + 2 * (i % 2)];
            sum += wide(T{u16(both & 0xffffu)}) * wide(T{u16(with & 0xffffu)}) + wide(T{u16(both >> 16)}) * wide(T{u16(with >> 16)});
        }
        // all lanes together: a warp's rows may end between them
        to[half] = row_sum(row < there ? sum : 0.0f);
    }
}

// A block's warps' parts of the same 16 rows, added in the order of warps, times a number, of which `there` exist.
template <class T, int HD>
DEVICE void add_up(const float (&mine)[HD / 8][4], float times, unsigned char* room, T* to, int apart, int there) {
    constexpr int wide = HD + 4;
    int warp = threadIdx.x / 32, warps = blockDim.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float* parts = reinterpret_cast<float*>(room);
#pragma unroll
    for (int i = 0; i < HD / 2; i++) {
        parts[(16 * warp + g + 8 * (i % 4 / 2)) * wide + 8 * (i / 4) + 2 * t + i % 2] = mine[i / 4][i % 4];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < there * (HD / 4); i += blockDim.x) {
        int row = i / (HD / 4), column = i % (HD / 4) * 4;
        Four sum = {0.0f, 0.0f, 0.0f, 0.0f};
        for (int w = 0; w < warps; w++) {
            Four some = load_four(parts + (16 * w + row) * wide + column);
            sum = {sum.x + some.x, sum.y + some.y, sum.z + some.z, sum.w + some.w};
        }
        store_four(to + row * apart + column, {sum.x * times, sum.y * times, sum.z * times, sum.w * times});
    }
}

// The gradient of queries, 16 M a warp; or, SPLIT, of the same 16, 16 keys of each tile a warp.
template <class T, int HD, int M, bool SPLIT>
DEVICE void backward_queries(
    const T* qkv, const T* out, const float* lse, const T* dout, float* delta, T* dqkv, Shape of, unsigned char* room) {
    u16* tiles = reinterpret_cast<u16*>(room);
    u16* more = tiles + 4 * TILE * WIDE<HD>;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, rows = SPLIT ? 16 : blockDim.x / 2 * M;
    int blocks = (of.queries + rows - 1) / rows, task = blockIdx.x / blocks, first = blockIdx.x % blocks * rows;
    int batch = task / of.heads, head = task % of.heads, width = of.heads * HD;
    i64 image = i64(batch) * of.tokens * 3 * width + head * HD, asked = (i64(batch) * of.queries + first) * width + head * HD;
    const T* base = qkv + image;
    int there = min(rows, of.queries - first);
    float scale2 = of.scale * LOG2_E;
    lse += i64(task) * of.queries + first;
    delta += i64(task) * of.queries + first;
    auto stage = [&](int tile) { return tiles + (tile & 1) * 2 * TILE * WIDE<HD>; };
    auto bring = [&](int tile) {
        const T* from = base + i64(tile) * TILE * 3 * width;
        int left = of.tokens - tile * TILE;
        fetch<HD>(stage(tile), from + width, 3 * width, TILE, left);
        fetch<HD>(stage(tile) + TILE * WIDE<HD>, from + 2 * width, 3 * width, TILE, left);
    };
    fetch<HD>(stage(1), base + i64(first) * 3 * width, 3 * width, rows, there);
    fetch<HD>(more, dout + asked, width, rows, there);
    bring(0);
    copies_end();
    copies_wait<0>();
    __syncthreads();
    u32 queries[M][HD / 16][4], gradients[M][HD / 16][4];
    float sums[M][HD / 8][4], lses[M][2], means[M][2];
    clear(sums);
    int mine = SPLIT ? 0 : 16 * M * warp;
#pragma unroll
    for (int m = 0; m < M; m++) {
        int row = mine + 16 * m;
        take_rows<HD>(queries[m], stage(1), row);
        take_rows<HD>(gradients[m], more, row);
        deltas<T, HD>(means[m], gradients[m], out + asked + (row < there ? row * width : 0), width, there - row);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int at = row + g + 8 * half;
            lses[m][half] = at < there ? lse[at] * LOG2_E : 0.0f;
            if (at < there && t == 0 && (!SPLIT || warp == 0)) delta[at] = means[m][half];
        }
    }
    __syncthreads();
    for (int tile = 0; tile * TILE < of.tokens; tile++) {
        if ((tile + 1) * TILE < of.tokens) bring(tile + 1);
        copies_end();
        copies_wait<1>();
        __syncthreads();
        const u16 *keys = stage(tile), *values = keys + TILE * WIDE<HD>;
        int key = SPLIT ? 16 * warp : 0, end = min(SPLIT ? key + 16 : TILE, of.tokens - tile * TILE);
        for (; mine < there && key < end; key += 16) {
            float scores[M][2][4], slopes[M][2][4];
            u32 ds[M][4];
            clear(scores);
            clear(slopes);
            times_rows<T, HD, M>(scores, queries, keys, key);
            times_rows<T, HD, M>(slopes, gradients, values, key);
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    int half = i % 4 / 2, column = key + 8 * (i / 4) + 2 * t + i % 2;
                    float p = power_of_two(scores[m][i / 4][i % 4] * scale2 - lses[m][half]);
                    // a key that is not there: its score is 0, whose power may be infinite
                    if (column >= end) p = 0.0f;
                    slopes[m][i / 4][i % 4] = p * (slopes[m][i / 4][i % 4] - means[m][half]);
                }
                as_factor<T>(ds[m], slopes[m][0], slopes[m][1]);
            }
            times_columns<T, HD, M>(sums, ds, keys, key);
        }
        __syncthreads();
    }
    T* to = dqkv + image + i64(first) * 3 * width;
    if constexpr (SPLIT) {
        add_up<T, HD>(sums[0], of.scale, room, to, 3 * width, there);
    } else {
#pragma unroll
        for (int m = 0; m < M; m++) {
            int row = mine + 16 * m;
            hand_out<T, HD>(sums[m], of.scale, of.scale, tiles + row * WIDE<HD>, to + row * 3 * width, 3 * width, there - row);
        }
    }
}

// A warp's 16 keys and values, and their gradients so far.
template <int HD> struct Keys16 {
    u32 keys[1][HD / 16][4], values[1][HD / 16][4];
    float dkeys[1][HD / 8][4], dvalues[1][HD / 8][4];
};

// Sixteen queries from row `query` of a tile on, with their outputs' gradients; `lses` are infinite for those that do not
// exist. Leaves the gradient of the scores, a row for each key, in ds; keys from `there` on have none.
template <class T, int HD>
DEVICE void learn(Keys16<HD>& known, u32 (&ds)[1][4], const u16* queries, const u16* dout, const float* lses, const float* means, int query,
    int there, float scale2) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float scores[1][2][4], slopes[1][2][4];
    clear(scores);
    clear(slopes);
    times_rows<T, HD, 1>(scores, known.keys, queries, query);
    times_rows<T, HD, 1>(slopes, known.values, dout, query);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int at = query + 8 * (i / 4) + 2 * t + i % 2;
        float p = power_of_two(scores[0][i / 4][i % 4] * scale2 - lses[at]);
        if (g + 8 * (i % 4 / 2) >= there) p = 0.0f;
        scores[0][i / 4][i % 4] = p;
        slopes[0][i / 4][i % 4] = p * (slopes[0][i / 4][i % 4] - means[at]);
    }
    u32 p[1][4];
    as_factor<T>(p[0], scores[0][0], scores[0][1]);
    as_factor<T>(ds[0], slopes[0][0], slopes[0][1]);
    times_columns<T, HD, 1>(known.dvalues, p, dout, query);
    times_columns<T, HD, 1>(known.dkeys, ds, queries, query);
}

// Zeros for the queries of `rows` tokens.
template <int HD, class T> DEVICE void nothing_asked(T* to, int apart, int rows) {
    constexpr int pieces = HD / 8;
    for (int i = threadIdx.x; i < rows * pieces; i += blockDim.x) {
        *reinterpret_cast<uint4*>(to + i / pieces * apart + i % pieces * 8) = make_uint4(0, 0, 0, 0);
    }
}

// The gradient of 64 tokens' keys and values, 16 a warp.
template <class T, int HD>
DEVICE void backward_keys(
    const T* qkv, const float* lse, const T* dout, const float* delta, T* dqkv, Shape of, unsigned char* room) {
    u16* tiles = reinterpret_cast<u16*>(room);
    float* numbers = reinterpret_cast<float*>(tiles + 4 * TILE * WIDE<HD>);
    int warp = threadIdx.x / 32, blocks = (of.tokens + TILE - 1) / TILE, task = blockIdx.x / blocks, first = blockIdx.x % blocks * TILE;
    int batch = task / of.heads, head = task % of.heads, width = of.heads * HD;
    i64 image = i64(batch) * of.tokens * 3 * width + head * HD;
    const T *base = qkv + image, *outputs = dout + i64(batch) * of.queries * width + head * HD;
    int there = min(TILE, of.tokens - first);
    float scale2 = of.scale * LOG2_E;
    lse += i64(task) * of.queries;
    delta += i64(task) * of.queries;
    auto stage = [&](int tile) { return tiles + (tile & 1) * 2 * TILE * WIDE<HD>; };
    auto bring = [&](int tile) {
        int left = of.queries - tile * TILE;
        fetch<HD>(stage(tile), base + i64(tile) * TILE * 3 * width, 3 * width, TILE, left);
        fetch<HD>(stage(tile) + TILE * WIDE<HD>, outputs + i64(tile) * TILE * width, width, TILE, left);
        float* to = numbers + (tile & 1) * 2 * TILE;
        for (int i = threadIdx.x; i < TILE; i += blockDim.x) {
            to[i] = i < left ? lse[tile * TILE + i] * LOG2_E : INFINITY;
            to[TILE + i] = i < left ? delta[tile * TILE + i] : 0.0f;
        }
    };
    const T* from = base + i64(first) * 3 * width;
    fetch<HD>(stage(1), from + width, 3 * width, TILE, there);
    fetch<HD>(stage(1) + TILE * WIDE<HD>, from + 2 * width, 3 * width, TILE, there);
    bring(0);
    copies_end();
    T* to = dqkv + image + i64(first) * 3 * width;
    int idle = max(of.queries - first, 0);
    if (idle < there) nothing_asked<HD>(to + idle * 3 * width, 3 * width, there - idle);
    copies_wait<0>();
    __syncthreads();
    Keys16<HD> known;
    take_rows<HD>(known.keys[0], stage(1), 16 * warp);
    take_rows<HD>(known.values[0], stage(1) + TILE * WIDE<HD>, 16 * warp);
    clear(known.dkeys);
    clear(known.dvalues);
    __syncthreads();
    for (int tile = 0; tile * TILE < of.queries; tile++) {
        if ((tile + 1) * TILE < of.queries) bring(tile + 1);
        copies_end();
        copies_wait<1>();
        __syncthreads();
        const u16* queries = stage(tile);
        const float* lses = numbers + (tile & 1) * 2 * TILE;
        int end = min(TILE, of.queries - tile * TILE);
        for (int query = 0; 16 * warp < there && query < end; query += 16) {
            u32 ds[1][4];
            learn<T, HD>(known, ds, queries, queries + TILE * WIDE<HD>, lses, lses + TILE, query, there - 16 * warp, scale2);
        }
        __syncthreads();
    }
    int row = 16 * warp;
    u16* own = tiles + row * WIDE<HD>;
    hand_out<T, HD>(known.dkeys[0], of.scale, of.scale, own, to + width + row * 3 * width, 3 * width, there - row);
    hand_out<T, HD>(known.dvalues[0], 1.0f, 1.0f, own, to + 2 * width + row * 3 * width, 3 * width, there - row);
}

// All of a head of at most 64 tokens, 16 a warp.
template <class T, int HD>
DEVICE void backward_whole(
    const T* qkv, const T* out, const float* lse, const T* dout, T* dqkv, Shape of, unsigned char* room) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, rows = blockDim.x / 2, mine = 16 * warp;
    u16* queries = reinterpret_cast<u16*>(room);
    u16 *keys = queries + rows * WIDE<HD>, *values = keys + rows * WIDE<HD>, *gradients = values + rows * WIDE<HD>;
    u16* slopes = gradients + rows * WIDE<HD>;
    float* lses = reinterpret_cast<float*>(slopes + rows * WIDE<TILE>);
    float* means = lses + TILE;
    int task = blockIdx.x, batch = task / of.heads, head = task % of.heads, width = of.heads * HD;
    i64 image = i64(batch) * of.tokens * 3 * width + head * HD, asked = i64(batch) * of.queries * width + head * HD;
    const T* base = qkv + image;
    float scale2 = of.scale * LOG2_E;
    lse += i64(task) * of.queries;
    fetch<HD>(queries, base, 3 * width, rows, of.queries);
    fetch<HD>(keys, base + width, 3 * width, rows, of.tokens);
    fetch<HD>(values, base + 2 * width, 3 * width, rows, of.tokens);
    fetch<HD>(gradients, dout + asked, width, rows, of.queries);
    copies_end();
    T* to = dqkv + image;
    nothing_asked<HD>(to + i64(of.queries) * 3 * width, 3 * width, of.tokens - of.queries);
    for (int i = threadIdx.x; i < rows; i += blockDim.x) lses[i] = i < of.queries ? lse[i] * LOG2_E : INFINITY;
    copies_wait<0>();
    __syncthreads();
    Keys16<HD> known;
    {
        u32 mine_of[HD / 16][4];
        float found[2];
        take_rows<HD>(mine_of, gradients, mine);
        deltas<T, HD>(found, mine_of, out + asked + (mine < of.queries ? mine * width : 0), width, of.queries - mine);
        if (t == 0) {
            means[mine + g] = found[0];
            means[mine + g + 8] = found[1];
        }
    }
    take_rows<HD>(known.keys[0], keys, mine);
    take_rows<HD>(known.values[0], values, mine);
    clear(known.dkeys);
    clear(known.dvalues);
    __syncthreads();
    for (int query = 0; query < of.queries; query += 16) {
        u32 ds[1][4];
        learn<T, HD>(known, ds, queries, gradients, lses, means, query, of.tokens - mine, scale2);
        u16* at = slopes + (mine + g) * WIDE<TILE> + query + 2 * t;
        *reinterpret_cast<u32*>(at) = ds[0][0];
        *reinterpret_cast<u32*>(at + 8 * WIDE<TILE>) = ds[0][1];
        *reinterpret_cast<u32*>(at + 8) = ds[0][2];
        *reinterpret_cast<u32*>(at + 8 * WIDE<TILE> + 8) = ds[0][3];
    }
    __syncthreads();
    // all but the keys and the scores' gradients is done with: a warp's results leave through its own rows of those
    int there = of.tokens - mine;
    T* own = to + mine * 3 * width;
    hand_out<T, HD>(known.dkeys[0], of.scale, of.scale, queries + mine * WIDE<HD>, own + width, 3 * width, there);
    hand_out<T, HD>(known.dvalues[0], 1.0f, 1.0f, values + mine * WIDE<HD>, own + 2 * width, 3 * width, there);
    if (mine >= of.queries) return;
    float sums[1][HD / 8][4];
    clear(sums);
    for (int key = 0; key < rows; key += 16) {
        u32 ds[1][4];
        load_tiles_transposed(ds[0], by_columns<TILE>(slopes, key, mine));
        times_columns<T, HD, 1>(sums, ds, keys, key);
    }
    hand_out<T, HD>(sums[0], of.scale, of.scale, gradients + mine * WIDE<HD>, own, 3 * width, of.queries - mine);
}

#define BACKWARD_QUERIES(name, T, HD, M, SPLIT)                                                                                               \
    KERNEL(name, 128, (const T* qkv, const T* out, const float* lse, const T* dout, float* delta, T* dqkv, int tokens, int queries,           \
        int heads, float scale)) {                                                                                                            \
        SHARED_BYTES(room);                                                                                                                   \
        backward_queries<T, HD, M, SPLIT>(qkv, out, lse, dout, delta, dqkv, Shape{tokens, queries, heads, scale}, room);                      \
    }
#define BACKWARD_KEYS(name, T, HD)                                                                                                            \
    KERNEL(name, 128, (const T* qkv, const float* lse, const T* dout, const float* delta, T* dqkv, int tokens, int queries,                   \
        int heads, float scale)) {                                                                                                            \
        SHARED_BYTES(room);                                                                                                                   \
        backward_keys<T, HD>(qkv, lse, dout, delta, dqkv, Shape{tokens, queries, heads, scale}, room);                                        \
    }
#define BACKWARD_WHOLE(name, T, HD)                                                                                                           \
    KERNEL(name, 128, (const T* qkv, const T* out, const float* lse, const T* dout, T* dqkv, int tokens, int queries, int heads,              \
        float scale)) {                                                                                                                       \
        SHARED_BYTES(room);                                                                                                                   \
        backward_whole<T, HD>(qkv, out, lse, dout, dqkv, Shape{tokens, queries, heads, scale}, room);                                         \
    }

// MANY: the multiple of 16 queries a warp takes where there are many; larger heads have no registers for two
#define OF(T, word, HD, MANY)                                                                                                                 \
    FORWARD(attention_forward_##HD##_##word, T, HD, 1, false)                                                                                 \
    FORWARD(attention_forward_few_##HD##_##word, T, HD, 1, true)                                                                              \
    BACKWARD_QUERIES(attention_backward_queries_##HD##_##word, T, HD, MANY, false)                                                            \
    BACKWARD_QUERIES(attention_backward_few_##HD##_##word, T, HD, 1, true)                                                                    \
    BACKWARD_KEYS(attention_backward_keys_##HD##_##word, T, HD)                                                                               \
    BACKWARD_WHOLE(attention_backward_whole_##HD##_##word, T, HD)
#define ALL(T, word)                                                                                                                          \
    OF(T, word, 32, 2)                                                                                                                        \
    OF(T, word, 64, 2)                                                                                                                        \
    OF(T, word, 96, 1)                                                                                                                        \
    OF(T, word, 128, 1)                                                                                                                       \
    FORWARD(attention_forward_many_32_##word, T, 32, 2, false)                                                                                \
    FORWARD(attention_forward_many_64_##word, T, 64, 2, false)

ALL(bf16, bf16)
ALL(f16, f16)

#endif
