/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "fashion.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

const char *const fashion_class_name[FASHION_CLASSES] = {"T-shirt", "Trouser", "Pullover", "Dress", "Coat",
                                                         "Sandal",  "Shirt",   "Sneaker",  "Bag",   "Boot"};

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The IDX format: two zero bytes, the type (8 = bytes), the rank, the sizes, the data. Returns the data, or NULL. */
static uint8_t *read_idx(const char *path, uint32_t rank, uint32_t *n)
{
    gzFile file = gzopen(path, "rb");
    if (!file) {
        fprintf(stderr, "fashion: %s: cannot be opened (Debian: dataset-fashion-mnist; or --data DIR)\n", path);
        return NULL;
    }
    uint8_t head[16], *data = NULL;
    const unsigned head_size = 4 + 4 * rank;
    if (gzread(file, head, head_size) != (int)head_size || head[0] || head[1] || head[2] != 8 || head[3] != rank) {
        fprintf(stderr, "fashion: %s: not an IDX file of bytes with %u axes\n", path, rank);
        goto close;
    }
    *n = big_endian(head + 4);
    unsigned each = 1;
    if (rank == 3) {
        if (big_endian(head + 8) != FASHION_SIDE || big_endian(head + 12) != FASHION_SIDE) {
            fprintf(stderr, "fashion: %s: images are not 28 by 28\n", path);
            goto close;
        }
        each = FASHION_PIXELS;
    }
    if (*n == 0 || *n > 1000000 || !(data = malloc((size_t)*n * each))) {
        fprintf(stderr, "fashion: %s: %u items\n", path, *n);
        goto close;
    }
    if (gzread(file, data, *n * each) != (int)(*n * each)) {
        fprintf(stderr, "fashion: %s: shorter than it says\n", path);
        free(data);
        data = NULL;
    }
close:
    gzclose(file);
    return data;
}

int fashion_set_load(const char *dir, const char *stem, struct fashion_set *set)
{
    char path[4096];
    uint32_t labels = 0;
    *set = (struct fashion_set){0};
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte.gz", dir, stem);
    set->pixels = read_idx(path, 3, &set->n);
    if (!set->pixels)
        return -1;
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte.gz", dir, stem);
    set->labels = read_idx(path, 1, &labels);
    if (!set->labels)
        goto fail;
    if (labels != set->n) {
        fprintf(stderr, "fashion: %s: %u labels for %u images\n", path, labels, set->n);
        goto fail;
    }
    for (uint32_t i = 0; i < set->n; i++) {
        if (set->labels[i] >= FASHION_CLASSES) {
            fprintf(stderr, "fashion: %s: label %u of image %u\n", path, set->labels[i], i);
            goto fail;
        }
    }
    return 0;
fail:
    fashion_set_free(set);
    return -1;
}

void fashion_set_free(struct fashion_set *set)
{
    free(set->pixels);
    free(set->labels);
    *set = (struct fashion_set){0};
}
