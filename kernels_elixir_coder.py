"""The arithmetic of the fast runtime: a C source, how it is compiled, and what can be called in it.

One call of `decode` takes any number of new tokens of any number of texts through all layers of a decoder, so nothing
is left of the cost that a framework has per operator, which is most of the time of a small model's step. It is written
for gcc and clang; what a wide processor can do, they make of vectors of 16 numbers.

Weights of 8 bits have a scale for each output. Their inputs are rounded as they come, to two bytes, 15 bits, with a
scale for each row: one byte is not enough (docs/LOG.md). Sums of products are exact in 32 bits and everything else is
done row by row in one order, so that what a row gives does not depend on the other rows of a pass, nor on the number of
threads. All other numbers are float32.

Raises KernelError where there is no compiler, or where it fails.
"""

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["CAttention", "CLayer", "CLinear", "CModel", "CNorm", "CPass", "CSource", "KernelError", "library"]

FLAGS = (
    "-std=gnu11 -O3 -march=native -fPIC -shared -pthread -fno-math-errno -fno-trapping-math -ffp-contract=fast".split()
)

SOURCE = r"""
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#ifdef __x86_64__
#include <immintrin.h>
#define PAUSE() _mm_pause()
#else
#define PAUSE() ((void)0)
#endif

#define LANES 16
#define SPAN 64  /* places of a cache are read so many at once; a capacity is a multiple of it */
#define SPINS 4000  /* looks at a flag before a thread gives way: about 0.2 ms */
#define LONG_SPINS 20000  /* before it goes to sleep between two passes: about 1 ms */
#ifdef __AVX512F__
#define MOST_ROWS 8  /* whose sums, in two vectors each, stay in registers */
#else
#define MOST_ROWS 4
#endif
#define INLINE static inline __attribute__((always_inline))
#define LEAST(a, b) ((a) < (b) ? (a) : (b))
#define WHOLE(n, unit) (((n) + (unit) - 1) / (unit) * (unit))

typedef float floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

enum { FLOAT32, BFLOAT16, INT8 };
enum { GELU, RELU, SILU, GELU_TANH };
enum { PLAIN, ADDED, ACTIVATED, GATED };

/* -------------------------------------------------- what Python fills in, by the same names in the same order */

typedef struct {
    const void *weight;  /* [block of 16 outputs][inputs][16]; INT8: [block][inputs / 4][16][4], each plus 128 */
    const float *scale, *bias;  /* [blocks * 16]; scale of INT8 alone; bias may be NULL */
    int32_t dtype, blocks, inputs, outputs;  /* inputs of INT8: in whole fours */
} Linear;

typedef struct { const float *weight, *bias; float epsilon; int32_t is_rms; } Norm;  /* without a weight: none */

typedef struct { Linear query, key, value, out; Norm norm; } Attention;

typedef struct { Attention own, cross; Linear gate, inner, outer; Norm norm; } Layer;

typedef struct {
    const Layer *layers;
    const void *embedding;  /* [vocabulary][width] */
    const float *places;  /* added to the embedding, [positions][width]; or NULL */
    const float *cosines, *sines;  /* of rotary positions, [positions][head_width / 2]; or NULL */
    const float *distances;  /* added to scores, [heads][positions + SPAN]: for d at positions - 1 - d; or NULL */
    Norm first, last;
    Linear head;
    float embedding_scale;
    int32_t num_layers, width, heads, key_heads, head_width, value_width, positions;
    int32_t activation, is_pre_norm, embedding_dtype, cache_dtype;
} Model;

typedef struct {  /* keys [layer][head][head_width][capacity], values [layer][head][capacity][value_width] */
    const void *keys, *values;
    int32_t length, capacity;
} Source;

typedef struct {
    const Model *model;
    const Source *sources;
    void *keys, *values;  /* of what was written: as in a source, with [slot] behind [layer] */
    float *logits;  /* [kept][blocks of the head * 16] */
    const int32_t *tokens, *slots, *positions, *texts;  /* of each row: token, where its past is, place, source */
    const int32_t *kept;  /* rows whose logits are wanted */
    int32_t rows, num_kept, slots_in_all, capacity;
} Pass;

/* -------------------------------------------------- threads: one job at a time, by a team that meets at barriers */

typedef void Job(int me, int team, void *given);

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER, door = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t ahead = PTHREAD_MUTEX_INITIALIZER, deferred_door = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bell = PTHREAD_COND_INITIALIZER, deferred_bell = PTHREAD_COND_INITIALIZER;
static atomic_int ticket, running, arrived, phase;
static Job *job;
static void *job_given;
static int job_team, workers;

static const Pass *_Atomic deferred;  /* a pass that begin_decode has left to another thread */
static int deferred_team, deferred_answer, has_deferring;
static atomic_int deferred_done;

static void wait_for(atomic_int *flag, int old) {
    for (int spins = 0; atomic_load_explicit(flag, memory_order_acquire) == old; spins++)
        if (spins < SPINS) PAUSE(); else sched_yield();
}

static void barrier(int team) {
    if (team == 1) return;
    int before = atomic_load(&phase);
    if (atomic_fetch_add(&arrived, 1) == team - 1) {
        atomic_store(&arrived, 0);
        atomic_store(&phase, before + 1);
    } else wait_for(&phase, before);
}

static void *work(void *number) {
    int me = (int)(intptr_t)number, seen = 0;
    for (;;) {
        for (int spins = 0; atomic_load(&ticket) == seen && spins < LONG_SPINS; spins++) PAUSE();
        pthread_mutex_lock(&door);
        while (atomic_load(&ticket) == seen) pthread_cond_wait(&bell, &door);
        seen = atomic_load(&ticket);
        Job *mine = me < job_team ? job : NULL;
        pthread_mutex_unlock(&door);
        if (mine) {
            mine(me, job_team, job_given);
            atomic_fetch_sub(&running, 1);
        }
    }
    return NULL;
}

static void start_anew(void) {  /* in the child of a fork, which has none of the threads */
    pthread_mutex_init(&busy, NULL);
    pthread_mutex_init(&door, NULL);
    pthread_mutex_init(&ahead, NULL);
    pthread_mutex_init(&deferred_door, NULL);
    pthread_cond_init(&bell, NULL);
    pthread_cond_init(&deferred_bell, NULL);
    workers = has_deferring = 0;
    deferred = NULL;
    atomic_store(&ticket, 0);
    atomic_store(&arrived, 0);
}

static void run(Job *what, void *given, int team) {
    pthread_mutex_lock(&busy);
    static int is_told;
    if (!is_told) is_told = !pthread_atfork(NULL, NULL, start_anew);
    pthread_mutex_lock(&door);
    while (workers < team - 1) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)(workers + 1))) break;
        pthread_detach(thread);
        workers++;
    }
    team = LEAST(team, workers + 1);
    job = what, job_given = given, job_team = team;
    atomic_store(&running, team - 1);
    if (team > 1) {
        atomic_fetch_add(&ticket, 1);
        pthread_cond_broadcast(&bell);
    }
    pthread_mutex_unlock(&door);
    what(0, team, given);
    for (int spins = 0; atomic_load(&running) > 0; spins++)
        if (spins < SPINS) PAUSE(); else sched_yield();
    pthread_mutex_unlock(&busy);
}

/* Memory that was freed in pieces goes back to the system: glibc keeps it, half of what a model takes after packing. */
void give_back(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static char *arena;
static size_t arena_size;

/* A piece of memory that the jobs, one at a time, share; what it held is lost when it grows. */
static int reserve(size_t size) {
    if (size <= arena_size) return 1;
    free(arena);
    arena = aligned_alloc(64, WHOLE(size, 64));
    arena_size = arena ? size : 0;
    return arena != NULL;
}

/* -------------------------------------------------- numbers */

INLINE floats splat(float x) { return x - (floats){0}; }

INLINE floats choose(ints where, floats a, floats b) { return (floats)((where & (ints)a) | (~where & (ints)b)); }

INLINE floats load(const void *from, size_t index, int dtype) {
    if (dtype != BFLOAT16) return *(const floats *)((const float *)from + index);
    const uint16_t *halves = (const uint16_t *)from + index;
#ifdef __AVX512F__
    return (floats)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)halves)), 16);
#else
    ints wide;
    for (int i = 0; i < LANES; i++) wide[i] = (int32_t)((uint32_t)halves[i] << 16);
    return (floats)wide;
#endif
}

INLINE void put(void *to, size_t index, float x, int dtype) {
    if (dtype != BFLOAT16) {
        ((float *)to)[index] = x;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, 4);
    ((uint16_t *)to)[index] = (uint16_t)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

INLINE float total(floats x) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

INLINE float highest(floats x) {
    float most = x[0];
    for (int i = 1; i < LANES; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* e^x to 1e-7: a power of two, times a polynomial of what is left of the exponent (Cody and Waite; Cephes). */
INLINE floats exponential(floats x) {
    x = choose(x < splat(-87.0f), splat(-87.0f), choose(x > splat(88.0f), splat(88.0f), x));
    floats shifted = x * splat(1.44269504f) + splat(12582912.0f);  /* 1.5 * 2^23 rounds to a whole number */
    floats whole = shifted - splat(12582912.0f);
    floats rest = x - whole * splat(0.693359375f) + whole * splat(2.12194440e-4f);
    floats sum = splat(1.9875691500e-4f);
    sum = sum * rest + splat(1.3981999507e-3f);
    sum = sum * rest + splat(8.3334519073e-3f);
    sum = sum * rest + splat(4.1665795894e-2f);
    sum = sum * rest + splat(1.6666665459e-1f);
    sum = sum * rest + splat(5.0000001201e-1f);
    sum = sum * rest * rest + rest + splat(1.0f);
    return (floats)((ints)sum + ((ints)shifted << 23));
}

/* The error function to 1.5e-7: Abramowitz and Stegun 7.1.26. */
INLINE floats error_function(floats x) {
    ints is_negative = x < splat(0.0f);
    floats size = choose(is_negative, -x, x);
    floats t = splat(1.0f) / (splat(1.0f) + splat(0.3275911f) * size);
    floats sum = splat(1.061405429f) * t - splat(1.453152027f);
    sum = sum * t + splat(1.421413741f);
    sum = sum * t - splat(0.284496736f);
    sum = (sum * t + splat(0.254829592f)) * t;
    floats answer = splat(1.0f) - sum * exponential(-size * size);
    return choose(is_negative, -answer, answer);
}

INLINE floats activate(floats x, int activation) {
    switch (activation) {
        case RELU: return choose(x > splat(0.0f), x, splat(0.0f));
        case SILU: return x / (splat(1.0f) + exponential(-x));
        case GELU: return splat(0.5f) * x * (splat(1.0f) + error_function(x * splat(0.70710678f)));
        default: {  /* x (1 + tanh y) / 2 = x / (1 + e^-2y) */
            floats y = splat(0.79788456f) * (x + splat(0.044715f) * x * x * x);
            return x / (splat(1.0f) + exponential(splat(-2.0f) * y));
        }
    }
}

/* -------------------------------------------------- rows: normed, and in 8 bits */

typedef struct {  /* what a linear layer reads */
    float *rows;  /* [row][stride], zero behind the last number of a row */
    int8_t *bytes;  /* [row][2][stride]: a number is 128 times its first byte, plus its second, times the scale */
    float *scales;
    int32_t *sums;  /* [row][2]: of the bytes, times 128 */
    int32_t stride;
} Input;

static void norm_row(const Norm *norm, const float *row, int width, float *out) {
    int whole = WHOLE(width, LANES);
    floats sum = {0};
    float mean = 0;
    if (!norm->is_rms) {
        for (int i = 0; i < whole; i += LANES) sum += load(row, i, FLOAT32);
        mean = total(sum) / width;
        sum = splat(0);
    }
    for (int i = 0; i < whole; i += LANES) {
        floats apart = load(row, i, FLOAT32) - splat(mean);
        sum += apart * apart;
    }
    float squares = total(sum) - (whole - width) * mean * mean;  /* behind the row there are zeros */
    float scale = 1.0f / sqrtf(squares / width + norm->epsilon);
    for (int i = 0; i < whole; i += LANES) {
        floats answer = (load(row, i, FLOAT32) - splat(mean)) * splat(scale) * load(norm->weight, i, FLOAT32);
        if (norm->bias) answer += load(norm->bias, i, FLOAT32);
        *(floats *)(out + i) = answer;
    }
}

static void quantize_row(const Input *input, int row, int width) {
    const float *from = input->rows + (size_t)row * input->stride;
    int8_t *to = input->bytes + (size_t)row * 2 * input->stride;
    int whole = WHOLE(width, LANES);
    floats most = {0};
    for (int i = 0; i < whole; i += LANES) {
        floats x = load(from, i, FLOAT32);
        x = choose(x < splat(0.0f), -x, x);
        most = choose(x > most, x, most);
    }
    float scale = highest(most) / (128 * 127.0f), inverse = scale > 0 ? 1.0f / scale : 0.0f;
    ints sums[2] = {0};
    for (int i = 0; i < whole; i += LANES) {
        floats shifted = load(from, i, FLOAT32) * splat(inverse) + splat(12582912.0f);
        ints number = (ints)shifted - (ints)splat(12582912.0f);
        ints first = (number + 64) >> 7, second = number - (first << 7);
        sums[0] += first;
        sums[1] += second;
        for (int j = 0; j < LANES; j++) to[i + j] = (int8_t)first[j];
        for (int j = 0; j < LANES; j++) to[input->stride + i + j] = (int8_t)second[j];
    }
    input->scales[row] = scale;
    for (int plane = 0; plane < 2; plane++) {
        int all = 0;
        for (int j = 0; j < LANES; j++) all += sums[plane][j];
        input->sums[2 * row + plane] = 128 * all;
    }
}

/* -------------------------------------------------- linear layers */

INLINE ints dot4(ints sums, const uint8_t *weights, int32_t four) {  /* 16 sums of four products */
#if defined(__AVX512VNNI__)
    return (ints)_mm512_dpbusd_epi32((__m512i)sums, _mm512_loadu_si512(weights), _mm512_set1_epi32(four));
#elif defined(__AVX2__)
    __m256i bytes_of_row = _mm256_set1_epi32(four);
    __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(bytes_of_row, 8), 8), odd = _mm256_srai_epi16(bytes_of_row, 8);
    for (int half = 0; half < 2; half++) {
        __m256i bytes = _mm256_loadu_si256((const void *)(weights + 32 * half));
        __m256i products = _mm256_add_epi32(
            _mm256_madd_epi16(_mm256_and_si256(bytes, _mm256_set1_epi16(255)), even),
            _mm256_madd_epi16(_mm256_srli_epi16(bytes, 8), odd));
        __m256i *part = (__m256i *)&sums + half;
        _mm256_storeu_si256(part, _mm256_add_epi32(_mm256_loadu_si256(part), products));
    }
    return sums;
#else
    const int8_t *bytes = (const int8_t *)&four;
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < 4; j++) sums[i] += weights[4 * i + j] * bytes[j];
    return sums;
#endif
}

/* `count` rows, or planes of rows, from `row` on times two blocks of outputs, without scales. `most` and `dtype` are
   known when this is compiled. */
INLINE void tile(const void *const weights[2], int dtype, int inputs, const Input *input, int row, int count, int most,
                 floats out[][2]) {
    if (dtype == INT8) {
        const uint8_t *first = weights[0], *second = weights[1];
        const int8_t *from[MOST_ROWS];
        ints sums[MOST_ROWS][2] = {0};
        for (int i = 0; i < most; i++) from[i] = input->bytes + (size_t)(row + LEAST(i, count - 1)) * input->stride;
        for (int k = 0; k < inputs; k += 4) {
            __builtin_prefetch(first + 16 * k + 2048);
            __builtin_prefetch(second + 16 * k + 2048);
#pragma GCC unroll 8
            for (int i = 0; i < most; i++) {
                int32_t four;
                memcpy(&four, from[i] + k, 4);
                sums[i][0] = dot4(sums[i][0], first + 16 * k, four);
                sums[i][1] = dot4(sums[i][1], second + 16 * k, four);
            }
        }
        for (int i = 0; i < LEAST(count, most); i++)
            for (int j = 0; j < 2; j++) {
                ints exact = sums[i][j] - input->sums[row + i];
                out[i][j] = __builtin_convertvector(exact, floats);
            }
        return;
    }
    const float *from[MOST_ROWS];
    floats sums[MOST_ROWS][2] = {0};
    for (int i = 0; i < most; i++) from[i] = input->rows + (size_t)(row + LEAST(i, count - 1)) * input->stride;
    for (int k = 0; k < inputs; k++) {
        floats first = load(weights[0], (size_t)LANES * k, dtype), second = load(weights[1], (size_t)LANES * k, dtype);
#pragma GCC unroll 8
        for (int i = 0; i < most; i++) {
            sums[i][0] += first * splat(from[i][k]);
            sums[i][1] += second * splat(from[i][k]);
        }
    }
    for (int i = 0; i < LEAST(count, most); i++)
        for (int j = 0; j < 2; j++) out[i][j] = sums[i][j];
}

#define TILE(ROWS) \
    switch (dtype) { \
        case FLOAT32: tile(weights, FLOAT32, inputs, input, row, count, ROWS, out); break; \
        case BFLOAT16: tile(weights, BFLOAT16, inputs, input, row, count, ROWS, out); break; \
        default: tile(weights, INT8, inputs, input, row, count, ROWS, out); \
    }

static void any_tile(const void *const weights[2], int dtype, int inputs, const Input *input, int row, int count,
                     floats out[][2]) {
    switch (count) {
        case 1: TILE(1) break;
        case 2: TILE(2) break;
        case 3: case 4: TILE(4) break;
        default: TILE(MOST_ROWS)
    }
}

INLINE floats finished(const Linear *linear, int block, const Input *input, int row, floats sums[][2], int side) {
    floats answer = sums[0][side];
    if (linear->dtype == INT8) {
        answer = answer * splat(128.0f) + sums[1][side];
        answer = answer * splat(input->scales[row]) * load(linear->scale, (size_t)LANES * block, FLOAT32);
    }
    if (linear->bias) answer += load(linear->bias, (size_t)LANES * block, FLOAT32);
    return answer;
}

INLINE const void *weights_of(const Linear *linear, int block) {
    static const int size[] = {4, 2, 1};
    return (const char *)linear->weight + (size_t)block * LANES * linear->inputs * size[linear->dtype];
}

/* The share of one thread of `out` = or += or activated (linear), or activated (linear) times (second). */
static void linear_rows(const Linear *linear, const Linear *second, const Input *input, int rows, float *out,
                        int stride, int mode, int activation, int me, int team) {
    int step = mode == GATED ? 1 : 2, units = (linear->blocks + step - 1) / step;
    int planes = linear->dtype == INT8 ? 2 : 1, most = MOST_ROWS / planes;
    for (int unit = units * me / team; unit < units * (me + 1) / team; unit++) {
        int block = unit * step, next = LEAST(block + 1, linear->blocks - 1);
        const void *weights[] = {weights_of(linear, block),
                                 mode == GATED ? weights_of(second, block) : weights_of(linear, next)};
        for (int first = 0; first < rows; first += most) {
            int count = LEAST(rows - first, most);
            floats sums[MOST_ROWS][2];
            any_tile(weights, linear->dtype, linear->inputs, input, first * planes, count * planes, sums);
            for (int row = first; row < first + count; row++) {
                floats(*own)[2] = sums + (row - first) * planes;
                float *to = out + (size_t)row * stride + block * LANES;
                if (mode == GATED) {
                    *(floats *)to = activate(finished(linear, block, input, row, own, 0), activation) *
                                    finished(second, block, input, row, own, 1);
                    continue;
                }
                for (int j = 0; j <= next - block; j++) {
                    floats answer = finished(linear, block + j, input, row, own, j);
                    if (mode == ADDED) answer += load(to, LANES * j, FLOAT32);
                    if (mode == ACTIVATED) answer = activate(answer, activation);
                    *(floats *)(to + LANES * j) = answer;
                }
            }
        }
    }
}

/* -------------------------------------------------- attention of one row */

/* `parts` vectors of places; keys are read from front to back. `parts` and `dtype` are known when this is compiled. */
INLINE void score_part(const float *query, float scale, const void *keys, size_t begin, int width, int capacity,
                       int dtype, int parts, const float *added, float *scores) {
    floats sums[16] = {0};
    for (int i = 0; i < width; i++) {
        floats number = splat(query[i] * scale);
#pragma GCC unroll 16
        for (int j = 0; j < parts; j++) sums[j] += number * load(keys, (size_t)i * capacity + begin + LANES * j, dtype);
    }
#pragma GCC unroll 16
    for (int j = 0; j < parts; j++) {
        if (added) sums[j] += load(added, begin + LANES * j, FLOAT32);
        *(floats *)(scores + begin + LANES * j) = sums[j];
    }
}

INLINE void scores_of(const float *query, float scale, const void *keys, int width, int length, int capacity, int dtype,
                      const float *added, float *scores) {
    int whole = WHOLE(length, SPAN), place = 0;
#ifdef __AVX512F__
    for (; place + 4 * SPAN <= whole; place += 4 * SPAN)
        score_part(query, scale, keys, place, width, capacity, dtype, 16, added, scores);
#endif
    for (; place < whole; place += SPAN)
        score_part(query, scale, keys, place, width, capacity, dtype, 4, added, scores);
    for (int i = length; i < whole; i++) scores[i] = -INFINITY;
}

INLINE void weigh(const float *scores, const void *values, int width, int length, int dtype, float share, float *out) {
    for (int begin = 0; begin < width; begin += 4 * LANES) {
        int parts = LEAST(4, (width - begin) / LANES);
        floats sums[4] = {0};
        if (parts == 4)
            for (int i = 0; i < length; i++)
                for (int j = 0; j < 4; j++)
                    sums[j] += splat(scores[i]) * load(values, (size_t)i * width + begin + LANES * j, dtype);
        else
            for (int i = 0; i < length; i++)
                for (int j = 0; j < parts; j++)
                    sums[j] += splat(scores[i]) * load(values, (size_t)i * width + begin + LANES * j, dtype);
        for (int j = 0; j < parts; j++) *(floats *)(out + begin + LANES * j) = sums[j] * splat(share);
    }
}

static void attend(const Model *model, const float *query, const void *keys, const void *values, int length,
                   int capacity, const float *added, float *scores, float *out) {
    float scale = 1.0f / sqrtf((float)model->head_width);
    if (model->cache_dtype == BFLOAT16)
        scores_of(query, scale, keys, model->head_width, length, capacity, BFLOAT16, added, scores);
    else
        scores_of(query, scale, keys, model->head_width, length, capacity, FLOAT32, added, scores);
    floats most = splat(-INFINITY), sum = {0};
    for (int i = 0; i < length; i += LANES) {
        floats x = load(scores, i, FLOAT32);
        most = choose(x > most, x, most);
    }
    floats top = splat(highest(most));
    for (int i = 0; i < length; i += LANES) {
        floats x = load(scores, i, FLOAT32), weight = exponential(x - top);
        weight = choose(x == splat(-INFINITY), splat(0.0f), weight);
        *(floats *)(scores + i) = weight;
        sum += weight;
    }
    float share = 1.0f / total(sum);
    if (model->cache_dtype == BFLOAT16)
        weigh(scores, values, model->value_width, length, BFLOAT16, share, out);
    else
        weigh(scores, values, model->value_width, length, FLOAT32, share, out);
}

/* -------------------------------------------------- a pass through the decoder */

typedef struct {
    const Model *model;
    const Pass *pass;
    int me, team, wide, mixed_stride;
    float *hidden;  /* [row][wide] */
    float *mixed;  /* [row][query | key | value] */
    float *scores;  /* of this thread */
    Input input;
} Work;

/* Let every linear layer that comes next read the input's rows. */
static void make_ready(Work *work, const Linear *linear, int width, int rows) {
    if (linear->dtype == INT8)
        for (int row = work->me; row < rows; row += work->team) quantize_row(&work->input, row, width);
    barrier(work->team);
}

static void begin_sublayer(Work *work, const Norm *norm, const Linear *linear) {
    int width = work->model->width;
    for (int row = work->me; row < work->pass->rows; row += work->team) {
        const float *from = work->hidden + (size_t)row * work->wide;
        float *to = work->input.rows + (size_t)row * work->input.stride;
        if (work->model->is_pre_norm) norm_row(norm, from, width, to);
        else memcpy(to, from, work->wide * sizeof(float));
        if (linear->dtype == INT8) quantize_row(&work->input, row, width);
    }
    barrier(work->team);
}

static void end_sublayer(Work *work, const Norm *norm, const Linear *linear) {
    linear_rows(linear, NULL, &work->input, work->pass->rows, work->hidden, work->wide, ADDED, 0, work->me, work->team);
    barrier(work->team);
    if (work->model->is_pre_norm) return;
    for (int row = work->me; row < work->pass->rows; row += work->team) {
        float *hidden = work->hidden + (size_t)row * work->wide;
        norm_row(norm, hidden, work->model->width, hidden);
    }
    barrier(work->team);
}

static void project(Work *work, const Linear *linear, int offset) {
    linear_rows(linear, NULL, &work->input, work->pass->rows, work->mixed + offset, work->mixed_stride, PLAIN, 0,
                work->me, work->team);
}

static void rotate(float *head, int width, const float *cosines, const float *sines) {
    int half = width / 2;
    for (int i = 0; i < half; i++) {
        float first = head[i], second = head[i + half];
        head[i] = first * cosines[i] - second * sines[i];
        head[i + half] = second * cosines[i] + first * sines[i];
    }
}

static void remember(Work *work, int layer) {
    const Model *model = work->model;
    const Pass *pass = work->pass;
    int width = model->head_width, dtype = model->cache_dtype;
    const Attention *own = &model->layers[layer].own;
    for (int item = work->me; item < pass->rows * model->key_heads; item += work->team) {
        int row = item / model->key_heads, head = item % model->key_heads, place = pass->positions[row];
        float *key = work->mixed + (size_t)row * work->mixed_stride + own->query.blocks * LANES + head * width;
        float *value = key + own->key.blocks * LANES;
        if (model->cosines) {
            size_t angle = (size_t)place * (width / 2);
            int group = model->heads / model->key_heads;
            float *query = work->mixed + (size_t)row * work->mixed_stride + head * group * width;
            rotate(key, width, model->cosines + angle, model->sines + angle);
            for (int i = 0; i < group; i++)
                rotate(query + i * width, width, model->cosines + angle, model->sines + angle);
        }
        size_t index = ((size_t)layer * pass->slots_in_all + pass->slots[row]) * model->key_heads + head;
        size_t keys = index * width * pass->capacity + place;
        size_t values = (index * pass->capacity + place) * model->value_width;
        for (int i = 0; i < width; i++) {
            put(pass->keys, keys + (size_t)i * pass->capacity, key[i], dtype);
            put(pass->values, values + i, value[i], dtype);
        }
    }
    barrier(work->team);
}

static void attend_rows(Work *work, int layer, int is_own) {
    const Model *model = work->model;
    const Pass *pass = work->pass;
    int size = model->cache_dtype == BFLOAT16 ? 2 : 4, group = model->heads / model->key_heads;
    float out[model->value_width];
    for (int item = work->me; item < pass->rows * model->heads; item += work->team) {
        int row = item / model->heads, head = item % model->heads, key_head = head / group;
        const Source *source = &pass->sources[pass->texts[row]];
        int capacity = is_own ? pass->capacity : source->capacity;
        size_t index = (size_t)layer * (is_own ? pass->slots_in_all : 1) + (is_own ? pass->slots[row] : 0);
        index = index * model->key_heads + key_head;
        const char *keys = is_own ? pass->keys : source->keys, *values = is_own ? pass->values : source->values;
        const float *added = NULL;
        if (is_own && model->distances)
            added = model->distances + (size_t)head * (model->positions + SPAN) + model->positions - 1 -
                    pass->positions[row];
        attend(model, work->mixed + (size_t)row * work->mixed_stride + head * model->head_width,
               keys + index * model->head_width * capacity * size,
               values + index * capacity * model->value_width * size,
               is_own ? pass->positions[row] + 1 : source->length, capacity, added, work->scores, out);
        memcpy(work->input.rows + (size_t)row * work->input.stride + head * model->head_width, out,
               model->head_width * sizeof(float));
    }
    barrier(work->team);
}

/* Zeros between the end of what attention wrote and the next whole vector, where something else may have been. */
static void clear_behind(Work *work, int width) {
    int more = WHOLE(width, LANES) - width;
    if (more)
        for (int row = work->me; row < work->pass->rows; row += work->team)
            memset(work->input.rows + (size_t)row * work->input.stride + width, 0, more * sizeof(float));
}

static void own_attention(Work *work, int layer) {
    const Attention *own = &work->model->layers[layer].own;
    begin_sublayer(work, &own->norm, &own->query);
    project(work, &own->query, 0);
    project(work, &own->key, own->query.blocks * LANES);
    project(work, &own->value, (own->query.blocks + own->key.blocks) * LANES);
    barrier(work->team);
    remember(work, layer);
    clear_behind(work, own->query.outputs);
    attend_rows(work, layer, 1);
    make_ready(work, &own->out, own->query.outputs, work->pass->rows);
    end_sublayer(work, &own->norm, &own->out);
}

static void cross_attention(Work *work, int layer) {
    const Attention *cross = &work->model->layers[layer].cross;
    begin_sublayer(work, &cross->norm, &cross->query);
    project(work, &cross->query, 0);
    barrier(work->team);
    clear_behind(work, cross->query.outputs);
    attend_rows(work, layer, 0);
    make_ready(work, &cross->out, cross->query.outputs, work->pass->rows);
    end_sublayer(work, &cross->norm, &cross->out);
}

static void feed_forward(Work *work, int layer) {
    const Layer *now = &work->model->layers[layer];
    int rows = work->pass->rows, activation = work->model->activation;
    begin_sublayer(work, &now->norm, &now->inner);
    if (now->gate.weight)
        linear_rows(&now->gate, &now->inner, &work->input, rows, work->mixed, work->mixed_stride, GATED, activation,
                    work->me, work->team);
    else
        linear_rows(&now->inner, NULL, &work->input, rows, work->mixed, work->mixed_stride, ACTIVATED, activation,
                    work->me, work->team);
    barrier(work->team);
    for (int row = work->me; row < rows; row += work->team) {
        memcpy(work->input.rows + (size_t)row * work->input.stride, work->mixed + (size_t)row * work->mixed_stride,
               now->inner.blocks * LANES * sizeof(float));
        if (now->outer.dtype == INT8) quantize_row(&work->input, row, now->outer.inputs);
    }
    barrier(work->team);
    end_sublayer(work, &now->norm, &now->outer);
}

static void embed(Work *work) {
    const Model *model = work->model;
    const Pass *pass = work->pass;
    for (int row = work->me; row < pass->rows; row += work->team) {
        float *hidden = work->hidden + (size_t)row * work->wide;
        size_t token = (size_t)pass->tokens[row] * model->width, place = (size_t)pass->positions[row] * model->width;
        for (int i = 0; i < model->width; i++) {
            float x;
            if (model->embedding_dtype == BFLOAT16) {
                uint32_t bits = (uint32_t)((const uint16_t *)model->embedding)[token + i] << 16;
                memcpy(&x, &bits, 4);
            } else x = ((const float *)model->embedding)[token + i];
            hidden[i] = x * model->embedding_scale + (model->places ? model->places[place + i] : 0.0f);
        }
        memset(hidden + model->width, 0, (work->wide - model->width) * sizeof(float));
        if (model->first.weight) norm_row(&model->first, hidden, model->width, hidden);
    }
    barrier(work->team);
}

static void read_out(Work *work) {
    const Model *model = work->model;
    const Pass *pass = work->pass;
    for (int line = work->me; line < pass->num_kept; line += work->team) {
        const float *from = work->hidden + (size_t)pass->kept[line] * work->wide;
        float *to = work->input.rows + (size_t)line * work->input.stride;
        if (model->last.weight) norm_row(&model->last, from, model->width, to);
        else memcpy(to, from, work->wide * sizeof(float));
        if (model->head.dtype == INT8) quantize_row(&work->input, line, model->width);
    }
    barrier(work->team);
    linear_rows(&model->head, NULL, &work->input, pass->num_kept, pass->logits, model->head.blocks * LANES, PLAIN, 0,
                work->me, work->team);
}

static int most_places(const Pass *pass) {
    int most = pass->capacity;
    for (int row = 0; row < pass->rows; row++) {
        int capacity = pass->sources[pass->texts[row]].capacity;
        most = capacity > most ? capacity : most;
    }
    return WHOLE(most, SPAN);
}

typedef struct { const Pass *pass; int places, wide, mixed, input, most_team, is_done; } Plan;

static Plan plan_of(const Pass *pass, int team) {
    const Model *model = pass->model;
    int blocks = 0;
    for (int i = 0; i < model->num_layers; i++) {
        const Layer *layer = &model->layers[i];
        int all = layer->own.query.blocks + layer->own.key.blocks + layer->own.value.blocks;
        blocks = all > blocks ? all : blocks;
        blocks = layer->inner.blocks > blocks ? layer->inner.blocks : blocks;
        blocks = layer->cross.query.blocks > blocks ? layer->cross.query.blocks : blocks;
    }
    int wide = WHOLE(model->width, LANES), mixed = WHOLE(blocks * LANES, SPAN);
    return (Plan){pass, most_places(pass), wide, mixed, WHOLE(wide, SPAN) > mixed ? WHOLE(wide, SPAN) : mixed, team, 0};
}

static size_t size_of(const Plan *plan) {
    size_t rows = plan->pass->rows > plan->pass->num_kept ? plan->pass->rows : plan->pass->num_kept;
    size_t numbers = rows * (plan->wide + plan->mixed + plan->input + 3) + (size_t)plan->most_team * plan->places;
    return numbers * sizeof(float) + 2 * rows * plan->input;
}

static void decode_job(int me, int team, void *given) {
    Plan *plan = given;
    const Pass *pass = plan->pass;
    size_t rows = pass->rows > pass->num_kept ? pass->rows : pass->num_kept;
    Work work = {pass->model, pass, me, team, plan->wide, plan->mixed, NULL, NULL, NULL, {NULL, NULL, NULL, NULL, 0}};
    if (me == 0) plan->is_done = reserve(size_of(plan));
    barrier(team);
    if (!plan->is_done) return;
    work.hidden = (float *)arena;
    work.mixed = work.hidden + rows * plan->wide;
    work.input = (Input){work.mixed + rows * plan->mixed, NULL, NULL, NULL, plan->input};
    work.input.scales = work.input.rows + rows * plan->input;
    work.input.sums = (int32_t *)(work.input.scales + rows);
    work.scores = (float *)(work.input.sums + 2 * rows) + (size_t)me * plan->places;
    work.input.bytes = (int8_t *)((float *)(work.input.sums + 2 * rows) + (size_t)plan->most_team * plan->places);
    embed(&work);
    for (int layer = 0; layer < pass->model->num_layers; layer++) {
        own_attention(&work, layer);
        cross_attention(&work, layer);
        feed_forward(&work, layer);
    }
    read_out(&work);
}

/* Take the rows of a pass through the decoder. 0 when there is not enough memory. */
int decode(const Pass *pass, int team) {
    Plan plan = plan_of(pass, team);
    run(decode_job, &plan, team);
    return plan.is_done;
}

/* The same in another thread, between begin_decode and end_decode of one thread; another waits until these are over. */
static void *decode_deferred(void *nothing) {
    (void)nothing;
    for (;;) {
        for (int spins = 0; spins < LONG_SPINS && !atomic_load(&deferred); spins++) PAUSE();
        pthread_mutex_lock(&deferred_door);
        while (!deferred) pthread_cond_wait(&deferred_bell, &deferred_door);
        const Pass *pass = deferred;
        deferred = NULL;
        pthread_mutex_unlock(&deferred_door);
        int answer = decode(pass, deferred_team);
        pthread_mutex_lock(&deferred_door);
        deferred_answer = answer;
        atomic_store(&deferred_done, 1);
        pthread_cond_broadcast(&deferred_bell);
        pthread_mutex_unlock(&deferred_door);
    }
    return NULL;
}

int begin_decode(const Pass *pass, int team) {
    pthread_mutex_lock(&ahead);
    pthread_mutex_lock(&deferred_door);
    if (!has_deferring) {
        pthread_t thread;
        has_deferring = !pthread_create(&thread, NULL, decode_deferred, NULL);
        if (has_deferring) pthread_detach(thread);
    }
    atomic_store(&deferred_done, 0);
    deferred_team = team;
    deferred = has_deferring ? pass : NULL;
    pthread_cond_broadcast(&deferred_bell);
    pthread_mutex_unlock(&deferred_door);
    if (!has_deferring) pthread_mutex_unlock(&ahead);
    return has_deferring;
}

int end_decode(void) {
    for (int spins = 0; spins < SPINS && !atomic_load(&deferred_done); spins++) PAUSE();
    pthread_mutex_lock(&deferred_door);
    while (!atomic_load(&deferred_done)) pthread_cond_wait(&deferred_bell, &deferred_door);
    int answer = deferred_answer;
    pthread_mutex_unlock(&deferred_door);
    pthread_mutex_unlock(&ahead);
    return answer;
}

/* -------------------------------------------------- one linear layer by itself */

typedef struct { const Linear *linear; const float *rows; float *out; int count, width, stride, is_done; } Product;

static void product_job(int me, int team, void *given) {
    Product *product = given;
    const Linear *linear = product->linear;
    int stride = WHOLE(product->width, SPAN);
    size_t rows = product->count;
    if (me == 0) product->is_done = reserve(rows * (stride + 3) * sizeof(float) + 2 * rows * stride);
    barrier(team);
    if (!product->is_done) return;
    Input input = {(float *)arena, NULL, NULL, NULL, stride};
    input.scales = input.rows + rows * stride;
    input.sums = (int32_t *)(input.scales + rows);
    input.bytes = (int8_t *)(input.sums + 2 * rows);
    for (size_t row = me; row < rows; row += team) {
        float *to = input.rows + row * stride;
        memcpy(to, product->rows + row * product->width, product->width * sizeof(float));
        memset(to + product->width, 0, (stride - product->width) * sizeof(float));
        if (linear->dtype == INT8) quantize_row(&input, (int)row, product->width);
    }
    barrier(team);
    linear_rows(linear, NULL, &input, product->count, product->out, product->stride, PLAIN, 0, me, team);
}

/* rows [count][width] times the layer -> out [count][stride], a stride of whole blocks. 0: not enough memory. */
int multiply(const Linear *linear, const float *rows, int count, int width, float *out, int stride, int team) {
    Product product = {linear, rows, out, count, width, stride, 0};
    run(product_job, &product, team);
    return product.is_done;
}
"""


class KernelError(RuntimeError):
    """The native part cannot be compiled, or has no memory left."""


_POINTER, _FLOAT, _INT = ctypes.c_void_p, ctypes.c_float, ctypes.c_int32


def _fields(pointers: str = "", floats: str = "", ints: str = "") -> list[tuple[str, type]]:
    return [
        (name, kind) for names, kind in ((pointers, _POINTER), (floats, _FLOAT), (ints, _INT)) for name in names.split()
    ]


class CLinear(ctypes.Structure):
    _fields_ = _fields("weight scale bias", "", "dtype blocks inputs outputs")


class CNorm(ctypes.Structure):
    _fields_ = _fields("weight bias", "epsilon", "is_rms")


class CAttention(ctypes.Structure):
    _fields_ = [*((name, CLinear) for name in ("query", "key", "value", "out")), ("norm", CNorm)]


class CLayer(ctypes.Structure):
    _fields_ = [
        *((name, CAttention) for name in ("own", "cross")),
        *((name, CLinear) for name in ("gate", "inner", "outer")),
        ("norm", CNorm),
    ]


class CModel(ctypes.Structure):
    _fields_ = [
        *_fields("layers embedding places cosines sines distances"),
        ("first", CNorm),
        ("last", CNorm),
        ("head", CLinear),
        *_fields("", "embedding_scale", "num_layers width heads key_heads head_width value_width positions"),
        *_fields("", "", "activation is_pre_norm embedding_dtype cache_dtype"),
    ]


class CSource(ctypes.Structure):
    _fields_ = _fields("keys values", "", "length capacity")


class CPass(ctypes.Structure):
    _fields_ = _fields(
        "model sources keys values logits tokens slots positions texts kept", "", "rows num_kept slots_in_all capacity"
    )


@functools.lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The compiled source, loaded. It is compiled once for each processor and compiler, and kept in the user's cache.

    Raises KernelError without a C compiler, and when it fails, with what it said.
    """
    compiler = _compiler()
    name = hashlib.sha256(repr([SOURCE, FLAGS, compiler, _processor()]).encode()).hexdigest()[:16]
    path = _cache_folder() / f"kernels-{name}.so"
    if not path.exists():
        _compile(compiler, path)
    loaded = ctypes.CDLL(str(path))
    loaded.decode.argtypes = loaded.begin_decode.argtypes = [_POINTER, _INT]
    loaded.multiply.argtypes = [_POINTER, _POINTER, _INT, _INT, _POINTER, _INT, _INT]
    return loaded


def _compiler() -> list[str]:
    wanted = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang"]
    for command in map(shlex.split, wanted):
        if shutil.which(command[0]):
            return command
    if not os.environ.get("CC") and importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise KernelError(
        f"no C compiler: {' or '.join(wanted)} is not on the PATH; install one (apt install gcc libc6-dev, or "
        "pip install 'elixir-coder[fast]', or pip install ziglang), or set CC to yours"
    )


def _processor() -> str:
    """What the code is compiled for: `-march=native` means another thing on another machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    return platform.machine() + next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(home) / "elixir-coder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="elixir-coder-"))  # its own each time: what others can write is not loaded


def _compile(compiler: list[str], path: Path) -> None:
    """Whole or not at all, whoever else is at it."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source, built = Path(folder, "kernels.c"), Path(folder, "kernels.so")
        source.write_text(SOURCE)
        command = [*compiler, *FLAGS, str(source), "-o", str(built), "-lm"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise KernelError(f"{shlex.join(command)} failed: {result.stderr.strip()[-2000:]}")
        os.replace(built, path)
