/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "fashion.h"

#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ZOOM = 4,
    TILE = FASHION_SIDE * ZOOM,
    GAP = 8,
    CELL = 24,
    MATRIX = FASHION_CLASSES * CELL,
    WIDTH = 5 * TILE + 6 * GAP,
    HEIGHT = 2 * TILE + 3 * GAP + MATRIX + 2 * GAP
};

static void fill(uint8_t *image, int left, int top, int width, int height, const uint8_t colour[3])
{
    for (int y = top; y < top + height; y++)
        for (int x = left; x < left + width; x++)
            memcpy(image + ((size_t)y * WIDTH + x) * 3, colour, 3);
}

/* White at 0, red towards +1, blue towards -1. */
static void diverging(float value, uint8_t colour[3])
{
    const float v = fmaxf(-1.0f, fminf(1.0f, value));
    const uint8_t faded = (uint8_t)lrintf(255.0f * (1.0f - fabsf(v)));
    colour[0] = v >= 0 ? 255 : faded;
    colour[1] = faded;
    colour[2] = v >= 0 ? faded : 255;
}

static void draw_templates(uint8_t *image, const float *weights)
{
    for (int c = 0; c < FASHION_CLASSES; c++) {
        const float *row = weights + (size_t)c * FASHION_INPUTS;
        float most = 1e-20f;
        for (int i = 0; i < FASHION_PIXELS; i++)
            most = fmaxf(most, fabsf(row[i]));
        const int left = GAP + c % 5 * (TILE + GAP), top = GAP + c / 5 * (TILE + GAP);
        for (int i = 0; i < FASHION_PIXELS; i++) {
            uint8_t colour[3];
            diverging(row[i] / most, colour);
            fill(image, left + i % FASHION_SIDE * ZOOM, top + i / FASHION_SIDE * ZOOM, ZOOM, ZOOM, colour);
        }
    }
}

/* Rows: the true class; columns: the predicted one; darker is more. The square root keeps rare confusions visible. */
static void draw_confusion(uint8_t *image, const uint32_t confusion[FASHION_CLASSES][FASHION_CLASSES])
{
    const int left = (WIDTH - MATRIX) / 2, top = 2 * TILE + 4 * GAP;
    for (int t = 0; t < FASHION_CLASSES; t++) {
        uint32_t sum = 0;
        for (int p = 0; p < FASHION_CLASSES; p++)
            sum += confusion[t][p];
        for (int p = 0; p < FASHION_CLASSES; p++) {
            const float share = sum ? (float)confusion[t][p] / (float)sum : 0.0f;
            const uint8_t pale = (uint8_t)lrintf(255.0f * (1.0f - sqrtf(share)));
            const uint8_t right[3] = {pale, (uint8_t)(pale / 2 + 100), pale}, wrong[3] = {255, pale, pale};
            fill(image, left + p * CELL + 1, top + t * CELL + 1, CELL - 2, CELL - 2, t == p ? right : wrong);
        }
    }
}

int fashion_picture_write(const char *path, const float *weights,
                          const uint32_t confusion[FASHION_CLASSES][FASHION_CLASSES])
{
    uint8_t *image = malloc((size_t)WIDTH * HEIGHT * 3);
    if (!image) {
        fprintf(stderr, "fashion: out of memory\n");
        return -1;
    }
    memset(image, 240, (size_t)WIDTH * HEIGHT * 3);
    draw_templates(image, weights);
    draw_confusion(image, confusion);
    png_image png = {.version = PNG_IMAGE_VERSION, .width = WIDTH, .height = HEIGHT, .format = PNG_FORMAT_RGB};
    const int ok = png_image_write_to_file(&png, path, 0, image, 0, NULL);
    if (!ok)
        fprintf(stderr, "fashion: %s: %s\n", path, png.message);
    free(image);
    return ok ? 0 : -1;
}
