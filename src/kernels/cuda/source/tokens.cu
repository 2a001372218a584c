// Copies of parts. Nothing is computed to speak of: four numbers to a thread where they lie on boundaries, else one by one.
#include "common.cuh"

DEVICE void add_to(float* to, const float* from) {
    Four a = load_four(to), b = load_four(from);
    store_four(to, Four{a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w});
}

// Images are `kept` numbers long, or `kept` + `gap` with what is left out, which stands behind the first `before`. A block has four
// times its threads of an image's numbers; an image has `blocks` of them.

// to (images, kept) = from (images, kept + gap)
KERNEL(tokens_copy, 256, (i64 kept, i64 gap, i64 before, u32 blocks, const float* from, float* to)) {
    i64 image = blockIdx.x / blocks, at = (i64(blockIdx.x % blocks) * blockDim.x + threadIdx.x) * 4;
    from += image * (kept + gap);
    to += image * kept;
    bool one_piece = gap == 0 || at >= before || at + 4 <= before;
    i64 past = at < before ? at : at + gap;
    if (one_piece && at + 4 <= kept && on_fours(from + past) && on_fours(to + at)) {
        store_four(to + at, load_four(from + past));
        return;
    }
    for (i64 i = at; i < at + 4 && i < kept; i++) to[i] = from[i < before ? i : i + gap];
}

// to (images, kept + gap) += from (images, kept)
KERNEL(tokens_add, 256, (i64 kept, i64 gap, i64 before, u32 blocks, const float* from, float* to)) {
    i64 image = blockIdx.x / blocks, at = (i64(blockIdx.x % blocks) * blockDim.x + threadIdx.x) * 4;
    to += image * (kept + gap);
    from += image * kept;
    bool one_piece = gap == 0 || at >= before || at + 4 <= before;
    i64 past = at < before ? at : at + gap;
    if (one_piece && at + 4 <= kept && on_fours(to + past) && on_fours(from + at)) {
        add_to(to + past, from + at);
        return;
    }
    for (i64 i = at; i < at + 4 && i < kept; i++) to[i < before ? i : i + gap] += from[i];
}

// dst = scale · those rows of src that are named; and the sums of dst's columns as they are stored, of a stretch of rows (blockIdx.y) and
// 128 columns (blockIdx.x), a warp every eighth row.
template <class T>
DEVICE void gather(Rows rows, int dim, float scale, int each, const float* __restrict__ src, T* __restrict__ dst, float* __restrict__ parts) {
    SHARED float4 sums[8][32];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, column = (blockIdx.x * 32 + lane) * 4;
    i64 first = i64(blockIdx.y) * each, end = first + each < rows.count ? first + each : rows.count;
    bool fours = dim % 4 == 0 && on_fours(src) && on_fours(dst);
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
    for (i64 r = first + warp; r < end; r += 8) {
        Four v = row_four(src + row_at(rows, int(r)) * dim, column, dim, fours);
        T stored[4] = {narrow<T>(scale * v.x), narrow<T>(scale * v.y), narrow<T>(scale * v.z), narrow<T>(scale * v.w)};
        v = Four{wide(stored[0]), wide(stored[1]), wide(stored[2]), wide(stored[3])};
        set_row_four(dst + r * dim, column, dim, fours, v);
        sum.x += v.x;
        sum.y += v.y;
        sum.z += v.z;
        sum.w += v.w;
    }
    float whole = sum_of_warps(sum, sums);
    if (threadIdx.x >= 128 || blockIdx.x * 128 + threadIdx.x >= u32(dim)) return;
    parts[i64(blockIdx.y) * dim + blockIdx.x * 128 + threadIdx.x] = whole;
}
#define GATHER(T, word)                                                                                                                \
    KERNEL(tokens_gather_##word, 256, (Rows rows, int dim, float scale, int each, const float* src, T* dst, float* parts)) {          \
        gather(rows, dim, scale, each, src, dst, parts);                                                                               \
    }
GATHER(float, f32)
GATHER(bf16, bf16)
GATHER(f16, f16)

// Whether a row is one of those that are named.
DEVICE bool is_named(Rows rows, i64 row) {
    if (rows.images == nullptr) {
        i64 past = row - rows.first, apart = rows.apart > 0 ? rows.apart : 1;
        return past >= 0 && past % apart == 0 && past / apart < rows.count;
    }
    i64 image = row / rows.each;
    // the first of the images, in ascending order, that is not below
    int low = 0, high = rows.count / rows.each;
    while (low < high) {
        int middle = (low + high) / 2;
        if (rows.images[middle] < image) low = middle + 1;
        else high = middle;
    }
    return low < rows.count / rows.each && rows.images[low] == image;
}

// dst = src in all rows but those, a warp each
KERNEL(tokens_others, 128, (Rows rows, i64 total, int dim, const float* src, float* dst)) {
    i64 r = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (r >= total || is_named(rows, r)) return;
    bool fours = dim % 4 == 0 && on_fours(src) && on_fours(dst);
    src += r * dim;
    dst += r * dim;
#pragma unroll 4
    for (int at = threadIdx.x % 32 * 4; at < dim; at += 128) {
        set_row_four(dst, at, dim, fours, row_four(src, at, dim, fours));
    }
}
