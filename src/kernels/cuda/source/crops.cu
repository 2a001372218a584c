// Crops of whole pictures: cut, resized, augmented and normalised with the very arithmetic of the CPU's (src/data/augment), so that
// every level is the same. No product may be fused with a sum: hence the intrinsics.
//
// A crop goes through five kernels: tables of its resizing, columns, rows with the colours up to the contrast (which needs the
// mean of what is there by then), the other colours with the blur's rows, the blur's columns. Levels between kernels are bytes.
#include "common.cuh"

typedef unsigned char u8;

// As in crops/record.rs.
struct CropsRecord {
    const u8* picture;  // rows of `pitch` bytes, which is a multiple of 4, as the address is
    u8* between;        // `side` rows of `between_pitch` bytes: the cut after its columns were resized
    short* taps[2];     // weights down and across: that of tap k for place i at k * side + i
    int pitch, top, left, size[2];
    int between_pitch, flip, bicubic;
    int steps, contrast, radius, threshold;
    u32 inner, end;
    int kinds[5];
    float factors[5];
};
enum { CROPS_BLEND, CROPS_CONTRAST, CROPS_SATURATE, CROPS_TURN, CROPS_GREY };

// What makes numbers of levels, by channel.
struct CropsNormal {
    float mean[3], deviation[3];
};

// ---- the weights of resizing

DEVICE double crops_weight(int bicubic, double x) {
    x = fabs(x);
    if (!bicubic) return x < 1.0 ? __dadd_rn(1.0, -x) : 0.0;
    if (x < 1.0) return __dadd_rn(__dmul_rn(__dmul_rn(__dadd_rn(__dmul_rn(1.5, x), -2.5), x), x), 1.0);
    if (x < 2.0) return __dmul_rn(__dadd_rn(__dmul_rn(__dadd_rn(__dmul_rn(__dadd_rn(x, -5.0), x), 8.0), x), -4.0), -0.5);
    return 0.0;
}

// The places that make place i of `side`, out of `size`.
struct CropsSpan {
    int start, end;      // those whose weights are not 0 at either end
    double center, stretch, sum, most;
};
DEVICE CropsSpan crops_span(int bicubic, int size, int side, int i) {
    double scale = __ddiv_rn(double(size), double(side)), widened = fmax(scale, 1.0);
    double radius = __dmul_rn(bicubic ? 2.0 : 1.0, widened), middle = __dmul_rn(double(i) + 0.5, scale);
    CropsSpan span;
    span.start = int(fmax(floor(__dadd_rn(middle, -radius)), 0.0));
    span.end = int(fmin(ceil(__dadd_rn(middle, radius)), double(size)));
    span.center = __dadd_rn(middle, -0.5);
    span.stretch = __ddiv_rn(1.0, widened);
    span.sum = 0.0;
    span.most = 0.0;
    int last = span.start;
    for (int x = span.start; x < span.end; x++) {
        double weight = crops_weight(bicubic, __dmul_rn(__dadd_rn(double(x), -span.center), span.stretch));
        if (x == span.start && weight == 0.0) {
            span.start++;
            continue;
        }
        span.sum = __dadd_rn(span.sum, weight);
        span.most = fmax(span.most, weight);
        if (weight != 0.0) last = x + 1;
    }
    span.end = last > span.start ? last : span.start;
    if (span.sum == 0.0) span.sum = 1.0;
    span.most = __ddiv_rn(span.most, span.sum);
    return span;
}

// A block for each direction of each crop: bounds (first place, count), weights in 16 bits, and how many of them are behind the point.
KERNEL(crops_tables, 128, (const CropsRecord* crops, int2* bounds, int* precisions, u64* greys, int side)) {
    SHARED double room[4];
    int direction = blockIdx.x % 2;
    const CropsRecord& crop = crops[blockIdx.x / 2];
    int size = crop.size[direction], bicubic = crop.bicubic;
    double most = 0.0;
    for (int i = threadIdx.x; i < side; i += blockDim.x) most = fmax(most, crops_span(bicubic, size, side, i).most);
    for (int apart = 16; apart > 0; apart /= 2) most = fmax(most, __shfl_xor_sync(FULL_WARP, most, apart));
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = most;
    __syncthreads();
    for (int warp = 0; warp < 4; warp++) most = fmax(most, room[warp]);
    // as many bits as leave the largest weight below 2^15
    int precision = 0;
    while (precision < 21 && round(__dmul_rn(most, double(1 << (precision + 1)))) < 32768.0) precision++;
    if (threadIdx.x == 0) {
        precisions[blockIdx.x] = precision;
        if (direction == 0) greys[blockIdx.x / 2] = 0;
    }
    for (int i = threadIdx.x; i < side; i += blockDim.x) {
        CropsSpan span = crops_span(bicubic, size, side, i);
        bounds[i64(blockIdx.x) * side + i] = make_int2(span.start, span.end - span.start);
        short* taps = crop.taps[direction] + i;
        for (int x = span.start; x < span.end; x++, taps += side) {
            double weight = crops_weight(bicubic, __dmul_rn(__dadd_rn(double(x), -span.center), span.stretch));
            *taps = short(round(__dmul_rn(__ddiv_rn(weight, span.sum), double(1 << precision))));
        }
    }
}

DEVICE u32 crops_level(int sum, int precision) {
    sum >>= precision;
    return u32(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

// ---- resizing, columns first

// A block for 8 rows of a crop, four bytes a thread: the cut's columns, and up to three bytes beside it, which nobody will read.
KERNEL(crops_down, 256, (const CropsRecord* crops, const int2* bounds, const int* precisions, int side, int parts)) {
    int index = blockIdx.x / parts, first = blockIdx.x % parts * 8;
    const CropsRecord& crop = crops[index];
    int words = crop.between_pitch / 4, pitch = crop.pitch / 4, precision = precisions[2 * index];
    int rows = side - first < 8 ? side - first : 8;
    const u32* cut = reinterpret_cast<const u32*>(crop.picture) + i64(crop.top) * pitch + crop.left * 3 / 4;
    for (int at = threadIdx.x; at < rows * words; at += blockDim.x) {
        int y = first + at / words, word = at % words, half = 1 << (precision - 1);
        int2 span = bounds[i64(2 * index) * side + y];
        int sums[4] = {half, half, half, half};
        const short* taps = crop.taps[0] + y;
        const u32* from = cut + i64(span.x) * pitch + word;
        for (int k = 0; k < span.y; k++, taps += side, from += pitch) {
            int weight = *taps;
            u32 four = *from;
            for (int i = 0; i < 4; i++) sums[i] += weight * int((four >> (8 * i)) & 255u);
        }
        u32 four = 0;
        for (int i = 0; i < 4; i++) four |= crops_level(sums[i], precision) << (8 * i);
        reinterpret_cast<u32*>(crop.between)[i64(y) * words + word] = four;
    }
}

// ---- colours, of whole levels in f32

DEVICE float crops_grey(const float (&p)[3]) {
    // below 2^24, all of it
    u32 sum = u32(p[0]) * 19595u + u32(p[1]) * 38470u + u32(p[2]) * 7471u + 32768u;
    return float(sum >> 16);
}
DEVICE float crops_blended(float from, float value, float factor) {
    float level = __fadd_rn(from, __fmul_rn(factor, __fsub_rn(value, from)));
    level = level > 0.0f ? level : 0.0f;
    return truncf(level < 255.0f ? level : 255.0f);
}
DEVICE float crops_channel(float share, float value, float chroma) {
    share = share > 0.0f ? share : 0.0f;
    share = share < 1.0f ? share : 1.0f;
    return truncf(__fadd_rn(__fmul_rn(value, __fsub_rn(1.0f, __fmul_rn(chroma, __fsub_rn(1.0f, share)))), 0.5f));
}
DEVICE void crops_turn(float (&p)[3], float by) {
    float most = fmaxf(fmaxf(p[0], p[1]), p[2]), range = most - fminf(fminf(p[0], p[1]), p[2]);
    float apart = p[0] == most ? p[1] - p[2] : p[1] == most ? p[2] - p[0] : p[0] - p[1];
    float third = p[0] == most ? 0.0f : p[1] == most ? 2.0f : 4.0f;
    float circle = __fdiv_rn(__fadd_rn(__fdiv_rn(apart, range > 0.0f ? range : 1.0f), third), 6.0f);
    if (circle < 0.0f) circle = __fadd_rn(circle, 1.0f);
    float saturation = truncf(__fmul_rn(__fdiv_rn(range, most > 0.0f ? most : 1.0f), 255.0f));
    float hue = truncf(__fmul_rn(circle, 255.0f)) + by;
    if (hue > 255.5f) hue -= 256.0f;
    float sixths = __fmul_rn(hue, 6.0f / 255.0f), chroma = __fmul_rn(saturation, 1.0f / 255.0f);
    p[0] = crops_channel(__fsub_rn(fabsf(__fsub_rn(sixths, 3.0f)), 1.0f), most, chroma);
    p[1] = crops_channel(__fsub_rn(2.0f, fabsf(__fsub_rn(sixths, 2.0f))), most, chroma);
    p[2] = crops_channel(__fsub_rn(2.0f, fabsf(__fsub_rn(sixths, 4.0f))), most, chroma);
}
// Steps `from` to `to` of a crop.
DEVICE void crops_steps(float (&p)[3], const CropsRecord& crop, int from, int to, float mean) {
    for (int step = from; step < to; step++) {
        int kind = crop.kinds[step];
        float factor = crop.factors[step], grey = crops_grey(p);
        if (kind == CROPS_TURN) {
            crops_turn(p, factor);
        } else if (kind == CROPS_GREY) {
            p[0] = p[1] = p[2] = grey;
        } else {
            float away = kind == CROPS_BLEND ? 0.0f : kind == CROPS_CONTRAST ? mean : grey;
            for (int i = 0; i < 3; i++) p[i] = crops_blended(away, p[i], factor);
        }
    }
}

// A block for 1024 pixels of a crop: its rows, mirrored or not, the colours before the contrast, and the sum of the greys for that.
KERNEL(crops_across, 256, (const CropsRecord* crops, const int2* bounds, const int* precisions, u64* greys, u8* planes, int side, int pitch,
                           int parts)) {
    SHARED float room[8];
    int index = blockIdx.x / parts, first = blockIdx.x % parts * 1024;
    const CropsRecord& crop = crops[index];
    int precision = precisions[2 * index + 1], half = 1 << (precision - 1), until = min(first + 1024, side * side);
    const u8* cut = crop.between + crop.left * 3 % 4;
    u8* plane = planes + i64(index) * side * pitch;
    float grey = 0.0f;
    for (int at = first + threadIdx.x; at < until; at += blockDim.x) {
        int y = at / side, x = at % side, sums[3] = {half, half, half};
        int2 span = bounds[i64(2 * index + 1) * side + x];
        const short* taps = crop.taps[1] + x;
        const u8* from = cut + i64(y) * crop.between_pitch + i64(span.x) * 3;
        for (int k = 0; k < span.y; k++, taps += side, from += 3) {
            int weight = *taps;
            for (int i = 0; i < 3; i++) sums[i] += weight * from[i];
        }
        float pixel[3];
        for (int i = 0; i < 3; i++) pixel[i] = float(crops_level(sums[i], precision));
        crops_steps(pixel, crop, 0, crop.contrast, 0.0f);
        u8* to = plane + i64(y) * pitch + (crop.flip ? side - 1 - x : x) * 3;
        for (int i = 0; i < 3; i++) to[i] = u8(pixel[i]);
        grey += crops_grey(pixel);
    }
    // whole numbers below 2^24, and then whole ones in 64 bits: any order gives the same
    if (crop.contrast < crop.steps) {
        grey = block_sum(grey, room);
        if (threadIdx.x == 0) atomicAdd(&greys[index], u64(grey));
    }
}

// ---- four pixels together: twelve bytes in three words

struct CropsQuad {
    u32 words[3];
};
DEVICE u32 crops_byte(const CropsQuad& quad, int i) { return (quad.words[i / 4] >> (8 * (i % 4))) & 255u; }

// Solarizes and normalises pixels x to x + 3 of row y, as many as there are, into planes (3, side, side).
DEVICE void crops_finish(const CropsQuad& quad, int threshold, const CropsNormal& normal, float* out, int side, int y, int x) {
    bool whole = side % 4 == 0 && u64(out) % 16 == 0;
#pragma unroll
    for (int channel = 0; channel < 3; channel++) {
        float values[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int level = int(crops_byte(quad, 3 * i + channel));
            level = level < threshold ? level : 255 - level;
            values[i] = __fdiv_rn(__fsub_rn(__fdiv_rn(float(level), 255.0f), normal.mean[channel]), normal.deviation[channel]);
        }
        float* to = out + (i64(channel) * side + y) * side + x;
        if (whole) {
            store_four(to, Four{values[0], values[1], values[2], values[3]});
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (x + i < side) to[i] = values[i];
        }
    }
}

// ---- the blur: three boxes along rows, three along columns

DEVICE u32 crops_weigh(const CropsRecord& crop, u32 inner, u32 ends) { return (inner * crop.inner + ends * crop.end + (1u << 23)) >> 24; }

// One box along a row of `side` pixels in shared memory, for pixels x to x + 3.
DEVICE void crops_box_row(const CropsRecord& crop, const u8* line, u8* out, int side, int x) {
    int radius = crop.radius, last = side - 1;
    for (int channel = 0; channel < 3; channel++) {
        u32 inner = 0;
        for (int at = x - radius; at <= x + radius; at++) inner += line[3 * max(0, min(at, last)) + channel];
        for (int i = x; i < x + 4 && i < side; i++) {
            u32 next = line[3 * min(i + radius + 1, last) + channel];
            u32 ends = line[3 * max(i - radius - 1, 0) + channel] + next;
            out[3 * i + channel] = u8(crops_weigh(crop, inner, ends));
            inner += next - line[3 * max(0, min(i - radius, last)) + channel];
        }
    }
}

// A block for `rows` rows of a crop, four pixels a thread: the colours from the contrast on. What is not blurred is done then.
KERNEL(crops_colors, 256, (const CropsRecord* crops, const u64* greys, u8* planes, int side, int pitch, int rows, int parts,
                           CropsNormal normal, float* out)) {
    SHARED_BYTES(bytes);
    SHARED float shared_mean;
    int index = blockIdx.x / parts, first = blockIdx.x % parts * rows, groups = pitch / 12;
    const CropsRecord& crop = crops[index];
    int work = min(rows, side - first) * groups;
    if (threadIdx.x == 0) shared_mean = float(floor(__dadd_rn(__ddiv_rn(double(greys[index]), double(side) * side), 0.5)));
    __syncthreads();
    float mean = shared_mean;
    u8* plane = planes + (i64(index) * side + first) * pitch;
    for (int at = threadIdx.x; at < work; at += blockDim.x) {
        int y = at / groups, x = at % groups * 4;
        const u32* from = reinterpret_cast<const u32*>(plane) + i64(at) * 3;
        CropsQuad quad{{from[0], from[1], from[2]}}, made{{0, 0, 0}};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float pixel[3];
#pragma unroll
            for (int channel = 0; channel < 3; channel++) pixel[channel] = float(crops_byte(quad, 3 * i + channel));
            crops_steps(pixel, crop, crop.contrast, crop.steps, mean);
#pragma unroll
            for (int channel = 0; channel < 3; channel++) {
                int byte = 3 * i + channel;
                made.words[byte / 4] |= u32(pixel[channel]) << (8 * (byte % 4));
            }
        }
        if (crop.radius < 0) {
            crops_finish(made, crop.threshold, normal, out + i64(index) * 3 * side * side, side, first + y, x);
        } else {
            u32* to = reinterpret_cast<u32*>(bytes) + at * 3;
            for (int i = 0; i < 3; i++) to[i] = made.words[i];
        }
    }
    if (crop.radius < 0) return;
    u8 *line = bytes, *other = bytes + rows * pitch;
    for (int pass = 0; pass < 3; pass++) {
        __syncthreads();
        for (int at = threadIdx.x; at < work; at += blockDim.x) {
            int y = at / groups * pitch;
            crops_box_row(crop, line + y, other + y, side, at % groups * 4);
        }
        u8* done = other;
        other = line;
        line = done;
    }
    __syncthreads();
    for (int at = threadIdx.x; at < work * 3; at += blockDim.x) reinterpret_cast<u32*>(plane)[at] = reinterpret_cast<u32*>(line)[at];
}

// A block for a strip of `wide` times four pixels of a blurred crop, all its rows, in shared memory.
KERNEL(crops_columns, 256, (const CropsRecord* crops, const u8* planes, int side, int pitch, int wide, int parts, CropsNormal normal,
                            float* out)) {
    SHARED_BYTES(bytes);
    int index = blockIdx.x / parts, first = blockIdx.x % parts * wide;
    const CropsRecord& crop = crops[index];
    if (crop.radius < 0) return;
    int words = min(wide, pitch / 12 - first) * 3, radius = crop.radius, last = side - 1;
    const u32* plane = reinterpret_cast<const u32*>(planes + i64(index) * side * pitch) + first * 3;
    u32 *strip = reinterpret_cast<u32*>(bytes), *other = strip + side * wide * 3;
    for (int at = threadIdx.x; at < side * words; at += blockDim.x) strip[at] = plane[i64(at / words) * (pitch / 4) + at % words];
    for (int pass = 0; pass < 3; pass++) {
        __syncthreads();
        for (int at = threadIdx.x; at < side * words; at += blockDim.x) {
            int y = at / words, x = at % words;
            u32 inner[4] = {0, 0, 0, 0}, low = strip[max(y - radius - 1, 0) * words + x], high = strip[min(y + radius + 1, last) * words + x];
            for (int row = y - radius; row <= y + radius; row++) {
                u32 four = strip[max(0, min(row, last)) * words + x];
                for (int i = 0; i < 4; i++) inner[i] += (four >> (8 * i)) & 255u;
            }
            u32 four = 0;
            for (int i = 0; i < 4; i++) {
                u32 ends = ((low >> (8 * i)) & 255u) + ((high >> (8 * i)) & 255u);
                four |= crops_weigh(crop, inner[i], ends) << (8 * i);
            }
            other[at] = four;
        }
        u32* done = other;
        other = strip;
        strip = done;
    }
    __syncthreads();
    int groups = words / 3;
    for (int at = threadIdx.x; at < side * groups; at += blockDim.x) {
        const u32* from = strip + at * 3;
        CropsQuad quad{{from[0], from[1], from[2]}};
        crops_finish(quad, crop.threshold, normal, out + i64(index) * 3 * side * side, side, at / groups, (first + at % groups) * 4);
    }
}
