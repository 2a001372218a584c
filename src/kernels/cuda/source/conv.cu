// What lies under a convolution's windows as rows of a matrix, in the precision of products: zeros beyond the border, and at the
// end of rows that are made longer so that each starts on a boundary.
#include "common.cuh"

struct Grid {
    int height, width, side, stride, down, across;
};

// a warp lays out one row, `width` numbers of `places` stretches of `channels`; find(place) is where a stretch stands, or nothing
template <class T, class Find> DEVICE void lay_out(T* row, int width, int places, int channels, bool together, Find find) {
    int lane = threadIdx.x % 32, end = places * channels;
    if (together) {
        // four of a row lie in one stretch
        for (int k = lane * 4; k < width; k += 128) {
            const float* from = k < end ? find(k / channels) : nullptr;
            store_four(row + k, from ? load_four(from + k % channels) : Four{0.0f, 0.0f, 0.0f, 0.0f});
        }
        return;
    }
    for (int k = lane; k < width; k += 32) {
        const float* from = k < end ? find(k / channels) : nullptr;
        row[k] = narrow<T>(from ? from[k % channels] : 0.0f);
    }
}

// A row for each position of the output: (side, side, inp) of x around it.
template <class T> DEVICE void windows(const float* __restrict__ x, T* __restrict__ to, i64 rows, int row_width, int inp, Grid grid) {
    i64 row = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    int image = int(row / (grid.down * grid.across)), position = int(row % (grid.down * grid.across));
    int top = position / grid.across * grid.stride - grid.side / 2, left = position % grid.across * grid.stride - grid.side / 2;
    x += i64(image) * grid.height * grid.width * inp;
    lay_out(to + row * row_width, row_width, grid.side * grid.side, inp, on_fours(x, inp), [&](int place) -> const float* {
        int r = top + place / grid.side, c = left + place % grid.side;
        if (r < 0 || r >= grid.height || c < 0 || c >= grid.width) return nullptr;
        return x + (i64(r) * grid.width + c) * inp;
    });
}

// A row for each position of the input: (side, side, out) of dy, at each place the output whose window has it there.
template <class T> DEVICE void windows_back(const float* __restrict__ dy, T* __restrict__ to, i64 rows, int row_width, int out, Grid grid) {
    i64 row = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    int image = int(row / (grid.height * grid.width)), position = int(row % (grid.height * grid.width));
    int below = position / grid.width + grid.side / 2, right = position % grid.width + grid.side / 2;
    dy += i64(image) * grid.down * grid.across * out;
    lay_out(to + row * row_width, row_width, grid.side * grid.side, out, on_fours(dy, out), [&](int place) -> const float* {
        int r = below - place / grid.side, c = right - place % grid.side;
        if (r < 0 || c < 0 || r % grid.stride || c % grid.stride) return nullptr;
        r /= grid.stride;
        c /= grid.stride;
        if (r >= grid.down || c >= grid.across) return nullptr;
        return dy + (i64(r) * grid.across + c) * out;
    });
}

// w with its rows made longer
template <class T> DEVICE void longer(const float* w, T* to, int out, int window, int row_width) {
    i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= i64(out) * row_width) return;
    int row = int(at / row_width), k = int(at % row_width);
    to[at] = narrow<T>(k < window ? w[i64(row) * window + k] : 0.0f);
}

// (out, side², inp) to (side², out, inp), and rows of zeros up to `rows`
template <class T> DEVICE void turned(const float* w, T* to, int out, int places, int inp, int rows) {
    i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= i64(rows) * inp) return;
    int row = int(at / inp), i = int(at % inp), place = row / out, o = row % out;
    to[at] = narrow<T>(place < places ? w[(i64(o) * places + place) * inp + i] : 0.0f);
}

#define CONV(T, word)                                                                                                              \
    KERNEL(conv_windows_##word, 256,                                                                                               \
           (const float* x, T* to, i64 rows, int row_width, int inp, int height, int width, int side, int stride, int down,       \
            int across)) {                                                                                                         \
        windows(x, to, rows, row_width, inp, Grid{height, width, side, stride, down, across});                                     \
    }                                                                                                                              \
    KERNEL(conv_windows_back_##word, 256,                                                                                          \
           (const float* dy, T* to, i64 rows, int row_width, int out, int height, int width, int side, int stride, int down,      \
            int across)) {                                                                                                         \
        windows_back(dy, to, rows, row_width, out, Grid{height, width, side, stride, down, across});                               \
    }                                                                                                                              \
    KERNEL(conv_longer_##word, 256, (const float* w, T* to, int out, int window, int row_width)) {                                 \
        longer(w, to, out, window, row_width);                                                                                     \
    }                                                                                                                              \
    KERNEL(conv_turned_##word, 256, (const float* w, T* to, int out, int places, int inp, int rows)) {                             \
        turned(w, to, out, places, inp, rows);                                                                                     \
    }
CONV(float, f32)
CONV(bf16, bf16)
CONV(f16, f16)

// dw += the gradient of the longer rows
KERNEL(conv_add_shorter, 256, (const float* from, float* dw, int out, int window, int row_width)) {
    i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= i64(out) * window) return;
    dw[at] += from[at / window * row_width + at % window];
}

// (channels, pixels) of an image to (pixels, channels); `pieces` blocks an image
KERNEL(conv_channels_last, 256, (int pieces, int channels, int pixels, const float* __restrict__ images, float* __restrict__ maps)) {
    int image = blockIdx.x / pieces, at = (blockIdx.x % pieces) * blockDim.x + threadIdx.x;
    if (at >= channels * pixels) return;
    i64 first = i64(image) * channels * pixels;
    maps[first + at] = images[first + i64(at % channels) * pixels + at / channels];
}
