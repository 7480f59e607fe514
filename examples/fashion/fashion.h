/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A softmax classifier on Fashion-MNIST, trained and tested with libtenon on whatever device TENON_DEVICE names. */
#ifndef FASHION_H
#define FASHION_H

#include <stdint.h>
#include <tenon/ops/linear.h>
#include <tenon/ops/softmax.h>
#include <tenon/tenon.h>

enum {
    FASHION_SIDE = 28,
    FASHION_PIXELS = FASHION_SIDE * FASHION_SIDE,
    FASHION_CLASSES = 10,
    FASHION_INPUTS = FASHION_PIXELS + 1, /* and a constant 1, whose weight is the class's bias */
    /* Rows are padded so that every batch begins at an offset any device can bind. */
    FASHION_X_STRIDE = 800,
    FASHION_P_STRIDE = 16
};

/* ---- fashion_data.c ---- */

struct fashion_set {
    uint32_t n;
    uint8_t *pixels; /* [n][28][28] */
    uint8_t *labels; /* [n] */
};
extern const char *const fashion_class_name[FASHION_CLASSES];
/* Reads <dir>/<stem>-images-idx3-ubyte.gz and its labels. 0, or -1 after a message on standard error. */
int fashion_set_load(const char *dir, const char *stem, struct fashion_set *set);
void fashion_set_free(struct fashion_set *set);

/* ---- fashion_train.c ---- */

struct fashion_model; /* weights and data, on the device */

int32_t fashion_model_create(struct tenon_context *context, const struct fashion_set *train,
                             const struct fashion_set *test, float rate, struct fashion_model **model);
void fashion_model_destroy(struct fashion_model *model);
/* One pass over the training images in batches of `batch`, whose order follows from the epoch's number. */
int32_t fashion_model_epoch(struct fashion_model *model, uint32_t epoch, uint32_t batch,
                            void (*progress)(uint32_t done, uint32_t all));
/* Per test image: the class, its probability and the entropy of the prediction in nats. */
struct fashion_result {
    uint32_t n;
    int32_t *label;
    float *pmax, *entropy;
};
int32_t fashion_model_test(struct fashion_model *model, struct fashion_result *result);
void fashion_result_free(struct fashion_result *result);
/* [10][785] */
int32_t fashion_model_weights(struct fashion_model *model, float *weights);

/* ---- fashion_picture.c ---- */

/* The ten learned templates (red for, blue against) and the confusion matrix. 0, or -1 after a message. */
int fashion_picture_write(const char *path, const float *weights,
                          const uint32_t confusion[FASHION_CLASSES][FASHION_CLASSES]);

#endif
