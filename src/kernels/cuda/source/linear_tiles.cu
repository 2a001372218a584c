// Linear layers with a GELU behind or before them, or a residual in rows that stand among others, on tensor cores: the product of
// 16-bit numbers, and in the same pass what is done to each of its sums. linear.cu has what is done to sums that a library made.
//
// A block makes 128 x 128 sums, each of its four warps 64 x 64 of them in registers. Factors come through shared memory, 32 of the depth
// at a time, two such steps ahead of the one that is multiplied; 48 KiB, of which every such card holds two blocks'. Sums leave through shared memory as well, 16 rows of a warp
// at a time, so that a thread holds eight that lie together: whole stretches of 16 bytes are read and written.
#include "common.cuh"

// Older cards have no copies that run beside the work, nor such products of brain floats: nobody asks for these there.
#if defined(STANDIN) || __CUDA_ARCH__ >= 800

constexpr int SIDE = 128, HALF = 64, DEPTH = 32, STEPS = 3, THREADS = 128;
constexpr int FACTOR = SIDE * DEPTH, STEP = 2 * FACTOR;
// Rows of sums have a gap in their middle and after their end, so that what eight lanes fetch together lies in different banks.
constexpr int GAP = 4, LONG_SUMS = HALF + 2 * GAP;

// Where 16 bytes of a factor stand in shared memory: pieces of a row change places, so that those of a small tile's eight rows, one
// below the other, lie in different banks. By rows of 32 numbers; and of weights that are stored (depth, columns), of 128.
DEVICE int place_of(int row, int column) { return row * DEPTH + (column / 8 ^ row / 2 % 4) * 8; }
DEVICE int place_turned(int row, int column) { return row * SIDE + (column / 8 ^ row % 8) * 8; }

// (rows, depth) times weights: (cols, depth), or (depth, cols) where they are turned. depth and cols are multiples of 8.
struct Product {
    i64 rows;
    int cols, depth;
};

// Eight numbers that lie together, from or to 16 bytes.
template <class T> DEVICE void widen(float (&to)[8], uint4 from) {
    const u32 words[4] = {from.x, from.y, from.z, from.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        to[2 * i] = wide(T{u16(words[i] & 0xffffu)});
        to[2 * i + 1] = wide(T{u16(words[i] >> 16)});
    }
}
template <class T> DEVICE uint4 narrowed(const float (&from)[8]) {
    return make_uint4(pair<T>(from[0], from[1]), pair<T>(from[2], from[3]), pair<T>(from[4], from[5]), pair<T>(from[6], from[7]));
}

// Copies the rows from `row` on, 32 numbers each from `at` on, of a matrix (rows, depth); zeros beyond its ends.
template <class T> DEVICE void fetch_rows(u16* to, const T* from, i64 row, i64 rows, int at, int depth) {
    int piece = threadIdx.x % 4 * 8;
#pragma unroll
    for (int i = 0; i < SIDE / 32; i++) {
        int mine = threadIdx.x / 4 + 32 * i;
        bool there = row + mine < rows && at + piece < depth;
        copy_async(to + place_of(mine, piece), from + (there ? (row + mine) * depth + at + piece : 0), there);
    }
}
// Copies 32 rows from `at` on, 128 numbers each from `col` on, of a matrix (depth, cols); zeros beyond its ends.
template <class T> DEVICE void fetch_turned(u16* to, const T* from, int col, int cols, int at, int depth) {
    int piece = threadIdx.x % 16 * 8;
#pragma unroll
    for (int i = 0; i < DEPTH / 8; i++) {
        int mine = threadIdx.x / 16 + 8 * i;
        bool there = at + mine < depth && col + piece < cols;
        copy_async(to + place_turned(mine, piece), from + (there ? i64(at + mine) * cols + col + piece : 0), there);
    }
}

// What of the factors a warp multiplies at once: 64 rows and 64 columns, 16 of the depth.
struct Fragments {
    u32 a[4][4], b[4][4];
};
template <bool TURNED> DEVICE void take(Fragments& to, const u16* a, const u16* b, int row, int col, int at) {
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < 4; m++) load_tiles(to.a[m], a + place_of(row + 16 * m + lane % 16, at + lane / 16 * 8));
#pragma unroll
    for (int n = 0; n < 4; n++) {
        if (TURNED) load_tiles_transposed(to.b[n], b + place_turned(at + lane % 16, col + 16 * n + lane / 16 * 8));
        else load_tiles(to.b[n], b + place_of(col + 16 * n + lane % 8 + lane / 16 * 8, at + lane / 8 % 2 * 8));
    }
}
template <class T> DEVICE void multiply(float (&sums)[4][8][4], const Fragments& with) {
#pragma unroll
    for (int n = 0; n < 4; n++) {
        u32 left[2] = {with.b[n][0], with.b[n][1]}, right[2] = {with.b[n][2], with.b[n][3]};
#pragma unroll
        for (int m = 0; m < 4; m++) {
            mma<T>(sums[m][2 * n], with.a[m], left);
            mma<T>(sums[m][2 * n + 1], with.a[m], right);
        }
    }
}

// A warp's 64 x 64 sums of the block's 128 x 128 from (row, col) on.
template <class T, bool TURNED>
DEVICE void multiply_all(float (&sums)[4][8][4], u16* room, const T* x, const T* w, Product p, i64 row, int col) {
    int warp = threadIdx.x / 32, steps = (p.depth + DEPTH - 1) / DEPTH;
    auto fetch = [&](int step) {
        u16* to = room + step % STEPS * STEP;
        if (step < steps) {
            fetch_rows(to, x, row, p.rows, step * DEPTH, p.depth);
            if (TURNED) fetch_turned(to + FACTOR, w, col, p.cols, step * DEPTH, p.depth);
            else fetch_rows(to + FACTOR, w, i64(col), i64(p.cols), step * DEPTH, p.depth);
        }
        copies_end();
    };
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int n = 0; n < 8; n++) sums[m][n][0] = sums[m][n][1] = sums[m][n][2] = sums[m][n][3] = 0.0f;
    for (int step = 0; step < STEPS - 1; step++) fetch(step);
    for (int step = 0; step < steps; step++) {
        copies_wait<STEPS - 2>();
        // this step has come for all, and all are through with the one before it, whose place is taken next
        __syncthreads();
        fetch(step + STEPS - 1);
        const u16* a = room + step % STEPS * STEP;
        Fragments first, second;
        take<TURNED>(first, a, a + FACTOR, warp / 2 * HALF, warp % 2 * HALF, 0);
        take<TURNED>(second, a, a + FACTOR, warp / 2 * HALF, warp % 2 * HALF, 16);
        multiply<T>(sums, first);
        multiply<T>(sums, second);
    }
    copies_wait<0>();
    __syncthreads();
}

// Hands 16 rows of a warp's sums through its part of shared memory: lane l gets of rows 4 j + l / 8 the columns 8 (l % 8) and on; or
// SPLIT, for numbers of 32 bits, 4 (l % 8) and on of either half.
template <bool SPLIT> DEVICE void turn_over(float (&to)[4][8], float* room, const float (&sums)[8][4]) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int n = 0; n < 8; n++) {
        *reinterpret_cast<float2*>(room + g * LONG_SUMS + 8 * n + n / 4 * GAP + 2 * t) = make_float2(sums[n][0], sums[n][1]);
        *reinterpret_cast<float2*>(room + (g + 8) * LONG_SUMS + 8 * n + n / 4 * GAP + 2 * t) = make_float2(sums[n][2], sums[n][3]);
    }
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const float* from = room + (4 * j + lane / 8) * LONG_SUMS + (SPLIT ? lane % 8 * 4 : lane % 8 * 8 + lane % 8 / 4 * GAP);
        Four low = load_four(from), high = load_four(from + (SPLIT ? HALF / 2 + GAP : 4));
        to[j][0] = low.x, to[j][1] = low.y, to[j][2] = low.z, to[j][3] = low.w;
        to[j][4] = high.x, to[j][5] = high.y, to[j][6] = high.z, to[j][7] = high.w;
    }
    __syncwarp();
}

// Which sums a block makes: blocks that share rows of x follow one another.
struct Corner {
    i64 row;
    int col;
};
DEVICE Corner corner(Product p) {
    int across = (p.cols + SIDE - 1) / SIDE;
    return Corner{i64(blockIdx.x / across) * SIDE, int(blockIdx.x % across) * SIDE};
}

// pre = x wᵀ + bias (written where there is room for it), y = gelu(pre)
template <class T>
DEVICE void forward(unsigned char* shared, Product p, const T* __restrict__ x, const T* __restrict__ w, const float* __restrict__ bias,
                    T* __restrict__ pre, T* __restrict__ y) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Corner at = corner(p);
    float sums[4][8][4];
    multiply_all<T, false>(sums, reinterpret_cast<u16*>(shared), x, w, p, at.row, at.col);
    float* room = reinterpret_cast<float*>(shared) + warp * 16 * LONG_SUMS;
    int col = at.col + warp % 2 * HALF + lane % 8 * 8;
    float biases[8];
#pragma unroll
    for (int i = 0; i < 8; i++) biases[i] = bias && col < p.cols ? bias[col + i] : 0.0f;
#pragma unroll
    for (int m = 0; m < 4; m++) {
        float v[4][8];
        turn_over<false>(v, room, sums[m]);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            i64 row = at.row + warp / 2 * HALF + 16 * m + 4 * j + lane / 8;
            if (row >= p.rows || col >= p.cols) continue;
#pragma unroll
            for (int i = 0; i < 8; i++) v[j][i] += biases[i];
            if (pre) *reinterpret_cast<uint4*>(pre + row * p.cols + col) = narrowed<T>(v[j]);
#pragma unroll
            for (int i = 0; i < 8; i++) v[j][i] = gelu_for<T>(v[j][i]);
            *reinterpret_cast<uint4*>(y + row * p.cols + col) = narrowed<T>(v[j]);
        }
    }
}

// y = residual + scale · (x wᵀ + bias) in those rows of residual and y that are named; x has a row for each
template <class T>
DEVICE void onto_residual(unsigned char* shared, Product p, Rows rows, float scale, const T* __restrict__ x, const T* __restrict__ w,
                          const float* __restrict__ bias, const float* __restrict__ residual, float* __restrict__ y) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Corner at = corner(p);
    float sums[4][8][4];
    multiply_all<T, false>(sums, reinterpret_cast<u16*>(shared), x, w, p, at.row, at.col);
    float* room = reinterpret_cast<float*>(shared) + warp * 16 * LONG_SUMS;
    int left = at.col + warp % 2 * HALF + lane % 8 * 4, cols[2] = {left, left + HALF / 2};
    Four biases[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        bool there = bias && cols[half] < p.cols;
        biases[half] = there ? Four{bias[cols[half]], bias[cols[half] + 1], bias[cols[half] + 2], bias[cols[half] + 3]} : Four{0.0f, 0.0f, 0.0f, 0.0f};
    }
#pragma unroll
    for (int m = 0; m < 4; m++) {
        i64 first = at.row + warp / 2 * HALF + 16 * m + lane / 8, places[4];
        Four before[4][2];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            bool there = first + 4 * j < p.rows;
            places[j] = there ? row_at(rows, int(first + 4 * j)) * p.cols : 0;
#pragma unroll
            for (int half = 0; half < 2; half++)
                before[j][half] = there && cols[half] < p.cols ? load_four(residual + places[j] + cols[half]) : Four{0.0f, 0.0f, 0.0f, 0.0f};
        }
        float v[4][8];
        turn_over<true>(v, room, sums[m]);
#pragma unroll
        for (int j = 0; j < 4; j++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                if (first + 4 * j >= p.rows || cols[half] >= p.cols) continue;
                const float* sum = v[j] + 4 * half;
                Four b = biases[half], r = before[j][half];
                store_four(y + places[j] + cols[half], Four{fmaf(scale, sum[0] + b.x, r.x), fmaf(scale, sum[1] + b.y, r.y),
                                                            fmaf(scale, sum[2] + b.z, r.z), fmaf(scale, sum[3] + b.w, r.w)});
            }
        }
    }
}

// Sixteen bytes of rows first, first + 4, … from a column on; zeros beyond the ends.
template <class T> DEVICE void fetch_before(uint4 (&to)[4], const T* pre, Product p, i64 first, int col) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
        bool there = first + 4 * j < p.rows && col < p.cols;
        to[j] = there ? *reinterpret_cast<const uint4*>(pre + (first + 4 * j) * p.cols + col) : make_uint4(0, 0, 0, 0);
    }
}

// dpre = (dy w) · gelu'(pre), pre becomes gelu(pre), and parts (a row for each 128 of dy's) the sums of dpre's columns
template <class T>
DEVICE void backward(unsigned char* shared, Product p, const T* __restrict__ dy, const T* __restrict__ w, T* __restrict__ pre,
                     T* __restrict__ dpre, float* __restrict__ parts) {
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Corner at = corner(p);
    i64 row = at.row + warp / 2 * HALF + lane / 8;
    int col = at.col + warp % 2 * HALF + lane % 8 * 8;
    // a row's two stretches of 128 bytes are sent for before the product begins: nothing else stands between it and memory
    if (at.row + threadIdx.x < p.rows) {
        const T* mine = pre + (at.row + threadIdx.x) * p.cols + at.col;
        prefetch(mine);
        if (at.col + HALF < p.cols) prefetch(mine + HALF);
    }
    float sums[4][8][4];
    multiply_all<T, true>(sums, reinterpret_cast<u16*>(shared), dy, w, p, at.row, at.col);
    float* room = reinterpret_cast<float*>(shared) + warp * 16 * LONG_SUMS;
    float columns[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    uint4 before[2][4];
    fetch_before(before[0], pre, p, row, col);
#pragma unroll
    for (int m = 0; m < 4; m++) {
        i64 first = row + 16 * m;
        // one ahead of what is worked on
        if (m < 3) fetch_before(before[(m + 1) % 2], pre, p, first + 16, col);
        float v[4][8];
        turn_over<false>(v, room, sums[m]);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (first + 4 * j >= p.rows || col >= p.cols) continue;
            i64 place = (first + 4 * j) * p.cols + col;
            float act[8];
            widen<T>(act, before[m % 2][j]);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                Gelu known = near_gelu(act[i]);
                act[i] = known.value;
                v[j][i] *= known.slope;
            }
            uint4 stored = narrowed<T>(v[j]);
            *reinterpret_cast<uint4*>(dpre + place) = stored;
            *reinterpret_cast<uint4*>(pre + place) = narrowed<T>(act);
            // the sums are those of the numbers that are kept
            widen<T>(v[j], stored);
#pragma unroll
            for (int i = 0; i < 8; i++) columns[i] += v[j][i];
        }
    }
    // over the four lanes that share columns, then over the two warps that do
    float* whole = reinterpret_cast<float*>(shared) + 4 * 16 * LONG_SUMS;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        columns[i] += __shfl_xor_sync(FULL_WARP, columns[i], 8);
        columns[i] += __shfl_xor_sync(FULL_WARP, columns[i], 16);
        if (lane < 8) whole[warp * HALF + lane * 8 + i] = columns[i];
    }
    __syncthreads();
    if (at.col + int(threadIdx.x) < p.cols) {
        parts[at.row / SIDE * p.cols + at.col + threadIdx.x] = whole[threadIdx.x] + whole[threadIdx.x + SIDE];
    }
}

#define LINEAR_TILES(T, word)                                                                                                       \
    KERNEL(linear_tiles_gelu_##word, THREADS, (i64 rows, int cols, int depth, const T* x, const T* w, const float* bias, T* pre, T* y)) { \
        SHARED_BYTES(shared);                                                                                                       \
        forward(shared, Product{rows, cols, depth}, x, w, bias, pre, y);                                                            \
    }                                                                                                                               \
    KERNEL(linear_tiles_residual_##word, THREADS,                                                                                   \
           (i64 rows, int cols, int depth, Rows named, float scale, const T* x, const T* w, const float* bias, const float* residual, \
            float* y)) {                                                                                                            \
        SHARED_BYTES(shared);                                                                                                       \
        onto_residual(shared, Product{rows, cols, depth}, named, scale, x, w, bias, residual, y);                                   \
    }                                                                                                                               \
    KERNEL(linear_tiles_backward_##word, THREADS,                                                                                   \
           (i64 rows, int cols, int depth, const T* dy, const T* w, T* pre, T* dpre, float* parts)) {                               \
        SHARED_BYTES(shared);                                                                                                       \
        backward(shared, Product{rows, cols, depth}, dy, w, pre, dpre, parts);                                                      \
    }
LINEAR_TILES(bf16, bf16)
LINEAR_TILES(f16, f16)

#endif
