/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One layer of a mixture of experts on any device, from five operators: router logits, top-k routing with a softmax
 * over the chosen, dispatch, gated experts (SwiGLU), combine. Nothing leaves the device between them: how many rows an
 * expert has is known to the device alone. */
#ifndef MOE_H
#define MOE_H

#include <stdint.h>
#include <tenon/tenon.h>

struct moe_shape {
    int64_t tokens, experts, top_k, width, hidden;
    int64_t batches; /* sets of tokens there are; each run takes the next, so that runs do not find their weights in
                        cache */
    uint32_t type;   /* of x, y and the weights; TENON_I8: int8 weights with a scale for GROUP of them, x and y f32 */
    int skew;        /* half of the tokens go to expert 0, whatever else they choose */
};
#define MOE_GROUP 128 /* or all of a row's weights when they are fewer */

/* What the layer is made of, in host memory. x: [batches, tokens, width]. Weights: of `type`, scales f32. */
struct moe_data {
    struct moe_shape shape;
    void *x, *router, *gate, *up, *down;
    float *gate_scale, *up_scale, *down_scale; /* NULL but for int8 */
};
struct moe_data *moe_data_create(const struct moe_shape *shape, uint64_t seed);
void moe_data_destroy(struct moe_data *data);
/* Element i of an array of `type` as stored there. */
double moe_get(const void *array, uint32_t type, int64_t i);
uint64_t moe_type_size(uint32_t type);
/* x and y: f32 beside int8 weights. */
uint32_t moe_x_type(const struct moe_shape *shape);
int64_t moe_group(int64_t row);
/* Every array as a file of that name in a folder, for other programs to read. */
int moe_data_save(const struct moe_data *data, const char *folder);

struct moe_layer;
int32_t moe_layer_create(struct tenon_context *context, const struct moe_data *data, struct moe_layer **layer);
void moe_layer_destroy(struct moe_layer *layer);
/* x: [tokens, width] to the device, as one of its batches. */
int32_t moe_layer_load(struct moe_layer *layer, int64_t batch, const void *x);
/* Submits the operators for a batch. */
int32_t moe_layer_forward(struct moe_layer *layer, int64_t batch);
/* y [tokens, width] of the layer's type, idx [tokens, top_k], what each expert was given; NULL: not wanted. */
int32_t moe_layer_read(struct moe_layer *layer, void *y, int32_t *idx, int32_t *counts);

/* y of batch 0 against the sum over all experts, masked by the choice, in f64, of `n` tokens spread over all; and the
 * choice itself against the logits in f64. The worst token's relative error; 0 when within bounds. */
int moe_check_dense(const struct moe_data *data, const void *y, const int32_t *idx, int64_t n, double *worst);
/* Batch 0 with its tokens the other way round: the same bits the other way round. */
int32_t moe_check_order(struct moe_layer *layer, const struct moe_data *data, const void *y, int *same);

#endif
