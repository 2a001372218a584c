// Pooling of maps (height, width, channels): a thread takes four channels of one position.
#include "common.cuh"

// `count` of four numbers, all at once where they lie on a boundary of four
DEVICE Four load_some(const float* from, int count, bool together) {
    if (together) return load_four(from);
    return Four{from[0], count > 1 ? from[1] : 0.0f, count > 2 ? from[2] : 0.0f, count > 3 ? from[3] : 0.0f};
}
DEVICE void store_some(float* to, Four v, int count, bool together) {
    if (together) return store_four(to, v);
    to[0] = v.x;
    if (count > 1) to[1] = v.y;
    if (count > 2) to[2] = v.z;
    if (count > 3) to[3] = v.w;
}

// NaN is larger than any number, and stays
DEVICE void keep_larger(float place, float x, float& most, float& at) {
    bool larger = x > most || x != x;
    most = larger ? x : most;
    at = larger ? place : at;
}

// `pieces` blocks an image
KERNEL(pool_max, 256, (int pieces, int height, int width, int channels, const float* __restrict__ x, float* __restrict__ y,
                       float* __restrict__ places)) {
    int image = blockIdx.x / pieces, groups = (channels + 3) / 4, down = (height + 1) / 2, across = (width + 1) / 2;
    int item = (blockIdx.x % pieces) * blockDim.x + threadIdx.x, position = item / groups, channel = item % groups * 4;
    if (position >= down * across) return;
    int row = position / across, column = position % across, count = channels - channel;
    bool together = on_fours(x, channels) && on_fours(y, channels) && on_fours(places, channels);
    x += i64(image) * height * width * channels + channel;
    float least = __uint_as_float(0xff800000u);  // less than any number
    Four most{least, least, least, least}, at{0.0f, 0.0f, 0.0f, 0.0f};
    for (int place = 0; place < 9; place++) {
        int r = 2 * row + place / 3 - 1, c = 2 * column + place % 3 - 1;
        if (r < 0 || r >= height || c < 0 || c >= width) continue;
        Four v = load_some(x + (i64(r) * width + c) * channels, count, together);
        keep_larger(float(place), v.x, most.x, at.x);
        keep_larger(float(place), v.y, most.y, at.y);
        keep_larger(float(place), v.z, most.z, at.z);
        keep_larger(float(place), v.w, most.w, at.w);
    }
    i64 to = (i64(image) * down * across + position) * channels + channel;
    store_some(y + to, most, count, together);
    store_some(places + to, at, count, together);
}

// each number of dx looks at the windows that it lies under, in their order
KERNEL(pool_max_backward, 256, (int pieces, int height, int width, int channels, const float* __restrict__ dy,
                                const float* __restrict__ places, float* __restrict__ dx)) {
    int image = blockIdx.x / pieces, groups = (channels + 3) / 4, down = (height + 1) / 2, across = (width + 1) / 2;
    int item = (blockIdx.x % pieces) * blockDim.x + threadIdx.x, position = item / groups, channel = item % groups * 4;
    if (position >= height * width) return;
    int row = position / width, column = position % width, count = channels - channel;
    bool together = on_fours(dy, channels) && on_fours(places, channels) && on_fours(dx, channels);
    i64 windows = i64(image) * down * across;
    dx += (i64(image) * height * width + position) * channels + channel;
    Four sum = load_some(dx, count, together);
    for (int r = row / 2; r <= (row + 1) / 2 && r < down; r++) {
        for (int c = column / 2; c <= (column + 1) / 2 && c < across; c++) {
            i64 from = (windows + r * across + c) * channels + channel;
            float place = float((row + 1 - 2 * r) * 3 + column + 1 - 2 * c);
            Four d = load_some(dy + from, count, together), at = load_some(places + from, count, together);
            if (at.x == place) sum.x += d.x;
            if (at.y == place) sum.y += d.y;
            if (at.z == place) sum.z += d.z;
            if (at.w == place) sum.w += d.w;
        }
    }
    store_some(dx, sum, count, together);
}

// A block takes 128 channels of an image, a warp every eighth position.
KERNEL(pool_average, 256, (int groups, int positions, int channels, const float* __restrict__ x, float* __restrict__ y)) {
    SHARED float4 sums[8][32];
    int image = blockIdx.x / groups, first = (blockIdx.x % groups) * 128;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, channel = first + lane * 4, count = channels - channel;
    bool together = on_fours(x, channels);
    x += i64(image) * positions * channels + channel;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (count > 0) {
#pragma unroll 4
        for (int p = warp; p < positions; p += 8) {
            Four v = load_some(x + i64(p) * channels, count, together);
            sum.x += v.x;
            sum.y += v.y;
            sum.z += v.z;
            sum.w += v.w;
        }
    }
    float whole = sum_of_warps(sum, sums);
    if (threadIdx.x >= 128 || first + int(threadIdx.x) >= channels) return;
    y[i64(image) * channels + first + threadIdx.x] = whole / float(positions);
}

KERNEL(pool_average_backward, 256, (int pieces, int positions, int channels, const float* __restrict__ dy, float* __restrict__ dx)) {
    int image = blockIdx.x / pieces, groups = (channels + 3) / 4;
    int item = (blockIdx.x % pieces) * blockDim.x + threadIdx.x, position = item / groups, channel = item % groups * 4;
    if (position >= positions) return;
    int count = channels - channel;
    bool together = on_fours(dy, channels) && on_fours(dx, channels);
    float share = 1.0f / float(positions);
    dx += (i64(image) * positions + position) * channels + channel;
    Four d = load_some(dx, count, together), own = load_some(dy + i64(image) * channels + channel, count, together);
    store_some(dx, Four{d.x + share * own.x, d.y + share * own.y, d.z + share * own.z, d.w + share * own.w}, count, together);
}
